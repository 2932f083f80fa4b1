//! O8: who comes back finds what was acknowledged, and every operation ends acknowledged,
//! refused or handed back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Notes, Oracle,
    history::{Doc, Shared, can_edit, name_of},
    named, short,
};
use crate::{
    record::{ClientSeen, Edit, Entry, Id, NodeSeen, Seen},
    verdict::Violation,
};

/// The window is cut by its bytes too, above this.
const WINDOW_BYTES: u64 = 2 << 20;

pub struct ReadYourWrites {
    history: Shared,
    window_events: u64,
    /// Where each document's window of history begins.
    windows: BTreeMap<Id, Window>,
    /// By document: the highest revision acknowledged to anybody.
    acknowledged: BTreeMap<Id, u64>,
    /// By client and document: what was known when it asked to come in.
    hellos: BTreeMap<(Id, Id), Hello>,
    /// Clients that have nothing under way at the end.
    settled: Vec<(Id, Id)>,
    notes: Notes,
}

struct Window {
    /// Where it may begin: a trim that was proposed may have been applied or not, and where it is cut next
    /// depends on that.
    floors: BTreeSet<u64>,
    /// Of all events, at least.
    bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            floors: BTreeSet::from([0]),
            bytes: 0,
        }
    }
}

#[derive(Clone, Copy)]
struct Hello {
    resume: Option<u64>,
    /// Acknowledged to anybody by then, and to this client.
    any: u64,
    own: Option<(u64, u64)>,
}

/// A welcome, as far as it is looked at here.
struct Welcome<'a> {
    client: &'a Id,
    doc: &'a Id,
    user: u32,
    resumed: bool,
    /// At the end of its message.
    rev: u64,
    acked: Option<(u64, u64)>,
}

impl ReadYourWrites {
    pub fn new(history: Shared, window_events: u64) -> Self {
        let promised = "who comes in finds all that was acknowledged, and every operation ends \
                        acknowledged, refused or handed back";
        Self {
            history,
            window_events,
            windows: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            hellos: BTreeMap::new(),
            settled: Vec::new(),
            notes: Notes::new("read_your_writes", "O8", promised),
        }
    }

    /// The window after the event that is new now.
    fn cut(&mut self) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let edit = history
            .docs
            .get(&id)
            .and_then(|doc| doc.event(rev)?.edit.clone());
        let window = self.windows.entry(id).or_default();
        window.bytes += 64 + edit.map_or(256, |edit| edit.iter().map(bytes).sum());
        let most = self.window_events;
        let cut = |floor: &u64| match rev.saturating_sub(*floor) > most {
            true => rev - most / 2,
            false => *floor,
        };
        window.floors = window.floors.iter().map(cut).collect();
    }

    /// Whether the history after `rev` is there for sure.
    fn reaches(&self, doc: &Id, rev: u64) -> bool {
        let window = self.windows.get(doc);
        window.is_some_and(|window| {
            let reaches = |floor: &u64| rev >= *floor;
            window.bytes < WINDOW_BYTES && window.floors.iter().all(reaches)
        })
    }

    /// What a welcome does not keep.
    fn wrong(&self, of: &Doc, welcome: &Welcome<'_>) -> Option<(&'static str, String)> {
        let history = self.history.borrow();
        let key = (*welcome.doc, *welcome.client);
        let client = history.clients.get(&key);
        let hello = self.hellos.get(&key).copied().unwrap_or(Hello {
            resume: None,
            any: 0,
            own: client.and_then(|client| client.acked),
        });
        let rev = welcome.rev;
        if !welcome.resumed {
            if let Some((seq, own)) = hello.own.filter(|(_, own)| rev < *own) {
                let rest = format!("opened at {rev}, sequence {seq} was acknowledged at {own}");
                return Some(("opened without an own acknowledged operation", rest));
            }
            if rev < hello.any {
                let rest = format!("opened at {rev}, {} was acknowledged before", hello.any);
                return Some((
                    "opened without what was acknowledged before it was asked",
                    rest,
                ));
            }
            // By the role that it had when it was given that.
            let sees_all = can_edit(of.role_at(&name_of(welcome.user), rev));
            if let Some(from) = hello
                .resume
                .filter(|from| sees_all && self.reaches(welcome.doc, *from))
            {
                let rest = format!("it had {from}, and was given {rev}");
                return Some(("given anew what could have been continued", rest));
            }
        }
        let own = hello.own?;
        match welcome.acked {
            Some((seq, _)) if seq < own.0 => {
                let rest = format!("told {:?}, and {own:?} was acknowledged", welcome.acked);
                Some(("welcomed without the last acknowledgement", rest))
            }
            Some((seq, at)) => {
                let sequence = client.and_then(|client| client.seqs.get(&seq));
                let took = sequence.is_some_and(|sequence| sequence.applied.contains(&at));
                let rest = format!("told that sequence {seq} took {at}");
                (!took).then_some(("welcomed with an acknowledgement of nothing", rest))
            }
            None if self.reaches(welcome.doc, own.1) => {
                let rest = format!("told nothing, and {own:?} was acknowledged");
                Some(("welcomed without the last acknowledgement", rest))
            }
            None => None,
        }
    }
}

