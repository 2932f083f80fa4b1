//! O18: whoever is given a document is given its proven state, and never a blank one for it; who has no
//! state has no voice.

use std::collections::BTreeMap;

use super::{
    Notes, Oracle,
    history::{self, Shared},
    named, short,
};
use crate::{
    record::{ClientSeen, Entry, NodeSeen, Seen},
    verdict::Violation,
};

pub struct NeverBlank {
    history: Shared,
    /// Node and group of those that lack their state, and the node's life.
    lacking: BTreeMap<(u64, u32), u64>,
    notes: Notes,
}

impl NeverBlank {
    pub fn new(history: Shared) -> Self {
        let promised = "whoever opens a document gets its proven state, or an error";
        Self {
            history,
            lacking: BTreeMap::new(),
            notes: Notes::new("never_blank", "O18", promised),
        }
    }

    /// What a node does that it may not while its group lacks its state.
    fn voice(&mut self, seen: &NodeSeen) -> Option<(&'static str, u64, u32)> {
        let (node, life, group, what) = match seen {
            NodeSeen::Lacks { node, life, group } => {
                self.lacking.insert((*node, *group), *life);
                return None;
            }
            NodeSeen::Recovers { node, group, .. } => {
                self.lacking.remove(&(*node, *group));
                return None;
            }
            // It takes the vote of the state's own leader over with the state.
            NodeSeen::Voted {
                node,
                life,
                group,
                committed: false,
                ..
            } => (node, life, group, "a replica without its state voted"),
            NodeSeen::Leads {
                node, life, group, ..
            } => (node, life, group, "a replica without its state leads"),
            NodeSeen::Applied {
                node, life, group, ..
            }
            | NodeSeen::Outcome {
                node, life, group, ..
            } => (
                node,
                life,
                group,
                "a replica without its state applied something",
            ),
            _ => return None,
        };
        let is_lacking = self.lacking.get(&(*node, *group)) == Some(life);
        is_lacking.then_some((what, *node, *group))
    }
}

impl Oracle for NeverBlank {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        if let Seen::Node(seen) = &entry.seen
            && let Some((what, node, group)) = self.voice(seen)
        {
            let broken = || format!("node {node}, group {group}");
            self.notes.broken(found, entry.at, what, broken);
        }
        let Seen::Client(ClientSeen::Opened {
            client,
            doc,
            rev,
            text: Some(text),
            ..
        }) = &entry.seen
        else {
            return;
        };
        let history = self.history.borrow();
        let event = history.docs.get(doc).and_then(|doc| doc.event(*rev));
        let what = match event.map(|event| event.state) {
            Some(None) => return,
            Some(Some(state)) if state.text == history::hash(text) => return,
            _ if text.trim_end_matches('\n').is_empty() => "a document was given blank",
            None => "a document was given that is not in the log",
            Some(Some(_)) => "a document was given that is not its state",
        };
        let broken = || {
            let (doc, client) = (short(doc), short(client));
            let units = text.encode_utf16().count();
            format!("document {doc}, client {client}: {units} units at revision {rev}")
        };
        self.notes.broken(found, entry.at, what, broken);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{ClientSeen, NodeSeen};

    fn opened(rev: impl Fn(u64) -> u64, text: &str) -> Story {
        let mut story = Story::new();
        let head = story.head();
        let mut opened = story.opened(CAM, head);
        if let ClientSeen::Opened {
            text: given,
            rev: at,
            ..
        } = &mut opened
        {
            *given = Some(text.to_owned());
            *at = rev(head);
        }
        story.client(opened);
        story
    }

    #[test]
    fn a_blank_document_is_found() {
        assert_found(opened(|_| 0, ""), "O18 a document was given blank");
        assert_found(opened(|head| head, "\n"), "O18 a document was given blank");
    }

    fn lacking(recovers: bool) -> Story {
        let mut story = Story::new();
        let (node, life, group) = (2, 1, GROUP);
        story.node(NodeSeen::Lacks { node, life, group });
        if recovers {
            let index = story.next_index() - 1;
            story.node(NodeSeen::Recovers {
                node,
                life,
                group,
                index,
            });
        }
        let base = story.head();
        story.vote(node, 2, 3, false);
        story.edit(ADA, 1, base, &[insert("x")]);
        story
    }

    #[test]
    fn who_lacks_its_state_is_silent_until_it_has_another_ones() {
        for what in ["voted", "applied something"] {
            assert_found(
                lacking(false),
                &format!("O18 a replica without its state {what}"),
            );
        }
        assert_clean(lacking(true));
    }

    #[test]
    fn another_text_is_found() {
        assert_found(
            opened(|head| head, "x"),
            "O18 a document was given that is not its state",
        );
        assert_found(
            opened(|head| head + 9, "x"),
            "O18 a document was given that is not in the log",
        );
    }
}
