//! What waits to be proposed in one group, and how much of it makes one log entry.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use codraft_proto::ids::DocId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{
    command::Command,
    events::{Origin, ProposeError},
    limits::{COMMAND_BYTES_MAX, GroupLimits, RETRY_MAX, RETRY_MIN},
    tap,
};

/// What waits to be proposed. Locked after the group's core where both are.
pub struct Queue {
    limits: GroupLimits,
    state: Mutex<State>,
    /// What the group's documents take in memory.
    heap_bytes: AtomicU64,
    /// Pokes the proposer.
    wake: Notify,
}

#[derive(Default)]
struct State {
    commands: VecDeque<(Command, Origin, usize)>,
    /// What waits for its document to be read.
    aside: BTreeMap<DocId, Vec<(Command, Origin, usize)>>,
    aside_commands: usize,
    /// Of both.
    bytes: usize,
    /// Proposed and not settled.
    in_flight: usize,
    /// Numbers of proposals that a fresh leader refused, to be proposed again.
    retries: VecDeque<u64>,
    /// How often in a row that happened.
    refusals: u32,
    closed: Option<ProposeError>,
}

pub enum Next {
    Fresh(Vec<Command>, Vec<Origin>),
    /// A proposal that a fresh leader refused, after a pause.
    Again(u64, Duration),
}

impl Queue {
    pub fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            heap_bytes: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    pub fn limits(&self) -> &GroupLimits {
        &self.limits
    }

