//! What memory knows of a group's log.

use std::collections::VecDeque;

use bytes::Bytes;

use super::segment::RecordLocation;

/// The last entry that was purged: its index, and its log id as its Raft spells it.
pub type Purged = (u64, Bytes);

/// A group's part of the log, as it will be once the queue is written.
#[derive(Default)]
pub struct GroupState {
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    /// Whether `committed` waits to be written.
    pub committed_waits: bool,
    purged: Option<Purged>,
    /// Index of `entries[0]`.
    first: u64,
    entries: VecDeque<Entry>,
    cached_bytes: usize,
    /// Entries before this one are out of memory.
    cached_from: u64,
}

struct Entry {
    /// In memory until it is on disk and there is too much.
    record: Option<Bytes>,
    location: Option<RecordLocation>,
}

/// Where a record can be had.
pub enum Source {
    Memory(Bytes),
    Disk(RecordLocation),
}

/// The log of a group has no holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfPlace {
    pub index: u64,
    pub first: u64,
    pub end: u64,
}

impl GroupState {
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub fn purged(&self) -> Option<&Purged> {
        self.purged.as_ref()
    }

    /// The first segment in which an entry lies; none for entries that are not written.
    pub fn lowest_segment(&self) -> Option<u64> {
        Some(self.entries.front()?.location?.at.segment)
    }

    fn entry_mut(&mut self, index: u64) -> Option<&mut Entry> {
        self.entries
            .get_mut(index.checked_sub(self.first)? as usize)
    }

    /// Takes records in at `first`, over whatever stood there. An empty log takes any index
    /// that was not purged.
    ///
    /// # Errors
    /// When they would leave a hole, or stand where the log was purged; nothing changed then.
    pub fn put(&mut self, first: u64, records: &[Bytes]) -> Result<(), OutOfPlace> {
        let end = self.end();
        if first < self.first || (first > end && !self.entries.is_empty()) {
            return Err(OutOfPlace {
                index: first,
                first: self.first,
                end,
            });
        }
        self.truncate(first);
        if self.entries.is_empty() {
            self.first = first;
            self.cached_from = first;
        }
        for record in records {
            self.cached_bytes += record.len();
            self.entries.push_back(Entry {
                record: Some(record.clone()),
                location: None,
            });
        }
        Ok(())
    }

    /// Drops the entries from `keep` on.
    pub fn truncate(&mut self, keep: u64) {
        while self.end() > keep {
            let Some(entry) = self.entries.pop_back() else {
                break;
            };
            self.cached_bytes -= entry.record.map_or(0, |record| record.len());
        }
        self.cached_from = self.cached_from.min(self.end());
    }

    /// Drops the entries up to and including `up_to`, whose log id is `last`.
    pub fn purge(&mut self, up_to: u64, last: Bytes) {
        if self
            .purged
            .as_ref()
            .is_none_or(|(before, _)| *before < up_to)
        {
            self.purged = Some((up_to, last));
        }
        while self.first <= up_to {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.cached_bytes -= entry.record.map_or(0, |record| record.len());
            self.first += 1;
        }
        self.first = self.first.max(up_to.saturating_add(1));
        self.cached_from = self.cached_from.max(self.first);
    }

    /// A record is on disk now: it may leave memory when there is too much.
    pub fn located(
        &mut self,
        index: u64,
        record: &Bytes,
        location: RecordLocation,
        cache_bytes: usize,
    ) {
        if let Some(entry) = self.entry_mut(index) {
            // It may have been replaced while it was written. Both are in memory, so another
            // record stands at another address.
            let same =
                |held: &Bytes| held.as_ptr() == record.as_ptr() && held.len() == record.len();
            if entry.record.as_ref().is_some_and(same) {
                entry.location = Some(location);
            }
        }
        while self.cached_bytes > cache_bytes && self.cached_from < self.end() {
            let Some(entry) = self.entry_mut(self.cached_from) else {
                break;
            };
            if entry.location.is_none() {
                break;
            }
            let freed = entry.record.take().map_or(0, |record| record.len());
            self.cached_bytes -= freed;
            self.cached_from += 1;
        }
    }

    /// Whether the entry is still the one that was written at `place`.
    pub fn stands(&self, index: u64, location: RecordLocation) -> bool {
        let entry = index
            .checked_sub(self.first)
            .and_then(|at| self.entries.get(at as usize));
        entry.is_some_and(|entry| entry.location == Some(location))
    }

    /// Where to read `from..to`: at least one, if there is one, then as many as fit
    /// `max_bytes`.
    pub fn sources(&self, from: u64, to: u64, max_bytes: usize) -> Vec<Source> {
        let mut sources = Vec::new();
        let Some(skip) = from.checked_sub(self.first).filter(|_| from < to) else {
            return sources;
        };
        let count = (to - from).min(self.entries.len() as u64) as usize;
        let mut bytes = 0;
        for entry in self.entries.iter().skip(skip as usize).take(count) {
            let (source, length) = match (&entry.record, &entry.location) {
                (Some(record), _) => (Source::Memory(record.clone()), record.len()),
                (None, Some(location)) => (Source::Disk(*location), location.length as usize),
                // Only what has a place leaves memory.
                (None, None) => break,
            };
            if !sources.is_empty() && bytes + length > max_bytes {
                break;
            }
            bytes += length;
            sources.push(source);
        }
        sources
    }
}
