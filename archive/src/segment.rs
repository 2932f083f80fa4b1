//! Consecutive events of one document, column by column, so that like stands beside like and
//! compresses.
//!
//! ```text
//! segment = doc 16 · rev varint · hash 32 (both of the first event) · count varint · column*
//! column  = length varint · bytes
//!   authors  count varint · (client: 0 | 1 · 16 bytes · user blob)*, then a number of these an event
//!   kinds    a byte each
//!   seqs     less the author's last one and one, signed
//!   bases    the revision before the event less its base, signed
//!   ms       since the event before, the lowest byte: of typing it is noise
//!   times    the bytes above
//!   shapes   count varint · (length varint · types)*, then a number of these an event, from 1;
//!            0: its body stands in `bodies`
//!   places   of a body that begins with a retain: its units, less where the event before ended, signed
//!   retains  units of the others
//!   deletes  units
//!   inserts  bytes of text
//!   text     of the inserts, one behind the other
//!   bodies   (length varint · bytes)*
//! ```
//!
//! Signed numbers are varints of `n << 1 ^ n >> 63`. A type is that of an operation's component
//! (`ot`'s binary form): 0 retains, 1 deletes, 2 inserts. The chain hashes of later events follow from
//! the first: where a segment does not lead to the hash that the next one begins with, one of them
//! is not what was applied.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use codraft_ot::{
    Chain,
    varint::{self, VarintError},
};
use codraft_proto::{
    event::EDIT,
    ids::{ClientId, DocId, Revision, Seq, UserId},
};
use codraft_raft::machine::Event;

/// A segment holds no more events than this, so that it is read in one go.
pub const SEGMENT_EVENTS: usize = 2_048;
const COLUMNS: usize = 13;
/// A column of so many bytes is worth a code of its own.
const LONG: usize = 512;
const RETAIN: u8 = 0;
const DELETE: u8 = 1;
const INSERT: u8 = 2;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("it ends too soon")]
    Truncated,
    #[error("impossible {0}")]
    Invalid(&'static str),
}

impl From<VarintError> for SegmentError {
    fn from(error: VarintError) -> Self {
        match error {
            VarintError::Truncated => Self::Truncated,
            VarintError::NotCanonical => Self::Invalid("number"),
        }
    }
}

/// Which events a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub doc: DocId,
    pub first: Revision,
    /// The chain hash at the first one.
    pub hash: Chain,
    pub count: u64,
}

#[derive(Default)]
struct Columns {
    authors: Vec<u8>,
    kinds: Vec<u8>,
    seqs: Vec<u8>,
    bases: Vec<u8>,
    ms: Vec<u8>,
    times: Vec<u8>,
    shapes: Vec<u8>,
    places: Vec<u8>,
    retains: Vec<u8>,
    deletes: Vec<u8>,
    inserts: Vec<u8>,
    text: Vec<u8>,
    bodies: Vec<u8>,
}

/// Numbers for what comes again and again, in the order of coming.
#[derive(Default)]
struct Dictionary {
    numbers: BTreeMap<Vec<u8>, u64>,
    spelled: Vec<u8>,
}

impl Dictionary {
    fn number(&mut self, entry: Vec<u8>) -> u64 {
        let next = self.numbers.len() as u64;
        let Self { numbers, spelled } = self;
        *numbers.entry(entry).or_insert_with_key(|entry| {
            spelled.extend_from_slice(entry);
            next
        })
    }

    /// All entries, then what refers to them.
    fn before(self, column: Vec<u8>) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.spelled.len() + column.len() + 2);
        varint::put(&mut whole, self.numbers.len() as u64);
        whole.extend_from_slice(&self.spelled);
        whole.extend_from_slice(&column);
        whole
    }
}

