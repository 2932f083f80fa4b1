//! O2: whoever reports a revision reports the same hash of its history and the same content.

use super::{
    Notes, Oracle,
    history::{self, Event, Shared, State},
    named, short,
};
use crate::{
    naive,
    record::{ClientSeen, Edit, Entry, Hash, Id, NodeSeen, Seen},
    verdict::Violation,
};

pub struct Convergence {
    history: Shared,
    notes: Notes,
}

impl Convergence {
    pub fn new(history: Shared) -> Self {
        let promised = "observers of one revision see the same history and the same content";
        Self {
            history,
            notes: Notes::new("convergence", "O2", promised),
        }
    }
}

/// What somebody says of a revision.
struct Report<'a> {
    who: String,
    doc: &'a Id,
    rev: u64,
    says: Says<'a>,
}

enum Says<'a> {
    Chain(&'a Hash),
    Content(&'a str, &'a Hash),
    Edit(&'a Option<Id>, &'a [Edit]),
    /// It is no edit.
    Other,
}

fn reports(seen: &Seen) -> Vec<Report<'_>> {
    let report = |who, doc, rev, says| Report {
        who,
        doc,
        rev,
        says,
    };
    let client = |id: &Id| format!("client {}", short(id));
    match seen {
        Seen::Node(NodeSeen::Applied {
            node,
            doc,
            rev,
            chain,
            client,
            edit,
            ..
        }) => {
            let who = format!("node {node}");
            let of = edit.as_ref().filter(|_| client.is_some());
            let mut all = vec![report(who.clone(), doc, *rev, Says::Chain(chain))];
            all.extend(of.map(|edit| report(who, doc, *rev, Says::Edit(client, edit))));
            all
        }
        Seen::Node(NodeSeen::Document {
            node,
            doc,
            rev,
            chain,
            text,
            digest,
            ..
        }) => {
            let who = format!("node {node}");
            vec![
                report(who.clone(), doc, *rev, Says::Chain(chain)),
                report(who, doc, *rev, Says::Content(text, digest)),
            ]
        }
        Seen::Client(ClientSeen::Opened {
            client: id,
            doc,
            rev,
            chain,
            ..
        })
        | Seen::Client(ClientSeen::Marked {
            client: id,
            doc,
            rev,
            chain,
        }) => vec![report(client(id), doc, *rev, Says::Chain(chain))],
        Seen::Client(ClientSeen::View {
            client: id,
            doc,
            rev,
            text,
            digest,
        })
        | Seen::Client(ClientSeen::Settled {
            client: id,
            doc,
            rev,
            text,
            digest,
        }) => vec![report(client(id), doc, *rev, Says::Content(text, digest))],
        Seen::Client(ClientSeen::Received {
            client: id,
            doc,
            rev,
            author,
            edit,
        }) => {
            let says = match edit {
                Some(edit) => Says::Edit(author, edit),
                None => Says::Other,
            };
            vec![report(client(id), doc, *rev, says)]
        }
        _ => Vec::new(),
    }
}

/// What is wrong with what was said of an event.
fn wrong(says: &Says<'_>, event: &Event) -> Option<(&'static str, String)> {
    match says {
        Says::Chain(chain) if **chain != event.chain => {
            let rest = format!("{} instead of {}", short(&chain[..]), short(&event.chain));
            Some(("another history at one revision", rest))
        }
        Says::Content(text, digest) => {
            let state: State = event.state?;
            if state.digest == **digest {
                return None;
            }
            let units = text.encode_utf16().count();
            let same = if state.text == history::hash(text) {
                "the same"
            } else {
                "another"
            };
            let rest = format!(
                "{same} text of {units} units, instead of {} units",
                state.units
            );
            Some(("another content at one revision", rest))
        }
        Says::Edit(author, edit) => {
            let applied = event.edit.as_ref().filter(|_| event.is_edit());
            let applied = applied.map(|edit| naive::canonical(edit));
            if applied.as_ref() != Some(&naive::canonical(edit)) {
                let rest = format!("{edit:?} instead of {applied:?}");
                return Some(("another edit at one revision", rest));
            }
            // A client without a socket is nobody.
            if author.is_some_and(|author| event.client != Some(author)) {
                return Some(("another author at one revision", format!("{author:?}")));
            }
            None
        }
        Says::Other if event.is_edit() => {
            Some(("an edit that was none to its reader", String::new()))
        }
        _ => None,
    }
}

impl Oracle for Convergence {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        for Report {
            who,
            doc,
            rev,
            says,
        } in reports(&entry.seen)
        {
            // Before the first event there is nothing.
            if rev == 0 {
                continue;
            }
            let of = history.docs.get(doc);
            let name =
                |rest: &str| format!("document {}, revision {rev}, {who}: {rest}", short(doc));
            let Some(event) = of.and_then(|doc| doc.event(rev)) else {
                // A gap of the log is another oracle's.
                if matches!(entry.seen, Seen::Client(_)) {
                    let what = "a revision that nobody applied";
                    self.notes.broken(found, entry.at, what, || name("seen"));
                }
                continue;
            };
            if let Some((what, rest)) = wrong(&says, event) {
                self.notes.broken(found, entry.at, what, || name(&rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::ClientSeen;

    fn written() -> (Story, u64) {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        (story, base + 1)
    }

    #[test]
    fn another_content_is_found() {
        let (mut story, rev) = written();
        story.client(ClientSeen::View {
            client: BOB,
            doc: DOC,
            rev,
            text: "y".into(),
            digest: digest_of("y"),
        });
        assert_found(story, "O2 another content at one revision");
    }

    #[test]
    fn another_chain_is_found() {
        let (mut story, rev) = written();
        story.client(ClientSeen::Marked {
            client: BOB,
            doc: DOC,
            rev,
            chain: [9; 32],
        });
        assert_found(story, "O2 another history at one revision");
    }

    #[test]
    fn a_replica_with_another_event_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.astray = Some(2);
        story.edit(ADA, 1, base, &[insert("x")]);
        assert_found(story, "O2 another history at one revision");
    }

    #[test]
    fn a_reader_of_another_edit_is_found() {
        let (mut story, rev) = written();
        let received = |author, text: &str| ClientSeen::Received {
            client: CAM,
            doc: DOC,
            rev,
            author,
            edit: Some(vec![insert(text)]),
        };
        let mut other = story.clone();
        story.client(received(Some(ADA), "z"));
        assert_found(story, "O2 another edit at one revision");
        other.client(received(Some(BOB), "x"));
        assert_found(other, "O2 another author at one revision");
    }

    #[test]
    fn what_nobody_applied_is_found() {
        let (mut story, rev) = written();
        story.client(ClientSeen::Marked {
            client: BOB,
            doc: DOC,
            rev: rev + 1,
            chain: [9; 32],
        });
        assert_found(story, "O2 a revision that nobody applied");
    }
}
