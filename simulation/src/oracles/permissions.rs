//! O12: permissions have their place in the order of the operations that they govern.

use std::collections::BTreeMap;

use super::{
    Notes, Oracle,
    history::{Shared, can_edit, name_of},
    named, short,
};
use crate::{
    record::{ClientSeen, Entry, Id, Seen},
    verdict::Violation,
};

pub struct Permissions {
    history: Shared,
    /// By client and document: its user, and the revision that took the user's role away while
    /// the stream was open.
    streams: BTreeMap<(Id, Id), (String, Option<u64>)>,
    notes: Notes,
}

impl Permissions {
    pub fn new(history: Shared) -> Self {
        let promised = "no operation of a user after the revision that forbids it, nothing sent \
                        to one after it, and none refused that is allowed";
        Self {
            history,
            streams: BTreeMap::new(),
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
            "edit" => can_edit(role),
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
        if doc.could_edit(&user, from, to) {
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
            ClientSeen::Opened {
                client, user, doc, ..
            } => {
                let stream = (name_of(*user), None);
                self.streams.insert((*client, *doc), stream);
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

    fn end(&mut self, _: &mut Vec<Violation>) {}
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
