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
const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "codraft";
/// This router's address.
const HERE: &str = "http://here.test";
const NOW_MS: u64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS / 1000;

fn auth() -> (Auth, Arc<Held>) {
    auth_of(vec![TokenKey::secret(SECRET, ISSUER, AUDIENCE)])
}

fn auth_of(tokens: Vec<TokenKey>) -> (Auth, Arc<Held>) {
    let clock = Arc::new(Held(AtomicU64::new(NOW_MS)));
    let outside = Outside {
        transport: Arc::new(Tcp),
        clock: clock.clone(),
        seed: 1,
        entropy: Arc::new(Counting(AtomicU64::new(1))),
    };
    let keys = Keys {
        tokens,
        ticket_secret: b"another secret, for tickets".into(),
    };
    (Auth::new(&keys, &outside).unwrap(), clock)
}

/// With who made it for whom, unless the claims say it.
fn sign(claims: &Value) -> String {
    signed_as(
        &Header::new(Algorithm::HS256),
        &meant_for_us(claims),
        SECRET,
    )
}

fn meant_for_us(claims: &Value) -> Value {
    let mut all = json!({"iss": ISSUER, "aud": AUDIENCE});
    let claims = claims.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(claims);
    all
}

fn refused(auth: &Auth, token: &str) -> Option<Code> {
    auth.token(token).err().map(|refusal| refusal.code)
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
    let claims = meant_for_us(&json!({"sub": "ana", "exp": NOW + 60}));
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
        let judge = |with_secret: bool, token: &str| {
            let pem = pem.to_owned();
            let public = TokenKey {
                material: KeyMaterial::Public { algorithm, pem },
                issuer: ISSUER.to_owned(),
                audience: AUDIENCE.to_owned(),
            };
            let own = TokenKey::secret(SECRET, ISSUER, AUDIENCE);
            let mut keys = vec![public];
            keys.extend(with_secret.then_some(own));
            let (auth, _) = auth_of(keys);
            let judged = auth.token(token).map(|p| p.user.to_string());
            judged.map_err(|refusal| refusal.code)
        };
        for with_secret in [true, false] {
            assert_eq!(judge(with_secret, good), Ok("ana".to_owned()));
            assert_eq!(judge(with_secret, bad), Err(Code::TokenInvalid));
            assert_eq!(judge(with_secret, &forged(pem)), Err(Code::TokenInvalid));
        }
        assert_eq!(judge(true, &sign(&claims)), Ok("ana".to_owned()));
        assert_eq!(judge(false, &sign(&claims)), Err(Code::TokenInvalid));
    }
}

#[test]
fn tokens_good_and_bad() {
    let (auth, _) = auth();
    let judge = |claims: Value| {
        let judged = auth.token(&sign(&claims)).map(|p| p.user.to_string());
        judged.map_err(|refusal| refusal.code)
    };
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
    let several = json!({"sub": "ana", "exp": NOW + 60, "aud": ["another", AUDIENCE]});
    assert_eq!(judge(several), ana);
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
        json!({"sub": ".", "exp": NOW + 60}),
        json!({"sub": "..", "exp": NOW + 60}),
        json!({"sub": "ana", "exp": NOW + 60, "iss": null}),
        json!({"sub": "ana", "exp": NOW + 60, "iss": "https://other.test"}),
        json!({"sub": "ana", "exp": NOW + 60, "aud": null}),
        json!({"sub": "ana", "exp": NOW + 60, "aud": "another application"}),
        json!({"sub": "ana", "exp": NOW + 60, "aud": ["another", "third"]}),
        json!({"sub": "ana", "exp": NOW + 60, "aud": []}),
    ] {
        assert_eq!(judge(bad.clone()), Err(Code::TokenInvalid), "{bad}");
    }
}

#[test]
fn the_key_pins_the_algorithm() {
    let (auth, _) = auth();
    let claims = meant_for_us(&json!({"sub": "ana", "exp": NOW + 60}));
    let other = signed_as(&Header::new(Algorithm::HS512), &claims, SECRET);
    assert_eq!(refused(&auth, &other), Some(Code::TokenInvalid));
    let foreign = signed_as(&Header::new(Algorithm::HS256), &claims, b"not the secret");
    assert_eq!(refused(&auth, &foreign), Some(Code::TokenInvalid));
    // Header {"alg":"none"}, no signature.
    let body = sign(&claims).split('.').nth(1).unwrap().to_owned();
    let none = format!("eyJhbGciOiJub25lIn0.{body}.");
    for token in [&*none, "", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert_eq!(refused(&auth, token), Some(Code::TokenInvalid));
    }
}

/// The library looks at none of these.
#[test]
fn a_token_that_demands_what_is_not_understood_is_refused() {
    let (auth, _) = auth();
    let claims = meant_for_us(&json!({"sub": "ana", "exp": NOW + 60}));
    let with = |change: &dyn Fn(&mut Header)| {
        let mut header = Header::new(Algorithm::HS256);
        change(&mut header);
        auth.token(&signed_as(&header, &claims, SECRET))
    };
    let typed = |kind: &str| with(&|h| h.typ = Some(kind.to_owned()));
    for good in ["JWT", "jwt", "at+jwt", "application/at+JWT"] {
        assert!(typed(good).is_ok(), "{good}");
    }
    assert!(with(&|h| h.typ = None).is_ok());
    assert!(with(&|h| h.kid = Some("a key".into())).is_ok());
    for bad in [
        typed("logout+jwt"),
        typed("dpop+jwt"),
        typed(TICKET_TYPE),
        with(&|h| h.crit = Some(vec!["exp".into()])),
        with(&|h| h.crit = Some(vec![])),
        with(&|h| h.cty = Some("JWT".into())),
        with(&|h| h.extras.insert("zip", "DEF")),
        with(&|h| h.extras.insert("enc", "A128GCM")),
        with(&|h| h.extras.insert("b64", false)),
    ] {
        let refusal = bad.unwrap_err();
        assert_eq!(refusal.code, Code::TokenInvalid);
        assert!(refusal.detail.starts_with("the token's "), "{refusal:?}");
    }
}

