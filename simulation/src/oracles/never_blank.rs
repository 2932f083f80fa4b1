//! O18: whoever is given a document is given its proven state, and never a blank one for it.

use super::{
    Notes, Oracle,
    history::{self, Shared},
    named, short,
};
use crate::{
    record::{ClientSeen, Entry, Seen},
    verdict::Violation,
};

pub struct NeverBlank {
    history: Shared,
    notes: Notes,
}

impl NeverBlank {
    pub fn new(history: Shared) -> Self {
        let promised = "whoever opens a document gets its proven state, or an error";
        Self {
            history,
            notes: Notes::new("never_blank", "O18", promised),
        }
    }
}

impl Oracle for NeverBlank {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
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
    use crate::record::ClientSeen;

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
