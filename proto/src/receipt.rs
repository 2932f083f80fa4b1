//! Receipts: that a document's revision is what it is, signed by the cluster's key (Ed25519).
//!
//! What is signed is text, so that anybody can make it again with what is at hand:
//!
//! ```text
//! codraft receipt 1 ⏎
//! {"cluster":…,"doc":…,"group":…,"hash":…,"index":…,"rev":…,"term":…}
//! ```
//!
//! The second line is JSON without spaces, its members in this order; numbers are decimal, `doc` and `hash`
//! lower-case hex. Of the cluster's name only `"` and `\` are escaped, by a `\`. `index` and `term` are those
//! of the log entry that the revision came of, and `null` where that is not known any more.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::{
    frame::json::hex,
    ids::{DocId, GroupId, Revision},
};

const FIRST_LINE: &str = "codraft receipt 1\n";
/// Of a private key, a public one, and a hash, in bytes.
pub const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

pub type PublicKey = [u8; KEY_BYTES];

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub cluster: String,
    pub doc: DocId,
    pub group: GroupId,
    /// The chain hash at the revision: it stands for every event up to there.
    pub hash: [u8; 32],
    pub rev: Revision,
    /// The log entry that the revision came of; none where only the archive has it, which does not know.
    pub entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    pub index: u64,
}

/// A receipt as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub receipt: Receipt,
    /// Says which key it should be checked with, and proves nothing.
    pub key: PublicKey,
    pub signature: [u8; SIGNATURE_BYTES],
}

/// The private half. Clones are the same key; it is never shown.
#[derive(Clone)]
pub struct ReceiptKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey(public {})", hex(&self.public()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("a key is {KEY_BYTES} bytes in lower-case hex")]
    Key,
    #[error("it is no receipt: cluster, doc, group, hash, index, rev, term, key and signature")]
    Malformed,
    #[error("it is signed with another key than the cluster's")]
    OtherKey,
    #[error("it was changed since it was signed")]
    Forged,
}

/// The members as JSON has them.
#[derive(Serialize)]
struct Canonical<'a> {
    cluster: &'a str,
    doc: String,
    group: u32,
    hash: String,
    index: Option<u64>,
    rev: u64,
    term: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelled {
    cluster: String,
    doc: String,
    group: u32,
    hash: String,
    index: Option<u64>,
    rev: u64,
    term: Option<u64>,
    key: String,
    signature: String,
}

impl Receipt {
    /// The bytes that a signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let canonical = Canonical {
            cluster: &self.cluster,
            doc: self.doc.to_string(),
            group: self.group.0,
            hash: hex(&self.hash),
            index: self.entry.map(|entry| entry.index),
            rev: self.rev.0,
            term: self.entry.map(|entry| entry.term),
        };
        // Text and numbers always have a spelling.
        let line = serde_json::to_string(&canonical).unwrap_or_default();
        format!("{FIRST_LINE}{line}").into_bytes()
    }
}

impl ReceiptKey {
    /// Of the private half as `keys.toml` has it: 32 random bytes in hex.
    ///
    /// # Errors
    /// When it is not that.
    pub fn from_hex(private: &str) -> Result<Self, ReceiptError> {
        let seed: [u8; KEY_BYTES] = from_hex(private).ok_or(ReceiptError::Key)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| ReceiptError::Key)?;
        Ok(Self(Arc::new(pair)))
    }

    pub fn public(&self) -> PublicKey {
        let public = self.0.public_key().as_ref().try_into();
        // An Ed25519 key has no other length.
        public.unwrap_or_default()
    }

    /// The same bytes for the same receipt, whoever signs it.
    pub fn sign(&self, receipt: Receipt) -> Signed {
        let signature = self.0.sign(&receipt.signed_bytes());
        Signed {
            receipt,
            key: self.public(),
            signature: signature
                .as_ref()
                .try_into()
                .unwrap_or([0; SIGNATURE_BYTES]),
        }
    }
}

impl Signed {
    /// A receipt as the route hands it out.
    ///
    /// # Errors
    /// When it is not the JSON of one.
    pub fn parse(json: &[u8]) -> Result<Signed, ReceiptError> {
        let wrong = ReceiptError::Malformed;
        let spelled: Spelled = serde_json::from_slice(json).map_err(|_| wrong)?;
        let entry = match (spelled.term, spelled.index) {
            (Some(term), Some(index)) => Some(Entry { term, index }),
            (None, None) => None,
            _ => return Err(wrong),
        };
        Ok(Signed {
            receipt: Receipt {
                cluster: spelled.cluster,
                doc: spelled.doc.parse().map_err(|_| wrong)?,
                group: GroupId(spelled.group),
                hash: from_hex(&spelled.hash).ok_or(wrong)?,
                rev: Revision(spelled.rev),
                entry,
            },
            key: from_hex(&spelled.key).ok_or(wrong)?,
            signature: from_hex(&spelled.signature).ok_or(wrong)?,
        })
    }

