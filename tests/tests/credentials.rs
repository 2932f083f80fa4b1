//! More than two hundred tokens and tickets that are not right, each in its own way, against a real
//! cluster: none lets anybody in, and who has a right one is not kept waiting.

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes},
    rest::Rest,
    token::{NAME, forge, now, secret},
};
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, header};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error, client::IntoClientRequest},
};

/// Asked for at once, no more than a browser would.
const AT_ONCE: usize = 8;

fn claims() -> Value {
    json!({"sub": "ana", "iss": NAME, "aud": NAME, "exp": now() + 600, "iat": now()})
}

fn with(name: &str, value: Value) -> Value {
    let mut all = claims();
    all[name] = value;
    all
}

fn without(name: &str) -> Value {
    let mut all = claims();
    all.as_object_mut().map(|all| all.remove(name));
    all
}

/// Names and tokens, signed with the right secret unless the name says otherwise.
fn bad_tokens(key: &str) -> Vec<(String, String)> {
    let plain = json!({"alg": "HS256", "typ": "JWT"});
    let signed = |claims: &Value| forge(&plain, claims, Some(key));
    let mut all = Vec::new();
    let mut add = |name: String, token: String| all.push((name, token));

    for alg in [
        "none", "None", "NONE", "hs256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
        "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "HS256 ", "",
        "A128KW", "dir",
    ] {
        let header = json!({"alg": alg, "typ": "JWT"});
        add(format!("alg {alg:?}"), forge(&header, &claims(), Some(key)));
        add(
            format!("alg {alg:?}, unsigned"),
            forge(&header, &claims(), None),
        );
    }
    for alg in [
        json!(null),
        json!(1),
        json!([]),
        json!({}),
        json!(["HS256"]),
    ] {
        let header = json!({"alg": alg, "typ": "JWT"});
        add(format!("alg {alg}"), forge(&header, &claims(), Some(key)));
    }
    for other in [
        "",
        " ",
        "secret",
        NAME,
        &key[1..],
        &format!("{key} "),
        &key.to_uppercase(),
    ] {
        add(
            format!("key {:?}", &other[..other.len().min(6)]),
            forge(&plain, &claims(), Some(other)),
        );
    }
    for kind in ["codraft-ticket", "logout+jwt", "dpop+jwt", "JWE", "id", ""] {
        let header = json!({"alg": "HS256", "typ": kind});
        add(
            format!("typ {kind:?}"),
            forge(&header, &claims(), Some(key)),
        );
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("cty", json!("JWT")),
        ("b64", json!(false)),
    ] {
        let mut header = plain.clone();
        header[name] = value.clone();
        add(
            format!("header {name} {value}"),
            forge(&header, &claims(), Some(key)),
        );
    }
    for name in ["sub", "exp", "iss", "aud"] {
        add(format!("without {name}"), signed(&without(name)));
        for value in [
            json!(null),
            json!(true),
            json!({}),
            json!([]),
            json!([1]),
            json!(""),
            json!({"a": 1}),
        ] {
            add(format!("{name} {value}"), signed(&with(name, value)));
        }
    }
    for name in ["nbf", "iat"] {
        for value in [
            json!(true),
            json!("0"),
            json!([1]),
            json!({}),
            json!(-1),
            json!(1e300),
            json!(now() + 3_600),
        ] {
            add(format!("{name} {value}"), signed(&with(name, value)));
        }
    }
    for value in [
        json!("soon"),
        json!((now() + 600).to_string()),
        json!(-1),
        json!(1e300),
        json!(0),
        json!(1),
        json!(now() - 31),
        json!(now() - 3_600),
        json!(now() - 1_000_000_000),
    ] {
        add(format!("exp {value}"), signed(&with("exp", value)));
    }
    for value in [
        json!("."),
        json!(".."),
        json!("x".repeat(129)),
        json!("a\u{0}b"),
        json!("a\nb"),
        json!("\u{7f}"),
        json!(7),
        json!(1.5),
        json!(["ana"]),
    ] {
        add(format!("sub {value}"), signed(&with("sub", value)));
    }
    for value in [
        json!("other"),
        json!("CODRAFT"),
        json!(" codraft"),
        json!(["other"]),
    ] {
        add(format!("iss {value}"), signed(&with("iss", value.clone())));
        add(format!("aud {value}"), signed(&with("aud", value)));
    }
    for value in [json!(1), json!(""), json!([]), json!("x".repeat(257))] {
        add(format!("name {value}"), signed(&with("name", value)));
    }

    let good = signed(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    for (nth, part) in ["header", "claims", "signature"].iter().enumerate() {
        for at in [0, 5, 17, 30] {
            let mut changed: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            let old = changed[nth].as_bytes().get(at).copied().unwrap_or(b'A');
            let new = if old == b'A' { "B" } else { "A" };
            let end = (at + 1).min(changed[nth].len());
            changed[nth].replace_range(at.min(end)..end, new);
            add(format!("{part} changed at {at}"), changed.join("."));
        }
        let mut cut = parts.clone();
        cut[nth] = "";
        add(format!("without {part}"), cut.join("."));
        cut.remove(nth);
        add(format!("{part} left out"), cut.join("."));
    }
    for (name, token) in [
        ("nothing", String::new()),
        ("dots", "..".into()),
        ("five parts", format!("{good}.x.y")),
        ("twice", format!("{good} {good}")),
        ("in quotes", format!("\"{good}\"")),
        ("with padding", format!("{good}=")),
        (
            "in another base",
            good.replace('-', "+").replace('_', "/") + "/",
        ),
        (
            "longer than any",
            format!("{}.{}.{}", parts[0], "A".repeat(9 << 10), parts[2]),
        ),
        (
            "large claims",
            signed(&with("more", json!("x".repeat(9 << 10)))),
        ),
        ("not JSON", forge(&json!("HS256"), &json!("ana"), Some(key))),
        (
            "a list",
            forge(&json!(["HS256"]), &json!([claims()]), Some(key)),
        ),
    ] {
        add(name.into(), token);
    }
    all
}

/// The status of an upgrade that was refused; an error where it was not.
async fn refused_upgrade(
    rest: &Rest,
    doc: &str,
    protocols: &str,
    bearer: Option<&str>,
) -> Result<u16> {
    let tcp = TcpStream::connect(&rest.address).await?;
    let mut request = format!("ws://{}/v1/collab/{doc}", rest.address).into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_str(protocols)?,
    );
    let origin = format!("http://{}", rest.address);
    headers.insert(header::ORIGIN, HeaderValue::from_str(&origin)?);
    if let Some(bearer) = bearer {
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {bearer}"))?,
        );
    }
    match client_async(request, tcp).await {
        Err(Error::Http(response)) => Ok(response.status().as_u16()),
        Ok(_) => anyhow::bail!("it was let in"),
        Err(error) => Err(error.into()),
    }
}

