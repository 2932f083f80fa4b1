//! O2: who says what its document is, and holds what the servers hold, is never told otherwise.

use std::{collections::BTreeSet, time::Duration};

use super::{Notes, Oracle, named, short};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Checks {
    notes: Notes,
    /// Who holds another text, by no mistake of the servers', and has not opened anew since.
    apart: BTreeSet<Id>,
}

impl Default for Checks {
    fn default() -> Self {
        let promised = "no text of a client differs from the document's, unless it was spoiled";
        Self {
            notes: Notes::new("checks", "O2", promised),
            apart: BTreeSet::new(),
        }
    }
}

impl Checks {
    fn differs(&mut self, at: Duration, client: &Id, doc: &Id, found: &mut Vec<Violation>) {
        if !self.apart.contains(client) {
            let broken = || format!("client {} of {}", short(client), short(doc));
            self.notes.broken(found, at, "a text that differs", broken);
        }
    }
}

impl Oracle for Checks {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Client(seen) = &entry.seen else {
            return;
        };
        match seen {
            ClientSeen::CameApart { client, .. } => {
                self.apart.insert(*client);
            }
            ClientSeen::Opened {
                client,
                resumed: false,
                ..
            } => {
                self.apart.remove(client);
            }
            ClientSeen::Resynced {
                client,
                doc,
                reason,
            } if reason == "diverged" => self.differs(entry.at, client, doc, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::ClientSeen;

    fn told(reason: &str) -> ClientSeen {
        ClientSeen::Resynced {
            client: ADA,
            doc: DOC,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_text_that_differs_and_was_not_spoiled_is_found() {
        let mut story = story();
        story.client(told("the feed cannot be continued"));
        assert_clean(story.clone());
        story.client(told("diverged"));
        assert_found(story, "O2 a text that differs");
    }

    #[test]
    fn a_text_that_was_spoiled_differs_until_the_document_is_opened_anew() {
        let mut story = story();
        story.client(ClientSeen::CameApart {
            client: ADA,
            doc: DOC,
        });
        story.client(told("diverged"));
        assert_clean(story.clone());
        story.open(ADA, None);
        assert_clean(story.clone());
        story.client(told("diverged"));
        assert_found(story, "O2 a text that differs");
    }
}
