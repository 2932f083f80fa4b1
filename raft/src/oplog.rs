//! The op log of a group: the events that its entries became, kept where the entries will be gone.
//!
//! An entry holds an operation as it was submitted; what was made of it is known only where it was
//! applied, and an entry below a manifest is never applied again. So each replica writes the events
//! itself, in pages of their own files. A manifest lists those that hold all up to its index: what
//! was written behind them is made again from the log after a crash.
//!
//! ```text
//! page  = terms varint · (index varint · term varint · node varint)* · run*
//! run   = doc 16 · rev varint · hash 32 (both of its first event) · count varint · event*
//! event = index varint, less the one before it (the first: less the page's `from`) · canonical blob
//! ```
//!
//! Runs in the order of the documents' ids. A term holds from its index on; the chain hashes of later
//! events follow from the first.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use codraft_ot::Chain;
use codraft_proto::ids::{DocId, GroupId, Revision, Slot};

use crate::{
    command::{Input, put_blob, put_varint},
    machine::{Event, StateError},
    pages::{PageKey, PagePlace},
    types::{LeaderId, LogId},
};

/// The folder of the op log's files, in the node's.
pub const EVENTS: &str = "events";
/// Events that were applied are written once they take so much memory, in bytes.
pub const WRITE_BYTES: usize = 1 << 20;
/// Nothing more is applied while events that were not written take so much, in bytes.
pub const WAITING_BYTES: usize = 16 << 20;

/// An event, and the entry that it came of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub log_id: LogId,
    pub event: Arc<Event>,
}

/// What was applied and is not written yet.
#[derive(Default)]
pub struct Fresh {
    events: Vec<Logged>,
    bytes: usize,
}

impl Fresh {
    pub fn push(&mut self, log_id: LogId, event: Arc<Event>) {
        self.bytes += event.window_bytes();
        self.events.push(Logged { log_id, event });
    }

    /// What the events take in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events of a document.
    pub fn of(&self, doc: &DocId) -> Vec<Arc<Event>> {
        let events = self.events.iter().map(|logged| &logged.event);
        events.filter(|event| event.doc == *doc).cloned().collect()
    }

    /// The entry that a revision of a document came of, if it is here.
    pub fn entry_of(&self, doc: &DocId, rev: Revision) -> Option<LogId> {
        let is_that = |event: &Event| event.doc == *doc && event.rev == rev;
        let found = self.events.iter().find(|logged| is_that(&logged.event));
        found.map(|logged| logged.log_id)
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// Of the first `count` events those that go into the next page, all of an entry together.
    pub fn piece(&self, count: usize) -> Vec<Logged> {
        let events = &self.events[..count.min(self.events.len())];
        let (mut bytes, mut end) = (0, events.len());
        for (place, pair) in events.windows(2).enumerate() {
            bytes += pair[0].event.window_bytes();
            if bytes >= WRITE_BYTES && pair[0].log_id != pair[1].log_id {
                end = place + 1;
                break;
            }
        }
        events[..end].to_vec()
    }

    /// The first `count` events are in a page.
    pub fn written(&mut self, count: usize) {
        let written = self.events.drain(..count.min(self.events.len()));
        self.bytes -= written
            .map(|logged| logged.event.window_bytes())
            .sum::<usize>();
    }
}

/// The events of the entries after `from`, up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPage {
    pub from: u64,
    pub to: u64,
    pub place: PagePlace,
}

/// How far the events of a group are archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchiveMark {
    pub rounds: u64,
    /// The last entry whose events are; 0 for none.
    pub index: u64,
    /// The BLAKE3 of the object from which all others can be found.
    pub head: [u8; 32],
}

/// Whose page it is: nobody's but the group's.
pub fn event_key(group: GroupId, to: u64) -> PageKey {
    PageKey {
        group,
        slot: Slot(0),
        doc: DocId::default(),
        index: to,
    }
}

/// Spells the events of the entries after `from`.
pub fn encode(events: &[Logged], from: u64) -> Vec<u8> {
    let mut terms: Vec<LogId> = Vec::new();
    let mut runs: BTreeMap<DocId, Vec<&Logged>> = BTreeMap::new();
    for logged in events {
        let leader = logged.log_id.leader_id;
        if terms.last().is_none_or(|last| last.leader_id != leader) {
            terms.push(logged.log_id);
        }
        runs.entry(logged.event.doc).or_default().push(logged);
    }
    let mut page = Vec::new();
    put_varint(&mut page, terms.len() as u64);
    for LogId { leader_id, index } in terms {
        put_varint(&mut page, index);
        put_varint(&mut page, leader_id.term);
        put_varint(&mut page, leader_id.node_id);
    }
    let mut canonical = Vec::new();
    for (doc, run) in runs {
        page.extend_from_slice(&doc.0);
        put_varint(&mut page, run[0].event.rev.0);
        page.extend_from_slice(&run[0].event.hash.0);
        put_varint(&mut page, run.len() as u64);
        let mut before = from;
        for Logged { log_id, event } in run {
            put_varint(&mut page, log_id.index - before);
            before = log_id.index;
            event.canonical(&mut canonical);
            put_blob(&mut page, &canonical);
        }
    }
    page
}

/// The events of a page: document by document, each in the order of its revisions.
///
/// # Errors
/// When it is not the spelling of any.
pub fn decode(page: &Bytes, from: u64) -> Result<Vec<Logged>, StateError> {
    decode_some(page, from, |_| true)
}

