//! What opening large documents costs a router: `codraft-readers [readers]`. First documents of the
//! greatest size, one reader at a time; then a router that is killed, and all who read a document of
//! 4 MiB come back at once. Real processes; a release build, an idle machine.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use codraft_e2e::{
    processes::{Processes, kill},
    rest::Rest,
    socket::Socket,
};
use codraft_ot::{Attributes, Delta, Limits, Value};
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame, binary, json},
    ids::{ClientId, Seq},
};
use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// All readers are one user.
const WIDE: &[(&str, &str)] = &[
    ("CODRAFT_LIMITS__SOCKETS_PER_USER", "100000"),
    ("CODRAFT_LIMITS__SOCKETS_PER_USER_AND_DOCUMENT", "100000"),
    ("CODRAFT_LIMITS__OPENS_PER_SECOND", "100000"),
    ("CODRAFT_LIMITS__BYTES_PER_SECOND", "1000000000"),
];
/// Longer than a router holds a state.
const LET_GO: Duration = Duration::from_millis(2_500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let readers: u64 = std::env::args().nth(1).map_or(Ok(1_000), |n| n.parse())?;
    let processes = Processes::start("readers", &["--routers", "1"], WIDE)?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    let plain = written(&rest, "text", plain_parts()).await?;
    let rich = written(&rest, "rich", rich_parts()).await?;
    for (name, doc) in [("plain", &plain), ("rich", &rich)] {
        for encoding in [Encoding::Binary, Encoding::Json] {
            alone(&processes, &rest, name, doc, encoding).await?;
        }
    }
    for encoding in [Encoding::Binary, Encoding::Json] {
        come_back(&processes, &rest, &plain, encoding, readers).await?;
    }
    Ok(())
}

/// As many units as a document may have.
fn plain_parts() -> Vec<Delta> {
    let units = Limits::default().document_units as usize;
    let part = |units: usize| {
        let mut delta = Delta::new();
        delta.insert(&"x".repeat(units));
        delta
    };
    let whole = units / PART_UNITS;
    let mut parts: Vec<_> = (0..whole).map(|_| part(PART_UNITS)).collect();
    parts.push(part(units - whole * PART_UNITS));
    parts
}

const PART_UNITS: usize = 250_000;

/// As many runs as a document may have, every other one with an attribute.
fn rich_parts() -> Vec<Delta> {
    let limits = Limits::default();
    // Twelve of `rich_bytes` a pair; the line break at the end is one run more.
    let mut pairs = limits.rich_bytes / 12 - 1;
    let mut parts = Vec::new();
    while pairs > 0 {
        let now = pairs.min(limits.components / 2 - 1);
        let mut delta = Delta::new();
        for _ in 0..now {
            let bold: Attributes = [("b".into(), Value::Bool(true))].into();
            delta.insert_with("x", bold).insert("y");
        }
        parts.push(delta);
        pairs -= now;
    }
    parts
}

/// A document that was written part by part, each before the rest.
async fn written(rest: &Rest, kind: &str, parts: Vec<Delta>) -> Result<String> {
    let body = serde_json::json!({"title": kind, "kind": kind});
    let (_, answer) = rest.call(Method::POST, "/v1/docs", Some(&body)).await?;
    let doc = answer["id"].as_str().context("no document")?.to_owned();
    let client = ClientId(rand::random());
    let (mut socket, welcome) = Socket::open(rest, &doc, client, None, false).await?;
    let mut base = welcome.rev;
    for (part, seq) in parts.iter().zip(1..) {
        let ops = part.to_bytes().into();
        socket
            .send(&ClientFrame::Op {
                seq: Seq(seq),
                base,
                ops,
            })
            .await?;
        loop {
            match socket.next().await? {
                ServerFrame::Op(op) => {
                    base = op.rev;
                    break;
                }
                ServerFrame::Reject { message, .. } => anyhow::bail!("refused: {message}"),
                _ => {}
            }
        }
    }
    Ok(doc)
}

