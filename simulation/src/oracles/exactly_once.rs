//! O4: an operation is applied once if it was acknowledged, and at most once if not.

use super::{Notes, Oracle, history::Shared, named, short};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct ExactlyOnce {
    history: Shared,
    notes: Notes,
}

impl ExactlyOnce {
    pub fn new(history: Shared) -> Self {
        let promised = "each acknowledged operation is applied once, each other one at most once, \
                        and what is sent again is sent unchanged";
        Self {
            history,
            notes: Notes::new("exactly_once", "O4", promised),
        }
    }

    fn applied(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let event = history.docs.get(&id).and_then(|doc| doc.event(rev));
        let Some((event, client)) = event.and_then(|event| Some((event, event.client?))) else {
            return;
        };
        let of = history.clients.get(&(id, client));
        let Some(sequence) = of.and_then(|of| of.seqs.get(&event.seq)) else {
            return;
        };
        let name = || named_as(&id, &client, event.seq);
        // A restore is made by the cluster, once for each who asks.
        let of_cluster = event.restores.is_some();
        if sequence.attempts.is_empty() && !of_cluster {
            let what = "applied and never sent";
            self.notes.broken(found, entry.at, what, || {
                format!("{}, revision {rev}", name())
            });
        } else if sequence.applied.len() > sequence.epochs() + usize::from(of_cluster) {
            let what = "applied more than once";
            let at = sequence.applied.clone();
            self.notes.broken(found, entry.at, what, || {
                format!("{}, revisions {at:?}", name())
            });
        }
    }

    fn acked(&mut self, entry: &Entry, found: &mut Vec<Violation>, name: (&Id, &Id, u64, u64)) {
        let (doc, client, seq, rev) = name;
        let history = self.history.borrow();
        let of = history.clients.get(&(*doc, *client));
        let applied = of
            .and_then(|of| of.seqs.get(&seq))
            .map(|sequence| &sequence.applied[..]);
        let applied = applied.unwrap_or_default();
        let name = || format!("{}, revision {rev}", named_as(doc, client, seq));
        let Some(first) = applied.first() else {
            let what = "acknowledged and not applied";
            return self.notes.broken(found, entry.at, what, name);
        };
        // A repeat of an older sequence is told a revision of a later one.
        let later = of.is_some_and(|of| {
            let mut later = of.seqs.range(seq..);
            rev >= *first && later.any(|(_, sequence)| sequence.applied.contains(&rev))
        });
        if !later {
            let what = "acknowledged with a revision that is not its own";
            let broken = || format!("{}; it took {applied:?}", name());
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

fn named_as(doc: &Id, client: &Id, seq: u64) -> String {
    format!(
        "document {}, client {}, sequence {seq}",
        short(doc),
        short(client)
    )
}

impl Oracle for ExactlyOnce {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        self.applied(entry, found);
        match &entry.seen {
            Seen::Client(ClientSeen::Acked {
                client,
                doc,
                seq,
                rev,
            }) => self.acked(entry, found, (doc, client, *seq, *rev)),
            Seen::Client(ClientSeen::Resent {
                client,
                doc,
                seq,
                base,
                bytes,
            }) => {
                let history = self.history.borrow();
                let of = history.clients.get(&(*doc, *client));
                let attempts = of.and_then(|of| of.seqs.get(seq)).map(|s| &s.attempts[..]);
                let mut attempts = attempts.unwrap_or_default().iter();
                if !attempts.any(|sent| sent.base == *base && sent.bytes == *bytes) {
                    let what = "sent again and not unchanged";
                    let broken = || format!("{}, base {base}", named_as(doc, client, *seq));
                    self.notes.broken(found, entry.at, what, broken);
                }
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
    fn twice_is_once_too_often() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.apply_again(ADA, 1, &[insert("x")]);
        assert_found(story, "O4 applied more than once");
    }

    #[test]
    fn a_number_may_serve_again_where_the_document_was_given_anew() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.open(ADA, None);
        story.edit(ADA, 1, base + 1, &[insert("y")]);
        assert_clean(story);
    }

    #[test]
    fn nothing_is_applied_that_nobody_sent() {
        let mut story = Story::new();
        story.apply_again(ADA, 1, &[insert("x")]);
        assert_found(story, "O4 applied and never sent");
    }

    #[test]
    fn an_acknowledgement_is_of_something_applied() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        story.acked(ADA, 1, base + 1);
        assert_found(story, "O4 acknowledged and not applied");
    }

    #[test]
    fn an_older_repeat_may_be_told_a_later_revision() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.edit(BOB, 1, base + 1, &[insert("b")]);
        story.edit(ADA, 2, base + 2, &[insert("y")]);
        story.acked(ADA, 1, base + 3);
        assert_clean(story);
        let mut story = Story::new();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.edit(BOB, 1, base + 1, &[insert("b")]);
        story.acked(ADA, 1, base + 2);
        assert_found(story, "O4 acknowledged with a revision that is not its own");
    }

    #[test]
    fn what_is_sent_again_is_the_same() {
        for (base_off, bytes) in [(0, [1; 32]), (1, bytes_of(&[insert("x")]))] {
            let mut story = Story::new();
            let base = story.head();
            story.edit(ADA, 1, base, &[insert("x")]);
            let resent = |base, bytes| ClientSeen::Resent {
                client: ADA,
                doc: DOC,
                seq: 1,
                base,
                bytes,
            };
            story.client(resent(base, bytes_of(&[insert("x")])));
            assert_clean(story.clone());
            story.client(resent(base + base_off, bytes));
            assert_found(story, "O4 sent again and not unchanged");
        }
    }
}
