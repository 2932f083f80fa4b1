//! The log of one group, as its Raft uses it.

use std::{io, sync::Arc};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{ids::GroupId, transport::BoxFuture};
use tokio::sync::oneshot;

use super::{
    Done, Shared, State,
    queue::{Request, Write},
    record::{self, PAYLOAD_MAX},
    state::{GroupState, Source},
};
use crate::tap;

#[derive(Clone)]
pub struct GroupWal {
    pub(super) group: GroupId,
    pub(super) shared: Arc<Shared>,
}

impl GroupWal {
    pub fn id(&self) -> GroupId {
        self.group
    }

    /// Whether this log may have lost what it promised: such a group must not take part in
    /// elections, and every write to it is refused.
    pub fn quarantined(&self) -> bool {
        self.shared.damage.is_some()
    }

    /// See [`super::Wal::is_full`].
    pub fn is_full(&self) -> bool {
        *self.shared.full.borrow()
    }

    /// Appends records at `first_index` and on, over what stood there. They can be read at
    /// once; `done` is called when they are durable. Refused, and `done` told so, where they
    /// would leave a hole, when the queue is full (see `room`) and when the log failed.
    pub fn append(&self, first_index: u64, records: Vec<Bytes>, done: Done) {
        match self.try_append(first_index, records) {
            Ok(mut state) => {
                state.queue.finish_last(done);
                drop(state);
                self.shared.wake.notify_one();
            }
            Err(error) => done(Err(error)),
        }
    }

