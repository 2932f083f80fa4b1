//! From the queue of a group into its log: all that waits becomes one entry.

use std::sync::Arc;

use openraft::{
    alias::WriteResponderOf,
    errors::{ClientWriteError, ForwardReason},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Inner, Leadership, ProposeError};
use crate::{
    clocks::Clocks,
    command::Batch,
    core::{Core, Waiting},
    limits::FRESH_LEADER,
    queue::Next,
    types::{Proposal, Settle, TypeConfig},
};

/// The proposer: one a group, for as long as the group runs.
pub(super) async fn run(group: Arc<Inner>, clocks: Arc<Clocks>) {
    let mut number = 0_u64;
    loop {
        let Some(next) = group.queue.next() else {
            group.queue.poked().await;
            continue;
        };
        let (number, batch) = match next {
            Next::Fresh(commands, origins) => {
                number += 1;
                let batch = Batch {
                    ts_ms: clocks.stamp_ms(),
                    commands,
                }
                .encode();
                let waiting = Waiting {
                    origins,
                    batch: batch.clone(),
                    since: Instant::now(),
                };
                group.core.lock().waiting.insert(number, waiting);
                (number, batch)
            }
            Next::Again(number, pause) => {
                tokio::time::sleep(pause).await;
                let known = group
                    .core
                    .lock()
                    .waiting
                    .get(&number)
                    .map(|w| (w.batch.clone(), w.since));
                match known {
                    // Answered meanwhile: leadership went elsewhere.
                    None => {
                        group.queue.settled(None);
                        continue;
                    }
                    Some((_, since)) if since.elapsed() > FRESH_LEADER => {
                        fail(&group.core, number, ProposeError::NotLeader(None));
                        group.queue.settled(None);
                        continue;
                    }
                    Some((batch, _)) => (number, batch),
                }
            }
        };
        let settle = settle(&group, number);
        let Some(raft) = group.raft() else {
            // It says that nobody will ever know.
            drop(settle);
            continue;
        };
        let sent = raft
            .client_write_ff(Proposal { number, batch }, Some(settle))
            .await;
        if let Err(error) = sent {
            tracing::warn!(group = %group.id, %error, "cannot propose");
            if group.keeper.lacks().is_none() {
                return group.close(group.stopped());
            }
        }
    }
}

/// What happens when openraft knows what became of a proposal. Success was told already,
/// where the entry was applied.
fn settle(group: &Arc<Inner>, number: u64) -> WriteResponderOf<TypeConfig> {
    let (queue, core) = (group.queue.clone(), group.core.clone());
    let (id, lead) = (group.id, group.leadership.clone());
    Settle::new(move |result| {
        let error = match result {
            Some(Ok(_)) => return queue.settled(None),
            Some(Err(ClientWriteError::ForwardToLeader(to)))
                if to.reason == ForwardReason::LeaseExpired =>
            {
                return queue.settled(Some(number));
            }
            Some(Err(
                ClientWriteError::ForwardToLeader(to) | ClientWriteError::LogEntryDiscarded(to),
            )) => {
                let known = *lead.lock();
                let node = to.leader_id.map(codraft_proto::ids::NodeId);
                ProposeError::NotLeader(node.map(|n| Leadership {
                    group: id,
                    term: known.term,
                    node: Some(n),
                }))
            }
            Some(Err(error)) => {
                tracing::error!(group = %id, %error, "unexpected answer to a proposal");
                ProposeError::NotLeader(None)
            }
            None => ProposeError::Shutdown,
        };
        fail(&core, number, error);
        queue.settled(None);
    })
}

/// Answers all who wait for a proposal, if nobody did.
fn fail(core: &Mutex<Core>, number: u64, error: ProposeError) {
    let mut core = core.lock();
    if let Some(waiting) = core.waiting.remove(&number) {
        for origin in waiting.origins {
            core.sinks.answered(origin, Err(error));
        }
    }
}
