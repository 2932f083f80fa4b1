//! Keys and tokens: what `codraft init` makes once and `codraft token` signs with.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use codraft_proto::outside::{Clock, Entropy, OsEntropy, SystemClock};
use codraft_router::{PublicAlgorithm, PublicKey};
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

/// What the routers of a cluster share.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Signs users' tokens (HS256), in hex; empty: only the public key's owner does.
    #[serde(default)]
    pub token: String,
    /// Signs tickets for WebSockets, in hex.
    pub ticket: String,
    /// Of whom else signs users' tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<Public>,
}

/// A public key, which tokens are checked with and nobody can sign with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    algorithm: Algorithm,
    pem: String,
}

/// As JWT calls them.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Algorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
}

impl Keys {
    pub fn load(path: &std::path::Path) -> Result<Keys> {
        let text = files::read(path)?;
        toml::from_str(&text).with_context(|| format!("{} is not right", path.display()))
    }

    pub fn of_router(self) -> codraft_router::Keys {
        let public = |key: Public| PublicKey {
            algorithm: match key.algorithm {
                Algorithm::EdDsa => PublicAlgorithm::EdDsa,
                Algorithm::Es256 => PublicAlgorithm::Es256,
                Algorithm::Rs256 => PublicAlgorithm::Rs256,
            },
            pem: key.pem,
        };
        codraft_router::Keys {
            token_secret: self.token.into_bytes(),
            token_public: self.public.map(public),
            ticket_secret: self.ticket.into_bytes(),
        }
    }
}

pub fn make_keys(layout: &Layout) -> Result<()> {
    if layout.keys().exists() {
        return Ok(());
    }
    let keys = Keys {
        token: random_hex(32)?,
        ticket: random_hex(32)?,
        public: None,
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
    ensure!(
        !keys.token.is_empty(),
        "{} has no `token` to sign with: tokens come from whom the public key belongs to",
        layout.keys().display()
    );
    let now = SystemClock.now_ms() / 1000;
    codraft_router::sign_token(keys.token.as_bytes(), user, now, now + seconds)
        .context("signing a token")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_of_another_are_taken_from_the_file() {
        let read = |text: &str| toml::from_str::<Keys>(text).map(Keys::of_router);
        let public = |algorithm: &str| {
            format!(
                "ticket = \"00\"\n[public]\nalgorithm = \"{algorithm}\"\npem = \"\"\"\nline\n\"\"\"\n"
            )
        };
        let keys = read(&public("EdDSA")).unwrap();
        assert!(keys.token_secret.is_empty());
        let key = keys.token_public.unwrap();
        assert_eq!(
            (key.algorithm, key.pem.as_str()),
            (PublicAlgorithm::EdDsa, "line\n")
        );
        assert!(
            read("token = \"00\"\nticket = \"00\"\n")
                .unwrap()
                .token_public
                .is_none()
        );
        for wrong in [
            public("HS256"),
            public("none"),
            "ticket = \"00\"\nkey = \"\"".into(),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
