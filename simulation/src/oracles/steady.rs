//! O23: no client keeps a process busy for so long that others notice.
//!
//! The time that work takes is reckoned (`prices.rs`), so work that takes long is found
//! wherever it is done; where nothing is broken by a fault no leader changes either.

use super::{Notes, Oracle, named};
use crate::{
    record::{ClientSeen, DriverSeen, Entry, NodeSeen, Seen},
    verdict::Violation,
};

/// The longest that a process which serves may stand still over its work: a third of the silence
/// after which a leader is held for dead.
const LONGEST_MS: u64 = 200;

pub struct Steady {
    notes: Notes,
    /// Nothing is broken by a fault in this plan.
    calm: bool,
    /// Somebody has opened a document: the first leaders are there.
    begun: bool,
}

impl Steady {
    pub fn new(calm: bool) -> Self {
        let promised = "no client keeps a process busy for so long that others notice";
        Self {
            notes: Notes::new("steady", "O23", promised),
            calm,
            begun: false,
        }
    }
}

impl Oracle for Steady {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Client(ClientSeen::Opened { .. }) => self.begun = true,
            Seen::Driver(DriverSeen::LongTurn { host, ms, serves })
                if *serves && *ms > LONGEST_MS =>
            {
                let broken = || format!("{host} stands still for {ms} ms");
                let what = "a process stood still over its work";
                self.notes.broken(found, entry.at, what, broken);
            }
            Seen::Node(NodeSeen::Leads {
                node, group, term, ..
            }) if self.calm && self.begun => {
                let broken = || format!("node {node} leads group {group} in term {term}");
                let what = "a leader changed though nothing was broken";
                self.notes.broken(found, entry.at, what, broken);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn turn(ms: u64, serves: bool) -> DriverSeen {
        DriverSeen::LongTurn {
            host: "node-1".into(),
            ms,
            serves,
        }
    }

    #[test]
    fn a_long_turn_is_found_but_not_at_a_start() {
        let mut story = story();
        story.driver(turn(199, true));
        story.driver(turn(5_000, false));
        assert_clean(story.clone());
        story.driver(turn(300, true));
        assert_found(story, "O23 a process stood still over its work");
    }

    #[test]
    fn a_leader_that_changes_by_itself_is_found() {
        let first = Story::new();
        assert!(found_by(&mut Steady::new(true), first.clone()).is_empty());
        let mut second = first;
        second.leads(2, 9);
        let found = found_by(&mut Steady::new(true), second.clone());
        assert_eq!(found, ["O23 a leader changed though nothing was broken"]);
        assert!(found_by(&mut Steady::new(false), second).is_empty());
    }
}
