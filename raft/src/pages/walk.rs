//! A file of pages from its beginning to its end, whoever's they are.

use bytes::Bytes;
use codraft_proto::ids::{DocId, GroupId, Slot};

use super::format::{self, ALIGN, FILE_HEAD, HEAD, PageKey, PagePlace};
use crate::flip;

/// What stands at an offset of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    Page {
        key: PageKey,
        place: PagePlace,
    },
    /// Nothing that reads back; the next page that does begins at `next`, if there is one.
    Bad {
        offset: u32,
        next: Option<u32>,
    },
    /// A byte outside of all pages that is always the same, and is not here.
    Odd {
        byte: u64,
        what: &'static str,
    },
}

/// All that stands in the file `number`.
pub fn walk(bytes: &Bytes, number: u32) -> Vec<Stands> {
    let mut found = Vec::new();
    let mut at = FILE_HEAD;
    let header = format::header(number);
    let odd = bytes.iter().zip(header).position(|(a, b)| *a != b);
    found.extend(odd.map(|odd| Stands::Odd {
        byte: odd as u64,
        what: "the file does not begin as a file of pages of this number",
    }));
    while at < bytes.len() {
        match page(bytes, number, at) {
            Some((key, place)) => {
                let end = place.end() as usize;
                at = end.next_multiple_of(ALIGN);
                // Nothing covers what lies between two pages.
                let between = bytes.get(end..at.min(bytes.len())).unwrap_or_default();
                let odd = between.iter().position(|byte| *byte != 0);
                found.push(Stands::Page { key, place });
                found.extend(odd.map(|odd| Stands::Odd {
                    byte: (end + odd) as u64,
                    what: "what fills a page up is not zero",
                }));
            }
            None => {
                let later = (at + ALIGN..bytes.len()).step_by(ALIGN);
                let next = later
                    .into_iter()
                    .find(|at| page(bytes, number, *at).is_some());
                found.push(Stands::Bad {
                    offset: at as u32,
                    next: next.map(|next| next as u32),
                });
                at = next.unwrap_or(bytes.len());
            }
        }
    }
    found
}

fn page(bytes: &Bytes, file: u32, at: usize) -> Option<(PageKey, PagePlace)> {
    let (key, place) = head(bytes, file, at)?;
    let end = usize::try_from(place.end()).ok()?;
    let whole = bytes.slice(at..at.max(end.min(bytes.len())));
    format::decode(&whole, place, &key).ok()?;
    Some((key, place))
}

/// What a page says of itself; nothing of it is checked.
fn head(bytes: &[u8], file: u32, at: usize) -> Option<(PageKey, PagePlace)> {
    let head = bytes.get(at..at.checked_add(HEAD)?)?;
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let place = PagePlace {
        file,
        offset: u32::try_from(at).ok()?,
        length: word(0),
    };
    let key = PageKey {
        group: GroupId(word(8)),
        slot: Slot(u16::from_le_bytes([head[12], head[13]])),
        doc: DocId::from_slice(&head[16..32])?,
        index: u64::from(word(32)) | u64::from(word(36)) << 32,
    };
    Some((key, place))
}

/// A page of which one byte was changed.
pub struct Mended {
    /// Its offset in the file, and in the payload, whose first it is said to be where it is before that.
    pub byte: u64,
    pub within: usize,
    pub key: PageKey,
    pub payload: Bytes,
}

/// The page at an offset that does not read back, of which nothing is known but what it says: as it was
/// where its checksum leaves no choice.
pub fn mended(bytes: &Bytes, file: u32, offset: u32) -> Option<Mended> {
    let start = offset as usize;
    let (_, place) = head(bytes, file, start)?;
    let mut page = bytes
        .get(start..usize::try_from(place.end()).ok()?)?
        .to_vec();
    let stored = u32::from_le_bytes(*page[4..].first_chunk()?);
    let difference = stored ^ format::checksum(place, &page);
    // It covers the place and the length first, which are as they should be.
    let before = format::PLACE + 4;
    let places = flip::places(difference, before + page.len() - 8);
    let of_page = places.iter().filter(|(at, _)| *at >= before);
    let [(at, bits)] = of_page.collect::<Vec<_>>()[..] else {
        return None;
    };
    let at = at - before + 8;
    page[at] ^= bits;
    let (key, _) = head(&page, file, 0)?;
    Some(Mended {
        byte: u64::from(offset) + at as u64,
        within: at.saturating_sub(HEAD),
        key,
        payload: Bytes::copy_from_slice(&page[HEAD..]),
    })
}

/// Of a page that does not read back: which of its bytes is wrong, by its offset in the file, and the
/// payload as it was, where one byte alone was changed and `is_right` knows the payload.
pub fn wrong_byte(
    bytes: &Bytes,
    place: PagePlace,
    key: &PageKey,
    is_right: impl Fn(&[u8]) -> bool,
) -> Option<(u64, Bytes)> {
    let start = place.offset as usize;
    let page = bytes.get(start..usize::try_from(place.end()).ok()?)?;
    let in_file = |at: usize| u64::from(place.offset) + at as u64;
    let mut expected = Vec::with_capacity(page.len());
    format::encode(&mut expected, place, key, &page[HEAD..]);
    expected.truncate(page.len());
    let fixed = (0..4).chain(8..HEAD);
    let mut odd = fixed.filter(|at| page[*at] != expected[*at]);
    let payload = Bytes::copy_from_slice(&page[HEAD..]);
    if let Some(at) = odd.next() {
        return is_right(&payload).then(|| (in_file(at), payload));
    }
    // The checksum itself, or the payload.
    let odd: Vec<usize> = (4..8).filter(|at| page[*at] != expected[*at]).collect();
    if let ([at], true) = (&odd[..], is_right(&payload)) {
        return Some((in_file(*at), payload));
    }
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let covered = page.len() - HEAD;
    let places = flip::places(word(page) ^ word(&expected), covered);
    places.into_iter().find_map(|(at, bits)| {
        let mut payload = page[HEAD..].to_vec();
        payload[at] ^= bits;
        is_right(&payload).then(|| (in_file(HEAD + at), payload.into()))
    })
}
