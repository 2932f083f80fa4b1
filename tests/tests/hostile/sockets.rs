//! What is sent on a socket that was let in, and should not have been sent.

mod closing;
mod refused;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use codraft_e2e::{patience::PATIENCE, rest::Rest, socket::fresh_client, typist::Typist};
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame, binary, json},
    ids::{ClientId, Revision, Seq},
    reject::Code,
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Duration, Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::{Case, How, Scene};

#[derive(Clone, Copy)]
enum User {
    Editor,
    Flooder,
    Pinger,
    Viewer,
    Stranger,
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// The socket is closed with the code.
    Closed,
    /// The operation is refused for good, and the socket serves on.
    Refused,
    /// It is to be sent again, and the socket serves on.
    Again,
}

/// What the attacker knows once it was welcomed.
struct Here {
    base: u64,
    /// Of the document, in UTF-16 units.
    units: u32,
    viewer: String,
}

enum Sent {
    Message(Message),
    /// Straight on the connection, no WebSocket frame.
    Raw(Vec<u8>),
    /// Waits until the operation before it is acknowledged.
    Acked,
}

type Sends = Box<dyn Fn(&Here) -> Vec<Sent> + Send + Sync>;

pub struct Attack {
    user: User,
    encoding: Encoding,
    /// `None`: no hello at all.
    client: Option<ClientId>,
    ends: Ends,
    sends: Sends,
}

impl Attack {
    pub async fn run(&self, scene: &Scene, code: Code) -> Result<()> {
        let token = match self.user {
            User::Editor => &scene.editor,
            User::Flooder => &scene.flooder,
            User::Pinger => &scene.pinger,
            User::Viewer => &scene.viewer,
            User::Stranger => &scene.stranger,
        };
        let mut line = Line::connect(scene, token, self.encoding).await?;
        let mut here = Here {
            base: 0,
            units: 0,
            viewer: scene.viewer.clone(),
        };
        if let Some(client) = self.client {
            let client = match client {
                FRESH => fresh_client(),
                OWNERS => owners(scene).await?,
                known => known,
            };
            line.frame(&ClientFrame::Hello {
                client,
                resume: None,
                unsent: false,
            })
            .await?;
            match line.next().await? {
                Heard::Frame(ServerFrame::Welcome(welcome)) => {
                    here.base = welcome.rev.0;
                    let limits = Limits::default();
                    let mut content = Content::new(Kind::Text);
                    let doc = welcome.doc.context("no document")?;
                    content.apply(&Delta::decode(&doc, &limits)?, &limits)?;
                    here.units = content.units();
                }
                heard => return line.closes(heard, code).await,
            }
        }
        for sent in (self.sends)(&here) {
            match sent {
                // It may be closed already: what was said then is still to be read.
                Sent::Message(message) => drop(line.web.send(message).await),
                Sent::Raw(bytes) => drop(line.web.get_mut().write_all(&bytes).await),
                Sent::Acked => line.acked().await?,
            }
        }
        if self.ends == Ends::Closed {
            let waiting = Instant::now();
            let heard = line.next().await?;
            let in_time = code != Code::HelloTimeout || waiting.elapsed() < HELLO_LIMIT;
            ensure!(
                in_time,
                "waited {:?}: the environment's limit is not used",
                waiting.elapsed()
            );
            return line.closes(heard, code).await;
        }
        loop {
            match line.next().await? {
                Heard::Frame(ServerFrame::Reject {
                    code: told,
                    last,
                    message,
                    ..
                }) => {
                    ensure!(
                        told == code,
                        "rejected as {told:?} {message:?}, not {code:?}"
                    );
                    ensure!(
                        last == (self.ends == Ends::Refused),
                        "{told:?}: final {last}"
                    );
                    break;
                }
                Heard::Frame(frame @ ServerFrame::Bye { .. }) => bail!("closed with {frame:?}"),
                Heard::Frame(_) => {}
                Heard::Closed(code) => bail!("closed with {code}"),
            }
        }
        line.serves().await
    }
}

enum Heard {
    Frame(ServerFrame),
    Closed(u16),
}

/// A WebSocket that checks nothing of what it sends.
struct Line {
    web: WebSocketStream<TcpStream>,
    encoding: Encoding,
    clock: binary::Clock,
    waiting: std::collections::VecDeque<ServerFrame>,
    /// Its own slot, once it was welcomed.
    you: Option<u32>,
}

