//! What the archive's objects look like. An object begins with its sort and format; its name is the
//! BLAKE3 of all of it.
//!
//! ```text
//! object = magic 8 · format u32 · body
//! pack   = block*                           magic "codraftP"
//! block  = one zstd frame of segments and checkpoints, one behind the other
//! index  = packs u32 · entries u32 · hash 32 a pack · entry*        magic "codraftI"
//! entry  = doc 16 · rev u64 (of the first event) · events u32 · pack u32 · offset u32 · length u32
//!          · start u32 · end u32            by doc, then rev; with no events it is a checkpoint, which
//!                                           stands behind a segment that begins with its revision
//! head   = group u32 · rounds varint · index varint · run*          magic "codraftH"
//! run    = level varint · entries varint · hash 32 of an index      the oldest first; before them, where
//!                                           rounds were let go of, one of level 2^64 − 1: a checkpoint of
//!                                           each document that had events there
//! ```
//!
//! An entry's block is at `offset` of the pack, its segment from `start` to `end` of what the block
//! holds. Fixed numbers are little-endian.

use std::sync::Arc;

use codraft_ot::varint;
use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_tiers::snapshots::ContentHash;

use crate::segment::{SegmentError, array};

const FORMAT: u32 = 2;
const ENTRY: usize = 48;
/// The level of the index of what was carried over from rounds that are gone.
pub const CARRIED: u64 = u64::MAX;
/// Entries that are merged before others have their turn.
const ENTRIES_AT_ONCE: usize = 4_096;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Pack,
    Index,
    Head,
}

impl Sort {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Pack => b"codraftP",
            Self::Index => b"codraftI",
            Self::Head => b"codraftH",
        }
    }

    /// The beginning of an object.
    pub fn prefix(self) -> Vec<u8> {
        [&self.magic()[..], &FORMAT.to_le_bytes()].concat()
    }

    /// What follows the beginning.
    ///
    /// # Errors
    /// When it is another sort of object, or of another format.
    pub fn body(self, object: &[u8]) -> Result<&[u8], SegmentError> {
        let prefix = self.prefix();
        let body = object.strip_prefix(&prefix[..]);
        body.ok_or(SegmentError::Invalid("sort of object"))
    }
}

/// Where one segment is, or one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub doc: DocId,
    /// Of its first event, or of the checkpoint.
    pub rev: Revision,
    /// None for a checkpoint.
    pub events: u32,
    /// Which of the index's packs.
    pub pack: u32,
    /// Of its block.
    pub offset: u32,
    pub length: u32,
    /// Of the segment, in what the block holds.
    pub start: u32,
    pub end: u32,
}

impl Entry {
    pub fn is_checkpoint(&self) -> bool {
        self.events == 0
    }

    /// The last of its revisions.
    pub fn last(&self) -> Revision {
        Revision(self.rev.0 + u64::from(self.events.saturating_sub(1)))
    }

    fn key(&self) -> (DocId, Revision, bool) {
        (self.doc, self.rev, self.is_checkpoint())
    }
}

/// Entries by document and revision, and the packs that they are in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    pub packs: Vec<ContentHash>,
    pub entries: Vec<Entry>,
}

