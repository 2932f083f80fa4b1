//! Where somebody is shown to be, there they said that they are: in this document, at this revision.
//! That everybody is shown in the end, and nobody else, has to heal.

use std::collections::BTreeSet;

use super::{Notes, Oracle, named, short};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Presence {
    notes: Notes,
    said: BTreeSet<(Id, Id, u64, u32)>,
}

impl Default for Presence {
    fn default() -> Self {
        let promised = "nobody is shown where they did not say they are";
        Self {
            notes: Notes::new("presence", "O24", promised),
            said: BTreeSet::new(),
        }
    }
}

impl Oracle for Presence {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        match &entry.seen {
            Seen::Client(ClientSeen::Said {
                client,
                doc,
                rev,
                cursor,
            }) => {
                self.said.insert((*client, *doc, *rev, *cursor));
            }
            Seen::Client(ClientSeen::Shown {
                client,
                doc,
                of,
                rev,
                cursor,
            }) if !self.said.contains(&(*of, *doc, *rev, *cursor)) => {
                let broken = || {
                    let (to, of) = (short(client), short(of));
                    format!("client {to} is shown {of} at {cursor} of revision {rev}")
                };
                let what = "a place that nobody named";
                self.notes.broken(found, entry.at, what, broken);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::ClientSeen;

    #[test]
    fn a_place_that_nobody_named_is_found() {
        let mut story = story();
        let shown = |cursor| ClientSeen::Shown {
            client: BOB,
            doc: DOC,
            of: ADA,
            rev: 1,
            cursor,
        };
        story.client(ClientSeen::Said {
            client: ADA,
            doc: DOC,
            rev: 1,
            cursor: 2,
        });
        story.client(shown(2));
        assert_clean(story.clone());
        story.client(shown(3));
        assert_found(story, "O24 a place that nobody named");
    }
}
