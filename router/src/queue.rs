//! What waits to be written to one socket: filled by the hub, emptied by the socket's task.
//! It has a limit in bytes, what is being written included; a slow reader is let go and delays
//! nobody. What a reader starts from may be of any size and does not count: it is shared by all
//! who start from the same, and has a deadline instead.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use codraft_mutant::{
    cost::{Work, spend},
    mutant,
};
use codraft_proto::reject::Code;
use parking_lot::{Mutex, MutexGuard};

use crate::state::SharedState;

/// What a chunk costs beside its bytes.
const CHUNK_OVERHEAD: usize = 32;

/// What can wait takes no more than this part of the room.
const SPARE: usize = 4;

/// How a socket ends: the code that the peer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub code: Code,
    /// The peer's name for the reason, where the code alone does not say enough.
    pub reason: &'static str,
    pub retry_after_ms: Option<u32>,
}

impl End {
    pub fn because(code: Code) -> Self {
        Self {
            code,
            reason: "",
            retry_after_ms: None,
        }
    }
}

/// What is written in one piece.
pub enum Chunk {
    /// Whole frames in the socket's encoding.
    Frames(Bytes),
    CatchUp(Box<CatchUp>),
}

/// What a reader starts from: one message, so that nobody reads less than was acknowledged before.
pub struct CatchUp {
    /// A welcome: up to its document, or all of it and what was missed.
    pub start: Bytes,
    /// The welcome's document, and what is behind it: the end of the welcome and what was missed.
    pub document: Option<(Arc<SharedState>, Bytes)>,
}

/// One socket's way out.
pub struct Queue {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// What was taken and is being written.
    writing: usize,
    end: Option<End>,
    waker: Option<Waker>,
}