/// Those of a document.
///
/// # Errors
/// As [`decode`].
pub fn decode_of(page: &Bytes, from: u64, doc: &DocId) -> Result<Vec<Logged>, StateError> {
    decode_some(page, from, |of| of == doc)
}

fn decode_some(
    page: &Bytes,
    from: u64,
    wanted: impl Fn(&DocId) -> bool,
) -> Result<Vec<Logged>, StateError> {
    let mut input = Input::new(page);
    let mut terms = BTreeMap::new();
    for _ in 0..input.varint("terms")? {
        let index = input.varint("index")?;
        let (term, node_id) = (input.varint("term")?, input.varint("node")?);
        terms.insert(index, LeaderId { term, node_id });
    }
    let mut events = Vec::new();
    while input.left() > 0 {
        let doc = DocId(input.array("doc")?);
        let mut rev = Revision(input.varint("rev")?);
        let mut hash = Chain(input.array("hash")?);
        let mut index = from;
        let wanted = wanted(&doc);
        for place in 0..input.varint("count")? {
            let more = input.varint("index")?;
            index = index
                .checked_add(more)
                .ok_or(StateError::Invalid("index"))?;
            let (_, leader) = terms.range(..=index).next_back().ok_or(NO_TERM)?;
            let (leader_id, canonical) = (*leader, input.blob("event")?);
            if !wanted {
                continue;
            }
            if place > 0 {
                rev = Revision(
                    rev.0
                        .checked_add(1)
                        .ok_or(StateError::Invalid("revision"))?,
                );
                hash = hash.next(&canonical);
            }
            let event = Event::from_canonical(&canonical, doc, rev, hash)?;
            let log_id = LogId { leader_id, index };
            let event = Arc::new(event);
            events.push(Logged { log_id, event });
        }
    }
    Ok(events)
}

/// In which event a byte of a page lies, or in the beginning of whose events.
pub fn event_at(page: &Bytes, byte: usize) -> Option<(DocId, Revision)> {
    let mut input = Input::new(page);
    for _ in 0..input.varint("terms").ok()? {
        for field in ["index", "term", "node"] {
            input.varint(field).ok()?;
        }
    }
    while input.left() > 0 {
        let doc = DocId(input.array("doc").ok()?);
        let first = input.varint("rev").ok()?;
        let _: [u8; 32] = input.array("hash").ok()?;
        for place in 0..input.varint("count").ok()? {
            input.varint("index").ok()?;
            input.blob("event").ok()?;
            if page.len() - input.left() > byte {
                return Some((doc, Revision(first.checked_add(place)?)));
            }
        }
    }
    None
}

const NO_TERM: StateError = StateError::Invalid("term");

#[cfg(test)]
mod tests {
    use codraft_proto::ids::{ClientId, Seq};

    use super::*;

    /// Events of a document as it goes on, one an entry.
    fn events(doc: u8, term: u64, indices: &[u64], from_rev: u64) -> Vec<Logged> {
        let mut hash = Chain([doc; 32]);
        let mut canonical = Vec::new();
        let one = |(place, index): (usize, &u64)| {
            let mut event = Event {
                doc: DocId([doc; 16]),
                rev: Revision(from_rev + place as u64),
                client: Some(ClientId([7; 16])),
                user: "ada".into(),
                seq: Seq(*index),
                base: Revision(from_rev + place as u64 - 1),
                ts_ms: 1_000 + index,
                kind: 0,
                body: Bytes::from(vec![doc; place]),
                hash,
            };
            event.canonical(&mut canonical);
            hash = hash.next(&canonical);
            event.hash = hash;
            let leader_id = LeaderId { term, node_id: 2 };
            Logged {
                log_id: LogId {
                    leader_id,
                    index: *index,
                },
                event: Arc::new(event),
            }
        };
        indices.iter().enumerate().map(one).collect()
    }

    #[test]
    fn events_read_back_document_by_document() {
        let (a, b) = (events(1, 3, &[11, 11, 14], 5), events(2, 3, &[12, 13], 1));
        let late = events(3, 4, &[15], 9);
        let mut all: Vec<_> = [&a[..], &b, &late].concat();
        all.sort_by_key(|logged| logged.log_id.index);
        let page: Bytes = encode(&all, 10).into();
        assert_eq!(decode_of(&page, 10, &DocId([2; 16])).unwrap(), b);
        assert_eq!(decode(&page, 10).unwrap(), [a, b, late].concat());
        for end in 0..page.len() {
            // Most of them are errors; none may be a panic, or more than there was.
            if let Ok(some) = decode(&page.slice(..end), 10) {
                assert!(some.len() < 6, "{end}");
            }
        }
    }

    #[test]
    fn a_page_ends_between_entries() {
        let mut fresh = Fresh::default();
        let each = events(1, 1, &[1], 1)[0].event.window_bytes();
        let half = (WRITE_BYTES / each) as u64;
        for index in [1, 2 * half].into_iter().chain([2 * half; 9]) {
            for logged in events(1, 1, &vec![index; half as usize], 1) {
                fresh.push(logged.log_id, logged.event);
            }
        }
        let all = fresh.count();
        assert!(fresh.piece(3).len() == 3, "no more than was asked for");
        let first = fresh.piece(all).len();
        assert!(first as u64 == half, "{first}");
        fresh.written(first);
        assert_eq!(fresh.piece(all).len(), all - first, "one entry, one page");
        fresh.written(all - first);
        assert_eq!((fresh.count(), fresh.bytes()), (0, 0));
    }
}
