//! Everybody in this process's memory: the twin that needs nothing else.

use std::collections::{BTreeMap, BTreeSet};

use codraft_proto::ids::DocId;
use parking_lot::Mutex;

use super::{Change, Full, PEOPLE_MAX, Person, Presences, Standing};

#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    here: BTreeMap<DocId, BTreeMap<Person, Standing>>,
    /// Whose standing is not told yet.
    changed: BTreeMap<DocId, BTreeSet<Person>>,
}

impl State {
    fn remove(&mut self, doc: DocId, who: &Person) {
        let Some(here) = self.here.get_mut(&doc) else {
            return;
        };
        if here.remove(who).is_some() {
            self.changed.entry(doc).or_default().insert(who.clone());
        }
        if here.is_empty() {
            self.here.remove(&doc);
        }
    }
}

impl Presences for Memory {
    fn put(&self, doc: DocId, who: &Person, standing: Standing) -> Result<(), Full> {
        let mut state = self.state.lock();
        let State { here, changed } = &mut *state;
        let here = here.entry(doc).or_default();
        let is_news = match here.get(who) {
            Some(before) => !standing.says_the_same(before),
            None if here.len() >= PEOPLE_MAX => return Err(Full),
            None => true,
        };
        here.insert(who.clone(), standing);
        if is_news {
            changed.entry(doc).or_default().insert(who.clone());
        }
        Ok(())
    }

    fn remove(&self, doc: DocId, who: &Person) {
        self.state.lock().remove(doc, who);
    }

    fn expire(&self, before_ms: u64) {
        let mut state = self.state.lock();
        let mut late = Vec::new();
        for (doc, here) in &state.here {
            let is_late = |standing: &Standing| standing.last_seen_ms < before_ms;
            let people = here.iter().filter(|(_, standing)| is_late(standing));
            late.extend(people.map(|(who, _)| (*doc, who.clone())));
        }
        for (doc, who) in late {
            state.remove(doc, &who);
        }
    }

    fn here(&self, doc: DocId) -> Vec<(Person, Standing)> {
        let state = self.state.lock();
        let here = state.here.get(&doc).into_iter().flatten();
        here.map(|(who, standing)| (who.clone(), standing.clone()))
            .collect()
    }

    fn changes(&self) -> BTreeMap<DocId, Vec<Change>> {
        let mut state = self.state.lock();
        let changed = std::mem::take(&mut state.changed);
        let of = |doc: DocId, people: BTreeSet<Person>| -> Vec<Change> {
            let here = state.here.get(&doc);
            let standing = |who: &Person| here.and_then(|here| here.get(who)).cloned();
            let changes = people.into_iter();
            changes.map(|who| (who.clone(), standing(&who))).collect()
        };
        let changed = changed.into_iter();
        changed
            .map(|(doc, people)| (doc, of(doc, people)))
            .collect()
    }

    fn clear(&self) {
        *self.state.lock() = State::default();
    }
}

impl Standing {
    fn says_the_same(&self, other: &Self) -> bool {
        (&self.name, self.rev, &self.presence) == (&other.name, other.rev, &other.presence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_every_tier_of_presence_must() {
        super::super::conformance::all(&Memory::default());
    }
}
