//! One WebSocket to the router, speaking `codraft.v1.bin`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use codraft_proto::{
    frame::{At, ClientFrame, Encoding, ServerFrame, Welcome, binary},
    ids::ClientId,
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    patience::{PATIENCE, within},
    rest::Rest,
};

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    clock: binary::Clock,
    /// Slot to client, as the router announced it.
    pub who: BTreeMap<u32, ClientId>,
    pub client: ClientId,
    /// Its own slot, once it was welcomed.
    you: Option<u32>,
    waiting: std::collections::VecDeque<ServerFrame>,
}

impl Socket {
    /// Connects and says hello; what the server answers first.
    pub async fn open(
        rest: &Rest,
        doc: &str,
        client: ClientId,
        resume: Option<At>,
        unsent: bool,
    ) -> Result<(Socket, Welcome)> {
        let socket = Socket::connect(rest, doc, client).await?;
        socket.hello(resume, unsent).await
    }

    /// Says hello on a socket that was connected; what the server answers first.
    pub async fn hello(mut self, resume: Option<At>, unsent: bool) -> Result<(Socket, Welcome)> {
        let client = self.client;
        self.send(&ClientFrame::Hello {
            client,
            resume,
            unsent,
        })
        .await?;
        match self.next().await? {
            ServerFrame::Welcome(welcome) => Ok((self, *welcome)),
            other => bail!("instead of a welcome: {other:?}"),
        }
    }

    /// Connects, without a hello.
    pub async fn connect(rest: &Rest, doc: &str, client: ClientId) -> Result<Socket> {
        Socket::connect_in(rest, doc, client, Encoding::Binary).await
    }

    /// Connects to speak JSON, as text that this does not read.
    pub async fn connect_json(rest: &Rest, doc: &str, client: ClientId) -> Result<Socket> {
        Socket::connect_in(rest, doc, client, Encoding::Json).await
    }

    async fn connect_in(
        rest: &Rest,
        doc: &str,
        client: ClientId,
        encoding: Encoding,
    ) -> Result<Socket> {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", rest.token))?;
        headers.insert(header::AUTHORIZATION, bearer);
        let protocol = HeaderValue::from_static(encoding.subprotocol());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        Socket::upgrade(&rest.address, doc, client, headers).await
    }

    /// Connects with a ticket to a router, as its page or another one of `origin` does.
    pub async fn connect_by(
        ticket: &str,
        router: &str,
        origin: &str,
        doc: &str,
        client: ClientId,
    ) -> Result<Socket> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin)?);
        let protocols = format!("{}, ticket.{ticket}", Encoding::Binary.subprotocol());
        let protocols = HeaderValue::from_str(&protocols)?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        let address = router.trim_start_matches("http://");
        Socket::upgrade(address, doc, client, headers).await
    }

    async fn upgrade(
        address: &str,
        doc: &str,
        client: ClientId,
        headers: HeaderMap,
    ) -> Result<Socket> {
        let tcp = within(PATIENCE, "a connection", TcpStream::connect(address));
        let tcp = tcp.await?.context("the router is not there")?;
        tcp.set_nodelay(true)?;
        let url = format!("ws://{address}/v1/collab/{doc}");
        let mut request = url.into_client_request()?;
        request.headers_mut().extend(headers);
        let (stream, _) = within(PATIENCE, "the upgrade", client_async(request, tcp))
            .await?
            .context("the upgrade was refused")?;
        Ok(Socket {
            stream,
            clock: binary::Clock::default(),
            who: BTreeMap::new(),
            client,
            you: None,
            waiting: std::collections::VecDeque::new(),
        })
    }

    pub async fn send(&mut self, frame: &ClientFrame) -> Result<()> {
        let mut bytes = Vec::new();
        binary::encode_client(&mut bytes, frame);
        self.send_raw(bytes).await
    }

    pub async fn send_raw(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.send_message(Message::Binary(bytes.into())).await
    }

    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.send_message(Message::text(text)).await
    }

    async fn send_message(&mut self, message: Message) -> Result<()> {
        let sent = self.stream.send(message);
        Ok(within(PATIENCE, "the server to take a message", sent).await??)
    }

    /// The next frame; an error where the socket closes or nothing comes.
    pub async fn next(&mut self) -> Result<ServerFrame> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                match &frame {
                    ServerFrame::Who(who) => {
                        self.who.insert(who.slot, who.client);
                    }
                    ServerFrame::Welcome(welcome) => {
                        self.you = Some(welcome.you);
                        self.who
                            .extend(welcome.who.iter().map(|w| (w.slot, w.client)));
                    }
                    _ => {}
                }
                return Ok(frame);
            }
            let message = within(PATIENCE, "a message", self.stream.next()).await?;
            match message.context("the socket ended")?? {
                Message::Binary(bytes) => {
                    self.waiting
                        .extend(binary::decode_server(&bytes, &mut self.clock)?);
                }
                Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Whether the next frame is here already, in the message of the one before.
    pub fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits for a message and does not read it.
    pub async fn skip(&mut self) -> Result<()> {
        match within(PATIENCE, "a message", self.stream.next()).await? {
            Some(Ok(Message::Text(_) | Message::Binary(_))) => Ok(()),
            other => bail!("instead of a frame: {other:?}"),
        }
    }

    /// Whether an event's slot is this client.
    pub fn is_mine(&self, slot: u32) -> bool {
        self.you == Some(slot)
    }
}

pub fn fresh_client() -> ClientId {
    ClientId(rand::random())
}
