//! Honest writers: two on each document, ten letters a second each, and how long each waits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use codraft_ot::Delta;
use codraft_proto::frame::{ClientFrame, ServerFrame};
use serde::Serialize;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    gaps::quantile,
    rest::Rest,
    socket::{Socket, fresh_client},
};

/// From a letter to the next, of one writer.
const PACE: Duration = Duration::from_millis(100);
/// Who comes back after a socket ended waits so long.
const AWAY: Duration = Duration::from_millis(50);

/// From an operation to its acknowledgement.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub worst_ms: f64,
    pub operations: usize,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    sockets_ended: u64,
    refused: u64,
}

pub struct Honest {
    docs: Vec<String>,
    seen: Arc<Mutex<Seen>>,
    writers: Vec<JoinHandle<()>>,
}

impl Honest {
    pub async fn start(rest: &Rest, writers: usize) -> Result<Honest> {
        let mut docs = Vec::new();
        for n in 0..writers.div_ceil(2) {
            docs.push(rest.create(&format!("honest {n}"), "").await?);
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = Vec::new();
        for n in 0..writers {
            let (rest, doc, seen) = (rest.clone(), docs[n / 2].clone(), seen.clone());
            // Not all at one moment.
            let after = PACE * n as u32 / writers as u32;
            tasks.push(tokio::task::spawn(async move {
                sleep(after).await;
                loop {
                    let ended = write(&rest, &doc, &seen).await;
                    if ended.is_err() {
                        lock(&seen).sockets_ended += 1;
                    }
                    sleep(AWAY).await;
                }
            }));
        }
        Ok(Honest {
            docs,
            seen,
            writers: tasks,
        })
    }

    pub fn docs(&self) -> &[String] {
        &self.docs
    }

    /// Until everybody has written.
    pub async fn quiet(&self) {
        let all = self.writers.len() * 5;
        let written = async || lock(&self.seen).latencies.len() >= all;
        super::until(Duration::from_secs(30), written).await;
    }

    /// What they wait for so long.
    pub async fn measure(&self, lasts: Duration) -> Latency {
        lock(&self.seen).latencies.clear();
        sleep(lasts).await;
        let mut all = std::mem::take(&mut lock(&self.seen).latencies);
        all.sort_unstable();
        let ms = |latency: Duration| latency.as_secs_f64() * 1_000.0;
        Latency {
            p50_ms: ms(quantile(&all, 0.5)),
            p99_ms: ms(quantile(&all, 0.99)),
            worst_ms: ms(all.last().copied().unwrap_or_default()),
            operations: all.len(),
        }
    }

    pub async fn end(self, harm: &mut BTreeMap<String, u64>) {
        self.writers.iter().for_each(JoinHandle::abort);
        let seen = lock(&self.seen);
        harm.insert("honest sockets ended".into(), seen.sockets_ended);
        harm.insert("honest operations refused".into(), seen.refused);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One socket's life: a letter at the start of the document at each pace, one under way.
async fn write(rest: &Rest, doc: &str, seen: &Mutex<Seen>) -> Result<()> {
    let (mut socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
    let (mut rev, mut seq) = (welcome.rev, 0);
    let mut due = Instant::now();
    let mut sent: Option<(Instant, u64)> = None;
    let mut letter = Delta::new();
    letter.insert("x");
    let ops: bytes::Bytes = letter.to_bytes().into();
    loop {
        let frame = tokio::select! {
            biased;
            frame = socket.next() => frame?,
            () = sleep_until(due), if sent.is_none() => {
                due = Instant::now().max(due + PACE);
                seq += 1;
                sent = Some((Instant::now(), rev));
                let op = ClientFrame::Op { seq, base: rev, ops: ops.clone() };
                socket.send(&op).await?;
                continue;
            }
        };
        match frame {
            ServerFrame::Op(op) => {
                rev = op.rev;
                if let Some((at, _)) = sent.take_if(|_| socket.is_mine(op.slot)) {
                    lock(seen).latencies.push(at.elapsed());
                }
            }
            ServerFrame::Event(event) => rev = event.rev,
            ServerFrame::Skip { rev: to, .. } => rev = to,
            ServerFrame::Reject { last: false, .. } => {
                // The same bytes again: a wait that the writer feels, and counts.
                sleep(Duration::from_millis(20)).await;
                let base = sent.map_or(rev, |(_, base)| base);
                let ops = ops.clone();
                socket.send(&ClientFrame::Op { seq, base, ops }).await?;
            }
            ServerFrame::Reject { last: true, .. } => {
                lock(seen).refused += 1;
                bail!("an honest operation was refused");
            }
            ServerFrame::Bye { code, .. } => bail!("sent away: {}", code.as_str()),
            ServerFrame::Resync { .. } | ServerFrame::Already { .. } => bail!("begins anew"),
            _ => {}
        }
    }
}
