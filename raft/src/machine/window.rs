//! The recent events of a document, for late bases: `apply` may read nothing else.

use std::{collections::VecDeque, sync::Arc};

use codraft_mutant::mutant;
use codraft_ot::{Chain, Delta};

use super::{Event, MachineLimits, digest::StateHash};

#[derive(Debug)]
struct Entry {
    event: Arc<Event>,
    /// Of an edit, the operation as applied; other events change no text.
    delta: Option<Delta>,
    /// UTF-16 units of the document before the event.
    units_before: u32,
}

/// The events `floor + 1 ..= head`.
#[derive(Debug, Default)]
pub(super) struct Window {
    floor: u64,
    /// The chain hash at the floor.
    floor_hash: Chain,
    entries: VecDeque<Entry>,
    /// Sum of the events' `window_bytes`.
    bytes: usize,
}

/// The way from base to head is longer than one operation may be transformed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFar;

impl Window {
    pub fn floor(&self) -> u64 {
        self.floor
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn head(&self) -> u64 {
        self.floor + self.entries.len() as u64
    }

    /// Appends the event after the head, then cuts the window to half if it is full.
    /// Returns whether the floor moved. Only what was applied decides, so every replica
    /// cuts at the same event.
    pub fn push(
        &mut self,
        event: Arc<Event>,
        delta: Option<Delta>,
        units_before: u32,
        limits: &MachineLimits,
    ) -> bool {
        assert_eq!(event.rev, self.head() + 1, "revisions have no gap");
        self.bytes += event.window_bytes();
        self.entries.push_back(Entry {
            event,
            delta,
            units_before,
        });
        if self.entries.len() <= limits.window_events && self.bytes <= limits.window_bytes {
            return false;
        }
        while self.entries.len() > limits.window_events / 2 || self.bytes > limits.window_bytes / 2
        {
            self.forget_first();
        }
        true
    }

    /// Forgets the events up to `floor`, or to the head if that is lower. Returns whether
    /// the floor moved.
    pub fn trim_to(&mut self, floor: u64) -> bool {
        let before = self.floor;
        while self.floor < floor && !self.entries.is_empty() {
            self.forget_first();
        }
        self.floor > before
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes -= first.event.window_bytes();
            self.floor = first.event.rev;
            self.floor_hash = first.event.hash;
        }
    }

    /// Units of the document at revision `rev`; none for the head, which no event follows,
    /// and for what is outside of the window.
    pub fn units_at(&self, rev: u64) -> Option<u32> {
        Some(self.entries.get(self.place_after(rev)?)?.units_before)
    }

    /// Moves an operation made at revision `base` past every later one, one by one: the
    /// later in the log, the later in the document.
    pub fn transform(&self, base: u64, mut delta: Delta, effort: usize) -> Result<Delta, TooFar> {
        let place = self.place_after(base).ok_or(TooFar)?;
        let mut spent = 0;
        if self.entries.len() - place > 1 && mutant!("compose_before_transform") {
            let later = self.entries.range(place..).filter_map(|e| e.delta.as_ref());
            let all = later.fold(Delta::new(), |all, next| all.compose(next).unwrap_or(all));
            return Ok(all.transform(&delta, true));
        }
        for entry in self.entries.range(place..) {
            let Some(earlier) = &entry.delta else {
                continue;
            };
            // The sum over the way to the head only grows with it: bytes that were too far
            // once stay so, which makes `rebase` an answer that holds.
            spent += earlier.components().len() + delta.components().len();
            if spent > effort {
                return Err(TooFar);
            }
            delta = earlier.transform(&delta, !mutant!("transform_side_flipped"));
        }
        Ok(delta)
    }

    /// The events after `rev`; none below the floor or ahead of the head.
    pub fn events_after(
        &self,
        rev: u64,
    ) -> Option<impl ExactSizeIterator<Item = &Arc<Event>> + Clone> {
        let place = self.place_after(rev)?;
        Some(self.entries.range(place..).map(|entry| &entry.event))
    }

    pub fn hash_at(&self, rev: u64) -> Option<Chain> {
        match self.place_after(rev)? {
            0 => Some(self.floor_hash),
            place => Some(self.entries.get(place - 1)?.event.hash),
        }
    }

    /// Where the event after `rev` is, or will be.
    fn place_after(&self, rev: u64) -> Option<usize> {
        let place = usize::try_from(rev.checked_sub(self.floor)?).ok()?;
        (place <= self.entries.len()).then_some(place)
    }

    pub fn hash(&self, hash: &mut StateHash) {
        hash.number(self.floor)
            .bytes(&self.floor_hash.0)
            .number(self.entries.len() as u64);
        for entry in &self.entries {
            hash.bytes(&entry.event.hash.0)
                .number(entry.units_before.into());
        }
    }
}
