//! O19: what a process holds in memory stays in proportion to what its documents hold, during
//! the whole run, and comes back when all is done.
//!
//! What it holds is counted by the allocator (`memory.rs`); what the documents hold is the bytes
//! of all text, attributes and embeds that were ever put into them.

use std::collections::BTreeMap;

use super::{Notes, Oracle, named};
use crate::{
    record::{Attributes, DriverSeen, Edit, Entry, Id, NodeSeen, Seen},
    verdict::Violation,
};

/// What a node or a router may hold that has no documents: queues, caches, tables.
const BASE: u64 = 24 << 20;
/// The same once all is done.
const BASE_AFTER: u64 = 16 << 20;
/// How many times a byte of a document may be there: in its content, in the window of history, in
/// the log's cache, in what waits for links.
const TIMES: u64 = 12;

pub struct Memory {
    notes: Notes,
    /// Bytes that were put into each document, and up to which revision they are counted.
    documents: BTreeMap<Id, (u64, u64)>,
    bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        let promised = "memory stays in proportion to what the documents hold, and comes back";
        Self {
            notes: Notes::new("memory", "O19", promised),
            documents: BTreeMap::new(),
            bytes: 0,
        }
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
            Seen::Node(NodeSeen::Applied { doc, rev, edit, .. }) => {
                let (last, bytes) = self.documents.entry(*doc).or_default();
                if *rev > *last {
                    *last = *rev;
                    let more: u64 = edit.iter().flatten().map(put_in).sum();
                    *bytes += more;
                    self.bytes += more;
                }
            }
            Seen::Driver(DriverSeen::Memory {
                host,
                live,
                peak,
                done,
            }) => {
                let base = if *done { BASE_AFTER } else { BASE };
                let bound = base + TIMES * self.bytes;
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
    use crate::record::DriverSeen;

    fn memory(mib: u64, done: bool) -> DriverSeen {
        DriverSeen::Memory {
            host: "node-1".into(),
            live: mib << 20,
            peak: mib << 20,
            done,
        }
    }

    #[test]
    fn more_than_the_documents_explain_is_found() {
        let mut story = story();
        story.driver(memory(20, false));
        assert_clean(story.clone());
        let mut after = story.clone();
        after.driver(memory(20, true));
        assert_found(after, "O19 too much memory once all is done");
        story.driver(memory(100, false));
        assert_found(story, "O19 too much memory");
    }
}
