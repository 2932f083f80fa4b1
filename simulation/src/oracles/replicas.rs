//! O15: replicas that applied the same entries are the same, and made the same of each.

use std::collections::BTreeMap;

use super::{Notes, Oracle, named};
use crate::{
    record::{Entry, Hash, NodeSeen, Seen},
    verdict::Violation,
};

const KEPT: &str = "replicas kept different states of one index";

pub struct Replicas {
    /// By group and index: whose was first, and what it was.
    states: BTreeMap<(u32, u64), (u64, Hash)>,
    /// The same of manifests.
    kept: BTreeMap<(u32, u64), (u64, Hash)>,
    effects: BTreeMap<(u32, u64), (u64, u64)>,
    /// By group and node: what it makes of the entry that it is at.
    making: BTreeMap<(u32, u64), Making>,
    notes: Notes,
}

struct Making {
    life: u64,
    index: u64,
    /// Of all that came of the entry so far.
    hash: u64,
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            kept: BTreeMap::new(),
            effects: BTreeMap::new(),
            making: BTreeMap::new(),
            notes: Notes::new(
                "replicas",
                "O15",
                "replicas that applied the same entries have the same state",
            ),
        }
    }
}

impl Replicas {
    /// What a replica has at an index, compared with what the first one had.
    fn same(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        what: &str,
        at: (u32, u64),
        (node, hash): (u64, Hash),
    ) {
        let of = match what == KEPT {
            true => &mut self.kept,
            false => &mut self.states,
        };
        let (first, known) = *of.entry(at).or_insert((node, hash));
        if known != hash {
            let (group, index) = at;
            let broken = || format!("group {group}, index {index}: nodes {first} and {node}");
            self.notes.broken(found, entry.at, what, broken);
        }
    }

    /// One more effect of the entry at `index`. When a later one comes the entry is done.
    fn effect(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        (group, node, life, index): (u32, u64, u64, u64),
        effect: &str,
    ) {
        let fresh = || Making {
            life,
            index,
            hash: 0,
        };
        let making = self.making.entry((group, node)).or_insert_with(fresh);
        if making.life != life {
            // It may have died in the middle of one.
            *making = fresh();
        } else if making.index != index {
            let done = std::mem::replace(making, fresh());
            self.done(entry, found, group, node, &done);
        }
        if let Some(making) = self.making.get_mut(&(group, node)) {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&making.hash.to_le_bytes());
            hasher.update(effect.as_bytes());
            let mut eight = [0; 8];
            eight.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
            making.hash = u64::from_le_bytes(eight);
        }
    }

    fn done(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        group: u32,
        node: u64,
        done: &Making,
    ) {
        let key = (group, done.index);
        let (first, hash) = *self.effects.entry(key).or_insert((node, done.hash));
        if hash != done.hash {
            let index = done.index;
            let broken = || format!("group {group}, index {index}: nodes {first} and {node}");
            let what = "replicas made different things of one entry";
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

impl Oracle for Replicas {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Node(seen) = &entry.seen else {
            return;
        };
        match seen {
            NodeSeen::State {
                node,
                group,
                index,
                digest,
            } => {
                let what = "replicas differ at one index";
                let at = (*group, *index);
                self.same(entry, found, what, at, (*node, *digest));
            }
            NodeSeen::Kept {
                node,
                group,
                index,
                hash,
                ..
            }
            | NodeSeen::Installed {
                node,
                group,
                index,
                hash,
                ..
            } => {
                let what = KEPT;
                let at = (*group, *index);
                self.same(entry, found, what, at, (*node, *hash));
            }
            NodeSeen::Applied {
                node,
                life,
                group,
                index,
                doc,
                rev,
                client,
                seq,
                ..
            } => {
                let effect = format!("{doc:?} {rev} {client:?} {seq}");
                self.effect(entry, found, (*group, *node, *life, *index), &effect);
            }
            NodeSeen::Outcome {
                node,
                life,
                group,
                index,
                doc,
                client,
                seq,
                outcome,
            } => {
                let effect = format!("{doc:?} {client:?} {seq} {outcome}");
                self.effect(entry, found, (*group, *node, *life, *index), &effect);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::NodeSeen;

    fn state(node: u64, digest: u8) -> NodeSeen {
        NodeSeen::State {
            node,
            group: GROUP,
            index: 3,
            digest: [digest; 32],
        }
    }

    #[test]
    fn states_at_one_index_are_one() {
        let mut story = story();
        story.node(state(1, 7));
        story.node(state(2, 7));
        assert_clean(story.clone());
        story.node(state(3, 8));
        assert_found(story, "O15 replicas differ at one index");
    }

    #[test]
    fn another_outcome_of_one_entry_is_found() {
        let refused = |node, outcome: &str| NodeSeen::Outcome {
            node,
            life: 1,
            group: GROUP,
            index: 5,
            doc: DOC,
            client: Some(ADA),
            seq: 4,
            outcome: outcome.into(),
        };
        for (other, expected) in [("refused forbidden", 0), ("already 3", 1)] {
            let mut oracle = super::Replicas::default();
            let mut story = Story::empty();
            story.node(refused(1, "refused forbidden"));
            story.node(refused(2, other));
            // The next entry tells that the one before is done.
            for node in [1, 2] {
                story.node(NodeSeen::Outcome {
                    node,
                    life: 1,
                    group: GROUP,
                    index: 6,
                    doc: DOC,
                    client: None,
                    seq: 0,
                    outcome: "applied 1".into(),
                });
            }
            assert_eq!(found_by(&mut oracle, story).len(), expected);
        }
    }
}
