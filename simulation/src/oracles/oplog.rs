//! O13, of a replica's own disk: with each state that it keeps it has all events that led there, in its
//! archive or in its op log.

use std::collections::{BTreeMap, BTreeSet};

use super::{Notes, Oracle, history::Shared, named, short};
use crate::{
    record::{Entry, Hash, Id, NodeSeen, Run, Seen},
    verdict::Violation,
};

pub struct OpLog {
    history: Shared,
    /// By node and place.
    pages: BTreeMap<(u64, (u32, u32)), Vec<Run>>,
    /// By group and head: how far each document is archived.
    archives: BTreeMap<(u32, Hash), BTreeMap<Id, u64>>,
    /// By group and count of rounds.
    heads: BTreeMap<(u32, u64), Hash>,
    /// Which node has which archive.
    archived: BTreeSet<(u64, u32, Hash)>,
    notes: Notes,
}

/// What a node has of a group's events.
struct Has<'a> {
    node: u64,
    group: u32,
    /// Up to the entry.
    index: u64,
    archived: Hash,
    /// Where the pages lie of those that are not archived.
    listed: &'a [(u32, u32)],
}

/// The head of an archive with nothing in it.
const NOTHING: Hash = [0; 32];

impl OpLog {
    pub fn new(history: Shared) -> Self {
        let promised = "with each state that a replica keeps it has all events that led there";
        Self {
            history,
            pages: BTreeMap::new(),
            archives: BTreeMap::new(),
            heads: BTreeMap::new(),
            archived: BTreeSet::new(),
            notes: Notes::new("oplog", "O13", promised),
        }
    }

    /// What is wrong with the events that a node has with a state that it keeps.
    fn wrong(&self, has: Has<'_>) -> Option<(&'static str, String)> {
        let Has {
            node,
            group,
            index,
            archived,
            listed,
        } = has;
        let nothing = BTreeMap::new();
        let archive = match archived == NOTHING {
            true => &nothing,
            false if self.archived.contains(&(node, group, archived)) => {
                self.archives.get(&(group, archived))?
            }
            false => {
                let rest = format!("node {node}, group {group}");
                return Some((
                    "an archive is referred to that the node does not have",
                    rest,
                ));
            }
        };
        let mut runs: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
        for place in listed {
            let Some(page) = self.pages.get(&(node, *place)) else {
                let rest = format!("node {node}, group {group}: {place:?}");
                return Some(("a page of events is listed that was not written", rest));
            };
            for run in page {
                runs.entry(run.doc).or_default().push(run);
            }
        }
        let history = self.history.borrow();
        let docs = history.docs.iter().filter(|(_, of)| of.group == group);
        for (doc, of) in docs {
            let head = of.events.partition_point(|event| event.index <= index) as u64;
            let mut of_doc = runs.remove(doc).unwrap_or_default();
            of_doc.sort_by_key(|run| run.first);
            let mut have = archive.get(doc).copied().unwrap_or(0);
            let name = |have| format!("node {node}, document {}, revision {have}", short(doc));
            for run in of_doc {
                if run.first > have + 1 {
                    return Some(("events are missing from an op log", name(have + 1)));
                }
                have = run.last.max(have);
                if of
                    .event(run.last)
                    .is_none_or(|event| event.chain != run.chain)
                {
                    return Some(("an op log tells another event", name(run.last)));
                }
            }
            if have != head {
                return Some(("an op log does not end where its state does", name(have)));
            }
        }
        None
    }
}

impl OpLog {
    /// What is wrong with a round that a node archived after others. From then on it has it.
    fn archive(
        &mut self,
        (node, group, rounds): (u64, u32, u64),
        (before, head): (Hash, Hash),
        runs: &[Run],
    ) -> Option<(&'static str, String)> {
        self.archived.insert((node, group, head));
        let same = *self.heads.entry((group, rounds)).or_insert(head) == head;
        let mut archive = match before == NOTHING {
            true => BTreeMap::new(),
            false => self.archives.get(&(group, before)).cloned()?,
        };
        let history = self.history.borrow();
        for run in runs {
            let have = archive.insert(run.doc, run.last).unwrap_or(0);
            let name = |rev| format!("node {node}, document {}, revision {rev}", short(&run.doc));
            if run.first != have + 1 {
                return Some(("events are missing from an archive", name(have + 1)));
            }
            let told = history.docs.get(&run.doc).and_then(|of| of.event(run.last));
            if told.is_none_or(|event| event.chain != run.chain) {
                return Some(("an archive tells another event", name(run.last)));
            }
        }
        self.archives.insert((group, head), archive);
        let rest = format!("node {node}, group {group}, round {rounds}");
        (!same).then_some(("replicas archive different objects", rest))
    }
}

