#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use codraft_proto::transport::Tcp;
use serde_json::json;

use super::*;

struct Held(AtomicU64);
impl Clock for Held {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes
            .iter_mut()
            .zip(n.into_iter().cycle())
            .for_each(|(b, n)| *b = n);
    }
}

const SECRET: &[u8] = b"a secret for tests";
const NOW_MS: u64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS / 1000;

fn auth() -> (Auth, Arc<Held>) {
    auth_of(SECRET, None)
}

fn auth_of(secret: &[u8], token_public: Option<PublicKey>) -> (Auth, Arc<Held>) {
    let clock = Arc::new(Held(AtomicU64::new(NOW_MS)));
    let outside = Outside {
        transport: Arc::new(Tcp),
        clock: clock.clone(),
        seed: 1,
        entropy: Arc::new(Counting(AtomicU64::new(1))),
    };
    let keys = Keys {
        token_secret: secret.into(),
        token_public,
        ticket_secret: b"another secret, for tickets".into(),
    };
    (Auth::new(&keys, &outside).unwrap(), clock)
}

fn sign(claims: &Value) -> String {
    signed_as(&Header::new(Algorithm::HS256), claims, SECRET)
}

fn signed_as(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

const ED: &[u8] = b"-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAQOP799eGrjqNBdsQ5WHZ/1wjsk8EUjg+geXq9Jqn2y
-----END PRIVATE KEY-----
";
const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAkWo5YMOn2jUzDdts85iy7RwILBJCaIUO/D6MX3l5f94=
-----END PUBLIC KEY-----
";
const EC: &[u8] = b"-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWdK4BhDQWQtiPNj1
1XkwwCqRUQvsjWTbvt9YE1G6gSWhRANCAATIdUgNZFtCs5frBNyRRo7hkNpGFcyk
sfisK1PWh0wRCn/ApflZndrETjp5ebWyPLKVrq9QPIgrCGcHiLED75KF
-----END PRIVATE KEY-----
";
const EC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEyHVIDWRbQrOX6wTckUaO4ZDaRhXM
pLH4rCtT1odMEQp/wKX5WZ3axE46eXm1sjyyla6vUDyIKwhnB4ixA++ShQ==
-----END PUBLIC KEY-----
";

#[test]
fn tokens_of_a_public_key() {
    let claims = json!({"sub": "ana", "exp": NOW + 60});
    let ed = EncodingKey::from_ed_pem(ED).unwrap();
    let ec = EncodingKey::from_ec_pem(EC).unwrap();
    let of_ed = encode(&Header::new(Algorithm::EdDSA), &claims, &ed).unwrap();
    let of_ec = encode(&Header::new(Algorithm::ES256), &claims, &ec).unwrap();
    // The text of a public key is known to all: as a secret it must open nothing.
    let forged = |pem: &str| signed_as(&Header::new(Algorithm::HS256), &claims, pem.as_bytes());
    for (algorithm, pem, good, bad) in [
        (PublicAlgorithm::EdDsa, ED_PUBLIC, &of_ed, &of_ec),
        (PublicAlgorithm::Es256, EC_PUBLIC, &of_ec, &of_ed),
    ] {
        let judge = |token_secret: &[u8], token: &str| {
            let token_public = Some(PublicKey {
                algorithm,
                pem: pem.to_owned(),
            });
            let (auth, _) = auth_of(token_secret, token_public);
            auth.token(token).map(|p| p.user.to_string())
        };
        for secret in [SECRET, b""] {
            assert_eq!(judge(secret, good), Ok("ana".to_owned()));
            assert_eq!(judge(secret, bad), Err(Code::TokenInvalid));
            assert_eq!(judge(secret, &forged(pem)), Err(Code::TokenInvalid));
        }
        assert_eq!(judge(SECRET, &sign(&claims)), Ok("ana".to_owned()));
        assert_eq!(judge(b"", &sign(&claims)), Err(Code::TokenInvalid));
    }
}

#[test]
fn tokens_good_and_bad() {
    let (auth, _) = auth();
    let judge = |claims: Value| auth.token(&sign(&claims)).map(|p| p.user.to_string());
    let ana = Ok("ana".to_owned());
    assert_eq!(judge(json!({"sub": "ana", "exp": NOW + 60})), ana);
    assert_eq!(judge(json!({"sub": "ana", "exp": NOW as f64 + 0.5})), ana);
    assert_eq!(
        judge(json!({"sub": "ana", "exp": NOW - 29})),
        ana,
        "within the leeway"
    );
    assert_eq!(
        judge(json!({"sub": "ana", "exp": NOW - 30})),
        Err(Code::TokenExpired)
    );
    assert_eq!(
        judge(json!({"sub": "ana", "exp": NOW + 60, "nbf": NOW + 29})),
        ana
    );
    for bad in [
        json!({"sub": "ana"}),
        json!({"exp": NOW + 60}),
        json!({"sub": "ana", "exp": (NOW + 60).to_string()}),
        json!({"sub": 7, "exp": NOW + 60}),
        json!({"sub": "", "exp": NOW + 60}),
        json!({"sub": "a\u{0}", "exp": NOW + 60}),
        json!({"sub": "x".repeat(129), "exp": NOW + 60}),
        json!({"sub": "ana", "exp": NOW + 60, "nbf": "0"}),
        json!({"sub": "ana", "exp": NOW + 60, "iat": [1]}),
        json!({"sub": "ana", "exp": NOW + 60, "iat": NOW + 31}),
        json!({"sub": "ana", "exp": NOW + 60, "nbf": NOW + 31}),
        json!({"sub": "ana", "exp": 1e300}),
        json!({"sub": "ana", "exp": -1}),
        json!({"sub": "ana", "exp": NOW + 60, "name": 1}),
    ] {
        assert_eq!(judge(bad.clone()), Err(Code::TokenInvalid), "{bad}");
    }
}

#[test]
fn the_key_pins_the_algorithm() {
    let (auth, _) = auth();
    let claims = json!({"sub": "ana", "exp": NOW + 60});
    let other = signed_as(&Header::new(Algorithm::HS512), &claims, SECRET);
    assert_eq!(auth.token(&other), Err(Code::TokenInvalid));
    let foreign = signed_as(&Header::new(Algorithm::HS256), &claims, b"not the secret");
    assert_eq!(auth.token(&foreign), Err(Code::TokenInvalid));
    // Header {"alg":"none"}, no signature.
    let body = sign(&claims).split('.').nth(1).unwrap().to_owned();
    assert_eq!(
        auth.token(&format!("eyJhbGciOiJub25lIn0.{body}.")),
        Err(Code::TokenInvalid)
    );
    assert_eq!(auth.token(""), Err(Code::TokenInvalid));
    assert_eq!(
        auth.token(&"x".repeat(TOKEN_BYTES_MAX + 1)),
        Err(Code::TokenInvalid)
    );
}

#[test]
fn a_ticket_is_good_once_for_its_document_and_for_a_while() {
    let (auth, clock) = auth();
    let ana = auth
        .token(&sign(
            &json!({"sub": "ana", "name": "Ana", "exp": NOW + 600}),
        ))
        .unwrap();
    let (doc, other) = (DocId([1; 16]), DocId([2; 16]));
    let (ticket, _) = auth.issue_ticket(&ana, doc).unwrap();
    assert_eq!(auth.token(&ticket), Err(Code::TokenInvalid), "not a token");
    assert_eq!(auth.redeem(&ticket, other), Err(Code::TokenInvalid));
    assert_eq!(auth.redeem(&ticket, doc), Ok(ana.clone()));
    assert_eq!(auth.redeem(&ticket, doc), Err(Code::TokenInvalid), "used");
    let (late, _) = auth.issue_ticket(&ana, doc).unwrap();
    clock.0.fetch_add(TICKET_MS + LEEWAY_MS, Ordering::Relaxed);
    assert_eq!(auth.redeem(&late, doc), Err(Code::TokenExpired));
    assert_eq!(
        auth.redeem(&sign(&json!({"sub": "ana", "exp": NOW + 600})), doc),
        Err(Code::TokenInvalid)
    );
}

#[test]
fn a_ticket_does_not_pass_for_a_token_under_the_same_key() {
    let (auth, _) = auth();
    let header = Header {
        typ: Some(TICKET_TYPE.into()),
        ..Header::new(Algorithm::HS256)
    };
    let posed = signed_as(&header, &json!({"sub": "ana", "exp": NOW + 60}), SECRET);
    assert_eq!(auth.token(&posed), Err(Code::TokenInvalid));
}
