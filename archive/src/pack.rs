//! Packs: the segments and checkpoints of one round, compressed in blocks that can be read one by one.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use codraft_proto::ids::{DocId, Revision};
use codraft_raft::machine::Event;

use crate::{
    object::{Entry, Sort},
    segment::{self, SEGMENT_EVENTS, SegmentError},
};

/// A block takes no more segments once they have so many bytes.
const BLOCK: usize = 128 << 10;
/// The most that a block holds, in bytes: one event may be as large as an entry.
const BLOCK_MAX: usize = 128 << 20;
/// Bytes that are compressed at a time; others have their turn in between.
const STEP: usize = 8 << 10;
const LEVEL: i32 = 9;

/// Spells the events of a round, which come document by document, each followed by its checkpoint if it
/// has one, and says where each segment is.
///
/// # Errors
/// When a block or the pack is larger than it can be.
pub async fn encode(
    events: &[Arc<Event>],
    checkpoints: &BTreeMap<DocId, Checkpoint>,
) -> io::Result<(Bytes, Vec<Entry>)> {
    let mut packing = Packing::new();
    for of_doc in events.chunk_by(|a, b| a.doc == b.doc) {
        for piece in of_doc.chunks(SEGMENT_EVENTS) {
            packing.segment(piece);
            packing.close_if_full().await?;
            tokio::task::yield_now().await;
        }
        let doc = of_doc[0].doc;
        if let Some(checkpoint) = checkpoints.get(&doc) {
            packing.checkpoint(doc, checkpoint);
        }
    }
    packing.finish().await
}

/// Spells checkpoints alone, and says where each of them is.
///
/// # Errors
/// When a block or the pack is larger than it can be.
pub async fn encode_whole(
    checkpoints: &BTreeMap<DocId, Checkpoint>,
) -> io::Result<(Bytes, Vec<Entry>)> {
    let mut packing = Packing::new();
    for (doc, checkpoint) in checkpoints {
        packing.checkpoint(*doc, checkpoint);
        packing.close_if_full().await?;
    }
    packing.finish().await
}

/// A document as it was at a revision, spelled.
pub struct Checkpoint {
    pub rev: Revision,
    pub spelled: Vec<u8>,
}

/// A pack that grows.
struct Packing {
    pack: Vec<u8>,
    entries: Vec<Entry>,
    /// What the block that is not closed holds, and its first entry.
    block: Vec<u8>,
    first: usize,
    /// Between two cuts lies what is alike.
    cuts: Vec<usize>,
}

impl Packing {
    fn new() -> Self {
        Self {
            pack: Sort::Pack.prefix(),
            entries: Vec::new(),
            block: Vec::new(),
            first: 0,
            cuts: Vec::new(),
        }
    }

    fn segment(&mut self, events: &[Arc<Event>]) {
        let start = self.block.len();
        self.cuts.extend(segment::encode(&mut self.block, events));
        self.push(events[0].doc, events[0].rev, events.len(), start);
    }

    fn checkpoint(&mut self, doc: DocId, checkpoint: &Checkpoint) {
        let start = self.block.len();
        self.block.extend_from_slice(&checkpoint.spelled);
        self.cuts.extend([start, self.block.len()]);
        self.push(doc, checkpoint.rev, 0, start);
    }

    fn push(&mut self, doc: DocId, rev: Revision, events: usize, start: usize) {
        self.entries.push(Entry {
            doc,
            rev,
            events: events as u32,
            pack: 0,
            offset: self.pack.len() as u32,
            length: 0,
            start: start as u32,
            end: self.block.len() as u32,
        });
    }

    async fn close_if_full(&mut self) -> io::Result<()> {
        match self.block.len() {
            ..BLOCK => Ok(()),
            _ => self.close().await,
        }
    }

    async fn finish(mut self) -> io::Result<(Bytes, Vec<Entry>)> {
        self.close().await?;
        Ok((self.pack.into(), self.entries))
    }

