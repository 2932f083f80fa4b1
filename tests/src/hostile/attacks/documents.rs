//! Those that write documents of their own.

use codraft_proto::ids::Revision;
use std::{cell::Cell, time::Duration};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use codraft_ot::{Delta, Value};
use codraft_proto::limits::EdgeLimits;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use super::super::{
    client::{Harm, Turn},
    scene::{Answer, Scene, Setting, create, loops, push},
};
use crate::socket::{Socket, fresh_client};

// ---- c1 ------------------------------------------------------------------------------------

/// So many events after the base, fewer than the window holds.
const EVENTS: usize = 4_000;
const WRITERS: usize = 8;

pub async fn late(setting: Setting) -> Result<Scene> {
    let doc = create(&setting.mallory, "text", "\u{1f600}").await?;
    let letter: Bytes = Delta::new().insert("x").to_bytes().into();
    let write = async |_| {
        let (mut socket, welcome) =
            Socket::open(&setting.mallory, &doc, fresh_client(), None, false).await?;
        let mut base = welcome.rev;
        for seq in 1..=EVENTS / setting.share / WRITERS {
            match push(&mut socket, seq as u64, base.0, &letter).await? {
                Answer::Applied(rev) => base = Revision(rev),
                Answer::Refused => bail!("a letter was refused"),
            }
        }
        anyhow::Ok(())
    };
    try_join_all((0..WRITERS).map(write)).await?;
    Scene::new(setting, vec![doc]).await
}

pub async fn late_pastes(scene: Scene, turn: Turn) -> Result<Harm> {
    const SOCKETS: usize = 4;
    /// Four in a second are one megabyte.
    const PACE: Duration = Duration::from_millis(270);
    let text = "x".repeat(250_000);
    // Behind the first half of a pair of surrogates, where nothing may come.
    let ops: Bytes = Delta::new().retain(1).insert(&text).to_bytes().into();
    loops(&turn, SOCKETS, async |_| {
        let rest = &scene.mallory;
        let (mut socket, _) =
            Socket::open(rest, &scene.docs[0], fresh_client(), None, false).await?;
        let mut due = Instant::now();
        for seq in 1.. {
            push(&mut socket, seq, 1, &ops).await?;
            turn.did();
            due += PACE;
            sleep_until(due).await;
        }
        Ok(())
    })
    .await;
    Ok(Harm::new())
}

// ---- c2, c3 --------------------------------------------------------------------------------

const LETTERS: usize = 9_000;
/// A document that has taken so many bytes is emptied: it stays below what a document may have,
/// and goes on.
const FULL_BYTES: usize = 4 << 20;

pub async fn rich(setting: Setting, bytes: usize) -> Result<Scene> {
    let mut docs = Vec::new();
    for _ in 0..8 {
        docs.push(create(&setting.mallory, "rich", "\n").await?);
    }
    let ops = shape();
    let (mut socket, welcome) =
        Socket::open(&setting.mallory, &docs[0], fresh_client(), None, false).await?;
    let mut base = welcome.rev;
    for seq in 1..=(bytes / setting.share).div_ceil(ops.len()) {
        match push(&mut socket, seq as u64, base.0, &ops).await? {
            Answer::Applied(rev) => base = Revision(rev),
            Answer::Refused => bail!("letters with attributes were refused"),
        }
    }
    Scene::new(setting, docs).await
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

pub async fn shapes(scene: Scene, turn: Turn) -> Result<Harm> {
    let letters = shape();
    let pace = Duration::from_secs(1) * letters.len() as u32 / (900 << 10);
    let frame_bytes = EdgeLimits::default().frame_bytes as usize;
    let bytes = letters.len();
    ensure!(bytes < frame_bytes, "{bytes} bytes, {frame_bytes} at most");
    let full = FULL_BYTES / bytes;
    let empty: Bytes = Delta::new()
        .delete((full * LETTERS) as u32)
        .to_bytes()
        .into();
    let number = Cell::new(0);
    loops(&turn, 1, async |_| {
        let doc = &scene.docs[number.get() % scene.docs.len()];
        number.set(number.get() + 1);
        let rest = &scene.mallory;
        let (mut socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
        let (mut base, mut due) = (welcome.rev, Instant::now());
        for seq in 1..=full as u64 + 1 {
            due += pace;
            sleep_until(due).await;
            let ops = if seq > full as u64 { &empty } else { &letters };
            match push(&mut socket, seq, base.0, ops).await? {
                Answer::Applied(rev) => base = Revision(rev),
                Answer::Refused if scene.is_sink() => {}
                Answer::Refused => bail!("refused"),
            }
            turn.did();
        }
        Ok(())
    })
    .await;
    Ok(Harm::new())
}

pub async fn opens(scene: Scene, turn: Turn) -> Result<Harm> {
    loops(&turn, 32, async |_| {
        let mut socket =
            Socket::connect_json(&scene.mallory, &scene.docs[0], fresh_client()).await?;
        let client = socket.client;
        let hello = format!(r#"{{"type":"hello","client":"{client}","unsent":false}}"#);
        socket.send_text(&hello).await?;
        socket.skip().await?;
        turn.did();
        Ok(())
    })
    .await;
    Ok(Harm::new())
}

// ---- c9 ------------------------------------------------------------------------------------

pub async fn flood(scene: Scene, turn: Turn) -> Result<Harm> {
    let letter: Bytes = Delta::new().insert("x").to_bytes().into();
    loops(&turn, 64, async |n| {
        let doc = &scene.docs[n % scene.docs.len()];
        let rest = &scene.mallory;
        let (mut socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
        let mut base = welcome.rev;
        for seq in 1.. {
            if let Answer::Applied(rev) = push(&mut socket, seq, base.0, &letter).await? {
                base = Revision(rev);
            }
            turn.did();
        }
        Ok(())
    })
    .await;
    Ok(Harm::new())
}