impl Line {
    async fn connect(scene: &Scene, token: &str, encoding: Encoding) -> Result<Line> {
        let tcp = TcpStream::connect(&scene.address)
            .await
            .context("the router is not there")?;
        tcp.set_nodelay(true)?;
        let url = format!("ws://{}/v1/collab/{}", scene.address, scene.doc);
        let mut request = url.into_client_request()?;
        let headers = request.headers_mut();
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}"))?,
        );
        let protocol = HeaderValue::from_static(encoding.subprotocol());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let shaken = timeout(PATIENCE, client_async_with_config(request, tcp, None)).await;
        let (web, _) = shaken
            .context("no answer")?
            .context("the upgrade was refused")?;
        Ok(Line {
            web,
            encoding,
            clock: binary::Clock::default(),
            waiting: Default::default(),
            you: None,
        })
    }

    async fn frame(&mut self, frame: &ClientFrame) -> Result<()> {
        Ok(self.web.send(message(self.encoding, frame)).await?)
    }

    async fn next(&mut self) -> Result<Heard> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                if let ServerFrame::Welcome(welcome) = &frame {
                    self.you = Some(welcome.you);
                }
                return Ok(Heard::Frame(frame));
            }
            let message = timeout(PATIENCE, self.web.next())
                .await
                .context("nothing came for 30 s")?;
            match message.context("the connection ended without a code")?? {
                Message::Binary(bytes) => {
                    self.waiting
                        .extend(binary::decode_server(&bytes, &mut self.clock)?);
                }
                Message::Text(text) => self.waiting.extend(json::decode_server(text.as_bytes())?),
                Message::Close(close) => {
                    return Ok(Heard::Closed(
                        close.context("a close without a code")?.code.into(),
                    ));
                }
                _ => {}
            }
        }
    }

    /// It says goodbye with the code, and closes with it.
    async fn closes(&mut self, first: Heard, code: Code) -> Result<()> {
        let mut heard = first;
        let mut said = false;
        loop {
            match heard {
                Heard::Frame(ServerFrame::Bye {
                    code: told, reason, ..
                }) => {
                    ensure!(
                        told == code,
                        "goodbye with {told:?} {reason:?}, not {code:?}"
                    );
                    said = true;
                }
                Heard::Frame(frame @ ServerFrame::Reject { .. }) => bail!("answered {frame:?}"),
                Heard::Frame(_) => {}
                Heard::Closed(number) => {
                    ensure!(
                        number == code.close_code(),
                        "closed with {number}, not {code:?}"
                    );
                    ensure!(said, "closed without a goodbye");
                    return Ok(());
                }
            }
            heard = self.next().await?;
        }
    }

    async fn acked(&mut self) -> Result<()> {
        loop {
            match self.next().await? {
                Heard::Frame(ServerFrame::Op(op)) if self.you == Some(op.slot) => {
                    return Ok(());
                }
                Heard::Frame(frame @ (ServerFrame::Reject { .. } | ServerFrame::Bye { .. })) => {
                    bail!("a good operation was answered {frame:?}")
                }
                Heard::Frame(_) => {}
                Heard::Closed(code) => bail!("closed with {code}"),
            }
        }
    }

    /// The socket is still of use.
    async fn serves(&mut self) -> Result<()> {
        self.frame(&ClientFrame::Ping).await?;
        while !matches!(self.next().await?, Heard::Frame(ServerFrame::Pong)) {}
        Ok(())
    }
}

fn message(encoding: Encoding, frame: &ClientFrame) -> Message {
    match encoding {
        Encoding::Json => Message::text(json::encode_client(frame)),
        Encoding::Binary => {
            let mut bytes = Vec::new();
            binary::encode_client(&mut bytes, frame);
            Message::Binary(bytes.into())
        }
    }
}

/// Below the default: the test sets a shorter one.
const HELLO_LIMIT: Duration = Duration::from_secs(4);

/// Stands for a client id minted at each run.
const FRESH: ClientId = ClientId([0; 16]);
/// Stands for one that the owner typed with, and left.
const OWNERS: ClientId = ClientId([1; 16]);

async fn owners(scene: &Scene) -> Result<ClientId> {
    let rest = Rest {
        address: scene.address.clone(),
        token: scene.owner.clone(),
    };
    let mut typist = Typist::open(&rest, &scene.doc).await?;
    typist.append("owner ").await?;
    Ok(typist.client())
}

fn bytes(bytes: impl Into<Vec<u8>>) -> Vec<Sent> {
    vec![Sent::Message(Message::Binary(Bytes::from(bytes.into())))]
}

fn text(text: impl Into<String>) -> Vec<Sent> {
    vec![Sent::Message(Message::text(text.into()))]
}

fn op(seq: u64, base: u64, ops: impl Into<Vec<u8>>) -> Sent {
    let ops = Bytes::from(ops.into());
    Sent::Message(message(
        Encoding::Binary,
        &ClientFrame::Op {
            seq: Seq(seq),
            base: Revision(base),
            ops,
        },
    ))
}

/// Inserts at the end, as an honest one would.
fn append(here: &Here, text: &str) -> Vec<u8> {
    let mut delta = Delta::new();
    delta.retain(here.units);
    delta.insert(text);
    delta.to_bytes()
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A frame's head with the last bit: its body is the rest of the message.
fn last(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0x80 | kind], body].concat()
}

pub fn cases(scene: &Scene) -> Vec<Case> {
    let mut cases = closing::cases(scene);
    cases.extend(refused::cases(scene));
    cases
}

fn case(
    name: &str,
    code: Code,
    encoding: Encoding,
    (user, client): (User, Option<ClientId>),
    ends: Ends,
    sends: impl Fn(&Here) -> Vec<Sent> + Send + Sync + 'static,
) -> Case {
    let attack = Attack {
        user,
        encoding,
        client,
        ends,
        sends: Box::new(sends),
    };
    Case {
        name: format!("{name} ({})", encoding.subprotocol()),
        code,
        how: How::Socket(attack),
    }
}