/// Appends a segment: consecutive events of one document. Nothing for none. Returns where in `out`
/// columns begin and end that are long enough for a code of their own.
pub fn encode(out: &mut Vec<u8>, events: &[Arc<Event>]) -> Vec<usize> {
    let mut cuts = Vec::new();
    let Some(first) = events.first() else {
        return cuts;
    };
    out.extend_from_slice(&first.doc.0);
    varint::put(out, first.rev.0);
    out.extend_from_slice(&first.hash.0);
    varint::put(out, events.len() as u64);
    let mut columns = Columns::default();
    let (mut authors, mut shapes) = (Dictionary::default(), Dictionary::default());
    let mut last_seq: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut time, mut cursor) = (0, 0);
    for event in events {
        let author = authors.number(author(event));
        varint::put(&mut columns.authors, author);
        columns.kinds.push(event.kind);
        let last = last_seq.insert(author, event.seq.0).unwrap_or(0);
        let expected = last.wrapping_add(1);
        put_signed(&mut columns.seqs, event.seq.0.wrapping_sub(expected));
        let newest = event.rev.0.wrapping_sub(1);
        put_signed(&mut columns.bases, newest.wrapping_sub(event.base.0));
        let since = event.ts_ms.wrapping_sub(time);
        columns.ms.push(since as u8);
        varint::put(&mut columns.times, since >> 8);
        time = event.ts_ms;
        let shape = match steps(event) {
            Some(steps) => 1 + shapes.number(columns.put(&steps, &mut cursor)),
            None => {
                put_blob(&mut columns.bodies, &event.body);
                0
            }
        };
        varint::put(&mut columns.shapes, shape);
    }
    columns.authors = authors.before(columns.authors);
    columns.shapes = shapes.before(columns.shapes);
    for column in columns.in_order() {
        let is_long = column.len() >= LONG;
        cuts.extend(is_long.then_some(out.len()));
        put_blob(out, column);
        cuts.extend(is_long.then_some(out.len()));
    }
    cuts
}

impl Columns {
    fn in_order(&self) -> [&[u8]; COLUMNS] {
        [
            &self.authors,
            &self.kinds,
            &self.seqs,
            &self.bases,
            &self.ms,
            &self.times,
            &self.shapes,
            &self.places,
            &self.retains,
            &self.deletes,
            &self.inserts,
            &self.text,
            &self.bodies,
        ]
    }

    /// Takes the components of an operation; their types, as the dictionary has them.
    fn put(&mut self, steps: &[Step<'_>], cursor: &mut u64) -> Vec<u8> {
        let mut shape = Vec::with_capacity(steps.len() + 1);
        varint::put(&mut shape, steps.len() as u64);
        let mut place = 0u64;
        for (nth, step) in steps.iter().enumerate() {
            match *step {
                Step::Retain(units) => {
                    shape.push(RETAIN);
                    match nth {
                        0 => put_signed(&mut self.places, units.wrapping_sub(*cursor)),
                        _ => varint::put(&mut self.retains, units),
                    }
                    place = place.wrapping_add(units);
                }
                Step::Delete(units) => {
                    shape.push(DELETE);
                    varint::put(&mut self.deletes, units);
                }
                Step::Insert(text) => {
                    shape.push(INSERT);
                    varint::put(&mut self.inserts, text.len() as u64);
                    self.text.extend_from_slice(text.as_bytes());
                    place = place.wrapping_add(units_of(text));
                }
            }
        }
        *cursor = place;
        shape
    }
}

/// A component that has a column.
enum Step<'a> {
    Retain(u64),
    Delete(u64),
    Insert(&'a str),
}

/// The components of an edit; none where one of them has no column.
fn steps(event: &Event) -> Option<Vec<Step<'_>>> {
    let is_edit = u32::from(event.kind) == EDIT;
    let mut rest = Some(&event.body[..]).filter(|_| is_edit)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let head = varint::take(&mut rest).ok()?;
        let n = head >> 2;
        steps.push(match (head & 3) as u8 {
            RETAIN => Step::Retain(n),
            DELETE => Step::Delete(n),
            INSERT => {
                let (text, others) = rest.split_at_checked(usize::try_from(n).ok()?)?;
                rest = others;
                Step::Insert(std::str::from_utf8(text).ok()?)
            }
            _ => return None,
        });
    }
    Some(steps)
}

