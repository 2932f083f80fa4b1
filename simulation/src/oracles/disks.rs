//! O21: one disk, one voter. A wiped disk takes no part, and a sound one is taken back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Notes, Oracle, named};
use crate::{
    plan::{FaultKind, Plan},
    record::{DriverSeen, Entry, NodeSeen, Seen},
    verdict::Violation,
};

pub struct Disks {
    wiped: BTreeSet<u64>,
    /// By node, the last life that has read its log: votes that it told before were read.
    recovered: BTreeMap<u64, u64>,
    /// By node, its life whose log was damaged.
    damaged: BTreeMap<u64, u64>,
    /// Nodes whose log a fault of the plan spoils, or whose disk one takes away.
    spoilt: BTreeSet<u64>,
    notes: Notes,
}

impl Disks {
    pub fn new(plan: &Plan) -> Self {
        let spoilt = plan.faults.iter().filter_map(|fault| match fault.kind {
            FaultKind::Corrupt { node, .. } => Some(u64::from(node)),
            FaultKind::Wiped { node } | FaultKind::FolderPutBack { node, .. } => {
                Some(u64::from(node))
            }
            _ => None,
        });
        let promised = "two disks never vote under one node id, and a wiped or damaged one never";
        Self {
            wiped: BTreeSet::new(),
            recovered: BTreeMap::new(),
            damaged: BTreeMap::new(),
            spoilt: spoilt.collect(),
            notes: Notes::new("disks", "O21", promised),
        }
    }
}

impl Oracle for Disks {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let (node, what) = match &entry.seen {
            Seen::Driver(DriverSeen::Disk { node, wiped }) => {
                if *wiped {
                    self.wiped.insert(*node);
                } else {
                    self.wiped.remove(node);
                }
                return;
            }
            Seen::Node(NodeSeen::Recovered {
                node,
                life,
                damaged,
                ..
            }) => {
                self.recovered.insert(*node, *life);
                if *damaged {
                    self.damaged.insert(*node, *life);
                }
                let what = "a log was found damaged that no fault had spoilt";
                (
                    *node,
                    (*damaged && !self.spoilt.contains(node)).then_some(what),
                )
            }
            // Alone on an empty disk it may vote for itself, which nobody hears.
            Seen::Node(NodeSeen::Voted {
                node,
                life,
                candidate,
                ..
            }) if self.wiped.contains(node)
                && candidate != node
                && self.recovered.get(node) == Some(life) =>
            {
                (*node, Some("a wiped disk voted"))
            }
            Seen::Node(NodeSeen::Leads { node, .. }) if self.wiped.contains(node) => {
                (*node, Some("a node with a wiped disk leads"))
            }
            Seen::Node(NodeSeen::Committed { node, .. }) if self.wiped.contains(node) => {
                (*node, Some("a node with a wiped disk takes part"))
            }
            Seen::Node(
                NodeSeen::Leads { node, life, .. } | NodeSeen::Committed { node, life, .. },
            ) if self.damaged.get(node) == Some(life) => {
                (*node, Some("a node with a damaged log takes part"))
            }
            _ => return,
        };
        if let Some(what) = what {
            self.notes
                .broken(found, entry.at, what, || format!("node {node}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{DriverSeen, NodeSeen};

    fn wiped() -> Story {
        let mut story = story();
        let (node, wiped) = (2, true);
        story.driver(DriverSeen::Disk { node, wiped });
        story
    }

    fn recovered(life: u64, damaged: bool) -> NodeSeen {
        NodeSeen::Recovered {
            node: 2,
            life,
            damaged,
            cut: 0,
        }
    }

    #[test]
    fn a_wiped_disk_that_votes_is_found() {
        let mut story = wiped();
        story.vote(2, 9, 2, false);
        assert_clean(story.clone());
        story.vote(2, 9, 3, true);
        assert_found(story, "O21 a wiped disk voted");
    }

    #[test]
    fn votes_that_an_older_copy_has_in_its_log_are_none() {
        let mut story = wiped();
        story.lives.insert(2, 2);
        story.vote(2, 9, 3, true);
        story.node(recovered(2, false));
        assert_clean(story.clone());
        story.vote(2, 10, 3, false);
        assert_found(story, "O21 a wiped disk voted");
    }

    #[test]
    fn a_wiped_disk_that_leads_is_found() {
        let mut story = wiped();
        story.leads(2, 9);
        assert_found(story, "O21 a node with a wiped disk leads");
    }

    #[test]
    fn damage_from_nowhere_is_found() {
        let mut story = story();
        story.node(recovered(2, true));
        assert_found(
            story.clone(),
            "O21 a log was found damaged that no fault had spoilt",
        );
        story.node(NodeSeen::Leads {
            node: 2,
            life: 2,
            group: GROUP,
            term: 1,
        });
        assert_found(story, "O21 a node with a damaged log takes part");
    }
}