/// What one open takes of the router's thread: where the state has to be brought, and where it is held.
async fn alone(
    processes: &Processes,
    rest: &Rest,
    name: &str,
    doc: &str,
    encoding: Encoding,
) -> Result<()> {
    let (mut brought, mut held, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        tokio::time::sleep(LET_GO).await;
        for times in [&mut brought, &mut held] {
            let router = router(processes, 0).await?;
            let before = on_cpu(router)?;
            let reader = Reader::open(rest, doc, encoding).await?;
            times.push(on_cpu(router)?.saturating_sub(before));
            bytes = reader.bytes;
        }
    }
    brought.sort_unstable();
    held.sort_unstable();
    println!(
        "{name}, {encoding:?}: a welcome of {:.1} MiB takes the router's thread {:.1} ms [{:.1}..{:.1}] \
         where the state is brought, {:.1} ms [{:.1}..{:.1}] where it is held",
        mib(bytes),
        millis(brought[2]),
        millis(brought[0]),
        millis(brought[4]),
        millis(held[2]),
        millis(held[0]),
        millis(held[4]),
    );
    Ok(())
}

/// The router is killed, and all readers open the document as soon as it is back.
async fn come_back(
    processes: &Processes,
    rest: &Rest,
    doc: &str,
    encoding: Encoding,
    readers: u64,
) -> Result<()> {
    let before = router(processes, 0).await?;
    kill(before, libc::SIGKILL);
    let begun = loop {
        let begun = Instant::now();
        if TcpStream::connect(&rest.address).await.is_ok() {
            break begun;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let pid = router(processes, before).await?;
    let before = memory(pid, "VmRSS:")?;
    let opened = (0..readers).map(|_| Reader::open(rest, doc, encoding));
    let opened: Vec<_> = futures_util::future::try_join_all(opened).await?;
    let took = begun.elapsed();
    let most = memory(pid, "VmHWM:")?;
    let bytes = opened.iter().map(|reader| reader.bytes).max().unwrap_or(0);
    println!(
        "{readers} readers of {:.1} MiB after a router's restart, {encoding:?}: all open after {:.1} s, the \
         router's memory {:.1} MiB above {:.1} MiB before, the document included; CPU {:.1} s",
        mib(bytes),
        took.as_secs_f64(),
        mib(most - before),
        mib(before),
        on_cpu(pid)?.as_secs_f64(),
    );
    Ok(())
}

/// The router's process, once another one runs than that before.
async fn router(processes: &Processes, before: u32) -> Result<u32> {
    for _ in 0..500 {
        let router = processes.state()?.router;
        if let Some(router) = router.filter(|router| router.alive && router.pid != before) {
            return Ok(router.pid);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no router runs")
}

/// How long its main thread, which is all but the resolver, has run.
fn on_cpu(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let ns = text.split_whitespace().next().context("no schedstat")?;
    Ok(Duration::from_nanos(ns.parse()?))
}

/// In bytes.
fn memory(pid: u32, what: &str) -> Result<usize> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no memory")?.parse::<usize>()? << 10)
}

/// A socket that has read its welcome, of which it keeps nothing.
struct Reader {
    bytes: usize,
    _stream: BufReader<TcpStream>,
}

impl Reader {
    async fn open(rest: &Rest, doc: &str, encoding: Encoding) -> Result<Reader> {
        let stream = TcpStream::connect(&rest.address).await?;
        let mut stream = BufReader::with_capacity(64 << 10, stream);
        let upgrade = format!(
            "GET /v1/collab/{doc} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             sec-websocket-protocol: {}\r\n\r\n",
            rest.address,
            rest.token,
            encoding.subprotocol()
        );
        stream.write_all(upgrade.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        stream.write_all(&hello(encoding)).await?;
        let mut bytes = 0;
        loop {
            let (head, length) = (stream.read_u8().await?, stream.read_u8().await?);
            let length = match length {
                126 => stream.read_u16().await?.into(),
                127 => stream.read_u64().await?,
                short => short.into(),
            };
            let mut rest = (&mut stream).take(length);
            let read = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
            ensure!(read == length, "the socket ended");
            ensure!(head & 0x0f < 8, "instead of a welcome: {head:x}");
            bytes += length as usize;
            if head & 0x80 != 0 {
                break;
            }
        }
        ensure!(bytes > 1 << 20, "instead of a welcome: {bytes} bytes");
        Ok(Reader {
            bytes,
            _stream: stream,
        })
    }
}

/// A hello in a masked frame, whose mask changes nothing.
fn hello(encoding: Encoding) -> Bytes {
    let hello = ClientFrame::Hello {
        client: ClientId(rand::random()),
        resume: None,
        unsent: false,
    };
    let (kind, payload) = match encoding {
        Encoding::Binary => {
            let mut payload = Vec::new();
            binary::encode_client(&mut payload, &hello);
            (0x82, payload)
        }
        Encoding::Json => (0x81, json::encode_client(&hello).into_bytes()),
    };
    let mut frame = vec![kind, 0x80 | 126];
    frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&payload);
    frame.into()
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
