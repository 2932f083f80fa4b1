//! What memory knows of a group's log.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{record::Position, segment::RecordLocation};

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
    /// Index of `locations[0]`.
    first: u64,
    /// Of every entry, since nothing is purged yet: packed.
    locations: VecDeque<Packed>,
    /// Entries before this one are out of memory.
    cached_from: u64,
    /// The others, in memory until they are on disk and there is too much.
    records: VecDeque<Bytes>,
    cached_bytes: usize,
}

/// Where an entry lies, in twelve bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    segment: u32,
    offset: u32,
    length: u32,
}

impl Packed {
    /// It is not on disk yet. No segment is that large.
    const NOWHERE: Packed = Packed {
        segment: 0,
        offset: u32::MAX,
        length: 0,
    };

    /// What does not fit stays in memory: a segment number of 33 bits, a segment of 4 GiB.
    fn new(location: RecordLocation) -> Packed {
        let RecordLocation { at, length } = location;
        match (u32::try_from(at.segment), u32::try_from(at.offset)) {
            (Ok(segment), Ok(offset)) => Packed {
                segment,
                offset,
                length,
            },
            _ => Packed::NOWHERE,
        }
    }

    fn get(self) -> Option<RecordLocation> {
        (self != Packed::NOWHERE).then(|| RecordLocation {
            at: Position {
                segment: self.segment.into(),
                offset: self.offset.into(),
            },
            length: self.length,
        })
    }
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
        self.first + self.locations.len() as u64
    }

    pub fn purged(&self) -> Option<&Purged> {
        self.purged.as_ref()
    }

    /// The first segment in which an entry lies; none for entries that are not written.
    pub fn lowest_segment(&self) -> Option<u64> {
        Some(self.locations.front()?.get()?.at.segment)
    }

    /// Where the entry lies on disk, if it does.
    fn location(&self, index: u64) -> Option<RecordLocation> {
        let at = index.checked_sub(self.first)? as usize;
        self.locations.get(at)?.get()
    }

    /// The entry, if it is in memory.
    fn record(&self, index: u64) -> Option<&Bytes> {
        self.records
            .get(index.checked_sub(self.cached_from)? as usize)
    }

    /// Takes records in at `first`, over whatever stood there. An empty log takes any index
    /// that was not purged.
    ///
    /// # Errors
    /// When they would leave a hole, or stand where the log was purged; nothing changed then.
    pub fn put(&mut self, first: u64, records: &[Bytes]) -> Result<(), OutOfPlace> {
        let end = self.end();
        if first < self.first || (first > end && !self.locations.is_empty()) {
            return Err(OutOfPlace {
                index: first,
                first: self.first,
                end,
            });
        }
        self.truncate(first);
        if self.locations.is_empty() {
            self.first = first;
            self.cached_from = first;
        }
        for record in records {
            self.cached_bytes += record.len();
            self.locations.push_back(Packed::NOWHERE);
            self.records.push_back(record.clone());
        }
        Ok(())
    }

    /// Drops the entries from `keep` on.
    pub fn truncate(&mut self, keep: u64) {
        while self.end() > keep {
            if self.locations.pop_back().is_none() {
                break;
            }
            let freed = self.records.pop_back();
            self.cached_bytes -= freed.map_or(0, |record| record.len());
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
            if self.locations.pop_front().is_none() {
                break;
            }
            if self.first == self.cached_from {
                self.forget_record();
            }
            self.first += 1;
        }
        self.first = self.first.max(up_to.saturating_add(1));
        self.cached_from = self.cached_from.max(self.first);
    }

    /// Lets the first entry that is in memory go from there.
    fn forget_record(&mut self) {
        let freed = self.records.pop_front();
        self.cached_bytes -= freed.map_or(0, |record| record.len());
        self.cached_from += 1;
    }

    /// A record is on disk now: it may leave memory when there is too much.
    pub fn located(
        &mut self,
        index: u64,
        record: &Bytes,
        location: RecordLocation,
        cache_bytes: usize,
    ) {
        // It may have been replaced while it was written. Both are in memory, so another record
        // stands at another address.
        let same = |held: &Bytes| held.as_ptr() == record.as_ptr() && held.len() == record.len();
        if self.record(index).is_some_and(same)
            && let Some(at) = index.checked_sub(self.first)
        {
            self.locations[at as usize] = Packed::new(location);
        }
        while self.cached_bytes > cache_bytes && self.location(self.cached_from).is_some() {
            self.forget_record();
        }
    }

    /// Whether the entry is still the one that was written at `place`.
    pub fn stands(&self, index: u64, location: RecordLocation) -> bool {
        self.location(index) == Some(location)
    }

    /// Where to read `from..to`: at least one, if there is one, then as many as fit
    /// `max_bytes`.
    pub fn sources(&self, from: u64, to: u64, max_bytes: usize) -> Vec<Source> {
        let mut sources = Vec::new();
        if from < self.first {
            return sources;
        }
        let mut bytes = 0;
        for index in from..to.min(self.end()) {
            let (source, length) = match (self.record(index), self.location(index)) {
                (Some(record), _) => (Source::Memory(record.clone()), record.len()),
                (None, Some(location)) => (Source::Disk(location), location.length as usize),
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
