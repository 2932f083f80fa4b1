//! A record of the log: `length | crc | kind | group | number | payload`, all little-endian,
//! padded with zeros to 8 bytes. `length` counts the payload. The checksum (CRC-32, IEEE) covers
//! the segment's number and the record's offset too, so that bytes which stood elsewhere, or in
//! an earlier life of the file, are never taken for a record here.

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::ids::GroupId;

/// Bytes before the payload.
pub const HEAD: usize = 24;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;
/// Bytes of a position, which a checksum covers first.
pub const PLACE: usize = 16;
/// A payload is never larger.
pub const PAYLOAD_MAX: usize = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// `number`: unused. Payload: segment and offset up to where the log was synced.
    Mark = 1,
    /// `number`: the entry's index.
    Append = 2,
    Vote = 3,
    Committed = 4,
    /// `number`: the first index that is dropped.
    Truncate = 5,
    /// `number`: the last index that is dropped. Payload: its log id, as its Raft spells it.
    Purge = 6,
    /// The last record of a segment. `number`: the segment in which the log goes on.
    Roll = 7,
    /// What earlier segments said is said again before this. `number`: the first segment that
    /// is still needed.
    Base = 8,
    /// A process opened the log. `number`: of all starts of this log.
    Start = 9,
    /// How far another node's log is known to have come. `number`: which node's.
    Peer = 10,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Mark,
        Kind::Append,
        Kind::Vote,
        Kind::Committed,
        Kind::Truncate,
        Kind::Purge,
        Kind::Roll,
        Kind::Base,
        Kind::Start,
        Kind::Peer,
    ];

    fn from_number(n: u32) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == n)
    }
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
}

impl Position {
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (segment, offset) = bytes.split_first_chunk()?;
        Some(Self {
            segment: u64::from_le_bytes(*segment),
            offset: u64::from_le_bytes(offset.try_into().ok()?),
        })
    }
}

#[derive(Debug, Clone)]
pub struct Record {
    pub kind: Kind,
    pub group: GroupId,
    pub number: u64,
    pub payload: Bytes,
}

/// What a record takes up in the file.
pub const fn size(payload: usize) -> usize {
    (HEAD + payload).next_multiple_of(ALIGN)
}

/// Appends a record that will stand at `at`.
pub fn encode(
    out: &mut Vec<u8>,
    at: Position,
    kind: Kind,
    group: GroupId,
    number: u64,
    payload: &[u8],
) {
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(kind as u32).to_le_bytes());
    out.extend_from_slice(&group.0.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = checksum(at, &out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + size(payload.len()), 0);
}

/// What stands at an offset of a segment.
pub enum Found {
    /// And where the next one begins, in the bytes given.
    Record(Record, usize),
    /// Zeros: nothing was written here.
    End,
    Bad,
}

/// Reads the record that begins at `start` of `bytes` and stands at `at` of the log.
pub fn decode(bytes: &Bytes, start: usize, at: Position) -> Found {
    let Some(head) = bytes.get(start..start + HEAD) else {
        return Found::End;
    };
    if head.iter().all(|b| *b == 0) {
        return Found::End;
    }
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let length = word(0) as usize;
    if length > PAYLOAD_MAX {
        return Found::Bad;
    }
    let Some(whole) = bytes.get(start..start + HEAD + length) else {
        return Found::Bad;
    };
    if checksum(at, whole) != word(4) && !mutant!("torn_tail_accepted") {
        return Found::Bad;
    }
    let Some(kind) = Kind::from_number(word(8)) else {
        return Found::Bad;
    };
    let number = u64::from(word(16)) | u64::from(word(20)) << 32;
    let payload = bytes.slice(start + HEAD..start + HEAD + length);
    let record = Record {
        kind,
        group: GroupId(word(12)),
        number,
        payload,
    };
    Found::Record(record, start + size(length))
}

/// Up to where a mark that stands at `at` says the log was synced; never beyond itself.
pub fn marked(record: &Record, at: Position) -> Option<Position> {
    if record.kind != Kind::Mark {
        return None;
    }
    let synced = Position::from_bytes(&record.payload)?;
    (synced <= at).then_some(synced)
}

/// The highest mark anywhere in a segment from an offset on, records or not: a mark's own
/// checksum makes it one.
pub fn highest_mark(bytes: &Bytes, from: Position) -> Option<Position> {
    let offsets = (from.offset as usize..bytes.len()).step_by(ALIGN);
    let marks = offsets.filter_map(|offset| {
        // Cheap first: a mark has 16 bytes of payload and its kind in the third word.
        let head = bytes.get(offset..offset + 12)?;
        if head[..4] != 16u32.to_le_bytes() || head[8..] != (Kind::Mark as u32).to_le_bytes() {
            return None;
        }
        let at = Position {
            segment: from.segment,
            offset: offset as u64,
        };
        match decode(bytes, offset, at) {
            Found::Record(record, _) => marked(&record, at),
            Found::End | Found::Bad => None,
        }
    });
    marks.max()
}

/// Over everything but the checksum's own field.
pub fn checksum(at: Position, record: &[u8]) -> u32 {
    let mut place = [0; PLACE + 4];
    place[..16].copy_from_slice(&at.to_bytes());
    place[PLACE..].copy_from_slice(&record[..4]);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place);
    hasher.update(&record[8..]);
    hasher.finalize()
}
