//! Requests that are refused before or without a socket.

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::rest::Rest;
use codraft_proto::reject::Code;
use http::{Method, Request, header, request::Builder};
use serde_json::Value;

use super::{Case, How as Kind, Scene, fetch};

pub enum How {
    /// Method, path, token, further headers, body.
    Plain {
        method: Method,
        path: String,
        token: Option<String>,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// A WebSocket handshake with a ticket that was good once.
    Ticket(Ticket),
}

#[derive(Clone, Copy)]
pub enum Ticket {
    Used,
    OfAnotherDocument,
    OfAnotherRouter,
    WithoutAnOrigin,
    FromAForeignPage,
}

impl How {
    pub async fn run(&self, scene: &Scene, code: Code) -> Result<()> {
        let (request, body) = match self {
            How::Plain {
                method,
                path,
                token,
                headers,
                body,
            } => {
                let mut request = Request::builder().method(method).uri(path);
                if let Some(token) = token {
                    request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
                }
                for (name, value) in headers {
                    request = request.header(*name, value);
                }
                (request, body.clone())
            }
            How::Ticket(ticket) => (ticket.request(scene).await?, Vec::new()),
        };
        let (head, body) = fetch(&scene.address, request, body).await?;
        let status = head.status().as_u16();
        let text = String::from_utf8_lossy(&body);
        ensure!(
            status == code.http_status(),
            "{status} {text}, not {code:?}"
        );
        let kind = head
            .headers()
            .get(header::CONTENT_TYPE)
            .context("no content type")?;
        ensure!(kind == "application/problem+json", "{kind:?}");
        let problem: Value = serde_json::from_slice(&body)?;
        ensure!(problem["code"] == code.as_str(), "{problem}, not {code:?}");
        ensure!(
            problem["status"] == status && problem["title"].is_string(),
            "{problem}"
        );
        Ok(())
    }
}

impl Ticket {
    async fn request(self, scene: &Scene) -> Result<Builder> {
        let rest = Rest {
            address: scene.address.clone(),
            token: scene.editor.clone(),
        };
        let own = format!("http://{}", scene.address);
        let ticket = match self {
            Ticket::OfAnotherRouter => rest.ticket(&scene.doc, &[&own]).await?,
            _ => rest.ticket_here(&scene.doc).await?,
        };
        let is_own = ticket.url == own;
        ensure!(
            is_own != matches!(self, Ticket::OfAnotherRouter),
            "{ticket:?}"
        );
        let ticket = ticket.ticket;
        let doc = match self {
            Ticket::OfAnotherDocument => &scene.other,
            _ => &scene.doc,
        };
        let origin = match self {
            Ticket::WithoutAnOrigin => None,
            Ticket::FromAForeignPage => Some("http://evil.example".to_owned()),
            _ => Some(own),
        };
        let build = || {
            let mut request = Request::get(format!("/v1/collab/{doc}"));
            for (name, value) in handshake(&format!("codraft.v1, ticket.{ticket}")) {
                request = request.header(name, value);
            }
            if let Some(origin) = &origin {
                request = request.header(header::ORIGIN, origin);
            }
            request
        };
        if let Ticket::Used = self {
            match fetch(&scene.address, build(), Vec::new()).await {
                Err(error) if error.to_string() == "it was let in" => {}
                Err(error) => return Err(error.context("the ticket's first use")),
                Ok((head, _)) => bail!("the ticket's first use: {}", head.status()),
            }
        }
        Ok(build())
    }
}

fn handshake(protocols: &str) -> Vec<(&'static str, String)> {
    [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocols),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.to_owned()))
    .collect()
}

