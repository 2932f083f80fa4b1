//! The log that a group's state comes from, and goes on with.

use std::io;

use bytes::Bytes;
use codraft_proto::transport::BoxFuture;

use super::BATCH;
use crate::{
    types::{LogId, Vote, log_id_of, vote_from_stored, vote_to_stored},
    wal::GroupWal,
};

/// The log of one group on this disk.
pub trait LogEnd: Send + Sync + 'static {
    /// Resolves when all that was appended before this call is durable.
    fn settled(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Entries as they are stored, from `from` on and below `to`: at least one where there are any.
    fn read(&self, from: u64, to: u64) -> BoxFuture<'_, io::Result<Vec<Bytes>>>;
    /// The entry behind which it begins; 0 also where none was let go of.
    fn begins_after(&self) -> u64;
    /// Makes it a log that a state after the entry `last` can go on with, which is committed: what
    /// contradicts that was not. Durable when it returns.
    fn agree(&self, last: LogId) -> BoxFuture<'_, io::Result<()>>;
}

impl LogEnd for GroupWal {
    fn settled(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(GroupWal::settled(self))
    }

    fn read(&self, from: u64, to: u64) -> BoxFuture<'_, io::Result<Vec<Bytes>>> {
        Box::pin(GroupWal::read(self, from, to, BATCH))
    }

    fn begins_after(&self) -> u64 {
        self.first_index().saturating_sub(1)
    }

    fn agree(&self, last: LogId) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let vote = self
                .vote()
                .map(|vote| vote_from_stored(&vote))
                .transpose()?;
            // A log must not be of a later term than the vote.
            if vote.is_none_or(|vote| vote.leader_id.term < last.leader_id.term) {
                let vote = Vote {
                    leader_id: last.leader_id,
                    committed: true,
                };
                self.save_vote(vote_to_stored(&vote)).await?;
            }
            let at = last.index;
            let known = GroupWal::read(self, at, at + 1, BATCH).await?;
            let known = known.first().map(|entry| log_id_of(entry)).transpose()?;
            if known.is_some_and(|known| known != last) {
                self.truncate_from(at).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codraft_proto::{disk::memory::MemoryDisk, ids::GroupId, tasks::Tasks};
    use openraft::{EntryPayload, entry::RaftEntry as _};

    use super::*;
    use crate::{
        types::{Entry, LeaderId},
        wal::{Wal, WalOptions},
    };

    fn id(term: u64, index: u64) -> LogId {
        let leader_id = LeaderId { term, node_id: 2 };
        LogId { leader_id, index }
    }

    /// A log that agrees with a state after this entry: its last index then, and the term of its vote.
    async fn agreed(last: LogId) -> (Option<u64>, u64) {
        let tasks = Tasks::new();
        let disk = MemoryDisk::new();
        let opened = |tasks: Tasks| {
            let disk = Arc::new(disk.clone());
            async move {
                let wal = Wal::open(&tasks, disk, "/wal".into(), WalOptions::default()).await;
                wal.unwrap().0.group(GroupId(0))
            }
        };
        let log = opened(tasks.clone()).await;
        let blank = |index| Entry::new(id(3, index), EntryPayload::Blank).into_stored();
        let vote = Vote {
            leader_id: id(4, 0).leader_id,
            committed: false,
        };
        log.save_vote(vote_to_stored(&vote)).await.unwrap();
        log.append(0, (0..10).map(blank).collect(), Box::new(|_| {}));
        LogEnd::settled(&log).await.unwrap();
        log.agree(last).await.unwrap();
        tasks.shutdown().await;
        disk.lose_power(1);
        let tasks = Tasks::new();
        let log = opened(tasks.clone()).await;
        let vote = vote_from_stored(&log.vote().unwrap()).unwrap();
        let end = (log.last_index(), vote.leader_id.term);
        tasks.shutdown().await;
        end
    }

    #[tokio::test]
    async fn what_contradicts_a_committed_entry_goes_and_nothing_else() {
        assert_eq!(agreed(id(3, 5)).await, (Some(9), 4), "the same entry");
        assert_eq!(agreed(id(2, 5)).await, (Some(4), 4), "another one");
        assert_eq!(agreed(id(4, 20)).await, (Some(9), 4), "one behind the end");
        // A vote for an earlier leader would let one of before it win.
        assert_eq!(agreed(id(7, 20)).await, (Some(9), 7));
        assert_eq!(agreed(id(7, 5)).await, (Some(4), 7));
    }
}