    /// Whether it was signed with the key of a cluster, which one has from elsewhere.
    ///
    /// # Errors
    /// When it was not.
    pub fn check(&self, key: &PublicKey) -> Result<(), ReceiptError> {
        if self.key != *key {
            return Err(ReceiptError::OtherKey);
        }
        let signed = self.receipt.signed_bytes();
        let public = UnparsedPublicKey::new(&ED25519, key);
        let checked = public.verify(&signed, &self.signature);
        checked.map_err(|_| ReceiptError::Forged)
    }
}

/// A public key in hex.
///
/// # Errors
/// When it is not one.
pub fn public_key(text: &str) -> Result<PublicKey, ReceiptError> {
    from_hex(text).ok_or(ReceiptError::Key)
}

/// Lower-case digits, and nothing else.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N
        || !digits
            .iter()
            .all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const VECTORS: &str = include_str!("../../tests/vectors/receipts.json");

    /// What another library signed: the receipt, what is signed of it, and the key.
    fn vectors() -> (ReceiptKey, Vec<(Vec<u8>, String)>) {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let key = ReceiptKey::from_hex(vectors["private"].as_str().unwrap()).unwrap();
        let receipts = vectors["receipts"].as_array().unwrap().iter();
        let receipts = receipts.map(|vector| {
            let signed = vector["signed"].as_str().unwrap();
            (
                vector["receipt"].to_string().into_bytes(),
                signed.to_owned(),
            )
        });
        (key, receipts.collect())
    }

    #[test]
    fn a_receipt_is_signed_as_pinned() {
        let (key, vectors) = vectors();
        assert_eq!(vectors.len(), 2);
        for (json, signed) in vectors {
            let parsed = Signed::parse(&json).unwrap();
            assert_eq!(parsed.receipt.signed_bytes(), signed.as_bytes());
            assert_eq!(key.sign(parsed.receipt.clone()), parsed);
            assert_eq!(parsed.check(&key.public()), Ok(()));
        }
    }

    #[test]
    fn a_receipt_that_was_changed_or_is_of_another_key_is_refused() {
        let (key, vectors) = vectors();
        let (json, _) = &vectors[0];
        let text = String::from_utf8(json.clone()).unwrap();
        for (from, to) in [
            (r#""rev":17"#, r#""rev":18"#),
            (r#""term":4"#, r#""term":5"#),
            (r#""group":1"#, r#""group":2"#),
            ("cdcd", "cdce"),
            ("abab", "abac"),
            ("ü", "u"),
        ] {
            let changed = Signed::parse(text.replacen(from, to, 1).as_bytes()).unwrap();
            assert_eq!(
                changed.check(&key.public()),
                Err(ReceiptError::Forged),
                "{to}"
            );
        }
        let signed = Signed::parse(json).unwrap();
        let other = ReceiptKey::from_hex(&"08".repeat(32)).unwrap();
        assert_eq!(signed.check(&other.public()), Err(ReceiptError::OtherKey));
        let theirs = other.sign(signed.receipt);
        assert_eq!(theirs.check(&key.public()), Err(ReceiptError::OtherKey));
        let disguised = Signed {
            key: key.public(),
            ..theirs
        };
        assert_eq!(disguised.check(&key.public()), Err(ReceiptError::Forged));
    }

    #[test]
    fn what_is_no_receipt_is_an_error() {
        let (_, vectors) = vectors();
        let text = String::from_utf8(vectors[0].0.clone()).unwrap();
        for wrong in [
            String::new(),
            "{}".to_owned(),
            text.replace(r#""term":4"#, r#""term":null"#),
            text.replace("cdcd", "CDCD"),
            text.replace(r#""rev":17"#, r#""rev":-1"#),
            text.replace(r#""rev":17"#, r#""rev":17,"more":1"#),
        ] {
            let parsed = Signed::parse(wrong.as_bytes());
            assert_eq!(parsed, Err(ReceiptError::Malformed), "{wrong}");
        }
        for wrong in ["", "07", &"07".repeat(33), &"zz".repeat(32)] {
            assert!(ReceiptKey::from_hex(wrong).is_err() && public_key(wrong).is_err());
        }
        let shown = format!("{:?}", ReceiptKey::from_hex(&"07".repeat(32)).unwrap());
        assert!(!shown.contains("0707"), "{shown}");
    }
}
