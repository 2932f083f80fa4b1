//! A node becomes a voter when it has what the others have (O14): one that lacks it would be waited for,
//! and the next failure would stop the group.

use super::{Notes, Oracle, logs, named};
use crate::{
    record::{Entry, NodeSeen, Seen},
    verdict::Violation,
};

/// Entries that it may lack, as the leader counts them, and those that came since it counted.
const LACKS: usize = 64 + 64;

pub struct Members {
    logs: logs::Shared,
    notes: Notes,
}

impl Members {
    pub fn new(logs: logs::Shared) -> Self {
        let promised = "a node becomes a voter when its disk has what the others have";
        Self {
            logs,
            notes: Notes::new("members", "O14", promised),
        }
    }
}

impl Oracle for Members {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Node(NodeSeen::Promotes { node, group, voter }) = &entry.seen else {
            return;
        };
        let logs = self.logs.borrow();
        let Some(of) = logs.groups.get(group) else {
            return;
        };
        let leads = of.replicas.get(node).map_or(0, |replica| replica.log.len());
        let has = of.replicas.get(voter).map_or(0, |replica| replica.synced);
        if has == 0 || leads > has + LACKS {
            let what = "a node became a voter that lacks what the others have";
            self.notes.broken(found, entry.at, what, || {
                format!("node {voter}, group {group}: {has} entries of {leads}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::oracles::testing::{Story, assert_clean, assert_found};

    /// Node 1 leads and has so many entries that node 2 lacks.
    fn story(lacks: u64) -> Story {
        let mut story = Story::new();
        let first = story.next_index();
        for index in first..first + lacks {
            story.append(1, index, 1, 1, &index.to_le_bytes());
        }
        story
    }

    #[test]
    fn a_voter_has_what_the_others_have() {
        let mut story = story(20);
        story.promotes(1, 2);
        assert_clean(story);
    }

    #[test]
    fn one_that_lacks_it_is_none() {
        for voter in [2, 9] {
            let mut story = story(200);
            story.promotes(1, voter);
            assert_found(
                story,
                "O14 a node became a voter that lacks what the others have",
            );
        }
    }
}
