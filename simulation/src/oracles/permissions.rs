//! O12: permissions have their place in the order of the operations that they govern.

use std::collections::BTreeMap;

use super::{
    Notes, Oracle,
    history::{Shared, can_edit, name_of},
    named, short,
};
use crate::{
    record::{ClientSeen, Entry, Id, NodeSeen, Seen},
    verdict::Violation,
};

/// By whom, of whom, to what.
type Change = (String, String, Option<String>);

/// What a client was told of its own role.
struct Told<'a> {
    key: (Id, Id),
    user: u32,
    role: Option<&'a str>,
}

pub struct Permissions {
    history: Shared,
    /// By client and document: its user, and the revision that took the user's role away while
    /// the stream was open.
    streams: BTreeMap<(Id, Id), (String, Option<u64>)>,
    /// By client and document: what it is told must be true at this revision or later, the head
    /// when it asked to come in, or where it was let in.
    since: BTreeMap<(Id, Id), u64>,
    /// How often each change of a role was asked for and not made yet.
    asked: BTreeMap<(Id, Change), u32>,
    notes: Notes,
}

impl Permissions {
    pub fn new(history: Shared) -> Self {
        let promised = "no operation of a user after the revision that forbids it, nothing sent \
                        to one after it, and nobody refused who is allowed";
        Self {
            history,
            streams: BTreeMap::new(),
            since: BTreeMap::new(),
            asked: BTreeMap::new(),
            notes: Notes::new("permissions", "O12", promised),
        }
    }

