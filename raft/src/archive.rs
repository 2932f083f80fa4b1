//! Where a group's events go on to when its op log lets go of them.
//!
//! Events are archived in rounds. Where a round ends is decided by the events alone, so every replica
//! archives the same rounds, and what it makes of them is the same to the byte.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{event::CHECKPOINT, ids::GroupId, transport::BoxFuture, v1};

pub use crate::oplog::ArchiveMark;
use crate::{events::BulkLink, machine::Event, oplog::Logged};

/// All events of the entries after the mark, up to and including `to`.
pub struct Round {
    pub to: u64,
    /// Document by document, each in the order of its revisions.
    pub events: Vec<Arc<Event>>,
}

/// Why something could not be archived; it may be tried again.
pub type ArchiveError = Box<Cause>;
pub type Cause = dyn std::error::Error + Send + Sync;

pub trait Archive: Send + Sync + 'static {
    /// Adds the round that follows on `mark`: durable, and read back, when the next mark returns.
    fn add(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        round: Round,
    ) -> BoxFuture<'_, Result<ArchiveMark, ArchiveError>>;

    /// Brings all here that another replica has archived up to its mark: durable when it returns.
    fn adopt<'a>(
        &'a self,
        group: GroupId,
        mark: ArchiveMark,
        link: &'a dyn BulkLink,
    ) -> BoxFuture<'a, Result<(), ArchiveError>>;

    /// Brings here from another replica what was missing or damaged where this is why: durable when it
    /// returns. False where that is not the reason.
    fn mend<'a>(
        &'a self,
        why: &'a Cause,
        link: &'a dyn BulkLink,
    ) -> BoxFuture<'a, Result<bool, ArchiveError>>;

    /// What another replica asks for.
    fn fetch(
        &self,
        group: GroupId,
        part: v1::FetchObject,
    ) -> BoxFuture<'_, Result<Bytes, ArchiveError>>;

    /// Removes what cannot be found from any of these marks.
    fn tidy(
        &self,
        group: GroupId,
        marks: Vec<ArchiveMark>,
    ) -> BoxFuture<'_, Result<(), ArchiveError>>;
}

/// When a round ends. The same on all replicas of a group.
#[derive(Debug, Clone)]
pub struct RoundOptions {
    /// Once its events count for so many bytes.
    pub bytes: usize,
    /// Or once one came so much later than the first.
    pub ms: u64,
}

impl Default for RoundOptions {
    fn default() -> Self {
        Self {
            bytes: 4 << 20,
            ms: 3_600_000,
        }
    }
}

/// Finds where rounds end.
#[derive(Debug)]
pub struct Rounds {
    options: RoundOptions,
    /// Of the round that is not complete.
    bytes: usize,
    first_ms: Option<u64>,
    /// The last entry that had events.
    last: u64,
    /// Whether somebody asked for a checkpoint in that entry: the round ends with it.
    asked: bool,
    /// The last entries of complete rounds that are not archived.
    ends: VecDeque<u64>,
}

impl Rounds {
    /// After a round that ended with the entry `last`.
    pub fn after(last: u64, options: RoundOptions) -> Self {
        Self {
            options,
            bytes: 0,
            first_ms: None,
            last,
            asked: false,
            ends: VecDeque::new(),
        }
    }

    /// All events of some entries, in the order of the entries, none of which goes on in the next
    /// call. Those of entries that came before are known.
    pub fn push(&mut self, events: &[Logged]) {
        let before = self.last;
        let new = events.iter().filter(|logged| logged.log_id.index > before);
        for Logged { log_id, event } in new {
            // A round ends with an entry, and only once another one came after it.
            if log_id.index > self.last && self.is_complete(event.ts_ms) {
                self.end();
            }
            self.asked |= u32::from(event.kind) == CHECKPOINT;
            self.bytes += event.window_bytes();
            self.first_ms.get_or_insert(event.ts_ms);
            self.last = log_id.index;
        }
        // All of the last entry is here; of one that was asked for a checkpoint nobody need wait for
        // another.
        if self.asked || self.bytes > 0 && mutant!("rounds_end_with_pages") {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ends.push_back(self.last);
        (self.bytes, self.first_ms, self.asked) = (0, None, false);
    }

    fn is_complete(&self, ts_ms: u64) -> bool {
        let Some(first_ms) = self.first_ms else {
            return false;
        };
        self.asked
            || self.bytes >= self.options.bytes
            || ts_ms >= first_ms.saturating_add(self.options.ms)
    }

    /// Where the next round ends, if it is complete.
    pub fn next(&self) -> Option<u64> {
        self.ends.front().copied()
    }

    /// How many rounds end up to an entry with which one ends.
    pub fn count_to(&self, index: u64) -> Option<u64> {
        let place = self.ends.iter().position(|end| *end == index)?;
        Some(place as u64 + 1)
    }

    /// All rounds up to an entry are archived.
    pub fn archived(&mut self, to: u64) {
        self.ends.retain(|end| *end > to);
    }
}
