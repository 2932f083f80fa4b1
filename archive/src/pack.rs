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
    let mut pack = Sort::Pack.prefix();
    let (mut entries, mut block, mut cuts) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for of_doc in events.chunk_by(|a, b| a.doc == b.doc) {
        for piece in of_doc.chunks(SEGMENT_EVENTS) {
            let start = block.len();
            cuts.extend(segment::encode(&mut block, piece));
            entries.push(Entry {
                doc: piece[0].doc,
                rev: piece[0].rev,
                events: piece.len() as u32,
                pack: 0,
                offset: pack.len() as u32,
                length: 0,
                start: start as u32,
                end: block.len() as u32,
            });
            if block.len() >= BLOCK {
                close(&mut pack, &mut block, &cuts, &mut entries[first..]).await?;
                (first, cuts) = (entries.len(), Vec::new());
            }
            tokio::task::yield_now().await;
        }
        if let Some(Checkpoint { rev, spelled }) = checkpoints.get(&of_doc[0].doc) {
            let start = block.len();
            block.extend_from_slice(spelled);
            cuts.extend([start, block.len()]);
            let (start, end) = (start as u32, block.len() as u32);
            entries.push(Entry {
                doc: of_doc[0].doc,
                rev: *rev,
                events: 0,
                pack: 0,
                offset: pack.len() as u32,
                length: 0,
                start,
                end,
            });
        }
    }
    close(&mut pack, &mut block, &cuts, &mut entries[first..]).await?;
    Ok((pack.into(), entries))
}

/// A document as it was at a revision, spelled.
pub struct Checkpoint {
    pub rev: Revision,
    pub spelled: Vec<u8>,
}

/// Compresses the block of these entries behind the others; between two cuts lies what is alike.
async fn close(
    pack: &mut Vec<u8>,
    block: &mut Vec<u8>,
    cuts: &[usize],
    entries: &mut [Entry],
) -> io::Result<()> {
    let offset = pack.len();
    if block.len() > BLOCK_MAX {
        return Err(io::Error::other("a block of events is too large"));
    }
    let mut encoder = zstd::Encoder::new(std::mem::take(pack), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(block.len() as u64))?;
    let ends = cuts.iter().copied().chain([block.len()]);
    let mut start = 0;
    for end in ends {
        for step in block[start..end].chunks(STEP) {
            encoder.write_all(step)?;
            // What is alike has a code of its own, and nothing waits to be compressed at once.
            encoder.flush()?;
            tokio::task::yield_now().await;
        }
        start = end;
    }
    *pack = encoder.finish()?;
    block.clear();
    if u32::try_from(pack.len()).is_err() {
        return Err(io::Error::other("a round of events is too large"));
    }
    for entry in entries {
        entry.length = (pack.len() - offset) as u32;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("a block does not read back: {0}")]
    Block(#[from] io::Error),
    #[error("a segment does not read back: {0}")]
    Segment(#[from] SegmentError),
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