    /// Compresses the block behind the others.
    async fn close(&mut self) -> io::Result<()> {
        let offset = self.pack.len();
        if self.block.len() > BLOCK_MAX {
            return Err(io::Error::other("a block of events is too large"));
        }
        let mut encoder = zstd::Encoder::new(std::mem::take(&mut self.pack), LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(self.block.len() as u64))?;
        let mut start = 0;
        for end in self.cuts.drain(..).chain([self.block.len()]) {
            for step in self.block[start..end].chunks(STEP) {
                encoder.write_all(step)?;
                // What is alike has a code of its own, and nothing waits to be compressed at once.
                encoder.flush()?;
                tokio::task::yield_now().await;
            }
            start = end;
        }
        self.pack = encoder.finish()?;
        self.block.clear();
        if u32::try_from(self.pack.len()).is_err() {
            return Err(io::Error::other("a round of events is too large"));
        }
        for entry in &mut self.entries[self.first..] {
            entry.length = (self.pack.len() - offset) as u32;
        }
        self.first = self.entries.len();
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("a block does not read back: {0}")]
    Block(#[from] io::Error),
    #[error("a segment does not read back: {0}")]
    Segment(#[from] SegmentError),
    #[error("it does not tell the {0} that went into it")]
    Other(&'static str),
}

/// What a block holds.
///
/// # Errors
/// When it is not one.
pub fn open(block: &[u8]) -> Result<Vec<u8>, PackError> {
    let held = zstd::bulk::decompress(block, size(block)?)?;
    Ok(held)
}

/// How much a block says that it holds.
fn size(block: &[u8]) -> io::Result<usize> {
    let size = zstd::zstd_safe::get_frame_content_size(block)
        .ok()
        .flatten();
    let size = size.and_then(|size| usize::try_from(size).ok());
    let sane = size.filter(|size| *size <= BLOCK_MAX);
    sane.ok_or_else(|| io::Error::other("its size is impossible"))
}

/// The bytes of a segment or checkpoint, in what its block holds.
///
/// # Errors
/// When there are none.
pub fn part<'a>(held: &'a [u8], entry: &Entry) -> Result<&'a [u8], SegmentError> {
    let range = entry.start as usize..entry.end as usize;
    held.get(range).ok_or(SegmentError::Truncated)
}

/// The events of a segment, in what its block holds.
///
/// # Errors
/// When they are not what the entry says.
pub fn read(held: &[u8], entry: &Entry) -> Result<Vec<Event>, PackError> {
    let events = segment::decode(part(held, entry)?)?;
    let first = events.first().map(|event| (event.doc, event.rev));
    match first == Some((entry.doc, entry.rev)) && events.len() == entry.events as usize {
        true => Ok(events),
        false => Err(SegmentError::Invalid("place of a segment").into()),
    }
}

/// Whether a pack tells these events, and has these checkpoints.
///
/// # Errors
/// When it does not.
pub async fn compare(
    pack: &[u8],
    entries: &[Entry],
    events: &[Arc<Event>],
    checkpoints: &BTreeMap<DocId, Checkpoint>,
) -> Result<(), PackError> {
    let mut rest = events;
    for of_block in entries.chunk_by(|a, b| a.offset == b.offset) {
        let (start, length) = (of_block[0].offset as usize, of_block[0].length as usize);
        let block = pack.get(start..start + length);
        let held = open(block.ok_or(SegmentError::Truncated)?)?;
        for entry in of_block {
            if entry.is_checkpoint() {
                let kept = checkpoints.get(&entry.doc).map(|kept| &kept.spelled[..]);
                if kept != Some(part(&held, entry)?) {
                    return Err(PackError::Other("checkpoint"));
                }
                continue;
            }
            let told = read(&held, entry)?;
            let (these, others) = rest.split_at(told.len().min(rest.len()));
            rest = others;
            if !told.iter().eq(these.iter().map(|event| &**event)) {
                return Err(PackError::Other("event"));
            }
            tokio::task::yield_now().await;
        }
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(PackError::Other("event")),
    }
}
