//! Token → principal, and the tickets that stand in for a token where a browser cannot send
//! a header. Times are checked against the process's own clock, so that the simulation can
//! hold it.

mod keys;
mod used;

use std::sync::Arc;

use codraft_proto::{
    ids::{DocId, UserId, user_fault},
    outside::{Clock, Entropy, Outside},
    reject::Code,
};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use parking_lot::Mutex;
use serde_json::{Map, Value};

pub use keys::{KeyError, KeyMaterial, Keys, PublicAlgorithm, SignError, TokenKey, sign_token};
use used::UsedTickets;

/// How far two machines' clocks may be apart, in milliseconds.
const LEEWAY_MS: u64 = 30_000;
/// A ticket's life, in milliseconds: long enough for one connection attempt.
const TICKET_MS: u64 = 30_000;
/// Keeps a ticket from passing for a token, should both keys ever be the same.
const TICKET_TYPE: &str = "codraft-ticket";
/// The types of tokens that let somebody in: RFC 7519's, and RFC 9068's for access tokens. An
/// issuer signs others with the same key, to log out with for one.
const TOKEN_TYPES: &[&str] = &["jwt", "at+jwt"];
/// Longer than any token in use; what is longer is not even looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
const NAME_BYTES_MAX: usize = 256;

type Claims = Map<String, Value>;

/// Who a request or socket speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: UserId,
    /// For people to read; the token's `name`, else the user id.
    pub name: Arc<str>,
    /// Milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// For who made the token. Nothing is said of one whose signature is not right.
    pub detail: &'static str,
}

impl Refusal {
    fn invalid(detail: &'static str) -> Self {
        let code = Code::TokenInvalid;
        Self { code, detail }
    }
}

struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Verifier {
    /// Checks the signature and, of a token, who made it for whom; times are ours to check.
    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self { key, validation }
    }

    fn between(mut self, issuer: &str, audience: &str) -> Self {
        self.validation.validate_aud = true;
        self.validation.set_issuer(&[issuer]);
        self.validation.set_audience(&[audience]);
        self.validation.set_required_spec_claims(&["iss", "aud"]);
        self
    }

    /// `None` when it was not signed with this key.
    fn read(&self, token: &str) -> Option<Result<(Header, Claims), Refusal>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let refused = match decode::<Claims>(token, &self.key, &self.validation) {
            Ok(data) => return Some(Ok((data.header, data.claims))),
            Err(error) => error,
        };
        // These are found after the signature was.
        let detail = match refused.kind() {
            ErrorKind::InvalidIssuer => "the token's `iss` is another issuer",
            ErrorKind::InvalidAudience => "the token's `aud` does not name this audience",
            ErrorKind::MissingRequiredClaim(_) => "the token has no `iss` or no `aud`",
            _ => return None,
        };
        Some(Err(Refusal::invalid(detail)))
    }
}

pub struct Auth {
    tokens: Vec<Verifier>,
    tickets: Verifier,
    ticket_key: EncodingKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    used: Mutex<UsedTickets>,
}

