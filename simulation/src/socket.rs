//! A client's ways to a router: the REST interface and a WebSocket, over simulated streams.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use codraft_ot::Delta;
use codraft_proto::{
    frame::{At, ClientFrame, Encoding, ServerFrame, binary, json},
    ids::{ClientId, Revision, Seq},
    limits::EdgeLimits,
    transport::{Io, Transport},
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    cluster::ROUTER_PORT,
    outside::HostNetwork,
    record::{Id, author},
    trace::{line, short},
};

/// From the dial to the upgrade, or to the answer of a call.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a message that an operation leaves free.
const ROOM: usize = 1 << 10;

/// Who speaks, and as whom.
#[derive(Clone)]
pub struct Speaker {
    pub at: HostNetwork,
    pub user: String,
    pub token: String,
    pub encoding: Encoding,
}

impl Speaker {
    async fn stream(&self, router: &str) -> Result<Box<dyn Io>> {
        let address = format!("{router}:{ROUTER_PORT}");
        self.at
            .dial(&address)
            .await
            .context("the router is not there")
    }

    fn message(&self, frame: &ClientFrame) -> Message {
        match self.encoding {
            Encoding::Binary => {
                let mut bytes = Vec::new();
                binary::encode_client(&mut bytes, frame);
                Message::Binary(bytes.into())
            }
            Encoding::Json => Message::Text(json::encode_client(frame).into()),
        }
    }

    /// Whether an operation goes into one message, with room to grow where it is moved.
    pub fn fits(&self, delta: &Delta) -> bool {
        let frame = ClientFrame::Op {
            seq: Seq(u64::MAX),
            base: Revision(u64::MAX),
            ops: delta.to_bytes().into(),
        };
        let most = EdgeLimits::default().frame_bytes as usize;
        self.message(&frame).len() <= most - ROOM
    }

    /// Calls the REST interface; returns the status and the body.
    pub async fn call(
        &self,
        router: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value)> {
        timeout(
            PATIENCE,
            self.call_patiently(router, method, path, body, None),
        )
        .await
        .context("no answer to a call")?
    }

    /// With an `Idempotency-Key`.
    pub async fn call_once(
        &self,
        router: &str,
        method: Method,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<(u16, Value)> {
        let call = self.call_patiently(router, method, path, body, Some(key));
        timeout(PATIENCE, call)
            .await
            .context("no answer to a call")?
    }

    async fn call_patiently(
        &self,
        router: &str,
        method: Method,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<(u16, Value)> {
        let stream = TokioIo::new(self.stream(router).await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, router)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let request = request.body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&body);
            line!(self.at.trace, "{} {path}: {status} {text}", self.at.host);
            Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        tokio::pin!(connection);
        tokio::select! {
            biased;
            answer = exchange => answer,
            end = &mut connection => bail!("the connection ended first: {end:?}"),
        }
    }

    /// Connects, and nothing is said yet.
    pub async fn open(&self, router: &str, doc: &str, client: ClientId) -> Result<Socket> {
        let mut request = format!("ws://{router}/v1/collab/{doc}").into_client_request()?;
        let headers = request.headers_mut();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token))?;
        headers.insert(header::AUTHORIZATION, bearer);
        let protocol = HeaderValue::from_static(self.encoding.subprotocol());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let shaken = async {
            let stream = self.stream(router).await?;
            anyhow::Ok(client_async(request, stream).await?.0)
        };
        let stream = timeout(PATIENCE, shaken).await.context("no upgrade")??;
        Ok(Socket {
            stream,
            speaker: self.clone(),
            clock: binary::Clock::default(),
            who: BTreeMap::new(),
            client,
            you: None,
            waiting: VecDeque::new(),
        })
    }
}

/// One WebSocket.
pub struct Socket {
    stream: WebSocketStream<Box<dyn Io>>,
    pub speaker: Speaker,
    clock: binary::Clock,
    /// Slot to client and user, as the router announced it.
    who: BTreeMap<u32, (ClientId, String)>,
    client: ClientId,
    /// Its own slot, once it was welcomed.
    you: Option<u32>,
    waiting: VecDeque<ServerFrame>,
}

