//! O10, as users meet it: what is told of a revision is what it was, by the fold of its events; and a
//! restore makes of the document what it was, by whoever wrote it first.

use std::collections::BTreeMap;

use super::{
    Notes, Oracle,
    history::{Doc, Shared, can_edit, name_of},
    named, short,
};
use crate::{
    naive,
    record::{ClientSeen, Edit, Entry, Hash, Id, Seen},
    verdict::Violation,
};

pub struct Past {
    history: Shared,
    notes: Notes,
}

/// What a client was told of a revision.
struct Told<'a> {
    user: u32,
    digest: &'a Hash,
    text: &'a str,
    authors: &'a [(u64, String)],
}

impl Past {
    pub fn new(history: Shared) -> Self {
        let promised = "what is told of a revision is what the document was, by whom it was \
                        written, and a restore makes it that again";
        Self {
            history,
            notes: Notes::new("past", "O10", promised),
        }
    }

    fn told(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        id: &Id,
        rev: u64,
        told: &Told<'_>,
    ) {
        let history = self.history.borrow();
        let doc = history.docs.get(id);
        let event = doc.and_then(|doc| Some((doc, doc.event(rev)?)));
        let Some((doc, event)) = event else {
            let broken = || format!("document {}, revision {rev}", short(id));
            let what = "a revision was told that nothing had applied";
            return self.notes.broken(found, entry.at, what, broken);
        };
        let user = name_of(told.user);
        let mut roles = doc.roles(&user, rev, doc.head()).peekable();
        // Whatever lets them in now came later.
        let is_stranger = roles.peek() == Some(&None);
        if is_stranger && !roles.any(can_edit) {
            let broken = || format!("document {}, revision {rev}, {user}", short(id));
            let what = "a revision was told to somebody with whom it was not shared";
            self.notes.broken(found, entry.at, what, broken);
        }
        let Some(state) = event.state else { return };
        if state.digest != *told.digest {
            let broken = || {
                format!(
                    "document {}, revision {rev}: {} units of {}",
                    short(id),
                    told.text.len(),
                    state.units
                )
            };
            let what = "a revision was told as another content";
            self.notes.broken(found, entry.at, what, broken);
        }
        let wrote = runs(&Authors::new(doc).at(rev));
        if wrote != told.authors {
            let broken = || {
                let told = told.authors;
                format!(
                    "document {}, revision {rev}: {told:?} instead of {wrote:?}",
                    short(id)
                )
            };
            let what = "a revision was told with other authors";
            self.notes.broken(found, entry.at, what, broken);
        }
    }

    /// The revision that a restore was answered with is the document as it was.
    fn answered(
        &mut self,
        entry: &Entry,
        found: &mut Vec<Violation>,
        id: &Id,
        version: u64,
        rev: u64,
    ) {
        let history = self.history.borrow();
        if history
            .docs
            .get(id)
            .is_some_and(|doc| !same(doc, rev, version))
        {
            let broken = || format!("document {}, revision {rev}, version {version}", short(id));
            let what = "a restore was answered with a revision that is something else";
            self.notes.broken(found, entry.at, what, broken);
        }
    }

