//! O5: a client's operations are applied in its order, and none before what its author saw.

use std::collections::BTreeMap;

use super::{Notes, Oracle, history::Shared, named, short};
use crate::{
    record::{Entry, Id},
    verdict::Violation,
};

pub struct Causal {
    history: Shared,
    /// By document and client: the epoch and the last sequence that was applied.
    last: BTreeMap<(Id, Id), (u32, u64)>,
    notes: Notes,
}

impl Causal {
    pub fn new(history: Shared) -> Self {
        let promised = "a client's operations are applied in its order, after what it had seen";
        Self {
            history,
            last: BTreeMap::new(),
            notes: Notes::new("causal", "O5", promised),
        }
    }
}

impl Oracle for Causal {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let event = history.docs.get(&id).and_then(|doc| doc.event(rev));
        let Some((event, client)) = event.and_then(|event| Some((event, event.client?))) else {
            return;
        };
        let Some(of) = history.clients.get(&(id, client)) else {
            return;
        };
        // Without an attempt it is another oracle's.
        let attempts = of
            .seqs
            .get(&event.seq)
            .map(|sequence| &sequence.attempts[..]);
        let Some(attempt) = event.attempt.as_ref().or(attempts.and_then(<[_]>::last)) else {
            return;
        };
        let (epoch, seq) = (attempt.epoch, event.seq);
        let (of_epoch, last) = self.last.get(&(id, client)).copied().unwrap_or((epoch, 0));
        let last = if of_epoch == epoch { last } else { 0 };
        let left_out = (last + 1..seq).find(|between| {
            let sequence = of.seqs.get(between);
            // What has no attempt was never there to be left out.
            sequence.is_some_and(|s| {
                s.attempts.iter().any(|attempt| attempt.epoch == epoch)
                    && s.applied.is_empty()
                    && !s.refused
                    && !s.handed_back
                    && s.refused_at.is_none()
            })
        });
        let what = if attempt.base >= rev {
            Some("applied before what its author had seen")
        } else if seq <= last && of_epoch == epoch {
            Some("applied after a later one of its author's")
        } else if left_out.is_some() {
            Some("applied before an earlier one of its author's")
        } else {
            None
        };
        if let Some(what) = what {
            let broken = || {
                let (doc, client) = (short(&id), short(&client));
                format!(
                    "document {doc}, client {client}, sequence {seq}, revision {rev}, base {}, \
                     after sequence {last}, left out {left_out:?}",
                    attempt.base
                )
            };
            self.notes.broken(found, entry.at, what, broken);
        }
        let last = if of_epoch == epoch {
            last.max(seq)
        } else {
            seq
        };
        self.last.insert((id, client), (epoch, last));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::ClientSeen;

    #[test]
    fn a_sequence_left_out_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        let mut refused = story.clone();
        story.edit(ADA, 2, base, &[insert("y")]);
        assert_found(story, "O5 applied before an earlier one of its author's");
        refused.client(ClientSeen::HandedBack {
            client: ADA,
            doc: DOC,
            seq: 1,
            text: "x".into(),
        });
        refused.edit(ADA, 2, base, &[insert("y")]);
        assert_clean(refused);
    }

    #[test]
    fn an_earlier_one_after_a_later_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        story.edit(ADA, 2, base, &[insert("y")]);
        story.commit(ADA, 1, base, &[insert("x")]);
        assert_found(story, "O5 applied after a later one of its author's");
    }

    #[test]
    fn one_before_what_its_author_saw_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base + 1, &[insert("x")]);
        assert_found(story, "O5 applied before what its author had seen");
    }
}
