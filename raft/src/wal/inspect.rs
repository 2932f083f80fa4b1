//! A log as it lies there, for one who takes no part in it: which of its bytes are not as they were
//! written.

use std::io;

use bytes::Bytes;
use codraft_proto::ids::GroupId;

use super::{
    record::{self, ALIGN, Found, HEAD, Kind, Position, Record},
    recover::Recovered,
    segment::{self, HEADER, Segments},
};
use crate::flip;

/// A place of the log that is not as it was written.
#[derive(Debug, Clone)]
pub struct Odd {
    pub segment: u64,
    /// Of the byte in its file, where that is known; of the record that it is in otherwise.
    pub offset: u64,
    pub is_exact: bool,
    /// Group and index of the entry that the byte is in.
    pub entry: Option<(GroupId, u64)>,
    /// The entry as it was written, where that can be told.
    pub stored: Option<Bytes>,
    pub what: &'static str,
}

/// All that is odd in segments that were read before.
///
/// # Errors
/// When a segment cannot be read.
pub async fn inspect(segments: &Segments, found: &Recovered) -> io::Result<Vec<Odd>> {
    let mut odd = Vec::new();
    for number in segments.list().await? {
        let damage = found.report.damage;
        if damage.is_some_and(|at| at.segment < number) {
            break;
        }
        let bytes = match segments.load(number).await {
            Ok(bytes) => bytes,
            // It was purged meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        between(&bytes, number, number == found.end.segment, &mut odd);
        if let Some(at) = damage.filter(|at| at.segment == number) {
            odd.push(match at.offset < HEADER {
                true => beginning(&bytes, number),
                false => explain(&bytes, at.segment, at.offset),
            });
            return Ok(odd);
        }
        if number >= found.end.segment {
            break;
        }
    }
    if let Some(at) = found.report.damage {
        odd.push(Odd {
            what: "this file of the log is missing, or ends too soon",
            ..nothing(at.segment, at.offset)
        });
    }
    Ok(odd)
}

fn nothing(segment: u64, offset: u64) -> Odd {
    Odd {
        segment,
        offset,
        is_exact: false,
        entry: None,
        stored: None,
        what: "",
    }
}

/// What no checksum covers is zero: what fills a record up, and what follows the last of a segment.
fn between(bytes: &Bytes, segment: u64, is_last: bool, odd: &mut Vec<Odd>) {
    let mut at = HEADER as usize;
    let place = |offset: usize| Position {
        segment,
        offset: offset as u64,
    };
    let mut filled = |from: usize, to: usize, what| {
        let filling = bytes.get(from..to.min(bytes.len())).unwrap_or_default();
        if let Some(wrong) = filling.iter().position(|byte| *byte != 0) {
            odd.push(Odd {
                is_exact: true,
                what,
                ..nothing(segment, (from + wrong) as u64)
            });
        }
    };
    while let Found::Record(record, next) = record::decode(bytes, at, place(at)) {
        let end = at + HEAD + record.payload.len();
        filled(end, next, "what fills a record up is not zero");
        at = next;
        if record.kind == Kind::Roll {
            if !is_last {
                filled(at, bytes.len(), "what follows the last record is not zero");
            }
            return;
        }
    }
}

/// Of a segment that does not begin as one, or is shorter than its beginning says.
fn beginning(bytes: &Bytes, number: u64) -> Odd {
    let made = bytes.get(24..32).and_then(|made| made.try_into().ok());
    let made = made.map_or(0, u64::from_le_bytes);
    if bytes.starts_with(&segment::header(number, made)) {
        return Odd {
            what: "this file of the log ends too soon",
            ..nothing(number, bytes.len() as u64)
        };
    }
    let expected = segment::header(number, bytes.len() as u64);
    let wrong = bytes.iter().zip(expected).position(|(a, b)| *a != b);
    Odd {
        is_exact: wrong.is_some(),
        what: "this file of the log does not begin as it was written",
        ..nothing(number, wrong.unwrap_or(0) as u64)
    }
}

/// Of a record that does not read back.
fn explain(bytes: &Bytes, segment: u64, offset: u64) -> Odd {
    let at = Position { segment, offset };
    let what = "a record of the log does not read back";
    match mended(bytes, at) {
        Some((byte, record)) => {
            let is_entry = record.kind == Kind::Append;
            Odd {
                segment,
                offset: offset + byte as u64,
                is_exact: true,
                entry: is_entry.then_some((record.group, record.number)),
                stored: is_entry.then_some(record.payload),
                what,
            }
        }
        None => Odd {
            what,
            entry: head(bytes, offset as usize),
            ..nothing(segment, offset)
        },
    }
}

/// What a record says of itself, before anything is known of its checksum.
fn head(bytes: &Bytes, at: usize) -> Option<(GroupId, u64)> {
    let head = bytes.get(at..at + HEAD)?;
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let number = u64::from(word(16)) | u64::from(word(20)) << 32;
    (word(8) == Kind::Append as u32).then_some((GroupId(word(12)), number))
}

/// Which one byte of a record was changed, from its beginning, and the record as it was.
fn mended(bytes: &Bytes, at: Position) -> Option<(usize, Record)> {
    let start = at.offset as usize;
    let stands = bytes.get(start..)?;
    let declared = u32::from_le_bytes(*stands.first_chunk()?) as usize;
    // Where the length is wrong the next record tells what it was.
    let is_record = |offset: &usize| {
        let at = Position {
            offset: *offset as u64,
            ..at
        };
        matches!(record::decode(bytes, *offset, at), Found::Record(..))
    };
    let next = (start + HEAD..bytes.len()).step_by(ALIGN).find(is_record);
    let longest = next.map_or(declared, |next| next - start - HEAD);
    let shortest = longest.saturating_sub(ALIGN - 1);
    let lengths = [declared].into_iter().chain(shortest..=longest);
    lengths.into_iter().find_map(|length| {
        let mut whole = stands.get(..HEAD.checked_add(length)?)?.to_vec();
        whole[..4].copy_from_slice(&(length as u32).to_le_bytes());
        let byte = mend(&mut whole, stands, at)?;
        match record::decode(&whole.into(), 0, at) {
            Found::Record(record, _) => Some((byte, record)),
            Found::End | Found::Bad => None,
        }
    })
}

/// Puts a record right whose length may have been, if one byte of `stands` explains all.
fn mend(whole: &mut [u8], stands: &[u8], at: Position) -> Option<usize> {
    let stored = u32::from_le_bytes(*whole[4..].first_chunk()?);
    let computed = record::checksum(at, whole);
    let mut of_length = (0..4).filter(|byte| whole[*byte] != stands[*byte]);
    if let Some(byte) = of_length.next() {
        return (stored == computed && of_length.next().is_none()).then_some(byte);
    }
    let wrong = (stored ^ computed).to_le_bytes();
    if let [only] = (0..4).filter(|byte| wrong[*byte] != 0).collect::<Vec<_>>()[..] {
        whole[4 + only] ^= wrong[only];
        return Some(4 + only);
    }
    // Before what follows the checksum it covers the place and the length.
    let before = record::PLACE + 4;
    let places = flip::places(stored ^ computed, before + whole.len() - 8);
    let mut places = places.into_iter().filter(|(place, _)| *place >= before);
    let (place, bits) = places.next()?;
    let byte = place - before + 8;
    whole[byte] ^= bits;
    // In a large record more than one may fit: then nothing is known.
    places.next().is_none().then_some(byte)
}
