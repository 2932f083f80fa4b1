//! What tokens and tickets are signed with: of whom, and for whom.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde_json::json;

use super::{Verifier, milliseconds, principal};

/// An issuer's or an audience's name, in bytes.
const NAME_BYTES_MAX: usize = 256;

#[derive(Clone, Default)]
pub struct Keys {
    /// What users' tokens may be signed with; at least one.
    pub tokens: Vec<TokenKey>,
    /// Secret of tickets, the same in all routers; at least 16 bytes.
    pub ticket_secret: Vec<u8>,
}

/// A key, and which of the tokens that are signed with it are meant for us: an identity provider
/// signs those for other applications with the same one.
#[derive(Clone)]
pub struct TokenKey {
    pub material: KeyMaterial,
    /// The token's `iss`.
    pub issuer: String,
    /// One of the token's `aud`.
    pub audience: String,
}

#[derive(Clone)]
pub enum KeyMaterial {
    /// HS256; at least 16 bytes.
    Secret(Vec<u8>),
    /// The algorithm is the key's, never the token's own choice.
    Public {
        algorithm: PublicAlgorithm,
        pem: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicAlgorithm {
    EdDsa,
    Es256,
    Rs256,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no key for tokens: set a secret or a public key")]
    None,
    #[error("the {0} secret is shorter than 16 bytes")]
    Short(&'static str),
    #[error(
        "the {key} key for tokens has no `{name}` of 1 to 256 bytes: without it any token that is \
         signed with the key would be taken, whoever it is meant for"
    )]
    Unnamed {
        key: &'static str,
        name: &'static str,
    },
    #[error("the public key for tokens: {0}")]
    Public(#[from] jsonwebtoken::errors::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the key is another's public one: only they can sign")]
    NotOurs,
    /// No router would take it.
    #[error("{0}")]
    Refused(&'static str),
    #[error("signing: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

impl Keys {
    /// Whether a router can start with them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), KeyError> {
        long_enough(&self.ticket_secret, "ticket")?;
        self.verifiers()?;
        Ok(())
    }

    pub(super) fn verifiers(&self) -> Result<Vec<Verifier>, KeyError> {
        match self.tokens.is_empty() {
            true => Err(KeyError::None),
            false => self.tokens.iter().map(TokenKey::verifier).collect(),
        }
    }
}

impl TokenKey {
    /// A shared secret.
    pub fn secret(secret: impl Into<Vec<u8>>, issuer: &str, audience: &str) -> Self {
        Self {
            material: KeyMaterial::Secret(secret.into()),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        }
    }

    fn verifier(&self) -> Result<Verifier, KeyError> {
        let verifier = match &self.material {
            KeyMaterial::Secret(secret) => {
                let secret = long_enough(secret, "token")?;
                Verifier::new(DecodingKey::from_secret(secret), Algorithm::HS256)
            }
            KeyMaterial::Public { algorithm, pem } => {
                let pem = pem.as_bytes();
                match algorithm {
                    PublicAlgorithm::EdDsa => {
                        Verifier::new(DecodingKey::from_ed_pem(pem)?, Algorithm::EdDSA)
                    }
                    PublicAlgorithm::Es256 => {
                        Verifier::new(DecodingKey::from_ec_pem(pem)?, Algorithm::ES256)
                    }
                    PublicAlgorithm::Rs256 => {
                        Verifier::new(DecodingKey::from_rsa_pem(pem)?, Algorithm::RS256)
                    }
                }
            }
        };
        for (name, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.is_empty() || value.len() > NAME_BYTES_MAX {
                let key = match self.material {
                    KeyMaterial::Secret(_) => "secret",
                    KeyMaterial::Public { .. } => "public",
                };
                return Err(KeyError::Unnamed { key, name });
            }
        }
        Ok(verifier.between(&self.issuer, &self.audience))
    }
}

pub(super) fn long_enough<'a>(secret: &'a [u8], which: &'static str) -> Result<&'a [u8], KeyError> {
    if secret.len() < 16 {
        Err(KeyError::Short(which))
    } else {
        Ok(secret)
    }
}

/// Signs a user's token with a shared secret, for `codraft token` and development. Times in
/// seconds since the Unix epoch.
///
/// # Errors
/// When no router would take it: for its user or its times.
pub fn sign_token(key: &TokenKey, user: &str, from: u64, until: u64) -> Result<String, SignError> {
    let KeyMaterial::Secret(secret) = &key.material else {
        return Err(SignError::NotOurs);
    };
    let claims = json!({
        "iss": key.issuer,
        "aud": key.audience,
        "sub": user,
        "iat": from,
        "exp": until,
    });
    if let Some(claims) = claims.as_object() {
        milliseconds(claims, "exp").map_err(|refusal| SignError::Refused(refusal.detail))?;
        principal(claims, 0).map_err(|refusal| SignError::Refused(refusal.detail))?;
    }
    let key = EncodingKey::from_secret(secret);
    Ok(encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}