/// About as many as it takes in its binary form, or more.
fn bytes(edit: &Edit) -> u64 {
    let (text, attributes) = match edit {
        Edit::Retain(_, attributes) => (0, attributes),
        Edit::Delete(_) => return 8,
        Edit::Insert(text, attributes) | Edit::Embed(text, attributes) => (text.len(), attributes),
    };
    let attributes = attributes
        .iter()
        .map(|(key, value)| key.len() + value.len() + 16);
    // A number in JSON may be shorter than its eight bytes.
    (24 + 8 * text + 8 * attributes.sum::<usize>()) as u64
}

impl Oracle for ReadYourWrites {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        self.cut();
        let seen = match &entry.seen {
            Seen::Client(seen) => seen,
            Seen::Node(NodeSeen::Trims { doc, floor }) => {
                let window = self.windows.entry(*doc).or_default();
                window.floors.insert(*floor);
                return;
            }
            _ => return,
        };
        match seen {
            ClientSeen::Acked { doc, rev, .. } | ClientSeen::Granted { doc, rev, .. } => {
                let most = self.acknowledged.entry(*doc).or_default();
                *most = (*most).max(*rev);
            }
            ClientSeen::Hello {
                client,
                doc,
                resume,
                ..
            } => {
                let history = self.history.borrow();
                let hello = Hello {
                    resume: *resume,
                    any: self.acknowledged.get(doc).copied().unwrap_or(0),
                    own: history
                        .clients
                        .get(&(*doc, *client))
                        .and_then(|of| of.acked),
                };
                self.hellos.insert((*doc, *client), hello);
            }
            ClientSeen::Opened {
                client,
                user,
                doc,
                resumed,
                head,
                acked,
                ..
            } => {
                let welcome = Welcome {
                    client,
                    doc,
                    user: *user,
                    resumed: *resumed,
                    rev: *head,
                    acked: *acked,
                };
                let history = self.history.clone();
                let history = history.borrow();
                let Some(of) = history.docs.get(doc) else {
                    return;
                };
                if let Some((what, rest)) = self.wrong(of, &welcome) {
                    let (doc, client) = (short(doc), short(client));
                    let broken = || format!("document {doc}, client {client}: {rest}");
                    self.notes.broken(found, entry.at, what, broken);
                }
                self.hellos.remove(&(*doc, *client));
            }
            ClientSeen::Settled { client, doc, .. } => self.settled.push((*doc, *client)),
            _ => {}
        }
    }

    fn end(&mut self, at: Duration, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        for key in &self.settled {
            let Some(client) = history.clients.get(key) else {
                continue;
            };
            let open = client
                .seqs
                .iter()
                .filter(|(_, sequence)| !sequence.attempts.is_empty() && !sequence.is_answered());
            for (seq, sequence) in open {
                let broken = || {
                    let (doc, client) = (short(&key.0), short(&key.1));
                    let applied = &sequence.applied;
                    format!("document {doc}, client {client}, sequence {seq}, applied {applied:?}")
                };
                let what = "an operation was neither answered nor handed back";
                self.notes.broken(found, at, what, broken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{ClientSeen, NodeSeen};

    fn hello(client: [u8; 16], resume: Option<u64>) -> ClientSeen {
        ClientSeen::Hello {
            client,
            doc: DOC,
            resume,
            unsent: false,
        }
    }

    fn written() -> (Story, u64) {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        (story, base)
    }

    #[test]
    fn what_was_acknowledged_is_there_for_its_author() {
        let (mut story, base) = written();
        story.client(hello(ADA, None));
        let stale = story.opened(ADA, base);
        story.client(stale);
        assert_found(story, "O8 opened without an own acknowledged operation");
    }

    #[test]
    fn what_was_acknowledged_is_there_for_all() {
        let (mut story, base) = written();
        story.client(hello(CAM, None));
        let stale = story.opened(CAM, base);
        let mut early = story.clone();
        story.client(stale.clone());
        assert_found(
            story,
            "O8 opened without what was acknowledged before it was asked",
        );
        // Acknowledged after it was asked: it may be there or not.
        early.edit(BOB, 1, base + 1, &[insert("y")]);
        let stale = early.opened(CAM, base + 1);
        early.client(stale);
        assert_clean(early);
    }

    #[test]
    fn what_comes_in_the_same_message_is_there() {
        let (mut story, base) = written();
        story.client(hello(CAM, None));
        let mut opened = story.opened(CAM, base);
        if let ClientSeen::Opened { head, .. } = &mut opened {
            *head = base + 1;
        }
        story.client(opened);
        assert_clean(story);
    }

    #[test]
    fn what_can_be_continued_is_continued() {
        let (mut story, base) = written();
        story.client(hello(ADA, Some(base)));
        story.open(ADA, None);
        assert_found(story, "O8 given anew what could have been continued");
        // Not below the window of history.
        let (mut story, base) = written();
        for i in 0..WINDOW {
            story.edit(ADA, 2 + i, base + 1 + i, &[insert("x")]);
        }
        story.client(hello(BOB, Some(base)));
        story.open(BOB, None);
        assert_clean(story);
        // Nor where it would still reach, had a trim been applied that was only proposed.
        let (mut story, base) = written();
        story.node(NodeSeen::Trims {
            doc: DOC,
            floor: base,
        });
        while story.head() <= WINDOW {
            let head = story.head();
            story.edit(ADA, 1 + head - base, head, &[insert("x")]);
        }
        assert!(base < 1 + WINDOW / 2);
        story.client(hello(BOB, Some(base)));
        story.open(BOB, None);
        assert_clean(story);
        // Nor what was no editor's to see, though it is by the time that the answer is there.
        let (mut story, base) = written();
        story.grant(3, Some("viewer"));
        story.client(hello(CAM, Some(base)));
        let opened = story.opened(CAM, base + 2);
        story.grant(3, Some("editor"));
        story.client(opened);
        assert_clean(story);
    }

    #[test]
    fn a_welcome_knows_what_was_acknowledged() {
        for (acked, what) in [
            (None, "O8 welcomed without the last acknowledgement"),
            (
                Some((7, 3)),
                "O8 welcomed with an acknowledgement of nothing",
            ),
        ] {
            let (mut story, base) = written();
            story.client(hello(ADA, None));
            let mut opened = story.opened(ADA, base + 1);
            if let ClientSeen::Opened { acked: told, .. } = &mut opened {
                assert_eq!(told.replace((0, 0)), Some((1, base + 1)));
                *told = acked;
            }
            story.client(opened);
            assert_found(story, what);
        }
    }

    #[test]
    fn every_operation_ends() {
        let (mut story, base) = written();
        story.invoke(ADA, 2, base + 1, &[insert("y")]);
        let mut handed = story.clone();
        story.settle(ADA);
        assert_found(
            story,
            "O8 an operation was neither answered nor handed back",
        );
        handed.client(ClientSeen::HandedBack {
            client: ADA,
            doc: DOC,
            seq: 2,
            text: "y".into(),
        });
        handed.settle(ADA);
        assert_clean(handed);
    }
}