impl Oracle for OpLog {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Node(NodeSeen::Logged { node, place, runs }) => {
                self.pages.insert((*node, *place), runs.clone());
            }
            Seen::Node(
                NodeSeen::Kept {
                    node,
                    group,
                    index,
                    archived,
                    events,
                    ..
                }
                | NodeSeen::Installed {
                    node,
                    group,
                    index,
                    archived,
                    events,
                    ..
                },
            ) => {
                let has = Has {
                    node: *node,
                    group: *group,
                    index: *index,
                    archived: *archived,
                    listed: events,
                };
                if let Some((what, rest)) = self.wrong(has) {
                    self.notes.broken(found, entry.at, what, || rest);
                }
            }
            Seen::Node(NodeSeen::Archived {
                node,
                group,
                rounds,
                before,
                head,
                runs,
                ..
            }) => {
                let round = (*node, *group, *rounds);
                if let Some((what, rest)) = self.archive(round, (*before, *head), runs) {
                    self.notes.broken(found, entry.at, what, || rest);
                }
            }
            Seen::Node(NodeSeen::Adopted { node, group, head }) => {
                self.archived.insert((*node, *group, *head));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, NOTHING};
    use crate::record::{Hash, NodeSeen, Run};

    /// A story, and its document's head and chain there.
    fn told() -> (Story, u64, Run) {
        let story = story();
        let rev = story.head();
        let chain = story.chain_at(rev);
        let run = Run {
            doc: DOC,
            first: 1,
            last: rev,
            chain,
        };
        let index = story.next_index() - 1;
        (story, index, run)
    }

    fn kept(story: &mut Story, index: u64, archived: Hash, runs: Vec<Run>) {
        let place = (1, 24);
        story.node(NodeSeen::Logged {
            node: 1,
            place,
            runs,
        });
        story.node(NodeSeen::Kept {
            node: 1,
            life: 1,
            group: GROUP,
            index,
            hash: [1; 32],
            archived,
            events: vec![place],
        });
    }

    fn archived(story: &mut Story, node: u64, head: Hash, runs: Vec<Run>) {
        story.node(NodeSeen::Archived {
            node,
            group: GROUP,
            rounds: 1,
            index: 1,
            before: NOTHING,
            head,
            runs,
        });
    }

    /// The first revision, and those after it.
    fn halves(story: &Story, run: Run) -> (Vec<Run>, Vec<Run>) {
        let (last, chain) = (1, story.chain_at(1));
        let first = Run {
            last,
            chain,
            ..run.clone()
        };
        (vec![first], vec![Run { first: 2, ..run }])
    }

    #[test]
    fn an_op_log_tells_all_that_led_to_its_state() {
        let (mut story, index, run) = told();
        kept(&mut story, index, NOTHING, vec![run]);
        assert_clean(story);
        let (mut story, index, run) = told();
        let (first, _) = halves(&story, run.clone());
        kept(&mut story, index, NOTHING, [first, vec![run]].concat());
        assert_clean(story);
    }

    #[test]
    fn what_is_archived_need_not_be_in_the_op_log() {
        let (mut story, index, run) = told();
        let (first, rest) = halves(&story, run);
        archived(&mut story, 1, [5; 32], first);
        kept(&mut story, index, [5; 32], rest);
        assert_clean(story);
        let (mut story, index, run) = told();
        let (first, rest) = halves(&story, run);
        archived(&mut story, 2, [5; 32], first);
        let (node, group, head) = (1, GROUP, [5; 32]);
        story.node(NodeSeen::Adopted { node, group, head });
        kept(&mut story, index, [5; 32], rest);
        assert_clean(story);
    }

    #[test]
    fn what_is_missing_or_another_is_found() {
        let (mut story, index, run) = told();
        kept(&mut story, index, NOTHING, vec![Run { first: 2, ..run }]);
        assert_found(story, "O13 events are missing from an op log");
        let (mut story, index, _) = told();
        kept(&mut story, index, NOTHING, Vec::new());
        assert_found(story, "O13 an op log does not end where its state does");
        let (mut story, index, run) = told();
        let chain = [9; 32];
        kept(&mut story, index, NOTHING, vec![Run { chain, ..run }]);
        assert_found(story, "O13 an op log tells another event");
    }

    #[test]
    fn an_archive_that_lies_is_found() {
        let (mut story, _, run) = told();
        let (_, rest) = halves(&story, run);
        archived(&mut story, 1, [5; 32], rest);
        assert_found(story, "O13 events are missing from an archive");
        let (mut story, _, run) = told();
        let chain = [9; 32];
        archived(&mut story, 1, [5; 32], vec![Run { chain, ..run }]);
        assert_found(story, "O13 an archive tells another event");
        let (mut story, _, run) = told();
        archived(&mut story, 1, [5; 32], vec![run.clone()]);
        archived(&mut story, 2, [6; 32], vec![run]);
        assert_found(story, "O13 replicas archive different objects");
        let (mut story, index, run) = told();
        let (first, rest) = halves(&story, run);
        archived(&mut story, 2, [5; 32], first);
        kept(&mut story, index, [5; 32], rest);
        assert_found(
            story,
            "O13 an archive is referred to that the node does not have",
        );
    }
}
