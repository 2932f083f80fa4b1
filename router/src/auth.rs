//! Token → principal, and the tickets that stand in for a token where a browser cannot send
//! a header. Times are checked against the process's own clock, so that the simulation can
//! hold it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use codraft_proto::{
    ids::{DocId, USER_BYTES_MAX, UserId},
    outside::{Clock, Entropy, Outside},
    reject::Code,
};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Map, Value};

use crate::lock;

/// How far two machines' clocks may be apart, in milliseconds.
const LEEWAY_MS: u64 = 30_000;
/// A ticket's life, in milliseconds: long enough for one connection attempt.
const TICKET_MS: u64 = 30_000;
/// Keeps a ticket from passing for a token, should both keys ever be the same.
const TICKET_TYPE: &str = "codraft-ticket";
/// Longer than any token in use; what is longer is not even looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Tickets that may have been used within one ticket's life.
const NONCES_MAX: usize = 65_536;

/// What tokens and tickets are signed with.
#[derive(Clone, Default)]
pub struct Keys {
    /// HS256 secret of users' tokens, at least 16 bytes; empty: no such tokens.
    pub token_secret: Vec<u8>,
    /// A public key that users' tokens may be signed with instead.
    pub token_public: Option<PublicKey>,
    /// Secret of tickets, the same in all routers; at least 16 bytes.
    pub ticket_secret: Vec<u8>,
}

/// The algorithm is the key's, never the token's own choice.
#[derive(Clone)]
pub struct PublicKey {
    pub algorithm: PublicAlgorithm,
    pub pem: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicAlgorithm {
    EdDsa,
    Es256,
    Rs256,
}

/// Who a request or socket speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: UserId,
    /// For people to read; the token's `name`, else the user id.
    pub name: Arc<str>,
    /// Milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no key for tokens: set a secret or a public key")]
    None,
    #[error("the {0} secret is shorter than 16 bytes")]
    Short(&'static str),
    #[error("the public key for tokens: {0}")]
    Public(#[from] jsonwebtoken::errors::Error),
}

struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Verifier {
    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self { key, validation }
    }
}

pub struct Auth {
    tokens: Vec<Verifier>,
    tickets: Verifier,
    ticket_key: EncodingKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Tickets that were used, by the end of their life.
    used: Mutex<BTreeSet<(u64, [u8; 16])>>,
}

impl Auth {
    pub fn new(keys: &Keys, outside: &Outside) -> Result<Self, KeyError> {
        let mut tokens = Vec::new();
        if let Some(public) = &keys.token_public {
            let pem = public.pem.as_bytes();
            tokens.push(match public.algorithm {
                PublicAlgorithm::EdDsa => {
                    Verifier::new(DecodingKey::from_ed_pem(pem)?, Algorithm::EdDSA)
                }
                PublicAlgorithm::Es256 => {
                    Verifier::new(DecodingKey::from_ec_pem(pem)?, Algorithm::ES256)
                }
                PublicAlgorithm::Rs256 => {
                    Verifier::new(DecodingKey::from_rsa_pem(pem)?, Algorithm::RS256)
                }
            });
        }
        if !keys.token_secret.is_empty() {
            let secret = long_enough(&keys.token_secret, "token")?;
            tokens.push(Verifier::new(
                DecodingKey::from_secret(secret),
                Algorithm::HS256,
            ));
        }
        if tokens.is_empty() {
            return Err(KeyError::None);
        }
        let ticket = long_enough(&keys.ticket_secret, "ticket")?;
        Ok(Self {
            tokens,
            tickets: Verifier::new(DecodingKey::from_secret(ticket), Algorithm::HS256),
            ticket_key: EncodingKey::from_secret(ticket),
            clock: outside.clock.clone(),
            entropy: outside.entropy.clone(),
            used: Mutex::default(),
        })
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// From `Authorization: Bearer`.
    pub fn bearer(&self, headers: &HeaderMap) -> Result<Principal, Code> {
        let value = headers.get(AUTHORIZATION).ok_or(Code::TokenInvalid)?;
        let value = value.to_str().map_err(|_| Code::TokenInvalid)?;
        let (scheme, token) = value.split_once(' ').ok_or(Code::TokenInvalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Code::TokenInvalid);
        }
        self.token(token.trim())
    }

    pub fn token(&self, token: &str) -> Result<Principal, Code> {
        let claims = self.tokens.iter().find_map(|v| verified(token, v, false));
        let claims = claims.ok_or(Code::TokenInvalid)?;
        self.in_time(&claims)?;
        principal(
            &claims,
            milliseconds(&claims, "exp")?.ok_or(Code::TokenInvalid)?,
        )
    }

