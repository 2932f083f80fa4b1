//! From the queue of a group into its log: all that waits becomes one entry.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use codraft_proto::outside::Clock;
use openraft::{
    alias::WriteResponderOf,
    errors::{ClientWriteError, ForwardReason},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    GroupLimits, Inner, Leadership, Origin, ProposeError,
    limits::{COMMAND_BYTES_MAX, FRESH_LEADER, RETRY_MAX, RETRY_MIN},
};
use crate::{
    applied::{Core, Waiting, lock},
    command::{Batch, Command},
    tap,
    types::{Proposal, Settle, TypeConfig},
};

/// What waits to be proposed. Locked after the group's core where both are.
pub(crate) struct Queue {
    limits: GroupLimits,
    state: Mutex<State>,
    /// Pokes the proposer.
    wake: Notify,
}

#[derive(Default)]
struct State {
    commands: VecDeque<(Command, Origin, usize)>,
    bytes: usize,
    /// Proposed and not settled.
    in_flight: usize,
    /// Numbers of proposals that a fresh leader refused, to be proposed again.
    retries: VecDeque<u64>,
    /// How often in a row that happened.
    refusals: u32,
    closed: Option<ProposeError>,
}

enum Next {
    Fresh(Vec<Command>, Vec<Origin>),
    Again(u64, Duration),
}

impl Queue {
    pub fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub fn push(&self, command: Command, origin: Origin) -> Result<(), ProposeError> {
        let bytes = weight(&command);
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        let mut state = lock(&self.state);
        if let Some(why) = state.closed {
            return Err(why);
        }
        let full = state.commands.len() >= self.limits.queue_commands
            || state.bytes + bytes > self.limits.queue_bytes;
        if full {
            return Err(ProposeError::Busy);
        }
        state.bytes += bytes;
        state.commands.push_back((command, origin, bytes));
        let waiting = state.commands.len();
        if waiting.is_power_of_two() || waiting > self.limits.queue_commands {
            tap::filled("proposer", waiting, self.limits.queue_commands);
        }
        let poke = waiting == 1 && state.in_flight < self.limits.batches_in_flight;
        drop(state);
        if poke {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub fn closed(&self) -> Option<ProposeError> {
        lock(&self.state).closed
    }

    pub fn close(&self, why: ProposeError) {
        lock(&self.state).closed.get_or_insert(why);
    }

    /// Takes all that waits, to be answered otherwise.
    pub fn drain(&self) -> Vec<Origin> {
        let mut state = lock(&self.state);
        state.bytes = 0;
        state
            .commands
            .drain(..)
            .map(|(_, origin, _)| origin)
            .collect()
    }

    fn next(&self) -> Option<Next> {
        let mut state = lock(&self.state);
        if let Some(number) = state.retries.pop_front() {
            state.in_flight += 1;
            let doublings = state.refusals.saturating_sub(1).min(10);
            return Some(Next::Again(
                number,
                (RETRY_MIN * (1 << doublings)).min(RETRY_MAX),
            ));
        }
        if state.commands.is_empty() || state.in_flight >= self.limits.batches_in_flight {
            return None;
        }
        let mut taken = 0;
        let mut count = 0;
        for (_, _, bytes) in state.commands.iter().take(self.limits.batch_commands) {
            if count > 0 && taken + bytes > self.limits.batch_bytes {
                break;
            }
            taken += bytes;
            count += 1;
        }
        state.bytes -= taken;
        state.in_flight += 1;
        let (commands, origins) = state
            .commands
            .drain(..count)
            .map(|(c, o, _)| (c, o))
            .unzip();
        Some(Next::Fresh(commands, origins))
    }

    /// A proposal was settled. Only pokes: the proposer takes what gathered meanwhile.
    fn settled(&self, refused: Option<u64>) {
        let mut state = lock(&self.state);
        state.in_flight = state.in_flight.saturating_sub(1);
        match refused {
            Some(number) => {
                state.retries.push_back(number);
                state.refusals = state.refusals.saturating_add(1);
            }
            None => state.refusals = 0,
        }
        let poke = !state.commands.is_empty() || !state.retries.is_empty();
        drop(state);
        if poke {
            self.wake.notify_one();
        }
    }
}

/// About what a command takes in memory and in its entry, in bytes.
fn weight(command: &Command) -> usize {
    const REST: usize = 128;
    REST + match command {
        Command::Edit(edit) => edit.ops.len() + edit.user.len(),
        Command::Create(create) => {
            create.initial.as_ref().map_or(0, Bytes::len) + create.title.len() + create.owner.len()
        }
        Command::Grant(grant) => grant.by.len() + grant.user.len(),
        Command::Trim(_) | Command::Expire(_) | Command::Level(_) => 0,
    }
}

/// The proposer: one a group, for as long as the group runs.
pub(super) async fn run(group: Arc<Inner>, clock: Arc<dyn Clock>) {
    let mut number = 0_u64;
    loop {
        let Some(next) = group.queue.next() else {
            group.queue.wake.notified().await;
            continue;
        };
        let (number, batch) = match next {
            Next::Fresh(commands, origins) => {
                number += 1;
                let batch = Batch {
                    ts_ms: clock.now_ms(),
                    commands,
                }
                .encode();
                let waiting = Waiting {
                    origins,
                    batch: batch.clone(),
                    since: Instant::now(),
                };
                lock(&group.core).waiting.insert(number, waiting);
                (number, batch)
            }
            Next::Again(number, pause) => {
                tokio::time::sleep(pause).await;
                let known = lock(&group.core)
                    .waiting
                    .get(&number)
                    .map(|w| (w.batch.clone(), w.since));
                match known {
                    // ProposeResult meanwhile: leadership went elsewhere.
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
        let sent = group
            .raft
            .client_write_ff(Proposal { number, batch }, Some(settle))
            .await;
        if let Err(error) = sent {
            tracing::warn!(group = %group.id, %error, "cannot propose");
            return group.close(group.stopped());
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
                let known = *lock(&lead);
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
    let mut core = lock(core);
    if let Some(waiting) = core.waiting.remove(&number) {
        for origin in waiting.origins {
            core.events.answered(origin, Err(error));
        }
    }
}
