//! What hostile clients do, as a table, and what each of them must be told.

mod requests;
mod sockets;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use codraft_e2e::{
    patience::PATIENCE,
    processes::Processes,
    rest::Rest,
    token::{NAME, forge, now, secret},
};
use codraft_proto::{ids::ClientId, reject::Code};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::time::timeout;

pub use requests::How as RequestHow;
pub use sockets::Attack;

/// The case that comes under the client id of the honest one.
pub const STOLEN_NAME: &str = "the client id of one who types";

/// Who is there, and on what.
pub struct Scene {
    /// The router's `host:port`.
    pub address: String,
    pub doc: String,
    /// Another document of the owner's.
    pub other: String,
    pub owner: String,
    /// Their tokens.
    pub editor: String,
    /// Editors who flood: what they may do is used up afterwards.
    pub flooder: String,
    pub pinger: String,
    pub viewer: String,
    pub stranger: String,
    /// The secret of the cluster, which no attacker has: to make tokens that are wrong in one
    /// way alone.
    pub secret: String,
    /// The honest client's id.
    pub honest: ClientId,
}

impl Scene {
    pub fn new(
        processes: &Processes,
        rest: &Rest,
        doc: &str,
        other: &str,
        honest: ClientId,
    ) -> Result<Scene> {
        Ok(Scene {
            address: rest.address.clone(),
            doc: doc.to_owned(),
            other: other.to_owned(),
            owner: rest.token.clone(),
            editor: processes.token("eddy")?,
            flooder: processes.token("floyd")?,
            pinger: processes.token("polly")?,
            viewer: processes.token("vera")?,
            stranger: processes.token("sam")?,
            secret: secret(processes.data())?,
            honest,
        })
    }

    /// Tokens that must not be taken, with what is said of each.
    pub fn bad_tokens(&self) -> Vec<(&'static str, String, Code)> {
        let head = json!({"alg": "HS256", "typ": "JWT"});
        let now = now();
        let good = json!({
            "iss": NAME, "aud": NAME, "sub": "eddy", "iat": now, "exp": now + 600,
        });
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[name] = value;
            forge(&head, &claims, Some(&self.secret))
        };
        let headed = |name: &str, value: serde_json::Value| {
            let mut head = head.clone();
            head[name] = value;
            forge(&head, &good, Some(&self.secret))
        };
        let mut endless = good.clone();
        endless.as_object_mut().map(|claims| claims.remove("exp"));
        let invalid = Code::TokenInvalid;
        vec![
            ("no token at all", String::new(), invalid),
            ("garbage", "not.a.token".into(), invalid),
            (
                "algorithm none",
                forge(&json!({"alg": "none"}), &good, None),
                invalid,
            ),
            (
                "another algorithm",
                forge(&json!({"alg": "HS512"}), &good, Some(&self.secret)),
                invalid,
            ),
            (
                "another key",
                forge(&head, &good, Some("0123456789abcdef0123456789abcdef")),
                invalid,
            ),
            (
                "a ticket's type",
                {
                    let head = json!({"alg": "HS256", "typ": "codraft-ticket"});
                    forge(&head, &good, Some(&self.secret))
                },
                invalid,
            ),
            (
                "exp as a string",
                with("exp", json!((now + 600).to_string())),
                invalid,
            ),
            ("exp below zero", with("exp", json!(-1)), invalid),
            (
                "no exp",
                forge(&head, &endless, Some(&self.secret)),
                invalid,
            ),
            ("from the future", with("nbf", json!(now + 600)), invalid),
            ("sub as a number", with("sub", json!(7)), invalid),
            ("an empty sub", with("sub", json!("")), invalid),
            (
                "a sub of 200 bytes",
                with("sub", json!("u".repeat(200))),
                invalid,
            ),
            (
                "longer than any token",
                with("padding", json!("x".repeat(12 << 10))),
                invalid,
            ),
            ("another issuer", with("iss", json!("another")), invalid),
            ("no issuer", with("iss", json!(null)), invalid),
            ("another audience", with("aud", json!(["a", "b"])), invalid),
            ("a user called ..", with("sub", json!("..")), invalid),
            ("an empty name", with("name", json!("")), invalid),
            (
                "critical what nobody knows",
                headed("crit", json!(["exp"])),
                invalid,
            ),
            ("claims not in base64", headed("b64", json!(false)), invalid),
            ("a token in a token", headed("cty", json!("JWT")), invalid),
            ("compressed", headed("zip", json!("DEF")), invalid),
            (
                "to log out with",
                headed("typ", json!("logout+jwt")),
                invalid,
            ),
            ("expired", with("exp", json!(now - 60)), Code::TokenExpired),
        ]
    }
}

pub struct Case {
    pub name: String,
    /// What it is told, and is counted under.
    pub code: Code,
    how: How,
}

pub enum How {
    Request(RequestHow),
    Socket(Attack),
}

impl Case {
    pub async fn run(&self, scene: &Scene) -> Result<()> {
        match &self.how {
            How::Request(request) => request.run(scene, self.code).await,
            How::Socket(attack) => attack.run(scene, self.code).await,
        }
    }
}

/// All of them.
pub fn cases(scene: &Scene) -> Vec<Case> {
    let mut cases = requests::cases(scene);
    cases.extend(sockets::cases(scene));
    cases
}

/// One HTTP request of any kind; the response's head and body.
pub async fn fetch(
    address: &str,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<(Response<()>, Vec<u8>)> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .context("the router is not there")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::task::spawn(connection);
    let request: Request<Full<Bytes>> = request
        .header(header::HOST, address)
        .body(Full::new(body.into()))?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let upgraded = head.status == http::StatusCode::SWITCHING_PROTOCOLS;
        ensure!(!upgraded, "it was let in");
        anyhow::Ok((
            Response::from_parts(head, ()),
            body.collect().await?.to_bytes().to_vec(),
        ))
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .context("no answer for 30 s")?;
    driver.abort();
    answer
}
