//! What is sent on a socket that was let in, and should not have been sent.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use codraft_e2e::{
    rest::Rest,
    socket::{PATIENCE, fresh_client},
    typist::Typist,
};
use codraft_ot::{Content, Delta, Kind, Limits, Value};
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame, binary, json},
    ids::ClientId,
    reject::Code,
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use serde_json::json;
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
            line.client = client;
            line.frame(&ClientFrame::Hello {
                client,
                resume: None,
                unsent: false,
            })
            .await?;
            match line.next().await? {
                Heard::Frame(ServerFrame::Welcome(welcome)) => {
                    here.base = welcome.rev;
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
    client: ClientId,
    who: BTreeMap<u32, ClientId>,
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
            client: FRESH,
            who: BTreeMap::new(),
        })
    }

    async fn frame(&mut self, frame: &ClientFrame) -> Result<()> {
        Ok(self.web.send(message(self.encoding, frame)).await?)
    }

    async fn next(&mut self) -> Result<Heard> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                match &frame {
                    ServerFrame::Who(who) => drop(self.who.insert(who.slot, who.client)),
                    ServerFrame::Welcome(w) => {
                        self.who.extend(w.who.iter().map(|w| (w.slot, w.client)));
                    }
                    _ => {}
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
                Heard::Frame(ServerFrame::Op(op))
                    if self.who.get(&op.slot) == Some(&self.client) =>
                {
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
        &ClientFrame::Op { seq, base, ops },
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
    let mut cases = closing(scene);
    cases.extend(refused());
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

/// What ends the socket.
fn closing(scene: &Scene) -> Vec<Case> {
    use Encoding::{Binary, Json};
    let editor = (User::Editor, Some(FRESH));
    let silent = (User::Editor, None);
    let mut cases = Vec::new();
    let mut add = |name: &str, code, encoding, who, sends: fn(&Here) -> Vec<Sent>| {
        cases.push(case(name, code, encoding, who, Ends::Closed, sends));
    };

    // Before a hello.
    add(
        "no first frame",
        Code::HelloTimeout,
        Binary,
        silent,
        |_| vec![],
    );
    add(
        "no first frame",
        Code::HelloTimeout,
        Json,
        silent,
        |_| vec![],
    );
    add("text before hello", Code::Malformed, Binary, silent, |_| {
        text("hi")
    });
    add("binary before hello", Code::Malformed, Json, silent, |_| {
        bytes(*b"hi")
    });
    add(
        "ping before hello",
        Code::UnknownFrame,
        Binary,
        silent,
        |_| bytes(last(37, b"")),
    );
    add(
        "an operation before hello",
        Code::UnknownFrame,
        Json,
        silent,
        |_| text(r#"{"type":"op","seq":1,"base":1,"ops":[{"insert":"x"}]}"#),
    );
    add("a huge hello", Code::FrameTooLarge, Json, silent, |_| {
        text(format!(
            r#"{{"type":"hello","client":"{}"}}"#,
            "0".repeat(100_000)
        ))
    });
    add(
        "a hello with half a client id",
        Code::Malformed,
        Json,
        silent,
        |_| text(r#"{"type":"hello","client":"0123"}"#),
    );

    // Not a frame.
    for (name, value) in [
        ("not JSON", "{\"type\":"),
        ("JSON that is no frame", "7"),
        ("a frame without a type", "{}"),
        ("a type as a number", r#"{"type":7}"#),
        ("an empty array", "[]"),
        (
            "a negative sequence",
            r#"{"type":"op","seq":-1,"base":1,"ops":[{"insert":"x"}]}"#,
        ),
        (
            "a base with a fraction",
            r#"{"type":"op","seq":1,"base":1.5,"ops":[{"insert":"x"}]}"#,
        ),
        (
            "an operation as a string",
            r#"{"type":"op","seq":1,"base":1,"ops":"x"}"#,
        ),
        (
            "a component of nothing",
            r#"{"type":"op","seq":1,"base":1,"ops":[{}]}"#,
        ),
        (
            "a count of zero",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"retain":0}]}"#,
        ),
        (
            "a count below zero",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"delete":-3}]}"#,
        ),
        // Half a pair is not JSON to begin with (RFC 8259, 8.2).
        (
            "half a surrogate pair",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"insert":"\ud83d"}]}"#,
        ),
        (
            "the other half",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"insert":"\ude00"}]}"#,
        ),
    ] {
        let sends = move |_: &Here| text(value);
        cases.push(case(
            name,
            Code::Malformed,
            Json,
            editor,
            Ends::Closed,
            sends,
        ));
    }
    let mut add = |name: &str, code, encoding, who, sends: fn(&Here) -> Vec<Sent>| {
        cases.push(case(name, code, encoding, who, Ends::Closed, sends));
    };
    add("nested without end", Code::Malformed, Json, editor, |_| {
        text("[".repeat(100_000))
    });
    add("65 frames at once", Code::Malformed, Json, editor, |_| {
        text(format!("[{}]", vec![r#"{"type":"ping"}"#; 65].join(",")))
    });
    add(
        "text on a binary socket",
        Code::Malformed,
        Binary,
        editor,
        |_| text(r#"{"type":"ping"}"#),
    );
    add(
        "binary on a text socket",
        Code::Malformed,
        Json,
        editor,
        |_| bytes(last(37, b"")),
    );
    add("an empty message", Code::Malformed, Binary, editor, |_| {
        bytes(*b"")
    });
    add(
        "a head of unknown bits",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes([0x40, 0]),
    );
    add(
        "a length beyond the end",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes([33, 0x7f, 1]),
    );
    add(
        "a number without an end",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(33, &[0xff; 3])),
    );
    add(
        "a number of ten bytes",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(33, &[0xff; 16])),
    );
    add(
        "a token that is not UTF-8",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(36, &[0xff])),
    );
    add(
        "a digest that is short",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(35, &[1, 2, 3])),
    );
    add("65 frames at once", Code::Malformed, Binary, editor, |_| {
        bytes([37, 0].repeat(65))
    });
    add(
        "bytes that are no WebSocket",
        Code::Malformed,
        Binary,
        editor,
        |_| vec![Sent::Raw(vec![0xff; 64])],
    );
    add(
        "a frame without a mask",
        Code::Malformed,
        Binary,
        editor,
        |_| vec![Sent::Raw(vec![0x82, 1, 0xa5])],
    );
    add(
        "text that is not UTF-8",
        Code::Malformed,
        Json,
        editor,
        |_| vec![Sent::Raw(vec![0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff])],
    );

    // Not a frame of ours.
    add(
        "a type that is none",
        Code::UnknownFrame,
        Json,
        editor,
        |_| text(r#"{"type":"sudo"}"#),
    );
    add(
        "a kind that is none",
        Code::UnknownFrame,
        Binary,
        editor,
        |_| bytes(last(63, b"x")),
    );
    add(
        "a server's frame",
        Code::UnknownFrame,
        Binary,
        editor,
        |_| bytes(last(13, b"")),
    );
    add("a server's frame", Code::UnknownFrame, Json, editor, |_| {
        text(r#"{"type":"pong"}"#)
    });
    add("a second hello", Code::UnknownFrame, Json, editor, |_| {
        text(format!(
            r#"{{"type":"hello","client":"{}"}}"#,
            fresh_client()
        ))
    });

    // Too much.
    add(
        "a frame above the limit",
        Code::FrameTooLarge,
        Binary,
        editor,
        |_| bytes(vec![0x80; 300 << 10]),
    );
    add(
        "a frame above the limit",
        Code::FrameTooLarge,
        Json,
        editor,
        |_| text(" ".repeat(300 << 10)),
    );
    add(
        "a frame of four megabytes",
        Code::FrameTooLarge,
        Binary,
        editor,
        |_| bytes(vec![0x80; 4 << 20]),
    );
    add(
        "a frame that claims an exabyte",
        Code::FrameTooLarge,
        Binary,
        editor,
        |_| {
            vec![Sent::Raw(vec![
                0x82, 0xff, 0x0f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
            ])]
        },
    );
    add(
        "20,000 components",
        Code::TooManyComponents,
        Json,
        editor,
        |here| {
            let ops = vec![r#"{"insert":"x"},{"retain":1}"#; 6_000].join(",");
            text(format!(
                r#"{{"type":"op","seq":1,"base":{},"ops":[{ops}]}}"#,
                here.base
            ))
        },
    );

    // Not this user's.
    add(
        "a stranger",
        Code::NotFound,
        Binary,
        (User::Stranger, Some(FRESH)),
        |_| vec![],
    );
    add(
        "another user's token",
        Code::TokenInvalid,
        Json,
        editor,
        |here| text(json!({"type": "auth", "token": here.viewer}).to_string()),
    );
    for (name, token, code) in scene.bad_tokens() {
        let sends = move |_: &Here| text(json!({"type": "auth", "token": token}).to_string());
        cases.push(case(
            &format!("renewing, {name}"),
            code,
            Json,
            editor,
            Ends::Closed,
            sends,
        ));
    }
    let honest = (User::Editor, Some(scene.honest));
    let who_types = "the client id of one who types";
    cases.push(case(
        who_types,
        Code::ForeignClient,
        Binary,
        honest,
        Ends::Closed,
        |_| vec![],
    ));
    cases
}

/// What is answered on a socket that serves on.
fn refused() -> Vec<Case> {
    use Encoding::{Binary, Json};
    let editor = (User::Editor, Some(FRESH));
    let viewer = (User::Viewer, Some(FRESH));
    let mut cases = Vec::new();
    let mut add = |name: &str, code, who, sends: fn(&Here) -> Vec<Sent>| {
        cases.push(case(name, code, Binary, who, Ends::Refused, sends));
    };
    add("a viewer edits", Code::Forbidden, viewer, |here| {
        vec![op(1, here.base, append(here, "mine"))]
    });
    add(
        "a sequence with other bytes",
        Code::SeqConflict,
        editor,
        |here| {
            let (first, other) = (append(here, "abuse "), append(here, "other "));
            vec![
                op(1, here.base, first),
                Sent::Acked,
                op(1, here.base, other),
            ]
        },
    );
    add(
        "a sequence with another base",
        Code::SeqConflict,
        editor,
        |here| {
            let first = append(here, "abuse ");
            vec![
                op(1, here.base, first.clone()),
                Sent::Acked,
                op(1, here.base - 1, first),
            ]
        },
    );
    add("a sequence that skips", Code::SeqGap, editor, |here| {
        let first = append(here, "abuse ");
        vec![
            op(1, here.base, first.clone()),
            Sent::Acked,
            op(3, here.base, first),
        ]
    });
    add(
        "longer than the document",
        Code::LengthMismatch,
        editor,
        |here| {
            let mut delta = Delta::new();
            delta.retain(here.units + 1);
            delta.insert("x");
            vec![op(1, here.base, delta.to_bytes())]
        },
    );
    add(
        "deletes more than there is",
        Code::LengthMismatch,
        editor,
        |here| vec![op(1, here.base, varint(u64::from(here.units + 1) << 2 | 1))],
    );
    add("a count that overflows", Code::Malformed, editor, |here| {
        vec![op(1, here.base, varint(1 << 50 << 2))]
    });
    add(
        "between two halves of a pair",
        Code::Surrogate,
        editor,
        |here| {
            vec![op(
                1,
                here.base,
                [&varint(1 << 2)[..], &varint(1 << 2 | 2), b"x"].concat(),
            )]
        },
    );
    add("deletes half a pair", Code::Surrogate, editor, |here| {
        vec![op(1, here.base, varint(1 << 2 | 1))]
    });
    add("a count of zero", Code::Malformed, editor, |here| {
        vec![op(1, here.base, [0])]
    });
    add("half a pair as UTF-8", Code::Malformed, editor, |here| {
        vec![op(
            1,
            here.base,
            [&varint(3 << 2 | 2)[..], &[0xed, 0xa0, 0xbd]].concat(),
        )]
    });
    add(
        "a text longer than its bytes",
        Code::Malformed,
        editor,
        |here| {
            vec![op(
                1,
                here.base,
                [&varint(1 << 40 << 2 | 2)[..], b"x"].concat(),
            )]
        },
    );
    add(
        "a component that is none",
        Code::Malformed,
        editor,
        |here| vec![op(1, here.base, varint(99 << 2 | 3))],
    );
    add(
        "20,000 components",
        Code::TooManyComponents,
        editor,
        |here| {
            let pair = [&varint(1 << 2 | 2)[..], b"x", &varint(1 << 2)].concat();
            vec![op(1, here.base, pair.repeat(10_000))]
        },
    );
    add(
        "an embed in plain text",
        Code::KindMismatch,
        editor,
        |here| {
            let mut delta = Delta::new();
            delta.retain(here.units);
            delta.embed(
                Value::Object([("image".into(), Value::Bool(true))].into()),
                Default::default(),
            );
            vec![op(1, here.base, delta.to_bytes())]
        },
    );
    add(
        "a client id of one who left",
        Code::ForeignClient,
        (User::Editor, Some(OWNERS)),
        |here| vec![op(2, here.base, append(here, "mine"))],
    );
    for encoding in [Binary, Json] {
        cases.push(case(
            "a base ahead",
            Code::BaseAhead,
            encoding,
            editor,
            Ends::Again,
            move |here| {
                let (base, ops) = (here.base + 1_000_000, append(here, "x").into());
                vec![Sent::Message(message(
                    encoding,
                    &ClientFrame::Op { seq: 1, base, ops },
                ))]
            },
        ));
    }
    cases.push(case(
        "a flood",
        Code::Rate,
        Binary,
        editor,
        Ends::Again,
        |here| {
            let mut batch = Vec::new();
            let frame = [&[1][..], &varint(here.base), &append(here, "flood ")].concat();
            for _ in 0..64 {
                batch.push(33);
                batch.extend(varint(frame.len() as u64));
                batch.extend_from_slice(&frame);
            }
            (0..40).flat_map(|_| bytes(batch.clone())).collect()
        },
    ));
    cases
}
