//! What the clients and the driver know together, outside of what is simulated.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[derive(Clone, Default)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
pub struct Inner {
    /// The document, once it is there.
    pub doc: Option<String>,
    pub phase: Phase,
    pub people: BTreeMap<&'static str, Person>,
    /// The text that a client that came last of all was given.
    pub last_text: Option<String>,
    /// When each acknowledgement came.
    pub acks: Vec<Duration>,
    /// What should not have been.
    pub problems: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Default)]
pub enum Phase {
    #[default]
    Typing,
    /// Nothing more is typed; what is under way is awaited.
    Settling,
    Done,
}

/// Where a person at a client stands.
#[derive(Default)]
pub struct Person {
    pub rev: u64,
    pub saved: bool,
    pub text: String,
    /// The letters typed; no two are the same.
    pub typed: BTreeSet<char>,
    /// Of these, those in acknowledged operations.
    pub acked: BTreeSet<char>,
    pub operations: u64,
    pub connections: u64,
}

impl Ledger {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what should not have been; of many, the first ones.
    pub fn problem(&self, problem: String) {
        const MOST: usize = 20;
        let mut inner = self.lock();
        if inner.problems.len() < MOST {
            inner.problems.push(problem);
        }
    }
}

impl Inner {
    /// Whether both have everything, and the same.
    pub fn is_settled(&self) -> bool {
        let mut people = self.people.values();
        let Some(first) = people.next() else {
            return false;
        };
        first.saved && people.all(|other| other.saved && other.rev == first.rev)
    }

    /// The longest time without an acknowledgement, of those that end after `since`; what
    /// lasts still ends `now`.
    pub fn silence(&self, since: Duration, now: Duration) -> Duration {
        let ends = self.acks.iter().skip(1).chain([&now]);
        let pairs = self.acks.iter().zip(ends).filter(|(_, end)| **end > since);
        pairs.map(|(start, end)| *end - *start).max().unwrap_or(now)
    }

    /// What must hold at the end: all that was typed is acknowledged, and is in the text exactly
    /// once; all have the same text, and so has who comes last.
    pub fn check(&mut self) {
        let Some(last) = self.last_text.clone() else {
            return self
                .problems
                .push("nobody read the document at the end".into());
        };
        let mut counts = BTreeMap::<char, u64>::new();
        for letter in last.chars().filter(|c| !c.is_ascii()) {
            *counts.entry(letter).or_default() += 1;
        }
        for (name, person) in &self.people {
            if person.text != last {
                self.problems.push(format!(
                    "{name} ended with another text than who comes last"
                ));
            }
            if person.connections != 1 {
                let connections = person.connections;
                self.problems
                    .push(format!("{name} needed {connections} connections"));
            }
            if person.typed != person.acked {
                self.problems
                    .push(format!("not all that {name} typed was acknowledged"));
            }
            for letter in &person.acked {
                match counts.remove(letter) {
                    Some(1) => {}
                    Some(n) => self
                        .problems
                        .push(format!("{letter:?} of {name} is there {n} times")),
                    None => self
                        .problems
                        .push(format!("{letter:?} of {name} was acknowledged and is lost")),
                }
            }
        }
        for letter in counts.keys() {
            self.problems
                .push(format!("{letter:?} is in the text, and nobody typed it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where one person typed `letters`, had `acked` of them acknowledged, sees
    /// `text`, and who comes last sees `last`.
    fn found(letters: &str, acked: &str, text: &str, last: &str) -> Vec<String> {
        let mut inner = Inner {
            last_text: Some(last.into()),
            ..Inner::default()
        };
        let person = Person {
            typed: letters.chars().collect(),
            acked: acked.chars().collect(),
            text: text.into(),
            connections: 1,
            ..Person::default()
        };
        inner.people.insert("alice", person);
        inner.check();
        inner.problems
    }

    #[test]
    fn finds_what_is_lost_doubled_or_strange() {
        assert_eq!(
            found("一丁", "一丁", ".丁.一", ".丁.一"),
            Vec::<String>::new()
        );
        let problem = |problems: Vec<String>| {
            assert_eq!(problems.len(), 1, "{problems:?}");
            problems.concat()
        };
        assert!(problem(found("一丁", "一丁", "一", "一")).contains("is lost"));
        assert!(problem(found("一", "一", "一.一", "一.一")).contains("2 times"));
        assert!(problem(found("一", "一", "一七", "一七")).contains("nobody typed"));
        assert!(problem(found("一", "一", "一.", ".一")).contains("another text"));
        assert!(problem(found("一丁", "一", "一", "一")).contains("not all"));
    }
}
