//! A document that was set apart takes no edits until that is lifted, and is set apart only by
//! what cannot be applied.

use std::collections::BTreeMap;

use super::{Notes, Oracle, history, named, short};
use crate::{
    plan::POISON,
    record::{Edit, Entry, Id, NodeSeen, Seen},
    verdict::Violation,
};

pub struct Quarantine {
    history: history::Shared,
    /// By document: at which index it was set apart (true) or let go on.
    turns: BTreeMap<Id, BTreeMap<u64, bool>>,
    /// By document, client and sequence: the index at which it was first called a fault.
    faults: BTreeMap<(Id, Id, u64), u64>,
    notes: Notes,
}

impl Quarantine {
    pub fn new(history: history::Shared) -> Self {
        let promised = "a document that was set apart takes no edits until that is lifted, and is \
                        set apart only by what cannot be applied";
        Self {
            history,
            turns: BTreeMap::new(),
            faults: BTreeMap::new(),
            notes: Notes::new("quarantine", "quarantine", promised),
        }
    }

    fn is_poisoned(&self, doc: Id, client: Id, seq: u64) -> bool {
        let history = self.history.borrow();
        let of = history.clients.get(&(doc, client));
        let sequence = of.and_then(|of| of.seqs.get(&seq));
        let poison = |edit: &Edit| matches!(edit, Edit::Insert(text, _) if text.contains(POISON));
        // Of who writes under a stolen name nothing is known.
        sequence.is_none_or(|of| of.attempts.iter().any(|a| a.sent.iter().any(poison)))
    }
}

impl Oracle for Quarantine {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Node(NodeSeen::Outcome {
                index,
                doc,
                client,
                seq,
                outcome,
                ..
            }) => match (&**outcome, client) {
                ("lifted", _) => {
                    self.turns.entry(*doc).or_default().insert(*index, false);
                }
                ("refused fault", Some(client)) => {
                    // The same bytes again are known, and set nothing apart.
                    let first = self.faults.entry((*doc, *client, *seq)).or_insert(*index);
                    if first == index {
                        self.turns.entry(*doc).or_default().insert(*index, true);
                    }
                    if !self.is_poisoned(*doc, *client, *seq) {
                        let broken = || format!("document {}, sequence {seq}", short(doc));
                        let what = "an operation was called a fault that is none";
                        self.notes.broken(found, entry.at, what, broken);
                    }
                }
                _ => {}
            },
            Seen::Node(NodeSeen::Applied {
                index,
                doc,
                rev,
                kind,
                ..
            }) if matches!(kind.as_str(), "edit" | "restore") => {
                let turns = self.turns.get(doc);
                // What else is in the entry that changes it may come before or behind that.
                let last = turns.and_then(|turns| turns.range(..=index).next_back());
                if last.is_some_and(|(at, on)| *on && at < index) {
                    let broken = || format!("document {}, revision {rev}", short(doc));
                    let what = "a document took an edit while it was set apart";
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
    use crate::record::NodeSeen;

    fn outcome(story: &mut Story, client: Option<crate::record::Id>, outcome: &str) {
        let index = story.commit_nothing();
        story.node(NodeSeen::Outcome {
            node: 1,
            life: 1,
            group: GROUP,
            index,
            doc: DOC,
            client,
            seq: 1,
            outcome: outcome.into(),
        });
    }

    fn set_apart(text: &str) -> Story {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert(text)]);
        outcome(&mut story, Some(ADA), "refused fault");
        story
    }

    #[test]
    fn a_document_that_is_set_apart_takes_no_edits() {
        let mut story = set_apart("\u{f8ff}");
        let base = story.head();
        story.edit(BOB, 1, base, &[insert("x")]);
        assert_found(
            story,
            "quarantine a document took an edit while it was set apart",
        );
    }

    #[test]
    fn once_it_is_lifted_it_does_also_where_the_fault_is_told_again() {
        let mut story = set_apart("\u{f8ff}");
        outcome(&mut story, None, "lifted");
        outcome(&mut story, Some(ADA), "refused fault");
        let base = story.head();
        story.edit(BOB, 1, base, &[insert("x")]);
        assert_clean(story);
    }

    #[test]
    fn what_can_be_applied_is_no_fault() {
        assert_found(
            set_apart("x"),
            "quarantine an operation was called a fault that is none",
        );
    }
}
