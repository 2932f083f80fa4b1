//! Keys and tokens: what `codraft init` makes once and `codraft token` signs with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use codraft_proto::{
    frame::json::hex,
    ids::user_fault,
    outside::{Clock, Entropy, OsEntropy, SystemClock},
    receipt::{self, KEY_BYTES, PublicKey, ReceiptKey},
};
use codraft_router::{KeyMaterial, PublicAlgorithm, TokenKey};
use serde::{Deserialize, Serialize};

use crate::{files, layout::Layout};

/// The issuer and the audience of a cluster's own tokens.
const NAME: &str = "codraft";
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
    /// Who signs with it, and for whom.
    #[serde(default)]
    pub issuer: String,
    #[serde(default)]
    pub audience: String,
    /// Signs tickets for WebSockets, in hex.
    pub ticket: String,
    /// Of whom else signs users' tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<Public>,
    /// What receipts are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptPair>,
}

/// Of Ed25519, in hex. Nodes sign with the private half; a router needs the public one alone, which
/// follows from the private one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptPair {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    private: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public: Option<String>,
}

/// What of the keys is about receipts; a node has no use for the others.
#[derive(Deserialize)]
struct ReceiptKeys {
    receipt: Option<ReceiptPair>,
}

impl ReceiptPair {
    fn make() -> Result<Self> {
        let private = random_hex(KEY_BYTES)?;
        let public = hex(&ReceiptKey::from_hex(&private)?.public());
        Ok(Self {
            private: Some(private),
            public: Some(public),
        })
    }

    fn private(&self) -> Result<Option<ReceiptKey>> {
        let private = self.private.as_deref().map(ReceiptKey::from_hex);
        let private = private.transpose().context("`private` of [receipt]")?;
        self.public_beside(private.as_ref())?;
        Ok(private)
    }

    fn public(&self) -> Result<Option<PublicKey>> {
        self.public_beside(self.private()?.as_ref())
    }

    fn public_beside(&self, private: Option<&ReceiptKey>) -> Result<Option<PublicKey>> {
        let public = self.public.as_deref().map(receipt::public_key);
        let public = public.transpose().context("`public` of [receipt]")?;
        let own = private.map(ReceiptKey::public);
        if let (Some(own), Some(public)) = (own, public) {
            ensure!(
                own == public,
                "`public` of [receipt] is not that of `private`"
            );
        }
        Ok(own.or(public))
    }
}

/// The pair of a file of keys, whatever else is in it; none without one, or without the file.
fn receipt_pair(path: &Path) -> Result<Option<ReceiptPair>> {
    if !path.exists() {
        return Ok(None);
    }
    let keys: ReceiptKeys = toml::from_str(&files::read(path)?)?;
    Ok(keys.receipt)
}

/// What a node signs receipts with.
pub fn receipt_key(path: &Path) -> Result<Option<ReceiptKey>> {
    let key = receipt_pair(path).and_then(|pair| pair.map_or(Ok(None), |pair| pair.private()));
    key.with_context(|| format!("{} is not right", path.display()))
}

/// What receipts are checked with.
pub fn receipt_public_key(path: &Path) -> Result<Option<PublicKey>> {
    let key = receipt_pair(path).and_then(|pair| pair.map_or(Ok(None), |pair| pair.public()));
    key.with_context(|| format!("{} is not right", path.display()))
}

/// A public key, which tokens are checked with and nobody can sign with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    algorithm: Algorithm,
    /// Which of the tokens that are signed with it are let in.
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    audience: String,
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
    pub fn load(path: &Path) -> Result<Keys> {
        let text = files::read(path)?;
        let wrong = || format!("{} is not right", path.display());
        let keys: Keys = toml::from_str(&text).with_context(wrong)?;
        keys.of_router().check().with_context(wrong)?;
        Ok(keys)
    }

    pub fn of_router(&self) -> codraft_router::Keys {
        let own = self.own();
        let public = self.public.as_ref().map(|key| TokenKey {
            material: KeyMaterial::Public {
                algorithm: match key.algorithm {
                    Algorithm::EdDsa => PublicAlgorithm::EdDsa,
                    Algorithm::Es256 => PublicAlgorithm::Es256,
                    Algorithm::Rs256 => PublicAlgorithm::Rs256,
                },
                pem: key.pem.clone(),
            },
            issuer: key.issuer.clone(),
            audience: key.audience.clone(),
        });
        codraft_router::Keys {
            tokens: public.into_iter().chain(own).collect(),
            ticket_secret: self.ticket.clone().into_bytes(),
        }
    }

    /// What `codraft token` signs with.
    fn own(&self) -> Option<TokenKey> {
        let key = || TokenKey::secret(self.token.as_bytes(), &self.issuer, &self.audience);
        (!self.token.is_empty()).then(key)
    }
}

