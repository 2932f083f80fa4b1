//! O16: what was answered to be refused for good never takes a revision, and was refused for
//! what it says.

use super::{
    Notes, Oracle,
    history::{Sequence, Shared},
    named, short,
};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Truth {
    history: Shared,
    /// By document, client and sequence: how many attempts there were when it was refused.
    refused: std::collections::BTreeMap<(Id, Id, u64), usize>,
    notes: Notes,
}

impl Truth {
    pub fn new(history: Shared) -> Self {
        let promised = "an operation that was refused for good never takes a revision, and was \
                        refused for what is true";
        Self {
            history,
            refused: Default::default(),
            notes: Notes::new("truth", "O16", promised),
        }
    }

    fn refused(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        key: (Id, Id, u64),
        code: &str,
    ) {
        let (doc, client, seq) = key;
        let history = self.history.borrow();
        let of = history.clients.get(&(doc, client));
        let Some(sequence) = of.and_then(|of| of.seqs.get(&seq)) else {
            return;
        };
        let attempts = sequence.attempts.len();
        let before = seq.checked_sub(1).and_then(|before| of?.seqs.get(&before));
        if code == "seq_gap" && (seq <= 1 || before.is_some_and(Sequence::is_answered)) {
            let broken = || {
                let (doc, client) = (short(&doc), short(&client));
                format!("document {doc}, client {client}, sequence {seq}: {code}")
            };
            let what = "told that it skips a number, and the one before was answered";
            self.notes.broken(found, entry.at, what, broken);
        }
        // It says that other bytes have the number, which is true where there are others.
        if code == "seq_conflict" && attempts > 1 {
            return;
        }
        if !sequence.applied.is_empty() {
            let at = &sequence.applied;
            let broken = || {
                let (doc, client) = (short(&doc), short(&client));
                format!("document {doc}, client {client}, sequence {seq}: {code}, took {at:?}")
            };
            let what = "refused for good what was applied";
            self.notes.broken(found, entry.at, what, broken);
        }
        self.refused.insert(key, attempts);
    }

    fn applied(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((doc, rev)) = history.fresh else {
            return;
        };
        let event = history.docs.get(&doc).and_then(|of| of.event(rev));
        let Some((event, client)) = event.and_then(|event| Some((event, event.client?))) else {
            return;
        };
        let seq = event.seq;
        let of = history.clients.get(&(doc, client));
        let Some(sequence) = of.and_then(|of| of.seqs.get(&seq)) else {
            return;
        };
        let attempts = sequence.attempts.len();
        let told = self
            .refused
            .get(&(doc, client, seq))
            .is_some_and(|then| *then >= attempts);
        // An attempt that was made after it is another operation: the record of a refusal goes with
        // the window, and a client that is told to rebase moves the operation under the same number.
        let logged = sequence
            .refused_at
            .is_some_and(|at| at.index < event.index && at.attempts >= attempts);
        if told || logged {
            let what = match told {
                true => "applied after its author was told that it never will be",
                false => "applied after the log refused it for good",
            };
            let broken = || {
                let (doc, client) = (short(&doc), short(&client));
                format!("document {doc}, client {client}, sequence {seq}, revision {rev}")
            };
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

impl Oracle for Truth {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        self.applied(entry, found);
        if let Seen::Client(ClientSeen::Refused {
            client,
            doc,
            seq,
            code,
        }) = &entry.seen
        {
            self.refused(entry, found, (*doc, *client, *seq), code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{ClientSeen, NodeSeen};

    fn refused(code: &str) -> ClientSeen {
        ClientSeen::Refused {
            client: ADA,
            doc: DOC,
            seq: 1,
            code: code.into(),
        }
    }

    fn refuse_in_log(story: &mut Story) {
        let index = story.commit_nothing();
        story.node(NodeSeen::Outcome {
            node: 1,
            life: 1,
            group: GROUP,
            index,
            doc: DOC,
            client: Some(ADA),
            seq: 1,
            outcome: "refused forbidden".into(),
        });
    }

    #[test]
    fn what_was_refused_is_not_applied() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        story.client(refused("forbidden"));
        story.commit(ADA, 1, base, &[insert("x")]);
        assert_found(
            story,
            "O16 applied after its author was told that it never will be",
        );
    }

    #[test]
    fn what_the_log_refused_is_not_applied() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        refuse_in_log(&mut story);
        story.commit(ADA, 1, base, &[insert("x")]);
        assert_found(story, "O16 applied after the log refused it for good");
    }

    #[test]
    fn what_is_moved_after_its_refusal_was_forgotten_is_another_operation() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        refuse_in_log(&mut story);
        story.edit(BOB, 1, base, &[insert("y")]);
        story.invoke(ADA, 1, base + 1, &[insert("x")]);
        story.commit(ADA, 1, base + 1, &[insert("x")]);
        assert_clean(story);
    }

    #[test]
    fn what_was_applied_is_not_refused() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.client(refused("forbidden"));
        assert_found(story, "O16 refused for good what was applied");
    }

    #[test]
    fn who_skips_no_number_is_not_told_so() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(ADA, 1, base, &[insert("x")]);
        story.client(refused("forbidden"));
        let mut unanswered = Story::new();
        unanswered.invoke(ADA, 1, base, &[insert("x")]);
        let gap = ClientSeen::Refused {
            client: ADA,
            doc: DOC,
            seq: 2,
            code: "seq_gap".into(),
        };
        for story in [&mut story, &mut unanswered] {
            story.invoke(ADA, 2, base, &[insert("y")]);
            story.client(gap.clone());
        }
        assert_found(
            story,
            "O16 told that it skips a number, and the one before was answered",
        );
        assert_clean(unanswered);
    }

    #[test]
    fn other_bytes_under_a_number_are_refused() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        story.open(ADA, None);
        story.invoke(ADA, 1, base + 1, &[insert("y")]);
        story.client(refused("seq_conflict"));
        assert_clean(story);
    }
}
