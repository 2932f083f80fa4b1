//! Those that come in, or try to.

use codraft_proto::ids::Seq;
use std::{cell::Cell, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use codraft_ot::Delta;
use codraft_proto::{frame::ClientFrame, ids::ClientId};
use http::{HeaderValue, Method, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use super::super::{
    client::{Harm, Turn},
    scene::{Scene, loops, push},
};
use crate::{
    patience::{PATIENCE, within},
    rest::Rest,
    socket::{Socket, fresh_client},
    typist::Typist,
};

// ---- c5 ------------------------------------------------------------------------------------

/// Ana's connection breaks under an operation; before she is back somebody else is there under
/// her name. Told that it is another's, she takes a new one, as clients do, and sends her work.
pub async fn stolen_ids(scene: Scene, turn: Turn) -> Result<Harm> {
    let doc = &scene.docs[0];
    let number = Cell::new(0u64);
    loops(&turn, 1, async |_| {
        let ana = fresh_client();
        number.set(number.get() + 1);
        let text = format!("<{}>", number.get());
        let ops: Bytes = Delta::new().insert(&text).to_bytes().into();
        if !scene.is_sink() {
            break_off(&scene.owner, doc, ana, &ops).await?;
        }
        let stolen = Socket::open(&scene.mallory, doc, ana, None, true).await;
        if !scene.is_sink() {
            come_back(&scene.owner, doc, ana, &ops).await?;
        }
        drop(stolen);
        turn.did();
        Ok(())
    })
    .await;
    let mut harm = Harm::new();
    if !scene.is_sink() {
        let text = Typist::open(&scene.owner, doc).await?.text();
        let count = |n: u64| text.matches(&format!("<{n}>")).count() as u64;
        let doubled = (1..=number.get()).map(|n| count(n).saturating_sub(1)).sum();
        harm.insert("operations applied twice".into(), doubled);
    }
    Ok(harm)
}

/// Sends an operation and goes before it is answered, most times.
async fn break_off(owner: &Rest, doc: &str, ana: ClientId, ops: &Bytes) -> Result<()> {
    let (mut socket, welcome) = Socket::open(owner, doc, ana, None, false).await?;
    let (base, ops) = (welcome.rev, ops.clone());
    socket
        .send(&ClientFrame::Op {
            seq: Seq(1),
            base,
            ops,
        })
        .await?;
    sleep(Duration::from_millis(30)).await;
    Ok(())
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
    if welcome.acked.is_some_and(|(seq, _)| seq >= Seq(1)) {
        return Ok(());
    }
    push(&mut socket, 1, welcome.rev.0, ops).await.map(drop)
}

// ---- c6 ------------------------------------------------------------------------------------

pub async fn bodies(scene: Scene, turn: Turn) -> Result<Harm> {
    const BYTES: usize = 1 << 20;
    let address = &scene.mallory.address;
    let piece = r#"{"a":0},"#;
    let pieces = piece.repeat((BYTES - 64) / piece.len());
    let mut body = format!(r#"{{"title":[{pieces}0]}}"#);
    body.extend(std::iter::repeat_n(' ', BYTES - body.len()));
    let head = format!(
        "POST /v1/docs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {BYTES}\r\n\r\n"
    );
    loops(&turn, 128, async |n| {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        turn.did();
        // Every other one never sends the last byte.
        let sent = BYTES - n % 2;
        stream.write_all(&body.as_bytes()[..sent]).await?;
        let mut answer = Vec::new();
        stream.read_buf(&mut answer).await?;
        Ok(())
    })
    .await;
    Ok(Harm::new())
}

// ---- c8 ------------------------------------------------------------------------------------

pub async fn tickets(scene: Scene, turn: Turn) -> Result<Harm> {
    let refused = Cell::new(0);
    // Of the loops, the first one is an honest browser.
    loops(&turn, 17, async |n| {
        if n > 0 {
            use_ticket(&scene.mallory, &scene.docs[0]).await?;
            turn.did();
            return Ok(());
        }
        if !scene.is_sink() && use_ticket(&scene.owner, &scene.docs[0]).await.is_err() {
            refused.set(refused.get() + 1);
        }
        sleep(Duration::from_millis(250)).await;
        Ok(())
    })
    .await;
    Ok([("honest tickets refused".into(), refused.get())].into())
}

async fn use_ticket(rest: &Rest, doc: &str) -> Result<()> {
    let path = format!("/v1/collab/{doc}/ticket");
    let (status, answer) = rest.call(Method::POST, &path, None).await?;
    ensure!(status.is_success(), "no ticket: {status}");
    let ticket = answer["ticket"].as_str().context("no ticket")?;
    let address = answer["url"]
        .as_str()
        .map(|url| url.trim_start_matches("http://"));
    let address = address.unwrap_or(&rest.address);
    let stream = TcpStream::connect(address).await?;
    let mut request = format!("ws://{address}/v1/collab/{doc}").into_client_request()?;
    let headers = request.headers_mut();
    let protocols = HeaderValue::from_str(&format!("codraft.v1.bin, ticket.{ticket}"))?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    let origin = HeaderValue::from_str(&format!("http://{}", rest.address))?;
    headers.insert(header::ORIGIN, origin);
    let upgraded = within(PATIENCE, "the upgrade", client_async(request, stream));
    upgraded.await?.context("the ticket was refused")?;
    Ok(())
}

// ---- c15 -----------------------------------------------------------------------------------

pub async fn tabs(scene: Scene, turn: Turn) -> Result<Harm> {
    loops(&turn, 32, async |_| {
        Socket::open(&scene.mallory, &scene.docs[0], fresh_client(), None, false).await?;
        turn.did();
        Ok(())
    })
    .await;
    Ok(Harm::new())
}