/// What was taken from a queue in one go.
#[derive(Default)]
pub struct Taken {
    pub chunks: VecDeque<Chunk>,
    /// Nothing follows; the socket is to be closed with it.
    pub end: Option<End>,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// Queues whole frames in the socket's encoding. Returns false if that was too much: the
    /// socket is then on its way out and what waited is dropped.
    pub fn push(&self, frames: Bytes) -> bool {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return false;
        }
        spend(Work::Sent, 1);
        spend(Work::Bytes, frames.len());
        let cost = frames.len() + CHUNK_OVERHEAD;
        let before = state.bytes + state.writing;
        // A socket that has nothing to read takes one batch of events of any size.
        let full = before > 0 && before + cost > self.limit;
        if full && !mutant!("queue_without_bound") {
            state.chunks.clear();
            state.bytes = 0;
            state.end = Some(End::because(Code::SlowConsumer));
            wake(state);
            return false;
        }
        let (most, bound) = (before + cost, self.limit);
        if before > 0 && (most > bound || (state.chunks.len() + 1).is_power_of_two()) {
            tracing::trace!(target: "codraft_record", what = "filled", of = "socket", most, bound);
        }
        state.bytes += cost;
        match !state.chunks.is_empty() && mutant!("broadcast_out_of_order") {
            true => state.chunks.push_front(Chunk::Frames(frames)),
            false => state.chunks.push_back(Chunk::Frames(frames)),
        }
        wake(state);
        true
    }

    /// Queues frames that can wait, unless much else waits. Returns false if they have to.
    pub fn push_if_room(&self, frames: Bytes) -> bool {
        let state = self.state.lock();
        let has_room = state.bytes + state.writing <= self.limit / SPARE;
        drop(state);
        has_room && self.push(frames)
    }

    /// Queues what the reader starts from.
    pub fn catch_up(&self, catch_up: CatchUp) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.chunks.push_back(Chunk::CatchUp(Box::new(catch_up)));
            wake(state);
        }
    }

    /// Lets what waits go out, then ends the socket. The first end counts.
    pub fn end(&self, end: End) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(end);
            wake(state);
        }
    }

    pub fn ended(&self) -> Option<End> {
        self.state.lock().end
    }

    /// Resolves when the socket was let go for reading too slowly. For the task that takes,
    /// while it does not.
    pub async fn overflowed(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.end.is_some_and(|end| end.code == Code::SlowConsumer) {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until there is something, then takes all of it. For one task only. Safe to
    /// cancel: nothing is taken until it resolves.
    pub async fn take(&self) -> Taken {
        poll_fn(|context| {
            let mut state = self.state.lock();
            // A task that takes more has written what it took before.
            state.writing = 0;
            if state.chunks.is_empty() && state.end.is_none() {
                match &state.waker {
                    Some(waker) if waker.will_wake(context.waker()) => {}
                    _ => state.waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            state.writing = std::mem::take(&mut state.bytes);
            Poll::Ready(Taken {
                chunks: std::mem::take(&mut state.chunks),
                end: state.end,
            })
        })
        .await
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(taken: &Taken) -> Vec<&[u8]> {
        let mut all = Vec::new();
        for chunk in &taken.chunks {
            if let Chunk::Frames(frames) = chunk {
                all.push(&frames[..]);
            }
        }
        all
    }

    #[tokio::test]
    async fn a_slow_reader_is_let_go_and_what_waited_is_dropped() {
        let queue = Queue::new(100);
        assert!(queue.push(Bytes::from_static(b"x")));
        assert_eq!(queue.take().await.chunks.len(), 1);
        // It is being written, and counts.
        assert!(queue.push(Bytes::from_static(b"x")));
        assert!(queue.push(Bytes::from_static(b"x")));
        assert!(!queue.push(Bytes::from_static(b"x")));
        assert!(!queue.push(Bytes::from_static(b"x")));
        let taken = queue.take().await;
        assert!(taken.chunks.is_empty());
        assert_eq!(taken.end.map(|e| e.code), Some(Code::SlowConsumer));
    }

    #[tokio::test]
    async fn what_a_reader_starts_from_does_not_count_and_goes_first() {
        let queue = Queue::new(100);
        queue.catch_up(CatchUp {
            start: Bytes::from_static(&[0; 500]),
            document: None,
        });
        for _ in 0..3 {
            assert!(queue.push(Bytes::from_static(b"x")), "the limit is its own");
        }
        let taken = queue.take().await;
        assert!(matches!(taken.chunks.front(), Some(Chunk::CatchUp(_))));
        assert!(!queue.push(Bytes::from_static(b"x")), "until it is written");
    }

    #[tokio::test]
    async fn an_idle_reader_takes_a_batch_of_any_size() {
        let queue = Queue::new(100);
        assert!(queue.push(Bytes::from_static(&[0; 200])));
        queue.take().await;
        assert!(!queue.push(Bytes::from_static(b"x")));
    }

    #[tokio::test]
    async fn what_can_wait_takes_no_room_from_the_rest() {
        let queue = Queue::new(400);
        let spare = || queue.push_if_room(Bytes::from_static(b"x"));
        assert!(spare() && spare() && spare() && spare());
        assert!(!spare(), "a quarter is taken");
        assert!(queue.push(Bytes::from_static(b"text")));
        assert_eq!(queue.take().await.chunks.len(), 5);
        assert!(!spare(), "it is being written");
        assert!(queue.ended().is_none(), "nobody is let go for it");
    }

    #[tokio::test]
    async fn what_was_queued_before_the_end_goes_out() {
        let queue = Queue::new(100);
        queue.push(Bytes::from_static(b"a"));
        queue.push(Bytes::from_static(b"b"));
        queue.end(End::because(Code::Revoked));
        assert!(!queue.push(Bytes::from_static(b"c")));
        let taken = queue.take().await;
        assert_eq!(frames(&taken), [&b"a"[..], b"b"]);
        assert_eq!(taken.end.map(|e| e.code), Some(Code::Revoked));
    }
}