/// By REST and at a socket.
async fn is_refused(right: &Rest, doc: &str, name: &str, token: &str) -> Result<()> {
    let rest = Rest::new(&right.address, token);
    let path = format!("/v1/docs/{doc}");
    let (status, problem) = rest.call(Method::GET, &path, None).await?;
    let code = problem["code"].as_str().unwrap_or_default();
    ensure!(
        status == StatusCode::UNAUTHORIZED,
        "{name}: {status} {problem}"
    );
    ensure!(
        matches!(code, "token_invalid" | "token_expired"),
        "{name}: {problem}"
    );
    let upgrade = refused_upgrade(right, doc, "codraft.v1", Some(token)).await;
    ensure!(upgrade? == 401, "{name}, at a socket");
    Ok(())
}

#[tokio::test]
async fn of_two_hundred_bad_tokens_and_tickets_none_is_accepted() -> Result<()> {
    let folder = Folder::fresh("credentials");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &[])?;
    let key = secret(folder.path())?;
    let good = cluster.token("ana")?;
    let ana = Rest::new(&cluster.ready.http, &good);
    let doc = ana.create("Secrets", "words").await?;
    let tokens = bad_tokens(&key);

    let judged = stream::iter(&tokens).map(|(name, token)| is_refused(&ana, &doc, name, token));
    let judged: Vec<Result<()>> = judged.buffer_unordered(AT_ONCE).collect().await;
    judged.into_iter().collect::<Result<()>>()?;

    // Tickets: of another document, changed, used, of another key, and what are none.
    let other = ana.create("Others", "").await?;
    let ask = format!("/v1/collab/{doc}/ticket");
    let (status, ticket) = ana.call(Method::POST, &ask, None).await?;
    ensure!(status == StatusCode::CREATED, "{ticket}");
    let ticket = ticket["ticket"].as_str().context("no ticket")?.to_owned();
    let mut tickets: Vec<(String, String)> = Vec::new();
    for at in (0..ticket.len()).step_by(ticket.len() / 40) {
        let old = ticket.as_bytes()[at];
        let mut changed = ticket.clone();
        changed.replace_range(at..=at, if old == b'A' { "B" } else { "A" });
        // The last digit of a part may hold bits that mean nothing; these stay out of it.
        if changed != ticket && old != b'.' && ticket.as_bytes().get(at + 1) != Some(&b'.') {
            tickets.push((format!("changed at {at}"), changed));
        }
    }
    let body = json!({"sub": "ana", "name": "ana", "doc": doc, "until": (now() + 600) * 1000,
        "expires": (now() + 30) * 1000, "nonce": "0".repeat(32)});
    for typ in ["codraft-ticket", "JWT"] {
        let header = json!({"alg": "HS256", "typ": typ});
        for (of, secret) in [
            ("tokens", Some(&*key)),
            ("nobody", None),
            ("another", Some("another")),
        ] {
            tickets.push((
                format!("{typ} with the key of {of}"),
                forge(&header, &body, secret),
            ));
        }
    }
    for (name, text) in [
        ("nothing", ""),
        ("a token", &*good),
        ("a word", "ticket"),
        ("cut", &ticket[..40]),
    ] {
        tickets.push((name.into(), text.into()));
    }
    for (name, ticket) in &tickets {
        let protocols = format!("codraft.v1, ticket.{ticket}");
        let status = refused_upgrade(&ana, &doc, &protocols, None).await;
        let status = status.with_context(|| format!("a ticket: {name}"))?;
        ensure!(matches!(status, 400 | 401), "a ticket: {name}: {status}");
    }
    let protocols = format!("codraft.v1, ticket.{ticket}");
    assert_eq!(
        refused_upgrade(&ana, &other, &protocols, None).await?,
        401,
        "of another document"
    );
    ensure!(
        refused_upgrade(&ana, &doc, &protocols, None).await.is_err(),
        "the right one is let in"
    );
    assert_eq!(
        refused_upgrade(&ana, &doc, &protocols, None).await?,
        401,
        "a second time"
    );
    let all = tokens.len() + tickets.len() + 2;
    println!("{all} refused, {} of them tokens", tokens.len());
    ensure!(all >= 200, "only {all}");

    let (status, there) = ana
        .call(Method::GET, &format!("/v1/docs/{doc}"), None)
        .await?;
    ensure!(status == StatusCode::OK, "{there}");
    Ok(())
}