    fn try_append(
        &self,
        first: u64,
        mut records: Vec<Bytes>,
    ) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let invalid = |reason| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        if records.iter().any(|record| record.len() > PAYLOAD_MAX) {
            return invalid(format!("a record is larger than {PAYLOAD_MAX} bytes"));
        }
        let bytes = records
            .iter()
            .map(|record| record::size(record.len()))
            .sum();
        let mut state = self.shared.lock();
        state.queue.admit(bytes, self.shared.options.queue_bytes)?;
        if let Err(misplaced) = state
            .groups
            .entry(self.group)
            .or_default()
            .put(first, &records)
        {
            return invalid(format!("appended out of place: {misplaced:?}"));
        }
        tap::appended(self.group, first, &records);
        // In parts that go well into a segment. Should one of them fail, the log has failed and
        // so do all that follow.
        let part_bytes = self.shared.options.segment_bytes as usize / 4;
        let mut at = first;
        loop {
            let mut part = 0;
            let full = |record: &Bytes| {
                part += record::size(record.len());
                part > part_bytes
            };
            let count = records
                .iter()
                .position(full)
                .unwrap_or(records.len())
                .max(1);
            let rest = records.split_off(count.min(records.len()));
            let next = at + records.len() as u64;
            let write = Write::Append { first: at, records };
            state.queue.push(Request::new(self.group, write, None));
            if rest.is_empty() {
                return Ok(state);
            }
            (at, records) = (next, rest);
        }
    }

    /// Resolves when the queue is half empty: to be waited for before a large append.
    pub async fn room(&self) {
        loop {
            let less = self.shared.room.notified();
            {
                let state = self.shared.lock();
                let half = self.shared.options.queue_bytes / 2;
                if state.queue.bytes() <= half || state.queue.is_closed() {
                    return;
                }
            }
            less.await;
        }
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// When the log cannot be written any more, or is quarantined.
    pub async fn save_vote(&self, vote: Bytes) -> io::Result<()> {
        self.write(Write::Vote(vote.clone()), |held| held.vote = Some(vote))
            .await
    }

    /// Written beside the next batch, within a second at the latest: it only spares work after
    /// a restart.
    pub fn save_committed(&self, committed: Bytes) {
        let mut state = self.shared.lock();
        if state.queue.is_closed() {
            return;
        }
        let held = state.groups.entry(self.group).or_default();
        held.committed = Some(committed);
        if !std::mem::replace(&mut held.committed_waits, true) {
            state.queue.committed.push(self.group);
        }
    }

    /// Drops all entries from `keep` on. Durable when it returns.
    ///
    /// # Errors
    /// When the log cannot be written any more, or is quarantined.
    pub async fn truncate_from(&self, keep: u64) -> io::Result<()> {
        let group = self.group;
        let cut = move |held: &mut GroupState| {
            held.truncate(keep);
            tap::truncated(group, keep);
        };
        self.write(Write::Truncate { keep }, cut).await
    }

    /// Drops all entries up to and including `up_to`, whose log id is `last`. Durable when it
    /// returns. Files that no group needs any more are removed.
    ///
    /// # Errors
    /// When the log cannot be written any more, or is quarantined.
    pub async fn purge_up_to(&self, up_to: u64, last: Bytes) -> io::Result<()> {
        let write = Write::Purge {
            up_to,
            last: last.clone(),
        };
        let group = self.group;
        let purge = move |held: &mut GroupState| {
            held.purge(up_to, last);
            tap::purged(group, up_to);
        };
        self.write(write, purge).await
    }

    /// Resolves when all that was appended before this call is durable.
    ///
    /// # Errors
    /// When the log cannot be written any more, or is quarantined.
    pub async fn settled(&self) -> io::Result<()> {
        self.write(Write::Nothing, |_| {}).await
    }

    async fn write(&self, write: Write, change: impl FnOnce(&mut GroupState)) -> io::Result<()> {
        let (told, saved) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            let _ = told.send(result);
        });
        let is_vote = matches!(write, Write::Vote(_));
        let request = Request::new(self.group, write, Some(done));
        {
            let mut state = self.shared.lock();
            // It is small, and what asks for it waits: no need of the queue's limit.
            state.queue.admit(0, usize::MAX)?;
            change(state.groups.entry(self.group).or_default());
            state.queue.push(request);
        }
        if is_vote && mutant!("vote_not_synced") {
            return Ok(()); // written beside the next batch
        }
        self.shared.wake.notify_one();
        saved
            .await
            .map_err(|_| io::Error::other("the log is closed"))?
    }

    /// Records from `from` up to and without `to`; at least one, if there is one, then as many
    /// as fit `max_bytes`.
    ///
    /// # Errors
    /// When the disk does not give back what it was given.
    pub fn read(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> BoxFuture<'static, io::Result<Vec<Bytes>>> {
        let sources = self.with(|held| held.sources(from, to, max_bytes));
        let shared = self.shared.clone();
        Box::pin(async move {
            let mut records = Vec::with_capacity(sources.len());
            let mut locations = Vec::new();
            for source in sources {
                match source {
                    Source::Disk(location) => locations.push(location),
                    Source::Memory(record) => {
                        shared.segments.read(&locations, &mut records).await?;
                        locations.clear();
                        records.push(record);
                    }
                }
            }
            shared.segments.read(&locations, &mut records).await?;
            Ok(records)
        })
    }

    /// The first index held; where the next one goes when there is none.
    pub fn first_index(&self) -> u64 {
        self.with(|held| held.first())
    }

    /// How many segments the log went on since the one with the group's first entry; none where
    /// the group has none.
    pub fn oldest_segment_age(&self) -> Option<u64> {
        let mut state = self.shared.lock();
        let now = state.synced.segment;
        let held = state.groups.entry(self.group).or_default();
        Some(now.saturating_sub(held.lowest_segment()?))
    }

    /// The last index held, if there is one.
    pub fn last_index(&self) -> Option<u64> {
        self.with(|held| (held.end() > held.first()).then(|| held.end() - 1))
    }

    /// The log id of the last entry that was purged, as it was given.
    pub fn purged(&self) -> Option<Bytes> {
        self.with(|held| held.purged().map(|(_, last)| last.clone()))
    }

    pub fn vote(&self) -> Option<Bytes> {
        self.with(|held| held.vote.clone())
    }

    pub fn committed(&self) -> Option<Bytes> {
        self.with(|held| held.committed.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&GroupState) -> T) -> T {
        f(self.shared.lock().groups.entry(self.group).or_default())
    }
}