    /// Says what the group's documents take in memory now.
    pub fn set_heap_bytes(&self, bytes: u64) {
        self.heap_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn push(&self, command: Command, origin: Origin) -> Result<(), ProposeError> {
        let (mut state, bytes) = self.admit(&command)?;
        state.commands.push_back((command, origin, bytes));
        self.pushed(state, 1);
        Ok(())
    }

    /// As [`Queue::push`], but not to be proposed before the document is [released](Queue::release).
    pub fn push_aside(
        &self,
        doc: DocId,
        command: Command,
        origin: Origin,
    ) -> Result<(), ProposeError> {
        let (mut state, bytes) = self.admit(&command)?;
        let aside = state.aside.entry(doc).or_default();
        aside.push((command, origin, bytes));
        state.aside_commands += 1;
        Ok(())
    }

    /// What is about this document is proposed, in the order in which it came.
    pub fn release(&self, doc: &DocId) {
        let mut state = self.state.lock();
        let Some(released) = state.aside.remove(doc) else {
            return;
        };
        let count = released.len();
        state.aside_commands -= count;
        state.commands.extend(released);
        self.pushed(state, count);
    }

    /// Whether there is room for a command, which takes so many bytes.
    fn admit(&self, command: &Command) -> Result<(MutexGuard<'_, State>, usize), ProposeError> {
        let bytes = weight(command);
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        let held = self.heap_bytes.load(Ordering::Relaxed);
        if held >= self.limits.state_bytes && command.grows() {
            return Err(ProposeError::GroupFull);
        }
        let mut state = self.state.lock();
        if let Some(why) = state.closed {
            return Err(why);
        }
        let waiting = state.commands.len() + state.aside_commands;
        let full =
            waiting >= self.limits.queue_commands || state.bytes + bytes > self.limits.queue_bytes;
        if full {
            return Err(ProposeError::Busy);
        }
        state.bytes += bytes;
        Ok((state, bytes))
    }

    /// So many more may be proposed.
    fn pushed(&self, state: MutexGuard<'_, State>, count: usize) {
        let waiting = state.commands.len();
        if waiting.is_power_of_two() || waiting > self.limits.queue_commands {
            tap::filled("proposer", waiting, self.limits.queue_commands);
        }
        let poke = waiting == count && state.in_flight < self.limits.batches_in_flight;
        drop(state);
        if poke {
            self.wake.notify_one();
        }
    }

    pub fn closed(&self) -> Option<ProposeError> {
        self.state.lock().closed
    }

    pub fn close(&self, why: ProposeError) {
        self.state.lock().closed.get_or_insert(why);
    }

    /// Takes all that waits, to be answered otherwise.
    pub fn drain(&self) -> Vec<Origin> {
        let mut state = self.state.lock();
        let State {
            commands,
            aside,
            aside_commands,
            bytes,
            ..
        } = &mut *state;
        (*bytes, *aside_commands) = (0, 0);
        let aside = std::mem::take(aside).into_values().flatten();
        let all = commands.drain(..).chain(aside);
        all.map(|(_, origin, _)| origin).collect()
    }

    /// Resolves when there may be something to propose.
    pub async fn poked(&self) {
        self.wake.notified().await;
    }

    /// The next entry, if there may be one now.
    pub fn next(&self) -> Option<Next> {
        let mut state = self.state.lock();
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
    pub fn settled(&self, refused: Option<u64>) {
        let mut state = self.state.lock();
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
    const REST: usize = 64;
    REST + command.encoded_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use codraft_ot::Delta;
    use codraft_proto::ids::{ClientId, DocId, Revision, Role, Seq};

    use super::*;
    use crate::command::{Edit, Grant};

    fn edit(delta: &Delta) -> Command {
        Command::Edit(Edit {
            doc: DocId::default(),
            client: ClientId([1; 16]),
            user: "ada".into(),
            seq: Seq(1),
            base: Revision(1),
            ops: delta.to_bytes().into(),
        })
    }

    #[test]
    fn what_waits_for_its_document_lets_others_go_first_and_keeps_its_order() {
        let queue = Queue::new(GroupLimits {
            queue_commands: 4,
            ..GroupLimits::default()
        });
        let origin = |tag| Origin { link: 1, tag };
        let mut insert = Delta::new();
        insert.insert("x");
        let doc = DocId::default();
        queue.push_aside(doc, edit(&insert), origin(1)).unwrap();
        queue.push_aside(doc, edit(&insert), origin(2)).unwrap();
        queue.push(edit(&insert), origin(3)).unwrap();
        let next = || match queue.next() {
            Some(Next::Fresh(_, origins)) => origins.into_iter().map(|o| o.tag).collect(),
            Some(Next::Again(..)) | None => Vec::new(),
        };
        assert_eq!(next(), [3]);
        queue.release(&doc);
        assert_eq!(next(), [1, 2]);
        // Both count, and both are answered.
        for tag in [4, 5] {
            queue.push(edit(&insert), origin(tag)).unwrap();
            queue.push_aside(doc, edit(&insert), origin(tag)).unwrap();
        }
        let full = queue.push_aside(doc, edit(&insert), origin(6));
        assert_eq!(full, Err(ProposeError::Busy));
        assert_eq!(queue.drain().len(), 4);
        queue.release(&doc);
        assert_eq!(next(), [0; 0]);
    }

    #[test]
    fn a_full_group_takes_only_what_makes_room() {
        let queue = Queue::new(GroupLimits {
            state_bytes: 1_000,
            ..GroupLimits::default()
        });
        let (mut insert, mut delete) = (Delta::new(), Delta::new());
        insert.retain(1).insert("x").delete(2);
        delete.retain(1).delete(2);
        let push = |command| queue.push(command, Origin::NOBODY);
        queue.set_heap_bytes(999);
        push(edit(&insert)).unwrap();
        queue.set_heap_bytes(1_000);
        assert_eq!(push(edit(&insert)), Err(ProposeError::GroupFull));
        push(edit(&delete)).unwrap();
        push(Command::Grant(Grant {
            doc: DocId::default(),
            by: "ada".into(),
            user: "bob".into(),
            role: Some(Role::Viewer),
        }))
        .unwrap();
        queue.set_heap_bytes(10);
        push(edit(&insert)).unwrap();
    }
}