impl Socket {
    pub async fn hello(&mut self, resume: Option<At>, unsent: bool) -> Result<()> {
        let client = self.client;
        let hello = ClientFrame::Hello {
            client,
            resume,
            unsent,
        };
        self.send(&hello).await
    }

    pub async fn send(&mut self, frame: &ClientFrame) -> Result<()> {
        let at = &self.speaker.at;
        line!(at.trace, "{} says {}", at.host, Brief(frame));
        let message = self.speaker.message(frame);
        // A socket that takes nothing is of no use.
        timeout(PATIENCE, self.stream.send(message))
            .await
            .context("the socket takes nothing")??;
        Ok(())
    }

    /// The next frame, and whether it is the last that came in one message. May be dropped and
    /// called again.
    pub async fn next(&mut self) -> Result<(ServerFrame, bool)> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                match &frame {
                    ServerFrame::Who(who) => {
                        self.who
                            .insert(who.slot, (who.client, who.user.to_string()));
                    }
                    ServerFrame::Welcome(welcome) => {
                        self.you = Some(welcome.you);
                        let who = welcome.who.iter();
                        let who = who.map(|w| (w.slot, (w.client, w.user.to_string())));
                        self.who.extend(who);
                    }
                    _ => {}
                }
                return Ok((frame, self.waiting.is_empty()));
            }
            let message = self.stream.next().await.context("the socket ended")??;
            let frames = match message {
                Message::Binary(bytes) => binary::decode_server(&bytes, &mut self.clock)?,
                Message::Text(text) => json::decode_server(text.as_bytes())?,
                Message::Close(Some(close)) => bail!("closed: {} {}", close.code, close.reason),
                Message::Close(None) => bail!("closed"),
                _ => continue,
            };
            let at = &self.speaker.at;
            for frame in &frames {
                line!(at.trace, "{} hears {}", at.host, Told(frame));
            }
            self.waiting.extend(frames);
        }
    }

    /// The last revision that what came in the present message leads to.
    pub fn reaches(&self) -> Option<u64> {
        self.waiting
            .iter()
            .rev()
            .find_map(|frame| match frame {
                ServerFrame::Op(op) => Some(op.rev),
                ServerFrame::Event(event) => Some(event.rev),
                ServerFrame::Skip { rev, .. } => Some(*rev),
                _ => None,
            })
            .map(|n| n.0)
    }

    /// Who an event's slot is.
    pub fn author(&self, slot: u32) -> Option<Id> {
        let (client, user) = self.who.get(&slot)?;
        Some(author(user, &client.0))
    }

    pub fn is_mine(&self, slot: u32) -> bool {
        self.you == Some(slot)
    }

    /// Client ids that others have.
    pub fn others(&self) -> impl Iterator<Item = ClientId> + use<'_> {
        let others = self
            .who
            .values()
            .filter(|(_, user)| *user != self.speaker.user);
        others.map(|(client, _)| *client)
    }
}

/// A client's frame in a line.
struct Brief<'a>(&'a ClientFrame);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ClientFrame::Op { seq, base, ops } => {
                write!(
                    f,
                    "op seq={seq} base={base} {}#{}",
                    ops.len(),
                    short(ops, 16)
                )
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// A server's frame in a line.
struct Told<'a>(&'a ServerFrame);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ServerFrame::Op(op) => {
                let (length, hash) = (op.ops.len(), short(&op.ops, 16));
                write!(f, "op rev={} slot={} {length}#{hash}", op.rev, op.slot)
            }
            ServerFrame::Welcome(w) => {
                let doc = w.doc.as_ref().map(|doc| short(doc, 16));
                let (rev, acked, role) = (w.rev, w.acked, w.role);
                write!(
                    f,
                    "welcome rev={rev} acked={acked:?} role={role:?} doc={doc:?}"
                )
            }
            ServerFrame::Mark(at) => write!(f, "mark rev={} {}", at.rev, short(&at.hash, 16)),
            other => write!(f, "{other:?}"),
        }
    }
}
