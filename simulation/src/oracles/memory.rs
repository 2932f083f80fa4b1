//! O19: what a process holds in memory stays in proportion to what its documents hold, during
//! the whole run, and comes back when all is done.
//!
//! What it holds is counted by the allocator (`memory.rs`); what the documents hold is the bytes
//! of all text, attributes and embeds that were ever put into them.

use std::collections::BTreeMap;

use super::{Notes, Oracle, named};
use crate::{
    plan::Plan,
    record::{Attributes, DriverSeen, Edit, Entry, Id, NodeSeen, Seen},
    verdict::Violation,
};

/// What a router may hold that has no documents, and a node beside its groups: caches, tables.
const BASE: u64 = 2 << 20;
/// What a node holds of a group without documents: openraft's queues, nearly all of it.
const PER_GROUP: u64 = 7 << 18;
/// How many times a byte of a document may be there: in its content, in the window of history, in
/// the log's cache, in what waits for links, in a page on its way to the disk or back. A new leader
/// sends a large entry to all followers at once, and the state to routers; the links spell each into a
/// buffer that doubles as it grows. The most that was seen is 19.6, in seed 3078611417000208.
const TIMES: u64 = 21;
/// What a router needs for a moment to read the largest message of JSON, of which each component
/// is a tree.
const READING: u64 = 10 << 20;
/// What is there of an event beside its bytes.
const EVENT: u64 = 1 << 10;
/// Bytes of a unit of what documents start with.
const UNIT_MOST: u64 = 3;

pub struct Memory {
    notes: Notes,
    groups: u64,
    /// Up to which revision of each document all is counted.
    documents: BTreeMap<Id, u64>,
    events: u64,
    /// Bytes that were put into documents, and those that they start with.
    bytes: u64,
}

impl Memory {
    pub fn new(plan: &Plan) -> Self {
        // They are on their way before they are applied.
        let initial = plan.documents.iter();
        let initial = initial.map(|document| UNIT_MOST * u64::from(document.initial));
        let promised = "memory stays in proportion to what the documents hold, and comes back";
        Self {
            notes: Notes::new("memory", "O19", promised),
            groups: plan.world.groups.into(),
            documents: BTreeMap::new(),
            events: 0,
            bytes: initial.sum(),
        }
    }

    /// The most that is right for a process.
    fn bound(&self, host: &str, done: bool) -> u64 {
        let more = match host.starts_with("node") {
            true => self.groups * PER_GROUP,
            false if done => 0,
            false => READING,
        };
        BASE + more + TIMES * self.bytes + EVENT * self.events
    }
}

fn attributes(set: &Attributes) -> u64 {
    set.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum()
}

fn put_in(edit: &Edit) -> u64 {
    match edit {
        Edit::Retain(_, set) => 4 + attributes(set),
        Edit::Delete(_) => 4,
        Edit::Insert(text, set) | Edit::Embed(text, set) => 4 + text.len() as u64 + attributes(set),
    }
}

impl Oracle for Memory {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Node(NodeSeen::Applied {
                doc,
                rev,
                kind,
                edit,
                ..
            }) => {
                let last = self.documents.entry(*doc).or_default();
                if *rev > *last {
                    *last = *rev;
                    self.events += 1;
                    let edit = edit.iter().filter(|_| kind != "create").flatten();
                    self.bytes += edit.map(put_in).sum::<u64>();
                }
            }
            Seen::Driver(DriverSeen::Memory {
                host,
                live,
                peak,
                done,
            }) => {
                let bound = self.bound(host, *done);
                let (held, what) = match done {
                    true => (live, "too much memory once all is done"),
                    false => (peak, "too much memory"),
                };
                if *held > bound {
                    let documents = self.bytes;
                    let broken = || {
                        format!(
                            "{host} holds {held} bytes, where at most {bound} are right for documents of {documents}"
                        )
                    };
                    self.notes.broken(found, entry.at, what, broken);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn memory(host: &str, held: u64, done: bool) -> DriverSeen {
        let host = host.into();
        // The peak of before is over.
        let (live, peak) = if done { (held, 1 << 30) } else { (0, held) };
        DriverSeen::Memory {
            host,
            live,
            peak,
            done,
        }
    }

    /// What is right for a node in a story, whose document is small.
    const RIGHT: u64 = BASE + 3 * PER_GROUP + 3 * EVENT;

    #[test]
    fn more_than_the_documents_explain_is_found() {
        let mut story = story();
        story.driver(memory("node-1", RIGHT, false));
        story.driver(memory("node-1", RIGHT, true));
        story.driver(memory("router-1", BASE, true));
        assert_clean(story.clone());
        let mut router = story.clone();
        router.driver(memory("router-1", BASE + READING, false));
        assert_clean(router.clone());
        router.driver(memory("router-1", BASE + READING, true));
        assert_found(router, "O19 too much memory once all is done");
        let mut after = story.clone();
        after.driver(memory("node-1", RIGHT + (1 << 14), true));
        assert_found(after, "O19 too much memory once all is done");
        story.driver(memory("node-1", RIGHT + (1 << 14), false));
        assert_found(story, "O19 too much memory");
    }

    /// Text and events make room; what was counted once is not counted again at another node.
    #[test]
    fn what_documents_hold_makes_room() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert(&"x".repeat(10_000))]);
        let mut double = story.clone();
        story.driver(memory("router-1", BASE + TIMES * 10_000, true));
        assert_clean(story);
        double.driver(memory("router-1", BASE + 2 * TIMES * 10_000, true));
        assert_found(double, "O19 too much memory once all is done");
    }
}
