//! A client that speaks the wire and knows nothing of documents.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use codraft_proto::{
    frame::{
        At, ClientFrame, Encoding, ServerFrame, Welcome,
        binary::{self, Clock},
        json,
    },
    ids::{ClientId, DocId, Revision, Seq},
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::http;

pub struct Client {
    pub id: ClientId,
    encoding: Encoding,
    web: WebSocketStream<TcpStream>,
    clock: Clock,
    waiting: VecDeque<ServerFrame>,
    pub seq: u64,
    pub rev: u64,
}

/// How a handshake went wrong: the status and the problem's code.
pub type Refused = (u16, String);

/// A handshake with these headers, which are all there are.
pub async fn connect(
    address: &str,
    doc: &str,
    headers: &[(&str, String)],
) -> Result<WebSocketStream<TcpStream>, Refused> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("ws://{address}/v1/collab/{doc}");
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        let name: ::http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    match client_async(request, stream).await {
        Ok((web, response)) => {
            let echoed = response.headers()["sec-websocket-protocol"]
                .to_str()
                .unwrap();
            assert!(Encoding::from_subprotocol(echoed).is_some(), "{echoed}");
            Ok(web)
        }
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let code = body["code"].as_str().unwrap_or_default().to_owned();
            Err((response.status().as_u16(), code))
        }
        Err(error) => panic!("{error}"),
    }
}

impl Client {
    /// Connects, without a hello.
    pub async fn silent(
        address: &str,
        doc: DocId,
        user: &str,
        id: u8,
        encoding: Encoding,
    ) -> Client {
        let token = http::token(user, 600);
        Self::with_token(address, doc, &token, id, encoding).await
    }

    pub async fn with_token(
        address: &str,
        doc: DocId,
        token: &str,
        id: u8,
        encoding: Encoding,
    ) -> Client {
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("sec-websocket-protocol", encoding.subprotocol().to_owned()),
        ];
        let web = connect(address, &doc.to_string(), &headers).await.unwrap();
        Self::on(web, id, encoding)
    }

    /// As a page, with a ticket.
    pub async fn with_ticket(
        address: &str,
        doc: DocId,
        ticket: &str,
        id: u8,
    ) -> Result<Client, Refused> {
        let encoding = Encoding::Binary;
        let protocols = format!("{}, ticket.{ticket}", encoding.subprotocol());
        let headers = [
            ("origin", super::ORIGIN.to_owned()),
            ("sec-websocket-protocol", protocols),
        ];
        let web = connect(address, &doc.to_string(), &headers).await?;
        Ok(Self::on(web, id, encoding))
    }

    fn on(web: WebSocketStream<TcpStream>, id: u8, encoding: Encoding) -> Client {
        let (clock, waiting) = (Clock::default(), VecDeque::new());
        Client {
            id: ClientId([id; 16]),
            encoding,
            web,
            clock,
            waiting,
            seq: 0,
            rev: 0,
        }
    }

    pub async fn open(
        address: &str,
        doc: DocId,
        user: &str,
        id: u8,
        encoding: Encoding,
    ) -> (Client, Welcome) {
        let mut client = Self::silent(address, doc, user, id, encoding).await;
        let welcome = client.hello(None).await;
        (client, welcome)
    }

    pub async fn hello(&mut self, resume: Option<At>) -> Welcome {
        self.send(&ClientFrame::Hello {
            client: self.id,
            resume,
            unsent: false,
        })
        .await;
        match self.next().await {
            ServerFrame::Welcome(welcome) => {
                self.rev = welcome.rev.0;
                *welcome
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, frame: &ClientFrame) {
        let message = match self.encoding {
            Encoding::Binary => {
                let mut out = Vec::new();
                binary::encode_client(&mut out, frame);
                Message::Binary(out.into())
            }
            Encoding::Json => Message::Text(json::encode_client(frame).into()),
        };
        self.raw(message).await;
    }

    pub async fn raw(&mut self, message: Message) {
        self.web.send(message).await.unwrap();
    }

    /// Sends the next operation: an insert of this text.
    pub async fn op(&mut self, text: &str) -> u64 {
        self.seq += 1;
        self.send(&ClientFrame::Op {
            seq: Seq(self.seq),
            base: Revision(self.rev),
            ops: insert(text),
        })
        .await;
        self.seq
    }

    /// The next frame, marks left out. Revisions have no gap.
    pub async fn next(&mut self) -> ServerFrame {
        loop {
            let frame = match self.waiting.pop_front() {
                Some(frame) => frame,
                None => match self.message().await {
                    Ok(message) => {
                        self.decode(message);
                        continue;
                    }
                    Err(close) => panic!("closed: {close}"),
                },
            };
            let rev = match &frame {
                ServerFrame::Op(op) => Some(op.rev),
                ServerFrame::Event(event) => Some(event.rev),
                ServerFrame::Skip { rev, .. } => Some(*rev),
                ServerFrame::Mark(_) => continue,
                _ => None,
            };
            if let Some(rev) = rev {
                assert_eq!(rev, Revision(self.rev + 1), "a gap or a repeat");
                self.rev = rev.0;
            }
            return frame;
        }
    }

    /// The next edit: (rev, text), what is not an edit left out.
    pub async fn edit(&mut self) -> (u64, Bytes) {
        loop {
            if let ServerFrame::Op(op) = self.next().await {
                return (op.rev.0, op.ops);
            }
        }
    }

    /// Reads until the socket closes; the close code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.message().await {
                Ok(message) => self.decode(message),
                Err(code) => return code,
            }
        }
    }

    fn decode(&mut self, message: Message) {
        let frames = match message {
            Message::Binary(bytes) => binary::decode_server(&bytes, &mut self.clock).unwrap(),
            Message::Text(text) => json::decode_server(text.as_bytes()).unwrap(),
            Message::Ping(_) | Message::Pong(_) => Vec::new(),
            other => panic!("{other:?}"),
        };
        self.waiting.extend(frames);
    }

    async fn message(&mut self) -> Result<Message, u16> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.web.next());
        match next.await.expect("nothing came for 10 s") {
            Some(Ok(Message::Close(Some(frame)))) => Err(frame.code.into()),
            Some(Ok(Message::Close(None))) | None => Err(0),
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

/// ot's form of an insert, made by the one who knows it.
pub fn insert(text: &str) -> Bytes {
    let frame = serde_json::json!({"type": "op", "seq": 1, "base": 0, "ops": [{"insert": text}]});
    let limits = codraft_proto::limits::of_operations();
    match json::decode_client(frame.to_string().as_bytes(), &limits)
        .unwrap()
        .pop()
    {
        Some(ClientFrame::Op { ops, .. }) => ops,
        other => panic!("{other:?}"),
    }
}
