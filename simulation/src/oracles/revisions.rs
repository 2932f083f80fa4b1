//! O7: revisions are 1, 2, 3… in every log, and every client's stream has no gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Notes, Oracle, history::Shared, named, short};
use crate::{
    record::{ClientSeen, Entry, Id, NodeSeen, Seen},
    verdict::Violation,
};

pub struct Revisions {
    history: Shared,
    /// By node, life and document, the last that was applied.
    applied: BTreeMap<(u64, Id), (u64, u64)>,
    /// By node and group, in which life a replica went on with a state that was kept, and at which
    /// index.
    restored: BTreeMap<(u64, u32), (u64, u64)>,
    /// By client and document.
    streams: BTreeMap<(Id, Id), Stream>,
    /// Users with a second socket, whose stream is not on record.
    twins: BTreeSet<u32>,
    notes: Notes,
}

struct Stream {
    user: u32,
    open: bool,
    /// The revision that it was opened at.
    from: u64,
    last: Option<u64>,
    /// All up to here came once.
    reached: u64,
}

impl Revisions {
    pub fn new(history: Shared, twins: BTreeSet<u32>) -> Self {
        let promised = "revisions have no gap, in a log and in what a client is sent";
        Self {
            history,
            applied: BTreeMap::new(),
            restored: BTreeMap::new(),
            streams: BTreeMap::new(),
            twins,
            notes: Notes::new("revisions", "O7", promised),
        }
    }

    /// Whether an event is the first of its document after a state that its replica went on with.
    fn follows_what_was_kept(&self, entry: &Entry) -> bool {
        let Seen::Node(NodeSeen::Applied {
            node,
            life,
            group,
            index,
            doc,
            rev,
            ..
        }) = &entry.seen
        else {
            return false;
        };
        let history = self.history.borrow();
        let of = history.docs.get(doc);
        let before = of.and_then(|of| of.event(rev.checked_sub(1)?));
        let kept = self.restored.get(&(*node, *group));
        let kept = kept.filter(|(of_life, at)| of_life == life && at < index);
        before
            .zip(kept)
            .is_some_and(|(event, (_, at))| event.index <= *at)
    }