pub fn cases(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, code, how| {
        cases.push(Case {
            name,
            code,
            how: Kind::Request(how),
        })
    };
    let document = format!("/v1/docs/{}", scene.doc);
    let collab = format!("/v1/collab/{}", scene.doc);
    let plain = |method, path: &str, token: &str, headers, body: &[u8]| How::Plain {
        method,
        path: path.to_owned(),
        token: (!token.is_empty()).then(|| token.to_owned()),
        headers,
        body: body.to_vec(),
    };

    for (name, token, code) in scene.bad_tokens() {
        add(
            format!("reading, {name}"),
            code,
            plain(Method::GET, &document, &token, vec![], b""),
        );
        let headers = handshake("codraft.v1.bin");
        add(
            format!("a socket, {name}"),
            code,
            plain(Method::GET, &collab, &token, headers, b""),
        );
    }

    let ticket_path = format!("{collab}/ticket");
    let upgrade = |protocols: &str, origin: Option<&str>| {
        let mut headers = handshake(protocols);
        headers.extend(origin.map(|o| ("origin", o.to_owned())));
        headers
    };
    let own = format!("http://{}", scene.address);
    let (editor, viewer, stranger) = (&*scene.editor, &*scene.viewer, &*scene.stranger);
    for origin in [
        "http://evil.example",
        "null",
        &format!("{own}.evil.example"),
        &own.to_uppercase(),
    ] {
        let headers = upgrade("codraft.v1.bin", Some(origin));
        let how = plain(Method::GET, &collab, editor, headers, b"");
        add(format!("a page of {origin}"), Code::Origin, how);
    }
    let headers = upgrade("codraft.v1", Some(&own));
    add(
        "a page without a ticket".into(),
        Code::TokenInvalid,
        plain(Method::GET, &collab, "", headers, b""),
    );
    let headers = upgrade("codraft.v1, ticket.forged", Some(&own));
    add(
        "a forged ticket".into(),
        Code::TokenInvalid,
        plain(Method::GET, &collab, "", headers, b""),
    );
    let headers = upgrade(&format!("codraft.v1, ticket.{editor}"), Some(&own));
    add(
        "a token as a ticket".into(),
        Code::TokenInvalid,
        plain(Method::GET, &collab, "", headers, b""),
    );
    for (name, code, ticket) in [
        ("a ticket twice", Code::TokenInvalid, Ticket::Used),
        (
            "a ticket of another router",
            Code::TokenInvalid,
            Ticket::OfAnotherRouter,
        ),
        (
            "another document's ticket",
            Code::TokenInvalid,
            Ticket::OfAnotherDocument,
        ),
        (
            "a ticket without a page",
            Code::Origin,
            Ticket::WithoutAnOrigin,
        ),
        (
            "a ticket on a foreign page",
            Code::Origin,
            Ticket::FromAForeignPage,
        ),
    ] {
        add(name.into(), code, How::Ticket(ticket));
    }
    let how = plain(Method::GET, &collab, editor, handshake("soap"), b"");
    add("no subprotocol of ours".into(), Code::Unsupported, how);
    add(
        "no handshake".into(),
        Code::Malformed,
        plain(Method::GET, &collab, editor, vec![], b""),
    );
    let how = plain(
        Method::GET,
        "/v1/collab/..%2f..%2fetc",
        editor,
        handshake("codraft.v1"),
        b"",
    );
    add("an id that is none".into(), Code::NotFound, how);

    let json = || vec![("content-type", "application/json".to_owned())];
    let grant = format!("{document}/permissions/vera");
    let owner = br#"{"role": "owner"}"#;
    for (name, token, code) in [
        ("a viewer grants herself", viewer, Code::Forbidden),
        ("an editor grants", editor, Code::Forbidden),
        ("a stranger grants", stranger, Code::NotFound),
    ] {
        add(
            name.into(),
            code,
            plain(Method::PUT, &grant, token, json(), owner),
        );
    }
    let how = plain(
        Method::DELETE,
        &format!("{document}/permissions/eddy"),
        viewer,
        vec![],
        b"",
    );
    add("a viewer takes a role away".into(), Code::Forbidden, how);
    let how = plain(
        Method::PUT,
        &grant,
        &scene.owner,
        json(),
        br#"{"role": "emperor"}"#,
    );
    add("a role that is none".into(), Code::Malformed, how);
    add(
        "a stranger reads".into(),
        Code::NotFound,
        plain(Method::GET, &document, stranger, vec![], b""),
    );
    let how = plain(Method::POST, &ticket_path, stranger, vec![], b"");
    add("a stranger's ticket".into(), Code::NotFound, how);
    for (name, body, code) in [
        ("half a body", br#"{"title": "#.to_vec(), Code::Malformed),
        (
            "fields that are none",
            br#"{"title": "x", "admin": true}"#.to_vec(),
            Code::Malformed,
        ),
        (
            "a title as a number",
            br#"{"title": 7}"#.to_vec(),
            Code::Malformed,
        ),
        ("nested without end", b"[".repeat(100_000), Code::Malformed),
        (
            "a kind that is none",
            br#"{"title": "x", "kind": "video"}"#.to_vec(),
            Code::Unsupported,
        ),
        ("two megabytes", vec![b' '; 2 << 20], Code::FrameTooLarge),
    ] {
        let how = plain(Method::POST, "/v1/docs", editor, json(), &body);
        add(format!("creating, {name}"), code, how);
    }
    cases
}