pub fn make_keys(layout: &Layout) -> Result<()> {
    if layout.keys().exists() {
        return Ok(());
    }
    let keys = Keys {
        token: random_hex(32)?,
        issuer: NAME.to_owned(),
        audience: NAME.to_owned(),
        ticket: random_hex(32)?,
        public: None,
        receipt: Some(ReceiptPair::make()?),
    };
    let text = format!(
        "# Secret. Whoever has this file can be anybody.\n{}",
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
    let user = std::env::var("USER").ok();
    let user = user.filter(|user| user_fault(user).is_none());
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
    let key = keys.own().with_context(|| {
        format!(
            "{} has no `token` to sign with: tokens come from whom the public key belongs to",
            layout.keys().display()
        )
    })?;
    let now = SystemClock.now_ms() / 1000;
    let until = now.saturating_add(seconds);
    ensure!(seconds > 0, "--seconds 0: it would have expired already");
    codraft_router::sign_token(&key, user, now, until)
        .with_context(|| format!("no token for {user:?} for {seconds} seconds"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAkWo5YMOn2jUzDdts85iy7RwILBJCaIUO/D6MX3l5f94=
-----END PUBLIC KEY-----
";
    const NAMES: &str = "issuer = \"them\"\naudience = \"us\"";
    const SECRET: &str = "0123456789abcdef";

    fn read(text: &str) -> Result<codraft_router::Keys> {
        let keys = toml::from_str::<Keys>(text)?.of_router();
        keys.check()?;
        Ok(keys)
    }

    fn public(algorithm: &str, names: &str) -> String {
        format!(
            "ticket = \"{SECRET}\"\n[public]\nalgorithm = \"{algorithm}\"\n{names}\npem = \"\"\"\n{PEM}\"\"\"\n"
        )
    }

    #[test]
    fn keys_of_another_are_taken_from_the_file() {
        let keys = read(&public("EdDSA", NAMES)).unwrap();
        let [key] = &keys.tokens[..] else {
            panic!("one key");
        };
        assert_eq!((&*key.issuer, &*key.audience), ("them", "us"));
        let algorithm = PublicAlgorithm::EdDsa;
        let KeyMaterial::Public { algorithm: of, pem } = &key.material else {
            panic!("a public one");
        };
        assert_eq!((*of, pem.as_str()), (algorithm, PEM));
        for wrong in [
            public("HS256", NAMES),
            public("none", NAMES),
            format!("ticket = \"{SECRET}\"\nkey = \"\""),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_without_an_issuer_or_an_audience_is_refused_in_words() {
        let own = |names: &str| format!("token = \"{SECRET}\"\nticket = \"{SECRET}\"\n{names}\n");
        assert!(read(&own(NAMES)).is_ok());
        for make in [&own as &dyn Fn(&str) -> String, &|names| {
            public("EdDSA", names)
        }] {
            for (names, missing) in [
                ("", "`issuer`"),
                ("issuer = \"\"\naudience = \"us\"", "`issuer`"),
                ("issuer = \"them\"", "`audience`"),
                ("audience = \"us\"", "`issuer`"),
            ] {
                let refused = read(&make(names))
                    .err()
                    .map(|e| e.to_string())
                    .unwrap_or_default();
                assert!(refused.contains(missing), "{names}: {refused}");
            }
        }
    }

    #[test]
    fn a_router_takes_every_token_that_is_made() {
        let key = TokenKey::secret(SECRET, NAME, NAME);
        let make = |user: &str, until| codraft_router::sign_token(&key, user, 0, until);
        assert!(make("ana", 60).is_ok());
        assert!(make(&"u".repeat(128), 1_000_000_000_000).is_ok());
        for (user, until) in [
            ("", 60),
            (&*"u".repeat(129), 60),
            ("a\nb", 60),
            (".", 60),
            ("..", 60),
            ("ana", 1_000_000_000_001),
            ("ana", u64::MAX),
        ] {
            assert!(make(user, until).is_err(), "{user:?} {until}");
        }
    }
}