    /// A ticket for one socket on one document, and when it ends.
    pub fn issue_ticket(&self, principal: &Principal, doc: DocId) -> Result<(String, u64), Code> {
        let mut nonce = [0; 16];
        self.entropy.fill(&mut nonce);
        let expires_ms = self.now_ms() + TICKET_MS;
        let claims = serde_json::json!({
            "sub": &*principal.user,
            "name": &*principal.name,
            "doc": doc.to_string(),
            "until": principal.expires_ms,
            "exp": expires_ms as f64 / 1000.0,
            "nonce": DocId(nonce).to_string(),
        });
        let header = Header {
            typ: Some(TICKET_TYPE.into()),
            ..Header::new(Algorithm::HS256)
        };
        let ticket = encode(&header, &claims, &self.ticket_key).map_err(|_| Code::Internal)?;
        Ok((ticket, expires_ms))
    }

    /// Takes a ticket in; it is good once.
    pub fn redeem(&self, ticket: &str, doc: DocId) -> Result<Principal, Code> {
        let claims = verified(ticket, &self.tickets, true).ok_or(Code::TokenInvalid)?;
        self.in_time(&claims)?;
        if text(&claims, "doc").and_then(|d| d.parse().ok()) != Some(doc) {
            return Err(Code::TokenInvalid);
        }
        let nonce: DocId = text(&claims, "nonce")
            .and_then(|n| n.parse().ok())
            .ok_or(Code::TokenInvalid)?;
        let expires_ms = milliseconds(&claims, "exp")?.ok_or(Code::TokenInvalid)?;
        let until = claims
            .get("until")
            .and_then(Value::as_u64)
            .ok_or(Code::TokenInvalid)?;
        let principal = principal(&claims, until)?;
        self.use_once(expires_ms, nonce.0)?;
        Ok(principal)
    }

    fn use_once(&self, expires_ms: u64, nonce: [u8; 16]) -> Result<(), Code> {
        let now = self.now_ms();
        let mut used = lock(&self.used);
        while used.first().is_some_and(|(end, _)| end + LEEWAY_MS < now) {
            used.pop_first();
        }
        if used.len() >= NONCES_MAX {
            return Err(Code::Busy);
        }
        if used.insert((expires_ms, nonce)) {
            Ok(())
        } else {
            Err(Code::TokenInvalid)
        }
    }

    fn in_time(&self, claims: &Map<String, Value>) -> Result<(), Code> {
        let now = self.now_ms();
        let expires = milliseconds(claims, "exp")?.ok_or(Code::TokenInvalid)?;
        for not_before in ["nbf", "iat"] {
            if milliseconds(claims, not_before)?.is_some_and(|t| t > now + LEEWAY_MS) {
                return Err(Code::TokenInvalid);
            }
        }
        if expires + LEEWAY_MS <= now {
            Err(Code::TokenExpired)
        } else {
            Ok(())
        }
    }

    /// How long a socket of this principal may stay, in milliseconds from now. A token that
    /// is past its end but within the leeway gets the leeway.
    pub fn remaining_ms(&self, principal: &Principal) -> u64 {
        let now = self.now_ms();
        match principal.expires_ms.checked_sub(now) {
            Some(left) if left > 0 => left,
            _ => (principal.expires_ms + LEEWAY_MS).saturating_sub(now),
        }
    }
}

fn long_enough<'a>(secret: &'a [u8], which: &'static str) -> Result<&'a [u8], KeyError> {
    if secret.len() < 16 {
        Err(KeyError::Short(which))
    } else {
        Ok(secret)
    }
}

fn verified(token: &str, verifier: &Verifier, ticket: bool) -> Option<Map<String, Value>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let data = decode::<Map<String, Value>>(token, &verifier.key, &verifier.validation).ok()?;
    let is_ticket = data.header.typ.as_deref() == Some(TICKET_TYPE);
    (is_ticket == ticket).then_some(data.claims)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A `NumericDate` in milliseconds; a claim that is there with another type is refused.
fn milliseconds(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Code> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().ok_or(Code::TokenInvalid)?;
    // Above it whole milliseconds are no longer exact; no date is there.
    if !(0.0..=1e12).contains(&seconds) {
        return Err(Code::TokenInvalid);
    }
    Ok(Some((seconds * 1000.0) as u64))
}

fn principal(claims: &Map<String, Value>, expires_ms: u64) -> Result<Principal, Code> {
    let user = text(claims, "sub").ok_or(Code::TokenInvalid)?;
    if user.is_empty() || user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(Code::TokenInvalid);
    }
    let name = match claims.get("name") {
        None | Some(Value::Null) => user,
        Some(Value::String(name)) if !name.is_empty() && name.len() <= 256 => name,
        Some(_) => return Err(Code::TokenInvalid),
    };
    Ok(Principal {
        user: user.into(),
        name: name.into(),
        expires_ms,
    })
}

#[cfg(test)]
mod tests;

/// Signs a user's token with a shared secret, for `codraft token` and development. Times in
/// seconds since the Unix epoch.
///
/// # Errors
/// When the claims cannot be signed.
pub fn sign_token(secret: &[u8], user: &str, from: u64, until: u64) -> Result<String, KeyError> {
    let claims = serde_json::json!({"sub": user, "iat": from, "exp": until});
    Ok(encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret),
    )?)
}
