//! The recent events of a document, for late bases: `apply` may read nothing else.

use std::{collections::VecDeque, sync::Arc};

use codraft_mutant::mutant;
use codraft_ot::{Chain, Delta, Late, Limits};
use codraft_proto::ids::{DocId, Revision};

use super::{
    Event, MachineLimits,
    mutants::{composed, copied},
    stored::StateError,
};
use crate::command::{Input, put_blob, put_varint};

#[derive(Debug, Clone)]
struct Entry {
    event: Arc<Event>,
    /// UTF-16 units of the document before the event.
    units_before: u32,
    /// Of an edit, how many its operation has.
    components: u32,
}

/// Entries that clones share. What is added to a shared one is added to a copy.
const CHUNK: usize = 64;

/// The events `floor + 1 ..= head`.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    floor: Revision,
    /// The chain hash at the floor.
    floor_hash: Chain,
    /// Each full, but for the first, of which some were forgotten, and the last.
    chunks: VecDeque<Arc<Vec<Entry>>>,
    len: usize,
    /// Sum of the events' `window_bytes`.
    bytes: usize,
    /// Sum of the events' components.
    components: usize,
}

/// The way from base to head is longer than one operation may be transformed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFar;

impl Window {
    pub fn floor(&self) -> Revision {
        self.floor
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// What it takes in memory, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    fn head(&self) -> Revision {
        self.floor + self.len as u64
    }

    /// Appends the event after the head, then cuts the window to half if it is full.
    /// Returns whether the floor moved; `leaves` is told of each that goes. Only what was applied
    /// decides, so every replica cuts at the same event.
    pub fn push(
        &mut self,
        event: Arc<Event>,
        units_before: u32,
        components: u32,
        limits: &MachineLimits,
        leaves: impl FnMut(&Event),
    ) -> bool {
        assert_eq!(event.rev, self.head() + 1, "revisions have no gap");
        self.append(Entry {
            event,
            units_before,
            components,
        });
        let fits = |count: usize, bytes: usize, components: usize, part: usize| {
            count <= limits.window_events / part
                && bytes <= limits.window_bytes / part
                && components <= limits.window_components / part
        };
        if fits(self.len, self.bytes, self.components, 1) {
            return false;
        }
        let (mut count, mut bytes, mut components) = (0, self.bytes, self.components);
        for entry in self.entries(0) {
            if fits(self.len - count, bytes, components, 2) {
                break;
            }
            count += 1;
            bytes -= entry.event.window_bytes();
            components -= entry.components as usize;
        }
        self.forget(count, leaves);
        true
    }