    fn received(&mut self, entry: &Entry, found: &mut Vec<Violation>, key: (Id, Id), rev: u64) {
        let Some(stream) = self.streams.get_mut(&key).filter(|stream| stream.open) else {
            return;
        };
        let fits = match stream.last {
            Some(last) => rev == last + 1,
            // Resumed from the last mark: what follows it may be known, and left out here.
            None => rev > stream.from && rev <= stream.reached + 1,
        };
        let before = stream.last.unwrap_or(stream.reached);
        stream.last = Some(rev);
        stream.reached = stream.reached.max(rev);
        if !fits {
            let what = match rev <= before {
                true => "a client was sent a revision again or out of order",
                false => "a client's stream has a gap",
            };
            let (client, doc) = (short(&key.0), short(&key.1));
            let broken = || format!("document {doc}, client {client}: {before}, then {rev}");
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

impl Oracle for Revisions {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Node(
                NodeSeen::Restored {
                    node,
                    life,
                    group,
                    index,
                }
                | NodeSeen::Installed {
                    node,
                    life,
                    group,
                    index,
                    ..
                },
            ) => {
                self.restored.insert((*node, *group), (*life, *index));
            }
            Seen::Node(NodeSeen::Applied {
                node,
                life,
                doc,
                rev,
                ..
            }) => {
                let (of_life, last) = self.applied.entry((*node, *doc)).or_insert((*life, 0));
                if of_life != life {
                    (*of_life, *last) = (*life, 0);
                }
                let before = std::mem::replace(last, *rev);
                if *rev != before + 1 && !self.follows_what_was_kept(entry) {
                    let broken =
                        || format!("node {node}, document {}: {before}, then {rev}", short(doc));
                    self.notes
                        .broken(found, entry.at, "a log's revisions have a gap", broken);
                }
            }
            Seen::Client(ClientSeen::Opened {
                client,
                user,
                doc,
                resumed,
                rev,
                ..
            }) => {
                let before = self.streams.get(&(*client, *doc)).map_or(0, |s| s.reached);
                let reached = if *resumed { before.max(*rev) } else { *rev };
                let stream = Stream {
                    user: *user,
                    open: true,
                    from: *rev,
                    last: None,
                    reached,
                };
                self.streams.insert((*client, *doc), stream);
            }
            Seen::Client(ClientSeen::Received {
                client, doc, rev, ..
            }) => self.received(entry, found, (*client, *doc), *rev),
            Seen::Client(
                ClientSeen::Closed { client, doc, .. } | ClientSeen::Resynced { client, doc, .. },
            ) => {
                if let Some(stream) = self.streams.get_mut(&(*client, *doc)) {
                    stream.open = false;
                }
            }
            Seen::Client(ClientSeen::Acked {
                client,
                doc,
                seq,
                rev,
            }) => {
                let stream = self.streams.get(&(*client, *doc)).filter(|s| s.open);
                let stream = stream.filter(|stream| !self.twins.contains(&stream.user));
                let reached = stream.map_or(u64::MAX, |stream| stream.reached);
                if *rev > reached {
                    let (doc, client) = (short(doc), short(client));
                    let what = "an acknowledgement came before what it follows";
                    let broken = || {
                        format!(
                            "document {doc}, client {client}, sequence {seq}: revision {rev}, \
                             and it has {reached}"
                        )
                    };
                    self.notes.broken(found, entry.at, what, broken);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, at: Duration, found: &mut Vec<Violation>) {
        for ((client, doc), stream) in &self.streams {
            let history = self.history.borrow();
            let head = history.docs.get(doc).map_or(0, |doc| doc.head());
            if stream.reached > head {
                let what = "a client was sent more than there is";
                let broken = || format!("document {}, client {}", short(doc), short(client));
                self.notes.broken(found, at, what, broken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::ClientSeen;

    fn received(rev: u64) -> ClientSeen {
        ClientSeen::Received {
            client: CAM,
            doc: DOC,
            rev,
            author: None,
            edit: Some(vec![insert("x")]),
        }
    }

    /// Three edits, and one who opened before them.
    fn three() -> (Story, u64) {
        let mut story = Story::new();
        let base = story.head();
        story.open(CAM, None);
        for i in 0..3 {
            story.edit(ADA, i + 1, base + i, &[insert("x")]);
        }
        (story, base)
    }

    #[test]
    fn streams_may_begin_again_where_they_resume() {
        let (mut story, base) = three();
        [1, 2]
            .into_iter()
            .for_each(|i| story.client(received(base + i)));
        story.open(CAM, Some(base));
        // What is known is left out.
        story.client(received(base + 3));
        story.open(CAM, Some(base));
        [1, 2, 3]
            .into_iter()
            .for_each(|i| story.client(received(base + i)));
        assert_clean(story);
    }

    #[test]
    fn a_gap_is_found() {
        let (mut story, base) = three();
        [1, 3]
            .into_iter()
            .for_each(|i| story.client(received(base + i)));
        assert_found(story, "O7 a client's stream has a gap");
        let (mut story, base) = three();
        story.client(received(base + 1));
        story.open(CAM, Some(base));
        story.client(received(base + 3));
        assert_found(story, "O7 a client's stream has a gap");
    }

    #[test]
    fn a_repeat_is_found() {
        let (mut story, base) = three();
        [1, 2, 1]
            .into_iter()
            .for_each(|i| story.client(received(base + i)));
        assert_found(
            story,
            "O7 a client was sent a revision again or out of order",
        );
    }

    #[test]
    fn a_log_with_a_gap_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.skip_revision();
        story.edit(ADA, 1, base, &[insert("x")]);
        assert_found(story, "O7 a log's revisions have a gap");
    }

    #[test]
    fn an_early_acknowledgement_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        story.commit(ADA, 1, base, &[insert("x")]);
        story.acked(ADA, 1, base + 1);
        assert_found(story, "O7 an acknowledgement came before what it follows");
    }
}
