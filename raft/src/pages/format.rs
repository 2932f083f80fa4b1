//! How pages lie in a file.
//!
//! ```text
//! file = magic 8 · format u32 · number u32 · crc u32 · 0 u32 · page*
//! page = length u32 · crc u32 · group u32 · slot u16 · 0 u16 · doc 16 · index u64 · payload
//! ```
//!
//! All little-endian; a page begins at a multiple of 8, with zeros before it. `length` counts the
//! payload. The checksum (CRC-32, IEEE) covers the file's number and the page's offset too, so that
//! bytes of another place, or of an earlier life of the file, are never taken for this page.

use std::io;

use bytes::Bytes;
use codraft_proto::ids::{DocId, GroupId, Slot};

/// Of the files, and of what the pages in them hold.
pub const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"codraftP";
pub(super) const FILE_HEAD: usize = 24;
pub(super) const HEAD: usize = 40;
pub(super) const ALIGN: usize = 8;
/// What a checksum covers of a page's place, in bytes.
pub(super) const PLACE: usize = 8;
/// A page is never larger, in bytes.
const PAYLOAD_MAX: usize = 256 << 20;

/// Whose page it is: a document's as the entry at `index` left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageKey {
    pub group: GroupId,
    pub slot: Slot,
    pub doc: DocId,
    /// Of the last log entry that touched it. The revision would not do: refusals change a
    /// document's records and take none.
    pub index: u64,
}

/// Where a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PagePlace {
    pub file: u32,
    pub offset: u32,
    /// Of the payload, in bytes.
    pub length: u32,
}

impl PagePlace {
    /// Where the page ends in its file.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + (HEAD + self.length as usize) as u64
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("file {file:08x}.pages of the op log has {bytes} bytes where {needed} are needed")]
    Gone { file: u32, bytes: u64, needed: u64 },
    #[error("a page cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the page at byte {offset} of file {file:08x}.pages does not read back")]
    Damaged { file: u32, offset: u32 },
}

/// What a page takes in its file.
pub fn size(payload: usize) -> io::Result<usize> {
    if payload > PAYLOAD_MAX {
        let reason = format!("a page of {payload} bytes: at most {PAYLOAD_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok((HEAD + payload).next_multiple_of(ALIGN))
}

pub fn header(number: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(FILE_HEAD);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header.resize(FILE_HEAD, 0);
    header
}

/// Appends a page that will lie at `place`.
pub fn encode(out: &mut Vec<u8>, place: PagePlace, key: &PageKey, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&place.length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&key.group.0.to_le_bytes());
    out.extend_from_slice(&key.slot.0.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&key.doc.0);
    out.extend_from_slice(&key.index.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = checksum(place, &out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize((out.len() - start).next_multiple_of(ALIGN) + start, 0);
}

/// The payload of the page in `bytes`, read at `place`, if it is whole and that of `key`.
pub fn decode(bytes: &Bytes, place: PagePlace, key: &PageKey) -> Result<Bytes, PageError> {
    let damaged = || PageError::Damaged {
        file: place.file,
        offset: place.offset,
    };
    let end = HEAD + place.length as usize;
    let page = bytes.get(..end).ok_or_else(damaged)?;
    let mut expected = Vec::with_capacity(HEAD);
    encode(&mut expected, place, key, &[]);
    let is_that = page[..4] == expected[..4] && page[8..HEAD] == expected[8..HEAD];
    let checked = checksum(place, page).to_le_bytes() == page[4..8];
    if !is_that || !checked {
        return Err(damaged());
    }
    Ok(bytes.slice(HEAD..end))
}

/// Over everything but the checksum's own field.
pub(super) fn checksum(place: PagePlace, page: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.file.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(&page[..4]);
    hasher.update(&page[8..]);
    hasher.finalize()
}