    fn append(&mut self, entry: Entry) {
        self.bytes += entry.event.window_bytes();
        self.components += entry.components as usize;
        self.len += 1;
        match self.chunks.back_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(entry),
            _ => self.chunks.push_back(Arc::new(vec![entry])),
        }
    }

    /// Forgets the events up to `floor`, or to the head if that is lower. Returns whether
    /// the floor moved; `leaves` is told of each that goes.
    pub fn trim_to(&mut self, floor: Revision, leaves: impl FnMut(&Event)) -> bool {
        let count = floor.min(self.head()).0.saturating_sub(self.floor.0);
        self.forget(count as usize, leaves);
        count > 0
    }

    /// Forgets the first `count` events; there are as many.
    fn forget(&mut self, mut count: usize, mut leaves: impl FnMut(&Event)) {
        self.len -= count;
        while let Some(chunk) = self.chunks.front_mut().filter(|_| count > 0) {
            let gone = &chunk[..count.min(chunk.len())];
            gone.iter().for_each(|entry| leaves(&entry.event));
            if let Some(last) = gone.last() {
                self.floor = last.event.rev;
                self.floor_hash = last.event.hash;
            }
            let bytes: usize = gone.iter().map(|entry| entry.event.window_bytes()).sum();
            self.bytes -= bytes;
            let components: usize = gone.iter().map(|entry| entry.components as usize).sum();
            self.components -= components;
            if count < chunk.len() {
                Arc::make_mut(chunk).drain(..count);
                return;
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
    }

    /// The entry at a place below `len`.
    fn entry(&self, place: usize) -> &Entry {
        let first = self.chunks[0].as_slice();
        match place.checked_sub(first.len()) {
            None => &first[place],
            Some(behind) => &self.chunks[1 + behind / CHUNK][behind % CHUNK],
        }
    }

    fn entries(&self, from: usize) -> impl ExactSizeIterator<Item = &Entry> + Clone {
        (from..self.len).map(|place| self.entry(place))
    }

    /// Units of the document at revision `rev`; none for the head, which no event follows,
    /// and for what is outside of the window.
    pub fn units_at(&self, rev: Revision) -> Option<u32> {
        let place = self.place_after(rev).filter(|place| *place < self.len)?;
        Some(self.entry(place).units_before)
    }

    /// Moves an operation made at revision `base` past every later one, one by one: the
    /// later in the log, the later in the document.
    pub fn transform(&self, base: Revision, delta: Delta, effort: u64) -> Result<Delta, TooFar> {
        let place = self.place_after(base).ok_or(TooFar)?;
        let later = self.entries(place);
        let operations = later.filter_map(|entry| entry.event.operation());
        if self.len - place > 1 && mutant!("compose_before_transform") {
            return Ok(composed(operations).transform(&delta, true));
        }
        if mutant!("late_operation_copied_for_each_event") {
            return Ok(copied(delta, operations));
        }
        let mut late = Late::new(delta);
        for earlier in operations {
            late.pass(earlier);
            // The sum over the way to the head only grows with it: bytes that were too far
            // once stay so, which makes `rebase` an answer that holds.
            if late.effort() > effort {
                return Err(TooFar);
            }
        }
        Ok(late.finish())
    }

    /// The events after `rev`; none below the floor or ahead of the head.
    pub fn events_after(
        &self,
        rev: Revision,
    ) -> Option<impl ExactSizeIterator<Item = &Arc<Event>> + Clone> {
        let place = self.place_after(rev)?;
        Some(self.entries(place).map(|entry| &entry.event))
    }

    pub fn hash_at(&self, rev: Revision) -> Option<Chain> {
        match self.place_after(rev)? {
            0 => Some(self.floor_hash),
            place => Some(self.entry(place - 1).event.hash),
        }
    }

    /// Where the event after `rev` is, or will be.
    fn place_after(&self, rev: Revision) -> Option<usize> {
        let place = usize::try_from(rev.0.checked_sub(self.floor.0)?).ok()?;
        (place <= self.len).then_some(place)
    }

    /// Appends the stored form: see `documents/stored.rs`.
    /// All but the events.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        put_varint(out, self.floor.0);
        out.extend_from_slice(&self.floor_hash.0);
        put_varint(out, self.len as u64);
    }

    /// At most `most` events, from the place `from` on; how many there were.
    pub fn encode_events(&self, out: &mut Vec<u8>, from: usize, most: usize) -> usize {
        let mut canonical = Vec::new();
        let some = most.min(self.len.saturating_sub(from));
        for entry in self.entries(from).take(some) {
            put_varint(out, entry.units_before.into());
            entry.event.canonical(&mut canonical);
            put_blob(out, &canonical);
        }
        some
    }

    /// Reads the window of `doc`, and computes the chain anew.
    pub fn decode(input: &mut Input<'_>, doc: DocId, limits: &Limits) -> Result<Self, StateError> {
        let mut window = Self {
            floor: Revision(input.varint("floor")?),
            floor_hash: Chain(input.array("floor hash")?),
            ..Self::default()
        };
        let mut hash = window.floor_hash;
        let mut updated_ms = 0;
        for _ in 0..input.varint("events")? {
            let units = input.varint("units")?;
            let units_before = u32::try_from(units).map_err(|_| StateError::Invalid("units"))?;
            let canonical = input.blob("event")?;
            hash = hash.next(&canonical);
            let rev = window.head().0.checked_add(1);
            let rev = Revision(rev.ok_or(StateError::Invalid("revision"))?);
            let event = Event::from_canonical(&canonical, doc, rev, hash)?;
            if event.base >= rev || event.ts_ms < updated_ms {
                return Err(StateError::Invalid("event"));
            }
            updated_ms = event.ts_ms;
            let components = match event.operation() {
                Some(operation) => check_operation(operation, limits)?,
                None => 0,
            };
            window.append(Entry {
                event: Arc::new(event),
                units_before,
                components,
            });
        }
        Ok(window)
    }

    /// What sort of event the head's is, if it is in the window.
    pub fn last_kind(&self) -> Option<u8> {
        let last = self.len.checked_sub(1)?;
        Some(self.entry(last).event.kind)
    }

    /// The head, the chain hash there, and the time of its event if that is in the window.
    pub fn last(&self) -> (u64, Chain, Option<u64>) {
        let last = self
            .len
            .checked_sub(1)
            .map(|place| &self.entry(place).event);
        let hash = last.map_or(self.floor_hash, |event| event.hash);
        (self.head().0, hash, last.map(|event| event.ts_ms))
    }
}