fn units_of(text: &str) -> u64 {
    text.chars().map(|c| c.len_utf16() as u64).sum()
}

fn author(event: &Event) -> Vec<u8> {
    let mut author = Vec::with_capacity(18 + event.user.len());
    match &event.client {
        None => author.push(0),
        Some(client) => {
            author.push(1);
            author.extend_from_slice(&client.0);
        }
    }
    put_blob(&mut author, event.user.as_bytes());
    author
}

/// Which events a segment holds, and what follows.
///
/// # Errors
/// When it does not begin as one.
pub fn head(segment: &[u8]) -> Result<(Head, &[u8]), SegmentError> {
    let mut rest = segment;
    let doc = DocId(array(&mut rest)?);
    let first = Revision(varint::take(&mut rest)?);
    let hash = Chain(array(&mut rest)?);
    let count = varint::take(&mut rest)?;
    let head = Head {
        doc,
        first,
        hash,
        count,
    };
    Ok((head, rest))
}

/// The events of a segment.
///
/// # Errors
/// When it is not one. Never takes more memory than its bytes are worth.
pub fn decode(segment: &[u8]) -> Result<Vec<Event>, SegmentError> {
    let (head, mut rest) = head(segment)?;
    let mut columns = [&[][..]; COLUMNS];
    for column in &mut columns {
        *column = blob(&mut rest)?;
    }
    if !rest.is_empty() {
        return Err(SegmentError::Invalid("bytes at the end"));
    }
    let mut reader = Reader::new(head, columns)?;
    let mut events = Vec::new();
    for _ in 0..head.count {
        events.push(reader.event()?);
    }
    match reader.columns.iter().all(|column| column.is_empty()) {
        true => Ok(events),
        false => Err(SegmentError::Invalid("bytes at the end of a column")),
    }
}

