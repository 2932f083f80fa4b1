//! O3, the weak list specification: every code unit that was ever inserted is one of its own.
//! A new one stands between those that its author saw on both sides, as far as they are still
//! there; what goes is what its author took out; nothing else moves.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Notes, Oracle,
    history::{Event, Shared},
    named, short,
};
use crate::{
    naive,
    record::{Edit, Entry, Id},
    verdict::Violation,
};

/// Gone units are forgotten once nobody's base can reach back to them, in pieces of so many.
const FORGET: usize = 1_024;

pub struct Intention {
    history: Shared,
    window_events: u64,
    docs: BTreeMap<Id, Units>,
    notes: Notes,
}

/// The units of a document, also those that are gone.
#[derive(Default)]
struct Units {
    all: Vec<Unit>,
    /// How many of them are gone.
    gone: usize,
    /// What came is not understood any more.
    lost: bool,
}

#[derive(Clone, Copy)]
struct Unit {
    /// The revision that put it in, and the one that took it out.
    since: u64,
    until: u64,
}

/// An operation by the places of one view of a document.
struct Walk {
    /// Before which place each new unit stands, with its code.
    inserts: Vec<(usize, u16)>,
    /// The places that go.
    deletes: Vec<usize>,
    /// Places that it walks over.
    reach: usize,
}

impl Walk {
    fn of(edits: &[Edit]) -> Walk {
        let mut walk = Walk {
            inserts: Vec::new(),
            deletes: Vec::new(),
            reach: 0,
        };
        for edit in edits {
            match edit {
                Edit::Retain(units, _) => walk.reach += *units as usize,
                Edit::Delete(units) => {
                    let end = walk.reach + *units as usize;
                    walk.deletes.extend(walk.reach..end);
                    walk.reach = end;
                }
                Edit::Insert(text, _) => {
                    let codes = text.encode_utf16().map(|code| (walk.reach, code));
                    walk.inserts.extend(codes);
                }
                Edit::Embed(..) => walk.inserts.push((walk.reach, 0xfffc)),
            }
        }
        walk
    }
}

impl Units {
    /// Where the units are that were there at `rev`.
    fn at(&self, rev: u64) -> Vec<usize> {
        let there = |unit: &Unit| unit.since <= rev && rev < unit.until;
        let all = self.all.iter().enumerate();
        all.filter(|(_, unit)| there(unit))
            .map(|(place, _)| place)
            .collect()
    }

    /// What the applied edit does not do as its author meant it.
    fn compare(
        &self,
        sent: &[Edit],
        base: u64,
        applied: &[Edit],
        rev: u64,
    ) -> Option<&'static str> {
        let (theirs, now) = (self.at(base), self.at(rev - 1));
        let (sent, applied) = (Walk::of(sent), Walk::of(applied));
        if sent.reach > theirs.len() || applied.reach > now.len() {
            // That it does not fit is for the fold to say.
            return None;
        }
        let codes = |walk: &Walk| {
            walk.inserts
                .iter()
                .map(|(_, code)| *code)
                .collect::<Vec<_>>()
        };
        if codes(&sent) != codes(&applied) {
            return Some("not exactly what its author put in came in");
        }
        let alive = |place: &usize| self.all[*place].until == u64::MAX;
        let meant: BTreeSet<usize> = sent.deletes.iter().map(|place| theirs[*place]).collect();
        let meant: BTreeSet<usize> = meant.into_iter().filter(alive).collect();
        let gone: BTreeSet<usize> = applied.deletes.iter().map(|place| now[*place]).collect();
        if meant != gone {
            return Some("not exactly what its author took out went");
        }
        for ((wanted, _), (got, _)) in sent.inserts.iter().zip(&applied.inserts) {
            // What the operation itself takes out is no neighbour: an insert goes before a delete.
            let stays = |place: &&usize| alive(place) && !meant.contains(place);
            let left = theirs[..*wanted].iter().rev().find(stays);
            let right = theirs[*wanted..].iter().find(stays);
            // Those before it now, and those behind.
            let before = got.checked_sub(1).map(|at| now[at]);
            let behind = now.get(*got);
            let after_left = left.is_none_or(|left| before.is_some_and(|before| before >= *left));
            let before_right = right.is_none_or(|right| behind.is_some_and(|b| b <= right));
            if !after_left || !before_right {
                return Some("a new unit does not stand where its author put it");
            }
        }
        None
    }

    fn apply(&mut self, edits: &[Edit], rev: u64) {
        let now = self.at(rev - 1);
        let walk = Walk::of(edits);
        if walk.reach > now.len() {
            self.lost = true;
            return;
        }
        self.gone += walk.deletes.len();
        for place in &walk.deletes {
            self.all[now[*place]].until = rev;
        }
        let new = Unit {
            since: rev,
            until: u64::MAX,
        };
        let end = self.all.len();
        let mut out = Vec::with_capacity(end + walk.inserts.len());
        let mut taken = 0;
        for (before, _) in walk.inserts {
            // Among those that are gone any place will do: nobody sees both.
            let place = now.get(before).copied().unwrap_or(end);
            out.extend_from_slice(&self.all[taken..place]);
            taken = place;
            out.push(new);
        }
        out.extend_from_slice(&self.all[taken..]);
        self.all = out;
    }

    fn forget(&mut self, below: u64) {
        if self.gone >= FORGET && self.gone > self.all.len() / 2 {
            self.all.retain(|unit| unit.until > below);
            self.gone = self
                .all
                .iter()
                .filter(|unit| unit.until != u64::MAX)
                .count();
        }
    }
}

