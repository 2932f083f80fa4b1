//! O13, of a replica's own disk: with each state that it keeps it has all events that led there.

use std::collections::BTreeMap;

use super::{Notes, Oracle, history::Shared, named, short};
use crate::{
    record::{Entry, NodeSeen, Run, Seen},
    verdict::Violation,
};

pub struct OpLog {
    history: Shared,
    /// By node and place.
    pages: BTreeMap<(u64, (u32, u32)), Vec<Run>>,
    notes: Notes,
}

impl OpLog {
    pub fn new(history: Shared) -> Self {
        let promised = "with each state that a replica keeps it has all events that led there";
        Self {
            history,
            pages: BTreeMap::new(),
            notes: Notes::new("oplog", "O13", promised),
        }
    }

    /// What is wrong with the events of a group up to `index`, as a manifest lists their pages.
    fn wrong(
        &self,
        node: u64,
        group: u32,
        index: u64,
        listed: &[(u32, u32)],
    ) -> Option<(&'static str, String)> {
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
            let mut have = 0;
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
                    events,
                    ..
                }
                | NodeSeen::Installed {
                    node,
                    group,
                    index,
                    events,
                    ..
                },
            ) => {
                if let Some((what, rest)) = self.wrong(*node, *group, *index, events) {
                    self.notes.broken(found, entry.at, what, || rest);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{NodeSeen, Run};

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

    fn kept(story: &mut Story, index: u64, runs: Vec<Run>) {
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
            events: vec![place],
        });
    }

    #[test]
    fn an_op_log_tells_all_that_led_to_its_state() {
        let (mut story, index, run) = told();
        kept(&mut story, index, vec![run]);
        assert_clean(story);
        let (mut story, index, run) = told();
        let overlap = Run {
            last: 1,
            ..run.clone()
        };
        let chain = story.chain_at(1);
        kept(&mut story, index, vec![run, Run { chain, ..overlap }]);
        assert_clean(story);
    }

    #[test]
    fn what_is_missing_or_another_is_found() {
        let (mut story, index, run) = told();
        kept(&mut story, index, vec![Run { first: 2, ..run }]);
        assert_found(story, "O13 events are missing from an op log");
        let (mut story, index, _) = told();
        kept(&mut story, index, Vec::new());
        assert_found(story, "O13 an op log does not end where its state does");
        let (mut story, index, run) = told();
        let chain = [9; 32];
        kept(&mut story, index, vec![Run { chain, ..run }]);
        assert_found(story, "O13 an op log tells another event");
    }
}