/// That it is an operation in its one spelling; how many components it has.
fn check_operation(body: &[u8], limits: &Limits) -> Result<u32, StateError> {
    let delta = Delta::decode(body, limits).map_err(StateError::Content)?;
    match delta.to_bytes() == body {
        true => Ok(delta.components().len() as u32),
        false => Err(StateError::Invalid("operation")),
    }
}

#[cfg(test)]
mod tests {
    use codraft_proto::{event, ids::Seq};

    use super::*;

    fn event(rev: u64) -> Arc<Event> {
        Arc::new(Event {
            doc: DocId::default(),
            rev: Revision(rev),
            client: None,
            user: "ada".into(),
            seq: Seq(0),
            base: Revision(rev - 1),
            ts_ms: 0,
            kind: event::GRANT as u8,
            body: bytes::Bytes::new(),
            hash: Chain([rev as u8; 32]),
        })
    }

    /// Events are found by their revision however the window was filled and cut; clones share
    /// what neither changed.
    #[test]
    fn chunks_are_shared_by_clones_and_found_by_revision() {
        let limits = MachineLimits::default();
        let mut window = Window::default();
        for rev in 1..=1_000 {
            window.push(event(rev), rev as u32, 0, &limits, |_| {});
            if rev % 37 == 0 {
                let floor = Revision(rev.saturating_sub(u64::from(rev % 2 == 0) * 190));
                window.trim_to(floor, |_| {});
            }
            let (floor, revs) = (window.floor(), window.floor().0..=rev);
            for of in revs {
                let hash = window.hash_at(Revision(of)).expect("a hash");
                assert_eq!(hash.0[0], of as u8);
                let units = window.units_at(Revision(of));
                assert_eq!(units, (of < rev).then_some(of as u32 + 1));
            }
            let all = window.events_after(floor).expect("events");
            assert!(
                all.map(|event| event.rev)
                    .map(|rev| rev.0)
                    .eq(floor.0 + 1..=rev)
            );
            assert!(
                window
                    .chunks
                    .iter()
                    .skip(1)
                    .rev()
                    .skip(1)
                    .all(|c| c.len() == CHUNK)
            );
        }
        let before = window.clone();
        window.push(event(Revision(1_001).0), 0, 0, &limits, |_| {});
        let pairs = before.chunks.iter().zip(&window.chunks);
        let shared = pairs.filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared + 1, before.chunks.len());
        assert!(before.len() + 1 == window.len() && before.head() == Revision(1_000));
    }
}
