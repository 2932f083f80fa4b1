//! O6: what is acknowledged is synced by a majority by then, and is in the log for good.

use std::{collections::BTreeMap, time::Duration};

use super::{Notes, Oracle, history, logs, logs::Slot, named, short};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Durable {
    history: history::Shared,
    logs: logs::Shared,
    /// By group and index, what was acknowledged of it.
    acknowledged: BTreeMap<(u32, u64), (Slot, String)>,
    notes: Notes,
}

impl Durable {
    pub fn new(history: history::Shared, logs: logs::Shared) -> Self {
        let promised = "what is acknowledged is on the disks of a majority by then, and stays in \
                        the log";
        Self {
            history,
            logs,
            acknowledged: BTreeMap::new(),
            notes: Notes::new("durable", "O6", promised),
        }
    }

    fn check(&mut self, entry: &Entry, found: &mut Vec<Violation>, doc: &Id, rev: u64, who: &str) {
        let history = self.history.borrow();
        let Some(of) = history.docs.get(doc) else {
            return;
        };
        // One that was never applied is for another oracle to find.
        let Some(event) = of.event(rev) else { return };
        let name = || format!("document {}, revision {rev}, {who}", short(doc));
        let logs = self.logs.borrow();
        let Some(group) = logs.groups.get(&of.group) else {
            return;
        };
        let slot = group.chosen.get(event.index as usize);
        if !slot.is_some_and(|slot| group.is_on_majority(event.index, slot)) {
            let what = "acknowledged before a majority had it on disk";
            return self.notes.broken(found, entry.at, what, name);
        }
        if let Some(slot) = slot {
            let told = self.acknowledged.entry((of.group, event.index));
            told.or_insert_with(|| (*slot, name()));
        }
    }
}

impl Oracle for Durable {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Client(ClientSeen::Acked {
                client,
                doc,
                seq,
                rev,
            }) => {
                let who = format!("client {}, sequence {seq}", short(client));
                self.check(entry, found, doc, *rev, &who);
            }
            Seen::Client(ClientSeen::Granted { doc, rev, user, .. }) => {
                self.check(entry, found, doc, *rev, &format!("grant of user {user}"));
            }
            _ => {}
        }
    }

    fn end(&mut self, at: Duration, found: &mut Vec<Violation>) {
        let logs = self.logs.borrow();
        for ((number, index), (slot, name)) in &self.acknowledged {
            let Some(group) = logs.groups.get(number) else {
                continue;
            };
            if !group.is_on_majority(*index, slot) {
                let what = "acknowledged and in no majority's log at the end";
                let broken = || format!("group {number}, index {index}: {name}");
                self.notes.broken(found, at, what, broken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn an_acknowledgement_waits_for_a_majority() {
        let mut story = Story::new();
        let base = story.head();
        story.unsynced = vec![2, 3];
        story.edit(ADA, 1, base, &[insert("x")]);
        assert_found(story, "O6 acknowledged before a majority had it on disk");
        let mut story = Story::new();
        story.unsynced = vec![3];
        story.edit(ADA, 1, base, &[insert("x")]);
        assert_clean(story);
    }

    #[test]
    fn what_a_crashed_disk_holds_counts() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.begin_restart(2, 2);
        story.acked(ADA, 1, base + 1);
        story.finish_restart(2, 2, story.next_index());
        assert_clean(story);
    }

    #[test]
    fn what_was_acknowledged_is_there_at_the_end() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        let index = story.next_index() - 1;
        story.append(2, index, 7, 2, b"another");
        story.append(3, index, 7, 2, b"another");
        assert_found(story, "O6 acknowledged and in no majority's log at the end");
    }
}
