//! A comment stays on its words: every unit of a document is one of its own, and a thread is where the
//! first and the last of those are that it was opened on, or that came between two of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Notes, Oracle,
    history::{Doc, Shared},
    named, short,
};
use crate::{
    naive,
    record::{ClientSeen, Edit, Entry, Id, Range, Seen},
    verdict::Violation,
};

pub struct Comments {
    history: Shared,
    /// By document and thread.
    opened: BTreeMap<(Id, String), Opened>,
    /// Whose first comment somebody means to delete.
    deleted: BTreeSet<(Id, String)>,
    notes: Notes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Opened {
    at: u64,
    range: Range,
    /// The revision that it took.
    rev: u64,
}

impl Comments {
    pub fn new(history: Shared) -> Self {
        let promised = "who may comment comments, once, a comment that was acknowledged is in every later \
                        list, and it stays on its words";
        Self {
            history,
            opened: BTreeMap::new(),
            deleted: BTreeSet::new(),
            notes: Notes::new("comments", "O3", promised),
        }
    }

    /// Who comments may.
    fn applied(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let event = history
            .docs
            .get(&id)
            .and_then(|doc| Some((doc, doc.event(rev)?)));
        let Some((doc, event)) = event.filter(|(_, event)| event.kind == "comment") else {
            return;
        };
        let role = doc.role_at(&event.user, rev - 1);
        if !matches!(role, Some("owner" | "editor" | "commenter")) {
            let broken = || format!("document {}, revision {rev}, {}", short(&id), event.user);
            let what = "a comment was taken from who may not comment";
            self.notes.broken(found, entry.at, what, broken);
        }
    }

    fn commented(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        key: (Id, String),
        opened: Opened,
    ) {
        let history = self.history.borrow();
        let event = history
            .docs
            .get(&key.0)
            .and_then(|doc| doc.event(opened.rev));
        let broken = || {
            format!(
                "document {}, thread {}, revision {}",
                short(&key.0),
                key.1,
                opened.rev
            )
        };
        if event.is_none_or(|event| event.kind != "comment") {
            let what = "a comment was acknowledged with a revision that is none";
            self.notes.broken(found, entry.at, what, broken);
        }
        let first = self.opened.get(&key);
        if first.is_some_and(|first| *first != opened) {
            let what = "a comment that was asked for twice is two";
            self.notes.broken(found, entry.at, what, broken);
        }
        self.opened.entry(key).or_insert(opened);
    }

