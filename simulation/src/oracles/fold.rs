//! O10, and O1 as far as a run can show it: the history is the fold of what was applied, and
//! what was applied is what its author sent, moved past each event after its base, one by one.

use std::rc::Rc;

use super::{
    Notes, Oracle,
    history::{Attempt, Folded, Shared},
    named, short,
};
use crate::{
    naive,
    record::{Edit, Entry, Id},
    verdict::Violation,
};

pub struct Fold {
    history: Shared,
    notes: Notes,
}

impl Fold {
    pub fn new(history: Shared) -> Self {
        let promised = "each applied edit fits the fold of those before it, and is what its \
                        author sent, moved past each event after its base";
        Self {
            history,
            notes: Notes::new("fold", "O10", promised),
        }
    }

    /// Finds which of the client's attempts an applied edit is.
    fn attribute(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let mut history = self.history.borrow_mut();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let Some(doc) = history.docs.get(&id) else {
            return;
        };
        let Some((event, client)) = doc.event(rev).and_then(|e| Some((e, e.client?))) else {
            return;
        };
        let Some(edit) = event.edit.clone() else {
            return;
        };
        let sequence = history
            .clients
            .get(&(id, client))
            .and_then(|of| of.seqs.get(&event.seq));
        let attempts = sequence.map_or(&[][..], |sequence| &sequence.attempts);
        let wanted = naive::canonical(&edit);
        let seq = event.seq;
        // The latest is the likeliest.
        let of = attempts
            .iter()
            .rev()
            .find(|attempt| moved(doc, attempt, rev).as_ref() == Some(&wanted))
            .cloned();
        if of.is_none() && !attempts.is_empty() {
            let last = attempts.last().and_then(|attempt| moved(doc, attempt, rev));
            self.notes
                .broken(found, entry.at, "applied as it was not sent", || {
                    let sent = attempts.last().map(|a| (a.base, a.sent.clone()));
                    format!(
                        "document {}, revision {rev}, client {}, sequence {seq}: applied \
                         {wanted:?}, sent (base, operation) {sent:?}, which moved is {last:?}",
                        short(&id),
                        short(&client)
                    )
                });
        }
        let events = history.docs.get_mut(&id).map(|doc| &mut doc.events);
        if let Some(event) = events.and_then(|events| events.last_mut()) {
            event.attempt = of;
        }
    }
}

/// An attempt as it would have been applied as revision `rev`; none where it could not.
fn moved(doc: &super::history::Doc, attempt: &Attempt, rev: u64) -> Option<Vec<Edit>> {
    if attempt.base >= rev {
        return None;
    }
    let mut moved = naive::canonical(&attempt.sent);
    for between in attempt.base + 1..rev {
        let event = doc.event(between)?;
        if event.is_edit()
            && let Some(earlier) = &event.edit
        {
            moved = naive::transform(earlier, &moved);
        }
    }
    Some(moved)
}

impl Oracle for Fold {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let folded = self.history.borrow_mut().see(entry);
        let applied = |id: &Id| format!("document {}, {:?}", short(id), Rc::new(&entry.seen));
        match folded {
            Folded::Fresh => self.attribute(entry, found),
            Folded::Unfit(why) => {
                let what = match why {
                    naive::Unfit::SplitsPair => "an applied edit splits a surrogate pair",
                    naive::Unfit::Beyond => "an applied edit reaches beyond the document",
                    naive::Unfit::NotInserts => "a document does not begin with inserts",
                };
                let fresh = self.history.borrow().fresh;
                let id = fresh.map_or([0; 16], |(id, _)| id);
                self.notes.broken(found, entry.at, what, || applied(&id));
            }
            Folded::Nothing | Folded::Gap { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn a_correct_history_passes() {
        assert_clean(story());
    }

    #[test]
    fn a_flipped_side_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        // At the same place and from the same base: the earlier goes first.
        story.applied_as = Some(vec![insert("y")]);
        story.edit(BOB, 1, base, &[insert("y")]);
        assert_found(story, "O10 applied as it was not sent");
    }

    #[test]
    fn other_bytes_than_sent_are_found() {
        let mut story = Story::new();
        let base = story.head();
        story.applied_as = Some(vec![insert("forged")]);
        story.edit(ADA, 1, base, &[insert("x")]);
        assert_found(story, "O10 applied as it was not sent");
    }

    #[test]
    fn a_split_pair_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("\u{1f600}")]);
        story.unfit = true;
        story.edit(BOB, 1, base + 1, &[retain(1), insert("y")]);
        assert_found(story, "O10 an applied edit splits a surrogate pair");
    }

    #[test]
    fn late_operations_are_moved_one_by_one() {
        let mut story = Story::new();
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("abc")]);
        story.edit(ADA, 2, base + 1, &[retain(1), delete(1)]);
        story.edit(BOB, 1, base, &[insert("z")]);
        assert_clean(story);
    }
}