    fn restored(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let of = history
            .docs
            .get(&id)
            .and_then(|doc| Some((doc, doc.event(rev)?)));
        let Some((doc, event)) = of else { return };
        let Some(version) = event.restores else {
            return;
        };
        if !same(doc, rev, version) {
            let broken = || format!("document {}, revision {rev}, version {version}", short(&id));
            let what = "a restore made something else of the document";
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

fn same(doc: &Doc, one: u64, other: u64) -> bool {
    let digest = |rev| Some(doc.event(rev)?.state?.digest);
    digest(one) == digest(other)
}

/// Finds who wrote each unit of a document, by going through its events.
struct Authors<'a> {
    doc: &'a Doc,
    known: BTreeMap<u64, Vec<&'a str>>,
}

impl<'a> Authors<'a> {
    fn new(doc: &'a Doc) -> Self {
        let known = BTreeMap::from([(0, Vec::new())]);
        Self { doc, known }
    }

    fn at(&mut self, rev: u64) -> Vec<&'a str> {
        let before = self.known.range(..=rev).next_back();
        let (mut at, mut wrote) = before
            .map(|(at, wrote)| (*at, wrote.clone()))
            .unwrap_or_default();
        while at < rev {
            at += 1;
            let Some(event) = self.doc.event(at) else {
                break;
            };
            let Some(edit) = event.edit.clone() else {
                continue;
            };
            let brought_back = event.restores.map(|version| self.at(version));
            let mut place = 0;
            for edit in edit.iter() {
                match edit {
                    Edit::Retain(units, _) => place += *units as usize,
                    Edit::Delete(units) => {
                        let end = (place + *units as usize).min(wrote.len());
                        wrote.drain(place.min(end)..end);
                    }
                    Edit::Insert(..) | Edit::Embed(..) => {
                        let units = naive::inserted(edit) as usize;
                        let by: Vec<&str> = match &brought_back {
                            Some(was) => was.iter().skip(place).take(units).copied().collect(),
                            None => vec![event.user.as_str(); units],
                        };
                        let place_there = place.min(wrote.len());
                        wrote.splice(place_there..place_there, by);
                        place += units;
                    }
                }
            }
        }
        self.known.insert(rev, wrote.clone());
        wrote
    }
}

fn runs(wrote: &[&str]) -> Vec<(u64, String)> {
    let runs = wrote.chunk_by(|a, b| a == b);
    runs.map(|run| (run.len() as u64, run[0].to_owned()))
        .collect()
}

impl Oracle for Past {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        self.restored(entry, found);
        if let Seen::Client(ClientSeen::Restored {
            doc, version, rev, ..
        }) = &entry.seen
        {
            self.answered(entry, found, doc, *version, *rev);
        }
        if let Seen::Client(ClientSeen::Told {
            user,
            doc,
            version,
            text,
            digest,
            authors,
            ..
        }) = &entry.seen
        {
            let told = Told {
                user: *user,
                digest,
                text,
                authors,
            };
            self.told(entry, found, doc, *version, &told);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::*;
    use crate::record::{ClientSeen, Edit};

    fn told(
        story: &Story,
        user: u32,
        version: u64,
        of: u64,
        authors: &[(u64, &str)],
    ) -> ClientSeen {
        let ClientSeen::View { text, digest, .. } = story.view(ADA, of) else {
            unreachable!()
        };
        let authors = authors
            .iter()
            .map(|(units, user)| (*units, (*user).to_owned()));
        ClientSeen::Told {
            user,
            doc: DOC,
            version,
            text,
            digest,
            authors: authors.collect(),
            asked: Duration::ZERO,
        }
    }

    /// Bob types into the middle, takes it away again, and ada has it back.
    fn story() -> (Story, u64) {
        let mut story = Story::new();
        let base = story.head();
        story.edit(BOB, 1, base, &[retain(3), insert("xyz")]);
        story.edit(BOB, 2, base + 1, &[retain(2), delete(5)]);
        restore(&mut story, base + 1, &[retain(2), insert("cxyzd")]);
        (story, base)
    }

    fn restore(story: &mut Story, version: u64, edit: &[Edit]) -> u64 {
        story.restores = Some(version);
        let rev = story.event("restore", "user-1", None, Some(edit.to_vec()), None);
        story.restores = None;
        let answered = ClientSeen::Restored {
            user: 1,
            doc: DOC,
            version,
            rev,
        };
        story.client(answered);
        rev
    }

    #[test]
    fn what_was_is_told_as_it_was_written() {
        let (mut story, base) = story();
        let wrote = [(3, "user-1"), (3, "user-2"), (3, "user-1")];
        for (rev, authors) in [
            (base + 1, &wrote[..]),
            (base + 2, &[(4, "user-1")]),
            (base + 3, &wrote),
        ] {
            let told = told(&story, 2, rev, rev, authors);
            story.client(told);
        }
        assert_clean(story);
    }

    #[test]
    fn another_revision_is_found() {
        let (mut story, base) = story();
        let told = told(&story, 1, base + 2, base + 1, &[(4, "user-1")]);
        story.client(told);
        assert_found(story, "O10 a revision was told as another content");
    }

    #[test]
    fn a_revision_to_come_is_found() {
        let (mut story, base) = story();
        let told = told(&story, 1, base + 4, base + 3, &[(4, "user-1")]);
        story.client(told);
        assert_found(story, "O10 a revision was told that nothing had applied");
    }

    #[test]
    fn who_has_it_back_did_not_write_it() {
        let (mut story, base) = story();
        let told = told(&story, 1, base + 3, base + 3, &[(9, "user-1")]);
        story.client(told);
        assert_found(story, "O10 a revision was told with other authors");
    }

    #[test]
    fn what_was_not_shared_is_found() {
        let (mut story, base) = story();
        story.streams_end();
        story.grant(4, Some("viewer"));
        let wrote = [(3, "user-1"), (3, "user-2"), (3, "user-1")];
        let now = told(&story, 4, base + 4, base + 4, &wrote);
        story.client(now);
        assert_clean(story.clone());
        let before = told(&story, 4, base + 3, base + 3, &wrote);
        story.client(before);
        assert_found(
            story,
            "O10 a revision was told to somebody with whom it was not shared",
        );
    }

    #[test]
    fn a_restore_that_makes_something_else_is_found() {
        let (mut story, base) = story();
        restore(&mut story, base, &[retain(3), delete(2)]);
        assert_found(
            story.clone(),
            "O10 a restore made something else of the document",
        );
        assert_found(
            story,
            "O10 a restore was answered with a revision that is something else",
        );
    }
}
