//! O9: for one who watches, revisions never fall, whoever leads. (That the history below a
//! revision never changes is for the oracle of convergence.)

use std::collections::BTreeMap;

use super::{Notes, Oracle, named, short};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Monotonic {
    /// By client and document: the highest revision it ever saw, and its last view's.
    seen: BTreeMap<(Id, Id), (u64, u64)>,
    notes: Notes,
}

impl Default for Monotonic {
    fn default() -> Self {
        let promised = "in a session the revision never falls, also over a failover";
        Self {
            seen: BTreeMap::new(),
            notes: Notes::new("monotonic", "O9", promised),
        }
    }
}

impl Oracle for Monotonic {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Client(seen) = &entry.seen else {
            return;
        };
        let (client, doc, rev) = match seen {
            ClientSeen::Opened {
                client,
                doc,
                head: rev,
                ..
            }
            | ClientSeen::Received {
                client, doc, rev, ..
            }
            | ClientSeen::View {
                client, doc, rev, ..
            }
            | ClientSeen::Settled {
                client, doc, rev, ..
            } => (client, doc, *rev),
            _ => return,
        };
        let (most, view) = self.seen.entry((*client, *doc)).or_default();
        let what = match seen {
            // One that resumes asks for what it had.
            ClientSeen::Opened { resumed: false, .. } if rev < *most => {
                Some("a document was given older than it had been seen")
            }
            ClientSeen::View { .. } | ClientSeen::Settled { .. } if rev < *view => {
                Some("a client's view went back")
            }
            _ => None,
        };
        let before = *most;
        match seen {
            // Of the rest of its message a client may take nothing.
            ClientSeen::Opened { rev, .. } => *view = (*view).min(*rev),
            ClientSeen::View { .. } => *view = rev,
            _ => {}
        }
        *most = before.max(rev);
        if let Some(what) = what {
            let broken = || {
                let (doc, client) = (short(doc), short(client));
                format!("document {doc}, client {client}: {rev}, after {before}")
            };
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::ClientSeen;

    #[test]
    fn a_stale_document_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        let stale = story.opened(ADA, base);
        story.client(stale);
        assert_found(story, "O9 a document was given older than it had been seen");
    }

    #[test]
    fn a_view_that_goes_back_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        let view = story.view(ADA, base);
        story.client(view);
        assert_found(story, "O9 a client's view went back");
    }

    #[test]
    fn who_takes_a_document_and_not_what_came_with_it_shows_it() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        let mut opened = story.opened(ADA, base);
        if let ClientSeen::Opened { head, .. } = &mut opened {
            *head = base + 1;
        }
        story.client(opened);
        let view = story.view(ADA, base);
        story.client(view);
        assert_clean(story);
    }

    #[test]
    fn one_who_resumes_may_begin_earlier() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.open(ADA, Some(base));
        let view = story.view(ADA, base);
        story.client(view);
        assert_clean(story);
    }
}
