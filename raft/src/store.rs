//! A group's log as openraft wants it, over the group's part of the write-ahead log.

use std::{io, ops::Bound, ops::RangeBounds};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::ids::NodeId;
use futures_util::{Stream, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use crate::{
    tap,
    types::{
        Entry, LogId, TypeConfig, Vote, committed_from_stored, committed_to_stored,
        log_id_from_stored, log_id_of, log_id_to_stored, vote_from_stored, vote_to_stored,
    },
    wal::GroupWal,
};

/// What one append to a follower carries at most, in bytes; one entry always goes.
const APPEND_BYTES_MAX: usize = 4 << 20;
/// What is read at once when entries are applied, in bytes.
const APPLY_BYTES: usize = 4 << 20;

#[derive(Clone)]
pub struct LogStore {
    wal: GroupWal,
    node: NodeId,
    /// The vote that an earlier life of this process left.
    inherited: Option<Bytes>,
}

impl LogStore {
    pub fn new(wal: GroupWal, node: NodeId) -> Self {
        let inherited = wal.vote();
        Self {
            wal,
            node,
            inherited,
        }
    }

    /// An inherited leadership counts as a candidacy: it is not resumed. openraft would go on in
    /// the same term without an election, and entries go to the followers before they are on
    /// the leader's own disk: what it forgot it would write anew under the same term and index,
    /// and two logs with one last entry would differ before it.
    fn vote(&self) -> io::Result<Option<Vote>> {
        let Some(stored) = self.wal.vote() else {
            return Ok(None);
        };
        let mut vote = vote_from_stored(&stored)?;
        let led = vote.leader_id.node_id == self.node.0 && Some(&stored) == self.inherited.as_ref();
        if led && !mutant!("leadership_resumed") {
            vote.committed = false;
        }
        Ok(Some(vote))
    }

    /// At least one entry, where there are any.
    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let stored = self.wal.read(from, to, max_bytes).await?;
        let entries = stored
            .into_iter()
            .map(Entry::from_stored)
            .collect::<io::Result<Vec<_>>>()?;
        // What was read is compared with what was asked for: a log that serves other
        // entries than its own must not be believed.
        for (entry, index) in entries.iter().zip(from..) {
            if entry.index() != index {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "entry of another index",
                ));
            }
        }
        Ok(entries)
    }

    async fn log_id(&self, index: u64) -> io::Result<Option<LogId>> {
        let stored = self.wal.read(index, index + 1, APPEND_BYTES_MAX).await?;
        stored.first().map(|stored| log_id_of(stored)).transpose()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend,
    {
        let (mut from, to) = self.bounds(&range);
        let mut entries = Vec::new();
        while from < to {
            let some = self.read(from, to, APPLY_BYTES).await?;
            if some.is_empty() {
                break;
            }
            from += some.len() as u64;
            entries.extend(some);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.vote()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, APPEND_BYTES_MAX).await
    }

    /// In steps: a restarted node applies its whole log in one call.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        let store = self.clone();
        let next = |(store, from, to, mut some): (
            LogStore,
            u64,
            u64,
            std::vec::IntoIter<Entry>,
        )| async move {
            if some.as_slice().is_empty() && from < to {
                some = match store.read(from, to, APPLY_BYTES).await {
                    Ok(some) => some.into_iter(),
                    // The error ends the stream.
                    Err(error) => {
                        return Some((Err(error), (store, to, to, Vec::new().into_iter())));
                    }
                };
            }
            let entry = some.next()?;
            let next = entry.index() + 1;
            Some((Ok(entry), (store, next, to, some)))
        };
        Box::pin(stream::unfold(
            (store, from, to, Vec::new().into_iter()),
            next,
        ))
    }
}