impl Auth {
    pub fn new(keys: &Keys, outside: &Outside) -> Result<Self, KeyError> {
        let ticket = keys::long_enough(&keys.ticket_secret, "ticket")?;
        Ok(Self {
            tokens: keys.verifiers()?,
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
    pub fn bearer(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        match value.and_then(|value| value.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                self.token(token.trim())
            }
            _ => Err(Refusal::invalid("send `Authorization: Bearer` and a token")),
        }
    }

    pub fn token(&self, token: &str) -> Result<Principal, Refusal> {
        let read = self.tokens.iter().find_map(|key| key.read(token));
        let (header, claims) =
            read.unwrap_or(Err(Refusal::invalid("the token does not verify")))?;
        understood(&header)?;
        let expires_ms = self.in_time(&claims)?;
        principal(&claims, expires_ms)
    }

    /// A ticket for one socket on one document at one router, by its address, and when it ends. Only
    /// that one takes it, so that it is good once however many there are.
    pub fn issue_ticket(
        &self,
        principal: &Principal,
        doc: DocId,
        at: &str,
    ) -> Result<(String, u64), Code> {
        let mut nonce = [0; 16];
        self.entropy.fill(&mut nonce);
        let expires_ms = self.now_ms() + TICKET_MS;
        let claims = serde_json::json!({
            "sub": &*principal.user,
            "name": &*principal.name,
            "doc": doc.to_string(),
            "at": at,
            "until": principal.expires_ms,
            "expires": expires_ms,
            "nonce": DocId(nonce).to_string(),
        });
        let header = Header {
            typ: Some(TICKET_TYPE.into()),
            ..Header::new(Algorithm::HS256)
        };
        let ticket = encode(&header, &claims, &self.ticket_key).map_err(|_| Code::Internal)?;
        Ok((ticket, expires_ms))
    }

    /// Takes a ticket in; it is good once. `own`: the address of this router.
    pub fn redeem(&self, ticket: &str, doc: DocId, own: &str) -> Result<Principal, Refusal> {
        const INVALID: Refusal = Refusal {
            code: Code::TokenInvalid,
            detail: "not a ticket, or of another document, or used",
        };
        let (header, claims) = self.tickets.read(ticket).unwrap_or(Err(INVALID))?;
        if header.typ.as_deref() != Some(TICKET_TYPE) {
            return Err(INVALID);
        }
        if text(&claims, "doc").and_then(|d| d.parse().ok()) != Some(doc) {
            return Err(INVALID);
        }
        if text(&claims, "at").unwrap_or_default() != own {
            return Err(Refusal::invalid(
                "the ticket is for another router: open the socket at the `url` that came with it",
            ));
        }
        let number = |name| claims.get(name).and_then(Value::as_u64).ok_or(INVALID);
        let (expires_ms, until_ms) = (number("expires")?, number("until")?);
        let nonce = text(&claims, "nonce").and_then(|n| n.parse::<DocId>().ok());
        let nonce = nonce.ok_or(INVALID)?;
        let principal = principal(&claims, until_ms)?;
        match self.used.lock().take(expires_ms, nonce.0, self.now_ms()) {
            Ok(true) => Ok(principal),
            Ok(false) => Err(INVALID),
            Err(used::Expired) => Err(Refusal {
                code: Code::TokenExpired,
                detail: "the ticket has expired",
            }),
        }
    }

    /// When the token ends, which is not yet.
    fn in_time(&self, claims: &Claims) -> Result<u64, Refusal> {
        let now = self.now_ms();
        for not_before in ["nbf", "iat"] {
            if milliseconds(claims, not_before)?.is_some_and(|t| t > now + LEEWAY_MS) {
                return Err(Refusal::invalid("the token's `nbf` or `iat` is to come"));
            }
        }
        let expires = milliseconds(claims, "exp")?;
        let expires = expires.ok_or(Refusal::invalid("the token has no `exp`"))?;
        if expires + LEEWAY_MS <= now {
            let code = Code::TokenExpired;
            let detail = "";
            return Err(Refusal { code, detail });
        }
        Ok(expires)
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

/// Whether all that a token's header demands is done here. The library looks at the algorithm
/// alone. What names a key (`kid`, `jku`, `jwk`, `x5c`…) is no demand: ours is pinned.
fn understood(header: &Header) -> Result<(), Refusal> {
    if header.crit.is_some() {
        let detail = "the token's header has `crit`: no extension is understood here";
        return Err(Refusal::invalid(detail));
    }
    let packed = header.zip.is_some() || header.enc.is_some();
    if packed || header.extras.inner().contains_key("b64") {
        let detail = "the token's claims are compressed, encrypted or not in base64";
        return Err(Refusal::invalid(detail));
    }
    if header.cty.is_some() {
        let detail = "the token's header has `cty`: what it holds is not claims";
        return Err(Refusal::invalid(detail));
    }
    let kind = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    match TOKEN_TYPES.contains(&kind) {
        true => Ok(()),
        false => Err(Refusal::invalid("the token's `typ` is not JWT or at+jwt")),
    }
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A `NumericDate` in milliseconds; a claim that is there with another type is refused.
fn milliseconds(claims: &Claims, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    match value.as_f64() {
        // Above it whole milliseconds are no longer exact; no date is there.
        Some(seconds) if (0.0..=1e12).contains(&seconds) => Ok(Some((seconds * 1000.0) as u64)),
        _ => Err(Refusal::invalid(
            "the token's `exp`, `nbf` or `iat` is no date in seconds",
        )),
    }
}

fn principal(claims: &Claims, expires_ms: u64) -> Result<Principal, Refusal> {
    let user = text(claims, "sub").ok_or(Refusal::invalid("the token's `sub` is no text"))?;
    if let Some(fault) = user_fault(user) {
        return Err(Refusal::invalid(fault));
    }
    let name = match claims.get("name") {
        None | Some(Value::Null) => user,
        Some(Value::String(name)) if !name.is_empty() && name.len() <= NAME_BYTES_MAX => name,
        Some(_) => {
            let detail = "the token's `name` is text of 1 to 256 bytes, or not there";
            return Err(Refusal::invalid(detail));
        }
    };
    Ok(Principal {
        user: user.into(),
        name: name.into(),
        expires_ms,
    })
}

#[cfg(test)]
mod tests;
