//! Programs that follow the document: each is told how far it is, and reads the events itself. They are
//! no sockets: nobody hears of them, and nothing is encoded or kept for them.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{Revision, UserId},
    reject::Code,
};
use tokio::sync::watch;

use super::{Hub, State};
use crate::{
    Shared,
    feed::{Event, Hello},
    ids::ReaderId,
    queue::{End, Queue},
};

pub struct Follower {
    pub user: UserId,
    /// The document's last revision; 0 until it is open.
    pub head: watch::Sender<Revision>,
    /// Nothing but its end comes by it.
    pub queue: Arc<Queue>,
}

#[derive(Default)]
pub(super) struct Followers(BTreeMap<ReaderId, Follower>);

impl Followers {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn user(&self, reader: ReaderId) -> Option<&UserId> {
        self.0.get(&reader).map(|follower| &follower.user)
    }

    /// The document is open for this one. Returns false if it is no follower.
    pub fn welcome(&self, reader: ReaderId, head: Revision) -> bool {
        let follower = self.0.get(&reader);
        follower.is_some_and(|follower| {
            follower.head.send_replace(head);
            true
        })
    }

    pub fn reached(&self, head: Revision) {
        let open = self.0.values().filter(|f| *f.head.borrow() > Revision(0));
        open.for_each(|follower| {
            follower.head.send_replace(head);
        });
    }

    pub fn end(&self, reader: ReaderId, code: Code) {
        let follower = self.0.get(&reader).into_iter();
        follower.for_each(|follower| follower.queue.end(End::because(code)));
    }

    pub fn end_all(&self, end: End) {
        self.0.values().for_each(|follower| follower.queue.end(end));
    }

    /// A user has no role any more.
    pub fn revoked(&self, user: &str) {
        let of_user = self.0.values().filter(|follower| *follower.user == *user);
        of_user.for_each(|follower| follower.queue.end(End::because(Code::Revoked)));
    }
}

impl Hub {
    /// A follower comes; its number among the readers. The document is followed for as long as it is here.
    pub fn follow(&self, shared: &Shared, follower: Follower) -> ReaderId {
        let mut state = self.state.lock();
        let State {
            next, followers, ..
        } = &mut *state;
        *next += 1;
        let reader = ReaderId(*next);
        followers.0.insert(reader, follower);
        let joined = self.follows(shared, reader);
        self.handle_locked(shared, &mut state, joined);
        reader
    }

    pub fn unfollow(&self, shared: &Shared, reader: ReaderId) {
        let mut state = self.state.lock();
        if state.followers.0.remove(&reader).is_some() {
            self.handle_locked(shared, &mut state, Event::Left { reader });
            self.linger_if_empty(shared, &mut state);
        }
    }

    /// It opens the document, for the first time or because the feed cannot be continued.
    pub(super) fn follows(&self, shared: &Shared, reader: ReaderId) -> Event {
        let hello = Hello {
            follows: true,
            ..Hello::default()
        };
        let leader = self.leader(shared);
        Event::Joined {
            reader,
            hello,
            leader,
        }
    }
}