impl LogStore {
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n.saturating_add(1),
            Bound::Unbounded => self.wal.first_index(),
        };
        let end = self.wal.last_index().map_or(0, |last| last + 1);
        let to = match range.end_bound() {
            Bound::Included(n) => n.saturating_add(1),
            Bound::Excluded(n) => *n,
            Bound::Unbounded => end,
        };
        (from, to.min(end))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let purged = self.wal.purged();
        let last_purged_log_id = purged.map(|id| log_id_from_stored(&id)).transpose()?;
        let last_log_id = match self.wal.last_index() {
            Some(last) => self.log_id(last).await?,
            None => last_purged_log_id,
        };
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.wal.save_vote(vote_to_stored(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(id) = &committed {
            tap::committed(self.wal.id(), id.index);
        }
        self.wal
            .save_committed(committed_to_stored(committed.as_ref()));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        match self.wal.committed() {
            Some(stored) => committed_from_stored(&stored),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let Some(first) = entries.peek().map(Entry::index) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        self.wal.room().await;
        let records: Vec<Bytes> = entries.map(Entry::into_stored).collect();
        if mutant!("acknowledged_before_fsync") {
            callback.io_completed(Ok(()));
            self.wal.append(first, records, Box::new(|_| {}));
            return Ok(());
        }
        self.wal.append(
            first,
            records,
            Box::new(move |result| callback.io_completed(result)),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.wal
            .truncate_from(last_log_id.map_or(0, |id| id.index + 1))
            .await
    }

    /// What is purged is in a manifest on this disk: see `Group::purge`.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let last = log_id_to_stored(&log_id);
        self.wal.purge_up_to(log_id.index, last).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codraft_proto::{disk::memory::MemoryDisk, ids::GroupId, tasks::Tasks};
    use openraft::entry::RaftEntry as _;

    use super::*;
    use crate::{
        types::LeaderId,
        wal::{Wal, WalOptions},
    };

    /// A life of node 1 on this disk.
    async fn life(disk: &MemoryDisk) -> (LogStore, Tasks) {
        let tasks = Tasks::new();
        let disk = Arc::new(disk.clone());
        let (wal, _) = Wal::open(&tasks, disk, "/wal".into(), WalOptions::default())
            .await
            .unwrap();
        (LogStore::new(wal.group(GroupId(0)), NodeId(1)), tasks)
    }

    /// openraft compares the terms too, so an index alone would not do.
    #[tokio::test]
    async fn a_purged_log_still_knows_the_log_id_before_its_beginning() {
        let disk = MemoryDisk::new();
        let id = |index| LogId {
            leader_id: LeaderId {
                term: 3,
                node_id: 2,
            },
            index,
        };
        let (mut store, tasks) = life(&disk).await;
        assert_eq!(store.get_log_state().await.unwrap(), LogState::default());
        let blank = |index| Entry::new(id(index), openraft::EntryPayload::Blank).into_stored();
        let (told, saved) = tokio::sync::oneshot::channel();
        let done = move |result| told.send(result).unwrap();
        let entries = (0..5).map(blank).collect();
        store.wal.append(0, entries, Box::new(done));
        saved.await.unwrap().unwrap();
        store
            .wal
            .purge_up_to(3, log_id_to_stored(&id(3)))
            .await
            .unwrap();
        tasks.shutdown().await;

        let (mut store, tasks) = life(&disk).await;
        let state = store.get_log_state().await.unwrap();
        let expected = LogState {
            last_purged_log_id: Some(id(3)),
            last_log_id: Some(id(4)),
        };
        assert_eq!(state, expected);
        store
            .wal
            .purge_up_to(4, log_id_to_stored(&id(4)))
            .await
            .unwrap();
        let state = store.get_log_state().await.unwrap();
        assert_eq!(
            state.last_log_id,
            Some(id(4)),
            "an empty log says where it ended"
        );
        tasks.shutdown().await;
    }

    fn leads(term: u64, node_id: u64) -> Vote {
        let leader_id = LeaderId { term, node_id };
        Vote {
            leader_id,
            committed: true,
        }
    }

    #[tokio::test]
    async fn a_leadership_is_not_inherited() {
        let disk = MemoryDisk::new();
        let (mut store, tasks) = life(&disk).await;
        store.save_vote(&leads(3, 1)).await.unwrap();
        // It won that one itself.
        assert!(store.read_vote().await.unwrap().unwrap().committed);
        tasks.shutdown().await;

        let (mut store, tasks) = life(&disk).await;
        let inherited = store.read_vote().await.unwrap().unwrap();
        assert_eq!(inherited.leader_id, leads(3, 1).leader_id);
        assert!(!inherited.committed);
        store.save_vote(&leads(4, 1)).await.unwrap();
        assert!(store.read_vote().await.unwrap().unwrap().committed);
        store.save_vote(&leads(5, 2)).await.unwrap();
        tasks.shutdown().await;

        // Another leader still leads.
        let (mut store, tasks) = life(&disk).await;
        assert_eq!(store.read_vote().await.unwrap(), Some(leads(5, 2)));
        tasks.shutdown().await;
    }
}