struct Reader<'a> {
    doc: DocId,
    first: u64,
    rev: u64,
    hash: Chain,
    authors: Vec<(Option<ClientId>, UserId)>,
    last_seq: Vec<u64>,
    shapes: Vec<&'a [u8]>,
    time: u64,
    cursor: u64,
    columns: [&'a [u8]; COLUMNS],
    canonical: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(head: Head, mut columns: [&'a [u8]; COLUMNS]) -> Result<Self, SegmentError> {
        let [listed_authors, _, _, _, _, _, listed_shapes, ..] = &mut columns;
        let mut authors = Vec::new();
        for _ in 0..varint::take(listed_authors)? {
            let client = match array(listed_authors)? {
                [0] => None,
                [1] => Some(ClientId(array(listed_authors)?)),
                _ => return Err(SegmentError::Invalid("client")),
            };
            let user = std::str::from_utf8(blob(listed_authors)?);
            let user = user.map_err(|_| SegmentError::Invalid("user"))?;
            authors.push((client, user.into()));
        }
        let mut shapes = Vec::new();
        for _ in 0..varint::take(listed_shapes)? {
            shapes.push(blob(listed_shapes)?);
        }
        Ok(Self {
            doc: head.doc,
            first: head.first.0,
            rev: head.first.0,
            hash: head.hash,
            last_seq: vec![0; authors.len()],
            authors,
            shapes,
            time: 0,
            cursor: 0,
            columns,
            canonical: Vec::new(),
        })
    }

    fn event(&mut self) -> Result<Event, SegmentError> {
        let [authors, kinds, seqs, bases, ms, times, shapes, ..] = &mut self.columns;
        let author = varint::take(authors)? as usize;
        let known = self.authors.get(author);
        let (client, user) = known.cloned().ok_or(SegmentError::Invalid("author"))?;
        let [kind] = array(kinds)?;
        let seq = self.last_seq[author].wrapping_add(1);
        let seq = seq.wrapping_add(take_signed(seqs)?);
        self.last_seq[author] = seq;
        let base = self.rev.wrapping_sub(1).wrapping_sub(take_signed(bases)?);
        let ([lowest], above) = (array(ms)?, varint::take(times)?);
        if above >> 56 > 0 {
            return Err(SegmentError::Invalid("time"));
        }
        let since = above << 8 | u64::from(lowest);
        self.time = self.time.wrapping_add(since);
        let shape = varint::take(shapes)?;
        let body = match shape.checked_sub(1) {
            None => Bytes::copy_from_slice(blob(&mut self.columns[COLUMNS - 1])?),
            Some(shape) => self.body(shape as usize)?,
        };
        let mut event = Event {
            doc: self.doc,
            rev: Revision(self.rev),
            client,
            user,
            seq: Seq(seq),
            base: Revision(base),
            ts_ms: self.time,
            kind,
            body,
            hash: self.hash,
        };
        if self.rev > self.first {
            event.canonical(&mut self.canonical);
            self.hash = self.hash.next(&self.canonical);
            event.hash = self.hash;
        }
        let next = self.rev.checked_add(1);
        self.rev = next.ok_or(SegmentError::Invalid("revision"))?;
        Ok(event)
    }

    fn body(&mut self, shape: usize) -> Result<Bytes, SegmentError> {
        let [.., places, retains, deletes, inserts, text, _] = &mut self.columns;
        let known = self.shapes.get(shape).copied();
        let shape = known.ok_or(SegmentError::Invalid("shape"))?;
        let mut body = Vec::with_capacity(16);
        let mut place = 0u64;
        for (nth, step) in shape.iter().enumerate() {
            let n = match *step {
                RETAIN if nth == 0 => self.cursor.wrapping_add(take_signed(places)?),
                RETAIN => varint::take(retains)?,
                DELETE => varint::take(deletes)?,
                INSERT => varint::take(inserts)?,
                _ => return Err(SegmentError::Invalid("component")),
            };
            if n > u64::MAX >> 2 {
                return Err(SegmentError::Invalid("number of units"));
            }
            varint::put(&mut body, n << 2 | u64::from(*step));
            match *step {
                RETAIN => place = place.wrapping_add(n),
                INSERT => {
                    let part = split(text, n)?;
                    let part = std::str::from_utf8(part);
                    let part = part.map_err(|_| SegmentError::Invalid("text"))?;
                    body.extend_from_slice(part.as_bytes());
                    place = place.wrapping_add(units_of(part));
                }
                _ => {}
            }
        }
        self.cursor = place;
        Ok(body.into())
    }
}

pub(crate) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn blob<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SegmentError> {
    let length = varint::take(rest)?;
    split(rest, length)
}

fn split<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], SegmentError> {
    let length = usize::try_from(length).map_err(|_| SegmentError::Truncated)?;
    let (taken, others) = rest
        .split_at_checked(length)
        .ok_or(SegmentError::Truncated)?;
    *rest = others;
    Ok(taken)
}

pub(crate) fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SegmentError> {
    let (taken, others) = rest
        .split_first_chunk::<N>()
        .ok_or(SegmentError::Truncated)?;
    *rest = others;
    Ok(*taken)
}

/// A number that is small to both sides of 0, in two's complement.
fn put_signed(out: &mut Vec<u8>, n: u64) {
    let sign = (n as i64 >> 63) as u64;
    varint::put(out, n << 1 ^ sign);
}

fn take_signed(rest: &mut &[u8]) -> Result<u64, SegmentError> {
    let n = varint::take(rest)?;
    Ok(n >> 1 ^ (n & 1).wrapping_neg())
}
