//! O12: a user's list has the documents in which the user has a role, and no others.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Notes, Oracle,
    history::{Shared, name_of},
    named, short,
};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Lists {
    history: Shared,
    /// By question: where each document's head was when it was asked.
    asked: BTreeMap<u64, BTreeMap<Id, u64>>,
    notes: Notes,
}

impl Lists {
    pub fn new(history: Shared) -> Self {
        let promised = "no list without a document that its user had a role in all the time, and \
                        none with one in which there was none at any";
        Self {
            history,
            asked: BTreeMap::new(),
            notes: Notes::new("lists", "O12", promised),
        }
    }
}

impl Oracle for Lists {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Seen::Client(seen) = &entry.seen else {
            return;
        };
        match seen {
            ClientSeen::ListAsked { ask } => {
                let heads = history.docs.iter().map(|(id, doc)| (*id, doc.head()));
                self.asked.insert(*ask, heads.collect());
            }
            ClientSeen::Listed { ask, user, docs } => {
                let user = name_of(*user);
                let since = self.asked.remove(ask).unwrap_or_default();
                let listed: BTreeSet<&Id> = docs.iter().collect();
                for (id, doc) in &history.docs {
                    let from = since.get(id).copied().unwrap_or_default();
                    let mut roles = doc.roles(&user, from, doc.head());
                    let broken = || format!("document {} of {user}", short(id));
                    if listed.contains(id) {
                        if roles.all(|role| role.is_none()) {
                            let what = "listed for who has no role";
                            self.notes.broken(found, entry.at, what, broken);
                        }
                    } else if roles.all(|role| role.is_some()) {
                        let what = "left out of its user's list";
                        self.notes.broken(found, entry.at, what, broken);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{ClientSeen, Id};

    fn listed(user: u32, docs: &[Id]) -> ClientSeen {
        ClientSeen::Listed {
            ask: 7,
            user,
            docs: docs.to_vec(),
        }
    }

    #[test]
    fn a_document_that_is_left_out_is_found() {
        let mut story = story();
        story.client(ClientSeen::ListAsked { ask: 7 });
        let mut right = story.clone();
        right.client(listed(2, &[DOC]));
        assert_clean(right);
        story.client(listed(2, &[]));
        assert_found(story, "O12 left out of its user's list");
    }

    #[test]
    fn a_role_that_goes_meanwhile_leaves_both_open_and_later_only_one() {
        let mut story = story();
        story.client(ClientSeen::ListAsked { ask: 7 });
        story.grant(2, None);
        for docs in [&[][..], &[DOC]] {
            let mut either = story.clone();
            either.client(listed(2, docs));
            assert_clean(either);
        }
        story.client(ClientSeen::ListAsked { ask: 7 });
        story.client(listed(2, &[DOC]));
        assert_found(story, "O12 listed for who has no role");
    }
}