impl Intention {
    pub fn new(history: Shared, window_events: u64) -> Self {
        let promised = "what came in is what was put in, what went is what was taken out, and \
                        new text stands where its author put it";
        Self {
            history,
            window_events,
            docs: BTreeMap::new(),
            notes: Notes::new("intention", "O3", promised),
        }
    }
}

impl Oracle for Intention {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let event: Option<&Event> = history.docs.get(&id).and_then(|doc| doc.event(rev));
        let Some((event, edit)) = event.and_then(|event| Some((event, event.edit.clone()?))) else {
            return;
        };
        let units = self.docs.entry(id).or_default();
        if units.lost {
            return;
        }
        let of = event
            .client
            .and_then(|client| history.clients.get(&(id, client)));
        let attempts = of
            .and_then(|of| of.seqs.get(&event.seq))
            .map(|s| &s.attempts[..]);
        let sent = event.attempt.as_ref().or(attempts.and_then(<[_]>::last));
        if let Some(sent) = sent.filter(|sent| sent.base < rev) {
            let meant = naive::canonical(&sent.sent);
            if let Some(what) = units.compare(&meant, sent.base, &edit, rev) {
                let broken = || {
                    format!(
                        "document {}, revision {rev}, base {}: sent {meant:?}, applied {edit:?}",
                        short(&id),
                        sent.base
                    )
                };
                self.notes.broken(found, entry.at, what, broken);
            }
        }
        units.apply(&edit, rev);
        units.forget(rev.saturating_sub(self.window_events));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn concurrent_edits_pass() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[retain(2), delete(2)]);
        story.edit(BOB, 1, base, &[retain(3), insert("b")]);
        story.edit(ADA, 2, base + 1, &[delete(1), retain(1), insert("a")]);
        story.edit(BOB, 2, base + 2, &[delete(4)]);
        assert_clean(story);
    }

    #[test]
    fn an_insert_behind_what_its_own_operation_deletes_goes_before_it() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[retain(2), delete(2)]);
        story.edit(BOB, 1, base, &[delete(2), retain(2), insert("b")]);
        assert_clean(story);
    }

    /// Bob's operation, made at the base, applied as something else.
    fn applied_as(sent: &[crate::record::Edit], applied: &[crate::record::Edit]) -> Story {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("a")]);
        story.applied_as = Some(applied.to_vec());
        story.edit(BOB, 1, base, sent);
        story
    }

    #[test]
    fn a_unit_at_another_place_is_found() {
        let story = applied_as(&[retain(1), insert("b")], &[retain(3), insert("b")]);
        assert_found(
            story,
            "O3 a new unit does not stand where its author put it",
        );
        let story = applied_as(&[retain(1), insert("b")], &[retain(1), insert("b")]);
        assert_found(
            story,
            "O3 a new unit does not stand where its author put it",
        );
    }

    #[test]
    fn another_deletion_is_found() {
        let story = applied_as(&[delete(1)], &[delete(1)]);
        assert_found(story, "O3 not exactly what its author took out went");
    }

    #[test]
    fn another_text_is_found() {
        let story = applied_as(&[insert("b")], &[retain(1), insert("c")]);
        assert_found(story, "O3 not exactly what its author put in came in");
    }

    #[test]
    fn gone_units_are_forgotten() {
        let unit = |until| super::Unit { since: 1, until };
        let mut units = super::Units {
            all: (0..3_000)
                .map(|i| unit(if i < 2_000 { 5 } else { u64::MAX }))
                .collect(),
            gone: 2_000,
            lost: false,
        };
        units.forget(4);
        assert_eq!(units.all.len(), 3_000, "a base may reach back to them");
        units.forget(5);
        assert_eq!((units.all.len(), units.gone), (1_000, 0));
    }
}
