//! A client's ways to the router: the REST interface and a WebSocket, over turmoil's streams.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use codraft_proto::{
    frame::{At, ClientFrame, Encoding, ServerFrame, Welcome, binary},
    ids::ClientId,
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use turmoil::net::TcpStream;

use crate::trace::{Trace, line, short};

/// Who speaks to which router.
#[derive(Clone)]
pub struct Speaker {
    pub name: &'static str,
    pub host: &'static str,
    pub port: u16,
    pub token: String,
    pub trace: Trace,
}

impl Speaker {
    async fn stream(&self) -> Result<TcpStream> {
        TcpStream::connect((self.host, self.port))
            .await
            .context("the router is not there")
    }

    /// Calls the REST interface.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.stream().await?)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            line!(
                self.trace,
                "{} {path}: {status} {}",
                self.name,
                String::from_utf8_lossy(&body)
            );
            ensure!(status.is_success(), "{path}: {status}");
            Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
        };
        tokio::pin!(connection);
        tokio::select! {
            biased;
            answer = exchange => answer,
            end = &mut connection => bail!("the connection ended first: {end:?}"),
        }
    }

    /// Connects and says hello. Returns what the server answers first.
    pub async fn open(
        &self,
        doc: &str,
        client: ClientId,
        resume: Option<At>,
        unsent: bool,
    ) -> Result<(Socket, Welcome)> {
        let mut request = format!("ws://{}/v1/collab/{doc}", self.host).into_client_request()?;
        let headers = request.headers_mut();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token))?;
        headers.insert(header::AUTHORIZATION, bearer);
        let protocol = HeaderValue::from_static(Encoding::Binary.subprotocol());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let (stream, _) = client_async(request, self.stream().await?).await?;
        let mut socket = Socket {
            stream,
            name: self.name,
            trace: self.trace.clone(),
            clock: binary::Clock::default(),
            who: BTreeMap::new(),
            client,
            waiting: VecDeque::new(),
        };
        socket
            .send(&ClientFrame::Hello {
                client,
                resume,
                unsent,
            })
            .await?;
        match socket.next().await? {
            ServerFrame::Welcome(welcome) => Ok((socket, *welcome)),
            other => bail!("instead of a welcome: {other:?}"),
        }
    }
}

/// One WebSocket, speaking the binary encoding.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    name: &'static str,
    trace: Trace,
    clock: binary::Clock,
    /// Slot to client, as the router announced it.
    who: BTreeMap<u32, ClientId>,
    client: ClientId,
    waiting: VecDeque<ServerFrame>,
}

impl Socket {
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<()> {
        let mut bytes = Vec::new();
        binary::encode_client(&mut bytes, frame);
        line!(
            self.trace,
            "{} > {} {}",
            self.name,
            short(&bytes, 16),
            format_args!("{frame:?}")
        );
        Ok(self.stream.send(Message::Binary(bytes.into())).await?)
    }

    /// The next frame. May be dropped and called again.
    pub async fn next(&mut self) -> Result<ServerFrame> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                match &frame {
                    ServerFrame::Who(who) => {
                        self.who.insert(who.slot, who.client);
                    }
                    ServerFrame::Welcome(welcome) => {
                        self.who
                            .extend(welcome.who.iter().map(|w| (w.slot, w.client)));
                    }
                    _ => {}
                }
                return Ok(frame);
            }
            match self.stream.next().await.context("the socket ended")?? {
                Message::Binary(bytes) => {
                    let frames = binary::decode_server(&bytes, &mut self.clock)?;
                    for frame in &frames {
                        line!(
                            self.trace,
                            "{} < {} {frame:?}",
                            self.name,
                            short(&bytes, 16)
                        );
                    }
                    self.waiting.extend(frames);
                }
                Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Whether an event's slot is this client.
    pub fn is_mine(&self, slot: u32) -> bool {
        self.who.get(&slot) == Some(&self.client)
    }
}