    fn told(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        (id, rev): (Id, u64),
        threads: &[(String, Range)],
    ) {
        let history = self.history.borrow();
        let Some(doc) = history.docs.get(&id) else {
            return;
        };
        let of_doc = (id, String::new())..;
        let of_doc = self
            .opened
            .range(of_doc)
            .take_while(|((doc, _), _)| *doc == id);
        for (key, opened) in of_doc.filter(|(_, opened)| opened.rev <= rev) {
            let told = threads.iter().find(|(thread, _)| *thread == key.1);
            let broken = || format!("document {}, thread {}, revision {rev}", short(&id), key.1);
            let Some((_, told)) = told else {
                if !self.deleted.contains(key) {
                    let what = "a comment is in no list any more";
                    self.notes.broken(found, entry.at, what, broken);
                }
                continue;
            };
            let Some(words) = words(doc, opened, rev) else {
                continue;
            };
            if words != *told {
                let broken = || format!("{}: {told:?} instead of {words:?}", broken());
                let what = "a comment left its words";
                self.notes.broken(found, entry.at, what, broken);
            }
        }
    }
}

/// Where the first and the last of its units are at `rev`; none where none is there any more, or where the
/// document cannot be told.
fn words(doc: &Doc, opened: &Opened, rev: u64) -> Option<Range> {
    let units = doc.event(opened.at)?.state?.units as u64;
    let Range { start, end } = opened.range;
    // Whether it is one of those that it was opened on.
    let mut all: Vec<bool> = (0..units).map(|unit| start <= unit && unit < end).collect();
    for rev in opened.at + 1..=rev {
        let Some(edits) = &doc.event(rev)?.edit else {
            continue;
        };
        let mut place = 0;
        for edit in edits.iter() {
            match edit {
                Edit::Retain(units, _) => place += *units as usize,
                Edit::Delete(units) => {
                    let end = place.checked_add(*units as usize)?;
                    all.get(place..end)?;
                    all.drain(place..end);
                }
                Edit::Insert(..) | Edit::Embed(..) => {
                    let units = naive::inserted(edit) as usize;
                    all.get(place..)?;
                    // Between two that are.
                    let before = place.checked_sub(1).and_then(|before| all.get(before));
                    let its = before == Some(&true) && all.get(place) == Some(&true);
                    all.splice(place..place, std::iter::repeat_n(its, units));
                    place += units;
                }
            }
        }
    }
    let first = all.iter().position(|its| *its)?;
    let last = all.iter().rposition(|its| *its)?;
    Some(Range {
        start: first as u64,
        end: last as u64 + 1,
    })
}

impl Oracle for Comments {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        self.applied(entry, found);
        match &entry.seen {
            Seen::Client(ClientSeen::Commented {
                doc,
                thread,
                at,
                range,
                rev,
                ..
            }) => {
                let opened = Opened {
                    at: *at,
                    range: *range,
                    rev: *rev,
                };
                self.commented(entry, found, (*doc, thread.clone()), opened);
            }
            Seen::Client(ClientSeen::Uncommented { doc, thread }) => {
                self.deleted.insert((*doc, thread.clone()));
            }
            Seen::Client(ClientSeen::Threads {
                doc, rev, threads, ..
            }) => self.told(entry, found, (*doc, *rev), threads),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{ClientSeen, Range};

    fn range(start: u64, end: u64) -> Range {
        Range { start, end }
    }

    fn comment(story: &mut Story, user: &str, at: u64, place: Range) -> u64 {
        let rev = story.event("comment", user, None, None, None);
        story.deliver(None);
        story.client(ClientSeen::Commented {
            user: 1,
            doc: DOC,
            thread: "t".into(),
            at,
            range: place,
            rev,
        });
        rev
    }

    fn told(story: &mut Story, threads: &[(&str, Range)]) {
        let threads = threads.iter().map(|(id, place)| ((*id).to_owned(), *place));
        let seen = ClientSeen::Threads {
            user: 1,
            doc: DOC,
            rev: story.head(),
            threads: threads.collect(),
        };
        story.client(seen);
    }

    /// On "cd" of "abcdef".
    fn story() -> Story {
        let mut story = Story::new();
        let base = story.head();
        comment(&mut story, "user-1", base, range(2, 4));
        let head = story.head();
        story.edit(BOB, 1, head, &[insert("xyz"), retain(3), insert("-")]);
        story
    }

    #[test]
    fn a_comment_on_its_words_is_fine() {
        let mut story = story();
        told(&mut story, &[("t", range(5, 8))]);
        let head = story.head();
        story.edit(BOB, 2, head, &[retain(5), delete(3)]);
        // Nothing is left of them: it may be anywhere.
        told(&mut story, &[("t", range(5, 5))]);
        assert_clean(story);
    }

    #[test]
    fn a_comment_that_stays_where_it_was_is_found() {
        let mut story = story();
        told(&mut story, &[("t", range(2, 4))]);
        assert_found(story, "O3 a comment left its words");
    }

    #[test]
    fn a_comment_that_is_lost_is_found() {
        let mut story = story();
        told(&mut story, &[]);
        assert_found(story, "O3 a comment is in no list any more");
    }

    #[test]
    fn a_comment_that_is_two_is_found() {
        let mut story = story();
        let base = story.head();
        comment(&mut story, "user-1", base, range(2, 4));
        assert_found(story, "O3 a comment that was asked for twice is two");
    }

    #[test]
    fn a_comment_of_who_may_not_is_found() {
        let mut story = Story::new();
        story.grant(4, Some("viewer"));
        let base = story.head();
        comment(&mut story, "user-4", base, range(2, 4));
        assert_found(story, "O3 a comment was taken from who may not comment");
    }
}
