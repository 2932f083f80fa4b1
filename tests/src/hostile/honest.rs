//! Honest writers: two on each document, ten letters a second each, and how long each letter
//! waits. A letter is typed when it is due, whatever became of those before it: what was typed
//! while an operation was under way, or the socket away, goes with the next one, and has waited
//! since. So a stall counts with all that was typed in it.

use codraft_proto::ids::Seq;
use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use codraft_ot::Delta;
use codraft_proto::frame::{ClientFrame, ServerFrame};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::client::Harm;
use crate::{
    gaps::quantile,
    patience::PATIENCE,
    rest::Rest,
    socket::{Socket, fresh_client},
};

/// From a letter to the next, of one writer.
const PACE: Duration = Duration::from_millis(100);
/// A writer whose socket ended comes back after so long.
const AWAY: Duration = Duration::from_millis(50);

/// From a letter to its acknowledgement.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub worst_ms: f64,
    pub letters: usize,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    /// By writer: when what is not acknowledged was typed, oldest first.
    typed: Vec<VecDeque<Instant>>,
    /// By writer: operations that were acknowledged.
    acked: Vec<u64>,
    sockets_ended: u64,
    refused: u64,
}

pub struct Honest {
    docs: Vec<String>,
    seen: Arc<Mutex<Seen>>,
    writers: Vec<JoinHandle<()>>,
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.writers.iter().for_each(JoinHandle::abort);
    }
}

impl Honest {
    /// Starts them; each has written when this returns.
    pub async fn start(rest: &Rest, writers: usize) -> Result<Honest> {
        let mut docs = Vec::new();
        for n in 0..writers.div_ceil(2) {
            docs.push(rest.create(&format!("honest {n}"), "").await?);
        }
        let seen = Arc::new(Mutex::new(Seen {
            typed: vec![VecDeque::new(); writers],
            acked: vec![0; writers],
            ..Seen::default()
        }));
        let start = Instant::now();
        let write = |n: usize| {
            let writer = Writer {
                number: n,
                rest: rest.clone(),
                doc: docs[n / 2].clone(),
                seen: seen.clone(),
                // Not all at one moment.
                next: start + PACE * n as u32 / writers as u32,
            };
            tokio::task::spawn(writer.run())
        };
        let writers = (0..writers).map(write).collect();
        let honest = Honest {
            docs,
            seen,
            writers,
        };
        honest.each_is_answered().await?;
        Ok(honest)
    }

    pub fn docs(&self) -> &[String] {
        &self.docs
    }

    /// What they wait for in so long a time, and in as much more as it takes until each of them
    /// was answered.
    pub async fn measure(&self, lasts: Duration) -> Result<Latency> {
        self.seen().latencies.clear();
        let answered = async { tokio::join!(self.each_is_answered(), sleep(lasts)).0 };
        answered.await?;
        let mut seen = self.seen();
        let mut all = std::mem::take(&mut seen.latencies);
        // Those that wait still count with what they have waited, if it is long.
        let waiting = seen.typed.iter().flatten().map(Instant::elapsed);
        all.extend(waiting.filter(|waited| *waited > PACE));
        all.sort_unstable();
        let ms = |latency: Duration| latency.as_secs_f64() * 1_000.0;
        Ok(Latency {
            p50_ms: ms(quantile(&all, 0.5)),
            p99_ms: ms(quantile(&all, 0.99)),
            worst_ms: ms(all.last().copied().unwrap_or_default()),
            letters: all.len(),
        })
    }

    async fn each_is_answered(&self) -> Result<()> {
        let before = self.seen().acked.clone();
        let end = Instant::now() + PATIENCE;
        loop {
            let silent = {
                let seen = self.seen();
                let pairs = before.iter().zip(&seen.acked);
                pairs.filter(|(before, now)| before == now).count()
            };
            if silent == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                let (seconds, all) = (PATIENCE.as_secs(), before.len());
                bail!("{silent} of {all} honest writers had no answer for {seconds} s");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn end(self, harm: &mut Harm) {
        let seen = self.seen();
        harm.insert("honest sockets ended".into(), seen.sockets_ended);
        harm.insert("honest operations refused".into(), seen.refused);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock()
    }
}

struct Writer {
    number: usize,
    rest: Rest,
    doc: String,
    seen: Arc<Mutex<Seen>>,
    /// When the next letter is due.
    next: Instant,
}

impl Writer {
    async fn run(mut self) {
        loop {
            if self.write().await.is_err() {
                self.seen.lock().sockets_ended += 1;
            }
            sleep(AWAY).await;
        }
    }

    /// How many letters wait, those that are due by now among them.
    fn typed(&mut self) -> usize {
        let mut seen = self.seen.lock();
        let typed = &mut seen.typed[self.number];
        while self.next <= Instant::now() {
            typed.push_back(self.next);
            self.next += PACE;
        }
        typed.len()
    }

    fn acked(&self, letters: usize) {
        let mut seen = self.seen.lock();
        let typed: Vec<_> = seen.typed[self.number].drain(..letters).collect();
        seen.latencies.extend(typed.iter().map(Instant::elapsed));
        seen.acked[self.number] += 1;
    }

    /// One socket's life: all that is typed, one operation under way.
    async fn write(&mut self) -> Result<()> {
        let opened = Socket::open(&self.rest, &self.doc, fresh_client(), None, false);
        let (mut socket, welcome) = opened.await?;
        let (mut rev, mut seq) = (welcome.rev, 0);
        let mut sent: Option<(usize, ClientFrame)> = None;
        loop {
            let letters = self.typed();
            if sent.is_none() && letters > 0 {
                seq += 1;
                let mut ops = Delta::new();
                ops.insert(&"x".repeat(letters));
                let (base, ops) = (rev, ops.to_bytes().into());
                let op = ClientFrame::Op {
                    seq: Seq(seq),
                    base,
                    ops,
                };
                socket.send(&op).await?;
                sent = Some((letters, op));
            }
            let frame = tokio::select! {
                biased;
                frame = socket.next() => frame?,
                () = sleep_until(self.next) => continue,
            };
            match frame {
                ServerFrame::Op(op) => {
                    rev = op.rev;
                    if let Some((letters, _)) = sent.take_if(|_| socket.is_mine(op.slot)) {
                        self.acked(letters);
                    }
                }
                ServerFrame::Event(event) => rev = event.rev,
                ServerFrame::Skip { rev: to, .. } => rev = to,
                ServerFrame::Reject { last: false, .. } => {
                    // The same bytes again: a wait that the writer feels, and counts.
                    sleep(Duration::from_millis(20)).await;
                    if let Some((_, op)) = &sent {
                        socket.send(op).await?;
                    }
                }
                ServerFrame::Reject { last: true, .. } => {
                    self.seen.lock().refused += 1;
                    bail!("an honest operation was refused");
                }
                ServerFrame::Bye { code, .. } => bail!("sent away: {}", code.as_str()),
                ServerFrame::Resync { .. } | ServerFrame::Already { .. } => bail!("begins anew"),
                _ => {}
            }
        }
    }
}
