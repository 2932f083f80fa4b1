//! Linearizable reads: one question to a majority at a time, shared by all that wait.

use std::sync::Arc;

use openraft::{
    ReadPolicy,
    errors::{ForwardReason, LinearizableReadError, RaftError},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{Inner, Leadership, ReadError};
use crate::limits::{FRESH_LEADER, READ_TIMEOUT, RETRY_MAX, RETRY_MIN};

type Waiter = oneshot::Sender<Result<(), ReadError>>;

pub(crate) struct Reads {
    limit: usize,
    waiting: Mutex<Vec<Waiter>>,
    wake: Notify,
}

impl Reads {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub async fn wait(&self) -> Result<(), ReadError> {
        let done = {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.limit {
                return Err(ReadError::Busy);
            }
            let (told, done) = oneshot::channel();
            waiting.push(told);
            if waiting.len() == 1 {
                self.wake.notify_one();
            }
            done
        };
        // The sender goes only with the group.
        done.await.unwrap_or(Err(ReadError::Shutdown))
    }

    pub fn fail(&self, why: ReadError) {
        answer(std::mem::take(&mut *self.waiting.lock()), Err(why));
    }
}

fn answer(waiting: Vec<Waiter>, result: Result<(), ReadError>) {
    for waiter in waiting {
        // The caller may have gone.
        let _ = waiter.send(result);
    }
}

/// The reader: one a group, for as long as the group runs.
pub(super) async fn run(group: Arc<Inner>) {
    loop {
        group.reads.wake.notified().await;
        // A caller that comes after this point waits for the next round: this one's question may
        // have been asked already when what they must see is committed.
        let waiting = std::mem::take(&mut *group.reads.waiting.lock());
        if !waiting.is_empty() {
            answer(waiting, round(&group).await);
        }
    }
}

async fn round(group: &Inner) -> Result<(), ReadError> {
    let started = Instant::now();
    let mut pause = RETRY_MIN;
    let raft = group.raft().ok_or(ReadError::NotLeader(None))?;
    loop {
        let read = tokio::time::timeout(
            READ_TIMEOUT,
            raft.get_read_linearizer(ReadPolicy::ReadIndex),
        );
        let error = match read.await.map_err(|_| ReadError::Timeout)? {
            Ok(index) => {
                let applied = index.try_await_ready(&raft, Some(READ_TIMEOUT)).await;
                return match applied {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) => Err(ReadError::Timeout),
                    Err(_) => Err(group.stopped().into()),
                };
            }
            Err(RaftError::APIError(error)) => error,
            Err(RaftError::Fatal(_)) => return Err(group.stopped().into()),
        };
        let fresh = match error {
            LinearizableReadError::ForwardToLeader(to)
                if to.reason == ForwardReason::LeaseExpired =>
            {
                ReadError::NotLeader(None)
            }
            LinearizableReadError::ForwardToLeader(to) => {
                let known = *group.leadership.lock();
                let node = to.leader_id.map(codraft_proto::ids::NodeId);
                return Err(ReadError::NotLeader(node.map(|n| Leadership {
                    node: Some(n),
                    ..known
                })));
            }
            LinearizableReadError::QuorumNotEnough(_) => ReadError::Timeout,
        };
        if started.elapsed() > FRESH_LEADER {
            return Err(fresh);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}
