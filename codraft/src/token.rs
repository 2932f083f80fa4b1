//! Keys and tokens: what `codraft init` makes once and `codraft token` signs with.

use std::path::PathBuf;

use anyhow::{Context, Result};
use codraft_proto::outside::{Clock, Entropy, OsEntropy, SystemClock};
use serde::{Deserialize, Serialize};

use crate::{files, init::Layout};

/// A development token lives this long, in seconds.
const DEVELOPMENT_SECONDS: u64 = 7 * 24 * 3600;

#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The cluster's folder.
    #[arg(long, default_value = ".codraft")]
    pub data: PathBuf,
    /// Who the token is for.
    #[arg(long)]
    pub user: String,
    /// How long it is good for, in seconds.
    #[arg(long, default_value_t = 3600)]
    pub seconds: u64,
}

/// What the routers of a cluster share. Hex.
#[derive(Serialize, Deserialize)]
pub struct Keys {
    /// Signs users' tokens (HS256).
    pub token: String,
    /// Signs tickets for WebSockets.
    pub ticket: String,
}

impl Keys {
    pub fn load(path: &std::path::Path) -> Result<Keys> {
        let text = files::read(path)?;
        toml::from_str(&text).with_context(|| format!("{} is not right", path.display()))
    }
}

pub fn make_keys(layout: &Layout) -> Result<()> {
    if layout.keys().exists() {
        return Ok(());
    }
    let keys = Keys {
        token: random_hex(32)?,
        ticket: random_hex(32)?,
    };
    let text = format!(
        "# Secret. Who has this file can be anybody.\n{}",
        toml::to_string(&keys).context("writing the keys")?
    );
    files::replace_secret(&layout.keys(), text.as_bytes())
}

pub fn random_hex(bytes: usize) -> Result<String> {
    let mut raw = vec![0; bytes];
    OsEntropy.fill(&mut raw);
    Ok(raw.iter().map(|b| format!("{b:02x}")).collect())
}

/// A token for the person at this machine.
pub fn development(layout: &Layout) -> Result<String> {
    let user = std::env::var("USER").ok().filter(|u| !u.is_empty());
    sign(
        layout,
        user.as_deref().unwrap_or("developer"),
        DEVELOPMENT_SECONDS,
    )
}

pub fn run(args: &TokenArgs) -> Result<()> {
    println!(
        "{}",
        sign(&Layout::new(&args.data), &args.user, args.seconds)?
    );
    Ok(())
}

fn sign(layout: &Layout, user: &str, seconds: u64) -> Result<String> {
    let keys = Keys::load(&layout.keys())?;
    let now = SystemClock.now_ms() / 1000;
    codraft_router::sign_token(keys.token.as_bytes(), user, now, now + seconds)
        .context("signing a token")
}