    fn applied(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let history = self.history.borrow();
        let Some((id, rev)) = history.fresh else {
            return;
        };
        let Some((doc, event)) = history
            .docs
            .get(&id)
            .and_then(|doc| Some((doc, doc.event(rev)?)))
        else {
            return;
        };
        let user = &event.user;
        let role = doc.role_at(user, rev - 1);
        let leaves = event.kind == "grant" && doc.role_at(user, rev).is_none();
        let allowed = match event.kind.as_str() {
            "edit" | "restore" | "checkpoint" => can_edit(role),
            "grant" => role == Some("owner") || (leaves && role.is_some()),
            _ => true,
        };
        if !allowed {
            let kind = &event.kind;
            let broken = || {
                format!(
                    "document {}, revision {rev}, a {kind} of {user}, {role:?}",
                    short(&id)
                )
            };
            self.notes
                .broken(found, entry.at, "applied and not allowed", broken);
        }
        if let Seen::Node(NodeSeen::Applied {
            user: by,
            grant: Some((user, role)),
            ..
        }) = &entry.seen
        {
            let change = (by.clone(), user.clone(), role.clone());
            let left = self.asked.entry((id, change)).or_default();
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    let broken = || {
                        let doc = short(&id);
                        format!("document {doc}, revision {rev}: {user} {role:?} by {by}")
                    };
                    let what = "a role was changed more often than it was asked for";
                    self.notes.broken(found, entry.at, what, broken);
                }
            }
        }
        if event.kind == "grant" {
            let gone = |user: &str| doc.role_at(user, rev).is_none();
            let had = |user: &str| doc.role_at(user, rev - 1).is_some();
            for ((_, of), (user, ended)) in &mut self.streams {
                if *of == id && ended.is_none() && gone(user) && had(user) {
                    *ended = Some(rev);
                }
            }
        }
    }

    /// A refusal for want of a role: there must have been a moment without it.
    fn refused(&mut self, entry: &Entry, found: &mut Vec<Violation>, key: (Id, Id), seq: u64) {
        let history = self.history.borrow();
        let (Some(doc), Some(client)) = (history.docs.get(&key.0), history.clients.get(&key))
        else {
            return;
        };
        let sent = client
            .seqs
            .get(&seq)
            .and_then(|sequence| sequence.attempts.first());
        let Some(from) = sent.map(|attempt| attempt.head) else {
            return;
        };
        let (user, to) = (name_of(client.user), doc.head());
        if doc.roles(&user, from, to).all(can_edit) {
            let broken = || {
                let (doc, client) = (short(&key.0), short(&key.1));
                format!(
                    "document {doc}, client {client} of {user}, sequence {seq}: it could edit \
                     from revision {from} to {to}"
                )
            };
            self.notes
                .broken(found, entry.at, "refused and allowed", broken);
        }
    }

    /// A client that is let in may read, at the revision that it is shown, or after the one that it
    /// has.
    fn opened(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Client(ClientSeen::Opened {
            client,
            user,
            doc: id,
            resumed,
            rev,
            head,
            ..
        }) = &entry.seen
        else {
            return;
        };
        let (history, key) = (self.history.borrow(), (*client, *id));
        let user = name_of(*user);
        let since = self.since.entry(key).or_insert(*rev);
        *since = (*since).min(*rev);
        let Some(doc) = history.docs.get(id) else {
            return;
        };
        let to = if *resumed { doc.head() } else { *head };
        if doc.roles(&user, *rev, to).all(|role| role.is_none()) {
            let broken = || {
                let (doc, client) = (short(id), short(client));
                format!("document {doc}, client {client} of {user}, at revision {rev}")
            };
            let what = "let in without a role";
            self.notes.broken(found, entry.at, what, broken);
        }
        let ended = doc.lost_since(&user, if *resumed { *rev } else { *head });
        self.streams.insert(key, (user, ended));
    }

    /// There was a moment when it was so.
    fn told(&mut self, entry: &Entry, found: &mut Vec<Violation>, told: &Told<'_>) {
        let (history, Told { key, role, .. }) = (self.history.borrow(), told);
        let (Some(doc), Some(since)) = (history.docs.get(&key.1), self.since.get(key)) else {
            return;
        };
        let (user, to) = (name_of(told.user), doc.head());
        if !doc.roles(&user, *since, to).any(|had| had == *role) {
            let broken = || {
                let (doc, client) = (short(&key.1), short(&key.0));
                format!(
                    "document {doc}, client {client} of {user}: {role:?}, which it was at no \
                     revision from {since} to {to}"
                )
            };
            let what = "told a role that it does not have";
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

impl Oracle for Permissions {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        self.applied(entry, found);
        let Seen::Client(seen) = &entry.seen else {
            return;
        };
        match seen {
            ClientSeen::Refused {
                client,
                doc,
                seq,
                code,
            } if code == "forbidden" => self.refused(entry, found, (*doc, *client), *seq),
            ClientSeen::Hello { client, doc, .. } => {
                let history = self.history.borrow();
                let head = history.docs.get(doc).map_or(0, |doc| doc.head());
                self.since.insert((*client, *doc), head);
            }
            ClientSeen::GrantAsked {
                by,
                user,
                doc,
                role,
            } => {
                let change = (name_of(*by), name_of(*user), role.clone());
                *self.asked.entry((*doc, change)).or_default() += 1;
            }
            ClientSeen::Opened { .. } => self.opened(entry, found),
            ClientSeen::RoleTold {
                client,
                user,
                doc,
                role,
            } => {
                let (key, user, role) = ((*client, *doc), *user, role.as_deref());
                self.told(entry, found, &Told { key, user, role });
            }
            ClientSeen::Closed { client, doc, .. } | ClientSeen::Resynced { client, doc, .. } => {
                self.streams.remove(&(*client, *doc));
            }
            ClientSeen::Received {
                client, doc, rev, ..
            } => {
                let stream = self.streams.get(&(*client, *doc));
                let Some((user, Some(ended))) =
                    stream.filter(|(_, ended)| ended.is_some_and(|e| *rev > e))
                else {
                    return;
                };
                let broken = || {
                    let (doc, client) = (short(doc), short(client));
                    format!("document {doc}, client {client} of {user}: {rev}, out at {ended}")
                };
                let what = "sent to one who may not read any more";
                self.notes.broken(found, entry.at, what, broken);
            }
            ClientSeen::Granted {
                user,
                doc,
                role,
                rev,
                ..
            } => {
                let history = self.history.borrow();
                let user = name_of(*user);
                let of = history.docs.get(doc);
                let has = of.and_then(|of| of.role_at(&user, *rev));
                if has != role.as_deref() {
                    let broken = || {
                        format!(
                            "document {}, {user}: {role:?} at {rev}, it is {has:?}",
                            short(doc)
                        )
                    };
                    self.notes
                        .broken(found, entry.at, "a grant that is not in the log", broken);
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

    fn refused() -> ClientSeen {
        ClientSeen::Refused {
            client: BOB,
            doc: DOC,
            seq: 1,
            code: "forbidden".into(),
        }
    }

    #[test]
    fn an_operation_after_the_revoke_is_found() {
        let mut story = Story::new();
        let base = story.head();
        story.grant(2, None);
        story.edit(BOB, 1, base, &[insert("x")]);
        assert_found(story, "O12 applied and not allowed");
    }

    #[test]
    fn an_allowed_one_is_not_refused() {
        let mut story = Story::new();
        let base = story.head();
        story.invoke(BOB, 1, base, &[insert("x")]);
        let mut revoked = story.clone();
        story.client(refused());
        assert_found(story, "O12 refused and allowed");
        // It may have been judged while there was no role.
        revoked.grant(2, None);
        revoked.grant(2, Some("editor"));
        revoked.client(refused());
        assert_clean(revoked);
    }

    #[test]
    fn after_a_grant_the_next_one_is_not_refused() {
        let mut story = Story::new();
        story.grant(2, None);
        story.grant(2, Some("editor"));
        let base = story.head();
        story.invoke(BOB, 1, base, &[insert("x")]);
        story.client(refused());
        assert_found(story, "O12 refused and allowed");
    }

    #[test]
    fn nothing_is_sent_after_the_revoke() {
        let mut story = Story::new();
        story.open(BOB, None);
        story.grant(2, None);
        let base = story.head();
        story.edit(ADA, 1, base, &[insert("x")]);
        let received = |rev| ClientSeen::Received {
            client: BOB,
            doc: DOC,
            rev,
            author: None,
            edit: None,
        };
        // The revoke itself may be told.
        story.client(received(base));
        assert_clean(story.clone());
        story.client(ClientSeen::Received {
            client: BOB,
            doc: DOC,
            rev: base + 1,
            author: Some(ADA),
            edit: Some(vec![insert("x")]),
        });
        assert_found(story, "O12 sent to one who may not read any more");
    }

    fn told(role: Option<&str>) -> ClientSeen {
        ClientSeen::RoleTold {
            client: BOB,
            user: 2,
            doc: DOC,
            role: role.map(str::to_owned),
        }
    }

    #[test]
    fn who_has_no_role_is_not_let_in() {
        let mut story = Story::new();
        story.grant(2, None);
        story.open(BOB, None);
        assert_found(story, "O12 let in without a role");
        // What it had already it may be told to have.
        let mut story = Story::new();
        let had = story.head();
        story.grant(2, None);
        story.open(BOB, Some(had));
        assert_clean(story);
    }

    #[test]
    fn what_is_told_of_a_role_was_so_since_it_was_asked() {
        let mut story = Story::new();
        story.grant(2, None);
        story.grant(2, Some("viewer"));
        story.client(ClientSeen::Hello {
            client: BOB,
            doc: DOC,
            resume: None,
            unsent: false,
        });
        story.open(BOB, None);
        let mut sent_away = story.clone();
        story.client(told(Some("editor")));
        assert_found(story, "O12 told a role that it does not have");
        sent_away.client(told(None));
        assert_found(sent_away.clone(), "O12 told a role that it does not have");
        let mut revoked = Story::new();
        revoked.open(BOB, None);
        revoked.grant(2, None);
        revoked.client(told(None));
        assert_clean(revoked);
    }

    #[test]
    fn what_was_asked_for_once_is_not_done_twice() {
        let mut story = Story::new();
        story.grant(2, None);
        story.grant(2, Some("editor"));
        assert_clean(story.clone());
        // The first one again.
        let again = Some(("user-2".to_owned(), None));
        story.event("grant", "user-1", None, None, again);
        assert_found(
            story,
            "O12 a role was changed more often than it was asked for",
        );
    }

    #[test]
    fn a_grant_that_was_answered_is_in_the_log() {
        let mut story = Story::new();
        let rev = story.head();
        story.client(ClientSeen::Granted {
            by: 1,
            user: 2,
            doc: DOC,
            role: Some("viewer".into()),
            rev,
        });
        assert_found(story, "O12 a grant that is not in the log");
    }
}