impl Index {
    pub fn encode(&self) -> Vec<u8> {
        let mut object = Sort::Index.prefix();
        object.reserve(8 + self.packs.len() * 32 + self.entries.len() * ENTRY);
        for count in [self.packs.len(), self.entries.len()] {
            object.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for pack in &self.packs {
            object.extend_from_slice(&pack.0);
        }
        for entry in &self.entries {
            object.extend_from_slice(&entry.doc.0);
            object.extend_from_slice(&entry.rev.0.to_le_bytes());
            let Entry {
                events,
                pack,
                offset,
                length,
                start,
                end,
                ..
            } = *entry;
            for number in [events, pack, offset, length, start, end] {
                object.extend_from_slice(&number.to_le_bytes());
            }
        }
        object
    }

    /// # Errors
    /// When it is no index.
    pub fn decode(object: &[u8]) -> Result<Index, SegmentError> {
        let mut rest = Sort::Index.body(object)?;
        let mut count = || Ok::<_, SegmentError>(u32::from_le_bytes(array(&mut rest)?) as usize);
        let (packs, entries) = (count()?, count()?);
        if rest.len() != packs * 32 + entries * ENTRY {
            return Err(SegmentError::Truncated);
        }
        let mut index = Index::default();
        for _ in 0..packs {
            index.packs.push(ContentHash(array(&mut rest)?));
        }
        for _ in 0..entries {
            let doc = DocId(array(&mut rest)?);
            let rev = Revision(u64::from_le_bytes(array(&mut rest)?));
            let mut number = || Ok::<_, SegmentError>(u32::from_le_bytes(array(&mut rest)?));
            let entry = Entry {
                doc,
                rev,
                events: number()?,
                pack: number()?,
                offset: number()?,
                length: number()?,
                start: number()?,
                end: number()?,
            };
            index.push(entry)?;
        }
        Ok(index)
    }

    fn push(&mut self, entry: Entry) -> Result<(), SegmentError> {
        let last = self.entries.last().map(Entry::key);
        if last.is_some_and(|last| last >= entry.key()) {
            return Err(SegmentError::Invalid("order of segments"));
        }
        if entry.pack as usize >= self.packs.len() || entry.start > entry.end {
            return Err(SegmentError::Invalid("place of a segment"));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Without its first packs, and what is in them.
    pub fn without(&self, packs: usize) -> Index {
        let before = packs as u32;
        let rest = self.entries.iter().filter(|entry| entry.pack >= before);
        let moved = |entry: &Entry| Entry {
            pack: entry.pack - before,
            ..*entry
        };
        Index {
            packs: self.packs[packs..].to_vec(),
            entries: rest.map(moved).collect(),
        }
    }

    /// Takes in what another pack has.
    pub fn extend(&mut self, pack: ContentHash, entries: Vec<Entry>) {
        let number = self.packs.len() as u32;
        self.packs.push(pack);
        let numbered = entries.into_iter().map(|entry| Entry {
            pack: number,
            ..entry
        });
        self.entries.extend(numbered);
    }

    /// In order, and without packs of which nothing is needed.
    pub fn tidied(mut self) -> Index {
        let mut used = vec![false; self.packs.len()];
        for entry in &self.entries {
            used[entry.pack as usize] = true;
        }
        let number = |pack: u32| used[..pack as usize].iter().filter(|used| **used).count() as u32;
        let numbers: Vec<u32> = (0..used.len() as u32).map(number).collect();
        for entry in &mut self.entries {
            entry.pack = numbers[entry.pack as usize];
        }
        self.entries.sort_by_key(Entry::key);
        let mut is_used = used.iter();
        self.packs.retain(|_| is_used.next() == Some(&true));
        self
    }

    /// Those of a document.
    pub fn of(&self, doc: &DocId) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.doc < *doc);
        let rest = &self.entries[start..];
        &rest[..rest.partition_point(|entry| entry.doc == *doc)]
    }

    /// All of some, which come one after the other. Others have their turn in between.
    pub async fn merge(all: &[Arc<Index>]) -> Index {
        let mut merged = Index::default();
        // Of each: its first pack's number now, and the entries that are left.
        let mut rest = Vec::new();
        for index in all {
            rest.push((merged.packs.len() as u32, &index.entries[..]));
            merged.packs.extend_from_slice(&index.packs);
        }
        loop {
            let next = rest.iter_mut().filter(|(_, entries)| !entries.is_empty());
            let next = next.min_by_key(|(_, entries)| entries[0].key());
            let Some((before, entries)) = next else {
                return merged;
            };
            let pack = *before + entries[0].pack;
            merged.entries.push(Entry { pack, ..entries[0] });
            *entries = &entries[1..];
            if merged.entries.len().is_multiple_of(ENTRIES_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// An index of the rounds that came one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub level: u64,
    pub entries: u64,
    pub hash: ContentHash,
}

/// The root of a group's archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    pub group: GroupId,
    pub rounds: u64,
    /// The last entry whose events are in it.
    pub index: u64,
    pub runs: Vec<Run>,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut object = Sort::Head.prefix();
        object.extend_from_slice(&self.group.0.to_le_bytes());
        varint::put(&mut object, self.rounds);
        varint::put(&mut object, self.index);
        for run in &self.runs {
            varint::put(&mut object, run.level);
            varint::put(&mut object, run.entries);
            object.extend_from_slice(&run.hash.0);
        }
        object
    }

    /// # Errors
    /// When it is no head.
    pub fn decode(object: &[u8]) -> Result<Head, SegmentError> {
        let mut rest = Sort::Head.body(object)?;
        let mut head = Head {
            group: GroupId(u32::from_le_bytes(array(&mut rest)?)),
            rounds: varint::take(&mut rest)?,
            index: varint::take(&mut rest)?,
            runs: Vec::new(),
        };
        while !rest.is_empty() {
            head.runs.push(Run {
                level: varint::take(&mut rest)?,
                entries: varint::take(&mut rest)?,
                hash: ContentHash(array(&mut rest)?),
            });
        }
        Ok(head)
    }
}
