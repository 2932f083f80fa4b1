//! What hostile clients do, each inside every limit: names as in the reading that found them.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use codraft_ot::{Delta, Value};
use codraft_proto::{
    frame::{ClientFrame, ServerFrame, Welcome},
    ids::ClientId,
    limits::Limits,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderValue, Method, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use crate::{
    rest::Rest,
    socket::{Socket, fresh_client},
};

type Work<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

pub struct Case {
    pub name: &'static str,
    pub says: &'static str,
    pub(super) prepare: fn(Rest, Rest, Vec<String>) -> Work<Scene>,
    pub(super) attack: fn(Scene) -> Work<Done>,
}

pub const CASES: &[Case] = &[
    Case {
        name: "c1",
        says: "a quarter of a megabyte with an old base, refused only when it is applied, again and again",
        prepare: |owner, mallory, docs| Box::pin(late(owner, mallory, docs)),
        attack: |scene| Box::pin(late_pastes(scene)),
    },
    Case {
        name: "c2",
        says: "letters of which each has attributes of its own, as many bytes a second as may be",
        prepare: |owner, mallory, docs| Box::pin(rich(owner, mallory, docs, 0)),
        attack: |scene| Box::pin(shapes(scene)),
    },
    Case {
        name: "c3",
        says: "a rich document of two megabytes, opened by 32 at a time in a loop",
        prepare: |owner, mallory, docs| Box::pin(rich(owner, mallory, docs, 2 << 20)),
        attack: |scene| Box::pin(opens(scene)),
    },
    Case {
        name: "c5",
        says: "a viewer comes in under the client id of one whose connection broke",
        prepare: |owner, mallory, docs| Box::pin(among_honest(owner, mallory, docs)),
        attack: |scene| Box::pin(stolen_ids(scene)),
    },
    Case {
        name: "c6",
        says: "bodies without a token: large ones that parse to more, and such that never end",
        prepare: |owner, mallory, docs| Box::pin(among_honest(owner, mallory, docs)),
        attack: |scene| Box::pin(bodies(scene)),
    },
    Case {
        name: "c8",
        says: "tickets, each used once, as fast as they are given",
        prepare: |owner, mallory, docs| Box::pin(among_honest(owner, mallory, docs)),
        attack: |scene| Box::pin(tickets(scene)),
    },
    Case {
        name: "c9",
        says: "64 sockets of one user on eight documents, an operation a round trip each",
        prepare: |owner, mallory, docs| Box::pin(rich(owner, mallory, docs, 0)),
        attack: |scene| Box::pin(flood(scene)),
    },
    Case {
        name: "c15",
        says: "a viewer opens and closes one tab after another on a document of the honest",
        prepare: |owner, mallory, docs| Box::pin(among_honest(owner, mallory, docs)),
        attack: |scene| Box::pin(tabs(scene)),
    },
];

#[derive(Debug, Default)]
pub struct Done {
    pub attempts: u64,
    pub harm: BTreeMap<String, u64>,
}

/// What there is for the hostile client.
#[derive(Clone)]
pub struct Scene {
    pub owner: Rest,
    pub mallory: Rest,
    /// Those of the client's own, or one of the honest.
    pub docs: Vec<String>,
    /// The first document's, for the sink.
    pub welcome: Welcome,
    over: Arc<AtomicBool>,
}

impl Scene {
    async fn new(owner: Rest, mallory: Rest, docs: Vec<String>) -> Result<Scene> {
        let doc = docs.first().context("no documents")?;
        let (_, welcome) = Socket::open(&mallory, doc, fresh_client(), None, false).await?;
        Ok(Scene {
            owner,
            mallory,
            docs,
            welcome,
            over: Arc::default(),
        })
    }

    pub fn aimed_at(&self, mallory: Rest) -> Scene {
        Scene {
            mallory,
            ..self.clone()
        }
    }

    pub fn until(self, over: Arc<AtomicBool>) -> Scene {
        Scene { over, ..self }
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn is_sink(&self) -> bool {
        self.mallory.address != self.owner.address
    }
}

/// Runs so many at a time, each again and again until it is over; how often in all.
async fn loops(
    scene: &Scene,
    at_once: usize,
    each: impl AsyncFn(usize) -> Result<u64>,
) -> Result<Done> {
    let run = async |n: usize| {
        let mut attempts = 0;
        while !scene.is_over() {
            match each(n).await {
                Ok(done) => attempts += done,
                // It was let go, which is right; a client would come back.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        attempts
    };
    let mut all: FuturesUnordered<_> = (0..at_once).map(run).collect();
    let mut done = Done::default();
    while let Some(attempts) = all.next().await {
        done.attempts += attempts;
    }
    Ok(done)
}

/// What came of an operation.
enum Answer {
    Applied(u64),
    Refused,
}

/// Sends an operation until it is answered for good.
async fn push(socket: &mut Socket, seq: u64, base: u64, ops: &Bytes) -> Result<Answer> {
    loop {
        let ops = ops.clone();
        socket.send(&ClientFrame::Op { seq, base, ops }).await?;
        loop {
            match socket.next().await? {
                ServerFrame::Op(op) if socket.is_mine(op.slot) => {
                    return Ok(Answer::Applied(op.rev));
                }
                ServerFrame::Already { rev, .. } => return Ok(Answer::Applied(rev)),
                ServerFrame::Reject { last: true, .. } => return Ok(Answer::Refused),
                ServerFrame::Rebase { .. } => return Ok(Answer::Refused),
                ServerFrame::Reject { retry_after_ms, .. } => {
                    let pause = u64::from(retry_after_ms.max(20));
                    sleep(Duration::from_millis(pause)).await;
                    break;
                }
                ServerFrame::Bye { code, .. } => anyhow::bail!("sent away: {}", code.as_str()),
                _ => {}
            }
        }
    }
}

async fn create(rest: &Rest, kind: &str, initial: &str) -> Result<String> {
    let body = json!({"title": "mallory's", "kind": kind, "initial": initial});
    let (status, answer) = rest.call(Method::POST, "/v1/docs", Some(&body)).await?;
    ensure!(
        status.is_success(),
        "creating a document: {status} {answer}"
    );
    Ok(answer["id"].as_str().context("no id")?.to_owned())
}

async fn among_honest(owner: Rest, mallory: Rest, docs: Vec<String>) -> Result<Scene> {
    Scene::new(owner, mallory, docs).await
}

// ---- c1 ------------------------------------------------------------------------------------

/// So many events after the base, fewer than the window holds.
const EVENTS: u64 = 4_000;
const WRITERS: u64 = 8;

async fn late(owner: Rest, mallory: Rest, _: Vec<String>) -> Result<Scene> {
    let doc = create(&mallory, "text", "\u{1f600}").await?;
    let letter: Bytes = Delta::new().insert("x").to_bytes().into();
    let write = async |_: u64| {
        let (mut socket, welcome) =
            Socket::open(&mallory, &doc, fresh_client(), None, false).await?;
        let mut base = welcome.rev;
        for seq in 1..=EVENTS / WRITERS {
            if let Answer::Applied(rev) = push(&mut socket, seq, base, &letter).await? {
                base = rev;
            }
        }
        anyhow::Ok(())
    };
    let mut writers: FuturesUnordered<_> = (0..WRITERS).map(write).collect();
    while let Some(written) = writers.next().await {
        written?;
    }
    drop(writers);
    Scene::new(owner, mallory, vec![doc]).await
}

async fn late_pastes(scene: Scene) -> Result<Done> {
    const SOCKETS: usize = 4;
    /// Four in a second are one megabyte.
    const PACE: Duration = Duration::from_millis(270);
    let text = "x".repeat(250_000);
    let ops: Bytes = Delta::new().retain(1).insert(&text).to_bytes().into();
    loops(&scene, SOCKETS, async |_| {
        let rest = &scene.mallory;
        let (mut socket, _) =
            Socket::open(rest, &scene.docs[0], fresh_client(), None, false).await?;
        let (mut seq, mut due) = (0, Instant::now());
        while !scene.is_over() {
            seq += 1;
            push(&mut socket, seq, 1, &ops).await?;
            due += PACE;
            sleep_until(due).await;
        }
        Ok(seq)
    })
    .await
}

// ---- c2, c3 --------------------------------------------------------------------------------

const LETTERS: usize = 9_000;
/// All that the client puts in: what stays in the log for good.
const MOST_BYTES: usize = 8 << 20;

async fn rich(owner: Rest, mallory: Rest, _: Vec<String>, bytes: usize) -> Result<Scene> {
    let mut docs = Vec::new();
    for _ in 0..8 {
        docs.push(create(&mallory, "rich", "\n").await?);
    }
    let ops = shape();
    let (mut socket, welcome) =
        Socket::open(&mallory, &docs[0], fresh_client(), None, false).await?;
    let (mut base, mut put) = (welcome.rev, 0);
    for seq in 1.. {
        if put >= bytes {
            break;
        }
        put += ops.len();
        if let Answer::Applied(rev) = push(&mut socket, seq, base, &ops).await? {
            base = rev;
        }
    }
    Scene::new(owner, mallory, docs).await
}

/// No two neighbours have the same attributes.
fn shape() -> Bytes {
    let mut delta = Delta::new();
    for n in 0..LETTERS {
        let value = Value::Number((n % 7) as f64);
        delta.insert_with("x", [("b".into(), value)].into());
    }
    delta.to_bytes().into()
}

async fn shapes(scene: Scene) -> Result<Done> {
    let ops = shape();
    let pace = Duration::from_secs(1) * ops.len() as u32 / (900 << 10);
    let limits = Limits::default();
    ensure!(
        ops.len() < limits.frame_bytes as usize,
        "{} bytes",
        ops.len()
    );
    let put = std::cell::Cell::new(0);
    loops(&scene, 1, async |_| {
        let doc = create(&scene.mallory, "rich", "\n").await?;
        let rest = &scene.mallory;
        let (mut socket, welcome) = Socket::open(rest, &doc, fresh_client(), None, false).await?;
        let (mut base, mut seq, mut due) = (welcome.rev, 0, Instant::now());
        while !scene.is_over() {
            due += pace;
            sleep_until(due).await;
            if put.get() + ops.len() > MOST_BYTES {
                continue;
            }
            seq += 1;
            match push(&mut socket, seq, base, &ops).await? {
                Answer::Applied(rev) => base = rev,
                // That one is full, or a budget is.
                Answer::Refused if !scene.is_sink() => return Ok(seq),
                Answer::Refused => {}
            }
            put.set(put.get() + ops.len());
        }
        Ok(seq)
    })
    .await
}

async fn opens(scene: Scene) -> Result<Done> {
    loops(&scene, 32, async |_| {
        let mut socket =
            Socket::connect_json(&scene.mallory, &scene.docs[0], fresh_client()).await?;
        let client = socket.client;
        let hello = format!(r#"{{"type":"hello","client":"{client}","unsent":false}}"#);
        socket.send_text(&hello).await?;
        socket.skip().await?;
        Ok(1)
    })
    .await
}

// ---- c5 ------------------------------------------------------------------------------------

/// Ana's connection breaks under an operation; before she is back somebody else is there under
/// her name. Told that it is another's, she takes a new one, as clients do, and sends her work.
async fn stolen_ids(scene: Scene) -> Result<Done> {
    let doc = &scene.docs[0];
    let number = std::cell::Cell::new(0u64);
    let mut done = loops(&scene, 1, async |_| {
        let ana = fresh_client();
        number.set(number.get() + 1);
        let text = format!("<{}>", number.get());
        let ops: Bytes = Delta::new().insert(&text).to_bytes().into();
        if !scene.is_sink() {
            let (mut socket, welcome) = Socket::open(&scene.owner, doc, ana, None, false).await?;
            let base = welcome.rev;
            let op = ClientFrame::Op {
                seq: 1,
                base,
                ops: ops.clone(),
            };
            socket.send(&op).await?;
            sleep(Duration::from_millis(30)).await;
        }
        let stolen = Socket::open(&scene.mallory, doc, ana, None, true).await;
        if !scene.is_sink() {
            come_back(&scene.owner, doc, ana, &ops).await?;
        }
        drop(stolen);
        Ok(1)
    })
    .await?;
    if !scene.is_sink() {
        let (_, welcome) = Socket::open(&scene.owner, doc, fresh_client(), None, false).await?;
        let state = welcome.doc.context("no document")?;
        let limits = codraft_ot::Limits::default().of_document();
        let content = Delta::decode(&state, &limits)?;
        let content = codraft_ot::Content::from_delta(codraft_ot::Kind::Text, &content, &limits)?;
        let text = content.text();
        let count = |n: u64| text.matches(&format!("<{n}>")).count() as u64;
        let doubled = (1..=number.get()).map(|n| count(n).saturating_sub(1)).sum();
        done.harm.insert("operations applied twice".into(), doubled);
    }
    Ok(done)
}

async fn come_back(owner: &Rest, doc: &str, ana: ClientId, ops: &Bytes) -> Result<()> {
    let back = Socket::open(owner, doc, ana, None, true).await;
    let (mut socket, welcome) = match back {
        Ok(back) => back,
        Err(error) if format!("{error:#}").contains("4413") => {
            Socket::open(owner, doc, fresh_client(), None, true).await?
        }
        Err(error) => return Err(error),
    };
    if welcome.acked.is_some_and(|(seq, _)| seq >= 1) {
        return Ok(());
    }
    push(&mut socket, 1, welcome.rev, ops).await.map(drop)
}

// ---- c6 ------------------------------------------------------------------------------------

async fn bodies(scene: Scene) -> Result<Done> {
    const BYTES: usize = 1 << 20;
    let address = scene.mallory.address.clone();
    let piece = r#"{"a":0},"#;
    let mut body = format!(
        r#"{{"title":[{}0]}}"#,
        piece.repeat((BYTES - 64) / piece.len())
    );
    body.extend(std::iter::repeat_n(' ', BYTES - body.len()));
    let head = format!(
        "POST /v1/docs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {BYTES}\r\n\r\n"
    );
    loops(&scene, 128, async |n| {
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(head.as_bytes()).await?;
        // Every other one never sends the last byte.
        let whole = n.is_multiple_of(2);
        let sent = if whole { BYTES } else { BYTES - 1 };
        stream.write_all(&body.as_bytes()[..sent]).await?;
        if whole {
            let mut answer = Vec::new();
            stream.read_buf(&mut answer).await?;
            return Ok(1);
        }
        while !scene.is_over() {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(1)
    })
    .await
}

// ---- c8 ------------------------------------------------------------------------------------

async fn tickets(scene: Scene) -> Result<Done> {
    let refused = std::cell::Cell::new(0u64);
    // Of the loops, the first one is an honest browser.
    let mut done = loops(&scene, 17, async |n| {
        if n > 0 {
            use_ticket(&scene.mallory, &scene.docs[0]).await?;
            return Ok(1);
        }
        if !scene.is_sink() && use_ticket(&scene.owner, &scene.docs[0]).await.is_err() {
            refused.set(refused.get() + 1);
        }
        sleep(Duration::from_millis(250)).await;
        Ok(0)
    })
    .await?;
    done.harm
        .insert("honest tickets refused".into(), refused.get());
    Ok(done)
}

async fn use_ticket(rest: &Rest, doc: &str) -> Result<()> {
    let path = format!("/v1/collab/{doc}/ticket");
    let (status, answer) = rest.call(Method::POST, &path, None).await?;
    ensure!(status.is_success(), "no ticket: {status}");
    let ticket = answer["ticket"].as_str().context("no ticket")?;
    let stream = TcpStream::connect(&rest.address).await?;
    let mut request = format!("ws://{}/v1/collab/{doc}", rest.address).into_client_request()?;
    let headers = request.headers_mut();
    let protocols = HeaderValue::from_str(&format!("codraft.v1.bin, ticket.{ticket}"))?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    let origin = HeaderValue::from_str(&format!("http://{}", rest.address))?;
    headers.insert(header::ORIGIN, origin);
    client_async(request, stream)
        .await
        .context("the ticket was refused")?;
    Ok(())
}

// ---- c9, c15 -------------------------------------------------------------------------------

async fn flood(scene: Scene) -> Result<Done> {
    let letter: Bytes = Delta::new().insert("x").to_bytes().into();
    loops(&scene, 64, async |n| {
        let doc = &scene.docs[n % scene.docs.len()];
        let rest = &scene.mallory;
        let (mut socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
        let (mut base, mut seq) = (welcome.rev, 0);
        while !scene.is_over() {
            seq += 1;
            if let Answer::Applied(rev) = push(&mut socket, seq, base, &letter).await? {
                base = rev;
            } else if scene.is_sink() {
                // As long as a round trip takes at least.
                sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(seq)
    })
    .await
}

async fn tabs(scene: Scene) -> Result<Done> {
    loops(&scene, 32, async |_| {
        Socket::open(&scene.mallory, &scene.docs[0], fresh_client(), None, false).await?;
        Ok(1)
    })
    .await
}