#[test]
fn who_made_the_token_is_told_what_is_wrong() {
    let (auth, _) = auth();
    for (claim, value, word) in [
        ("name", json!(""), "`name`"),
        ("sub", json!(".."), ".."),
        ("iss", json!("https://other.test"), "`iss`"),
        ("aud", json!("another application"), "`aud`"),
        ("exp", json!("soon"), "`exp`"),
        ("nbf", json!(NOW + 600), "`nbf`"),
    ] {
        let mut claims = json!({"sub": "ana", "exp": NOW + 60});
        claims[claim] = value;
        let refusal = auth.token(&sign(&claims)).unwrap_err();
        assert!(refusal.detail.contains(word), "{claim}: {refusal:?}");
        // And nobody else is.
        let forged = signed_as(
            &Header::default(),
            &meant_for_us(&claims),
            b"another secret",
        );
        assert_eq!(
            auth.token(&forged).unwrap_err().detail,
            "the token does not verify"
        );
    }
}

#[test]
fn a_ticket_is_good_once_for_its_document_and_for_a_while() {
    let (auth, clock) = auth();
    let ana = auth
        .token(&sign(
            &json!({"sub": "ana", "name": "Ana", "exp": NOW + 600}),
        ))
        .unwrap();
    let redeem = |ticket: &str, doc| {
        auth.redeem(ticket, doc, HERE)
            .map_err(|refusal| refusal.code)
    };
    let (doc, other) = (DocId([1; 16]), DocId([2; 16]));
    let (ticket, expires_ms) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    assert_eq!(expires_ms, NOW_MS + TICKET_MS);
    assert_eq!(
        refused(&auth, &ticket),
        Some(Code::TokenInvalid),
        "not a token"
    );
    assert_eq!(redeem(&ticket, other), Err(Code::TokenInvalid));
    assert_eq!(redeem(&ticket, doc), Ok(ana.clone()));
    assert_eq!(redeem(&ticket, doc), Err(Code::TokenInvalid), "used");
    let (early, _) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    let (late, _) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    clock.0.fetch_add(TICKET_MS - 1, Ordering::Relaxed);
    assert_eq!(redeem(&early, doc), Ok(ana));
    clock.0.fetch_add(1, Ordering::Relaxed);
    assert_eq!(redeem(&late, doc), Err(Code::TokenExpired));
    let token = sign(&json!({"sub": "ana", "exp": NOW + 600}));
    assert_eq!(redeem(&token, doc), Err(Code::TokenInvalid));
}

#[test]
fn a_ticket_is_good_at_the_router_that_it_names_and_not_used_up_elsewhere() {
    let (auth, _) = auth();
    let token = sign(&json!({"sub": "ana", "exp": NOW + 600}));
    let (ana, doc) = (auth.token(&token).unwrap(), DocId([1; 16]));
    for (here, elsewhere) in [(HERE, "http://there.test"), (HERE, ""), ("", HERE)] {
        let (ticket, _) = auth.issue_ticket(&ana, doc, here).unwrap();
        let refused = auth.redeem(&ticket, doc, elsewhere).unwrap_err();
        assert_eq!(refused.code, Code::TokenInvalid);
        assert!(
            refused.detail.contains("another router"),
            "{}",
            refused.detail
        );
        assert_eq!(auth.redeem(&ticket, doc, here).as_ref(), Ok(&ana));
        assert!(auth.redeem(&ticket, doc, here).is_err(), "used");
    }
}

/// The clock went on two minutes, a ticket came, and the clock went back.
#[test]
fn a_used_ticket_is_not_good_again_after_a_jump_of_the_clock() {
    let (auth, clock) = auth();
    let token = sign(&json!({"sub": "ana", "exp": NOW + 600}));
    let (ana, doc) = (auth.token(&token).unwrap(), DocId([1; 16]));
    let (used, _) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    assert!(auth.redeem(&used, doc, HERE).is_ok());
    clock.0.fetch_add(120_000, Ordering::Relaxed);
    let (another, _) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    assert!(auth.redeem(&another, doc, HERE).is_ok());
    clock.0.fetch_sub(120_000, Ordering::Relaxed);
    assert!(auth.redeem(&used, doc, HERE).is_err());
    let (next, _) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    assert!(
        auth.redeem(&next, doc, HERE).is_err(),
        "as old as what was forgotten"
    );
    clock.0.fetch_add(1, Ordering::Relaxed);
    let (next, _) = auth.issue_ticket(&ana, doc, HERE).unwrap();
    assert!(auth.redeem(&next, doc, HERE).is_ok());
}

#[test]
fn a_ticket_does_not_pass_for_a_token_under_the_same_key() {
    let (auth, _) = auth();
    let header = Header {
        typ: Some(TICKET_TYPE.into()),
        ..Header::new(Algorithm::HS256)
    };
    let claims = meant_for_us(&json!({"sub": "ana", "exp": NOW + 60}));
    let posed = signed_as(&header, &claims, SECRET);
    assert_eq!(refused(&auth, &posed), Some(Code::TokenInvalid));
}
