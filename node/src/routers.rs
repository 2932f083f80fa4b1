//! The links of routers: what each still has to be told, and all of them at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use codraft_proto::{
    ids::{ClientId, DocId, Revision, Seq, UserId},
    link::{ADDRESSES_MAX, Lane, Outbox, SendError},
    v1::{self, message::Body},
};
use codraft_raft::group::ProposeResult;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::oneshot;

use crate::wire::message;

/// Proposals of one link that have no outcome yet.
const PENDING_MAX: usize = 65_536;

/// Opens, follows and calls of one link that have no answer yet.
const REQUESTS_MAX: usize = 16_384;

/// On the data lane. States are large, and a router that comes back opens many at once; beyond
/// this one more is answered at most, and the queue takes 64 MiB.
const FULL_BYTES: usize = 8 << 20;

/// What a proposal's outcome belongs to.
pub(crate) enum Pending {
    Edit {
        doc: DocId,
        user: UserId,
        client: ClientId,
        seq: Seq,
        base: Revision,
    },
    Call(oneshot::Sender<ProposeResult>),
}

/// One link of a router.
pub(crate) struct RouterLink {
    pub id: u64,
    /// Where clients reach it; empty: nobody is to be sent there.
    address: String,
    outbox: Outbox,
    pending: Mutex<Slab<Pending>>,
    requests: AtomicUsize,
    /// Bytes that are not queued yet and will be.
    promised: AtomicUsize,
}

impl RouterLink {
    /// Sends on the data lane. A link that takes no more is ended: what cannot be said now
    /// would be a gap in a feed, and after a new link the router follows again.
    pub fn push(&self, body: Body) {
        self.push_on(Lane::Data, body);
    }

    fn push_on(&self, lane: Lane, body: Body) {
        if self.outbox.send(lane, message(body)) == Err(SendError::Full) {
            tracing::warn!(link = self.id, "a router reads too slowly: link ended");
            self.outbox.close();
        }
    }

    /// Sends on the control lane, if there is room.
    pub fn tell(&self, body: Body) {
        let _ = self.outbox.send(Lane::Control, message(body));
    }

    /// Whether it has so much to read that what it asks for should wait. `own`: what was promised
    /// for that itself.
    pub fn is_full(&self, own: usize) -> bool {
        let promised = self.promised.load(Ordering::Relaxed).saturating_sub(own);
        self.outbox.queued_bytes(Lane::Data) + promised >= FULL_BYTES
    }

    /// Counts bytes against it that will be queued, until this is dropped.
    pub fn promise(self: &Arc<Self>, bytes: usize) -> Promise {
        self.promised.fetch_add(bytes, Ordering::Relaxed);
        let link = self.clone();
        Promise { link, bytes }
    }

    pub fn is_closed(&self) -> bool {
        self.outbox.is_closed()
    }

    pub fn close(&self) {
        self.outbox.close();
    }

    /// Keeps what an outcome belongs to, under the tag that it comes back with; `None` when
    /// too much waits.
    pub fn expect(&self, pending: Pending) -> Option<u64> {
        let mut waiting = self.pending.lock();
        (waiting.len() < PENDING_MAX).then(|| waiting.insert(pending) as u64)
    }

    pub fn take(&self, tag: u64) -> Option<Pending> {
        self.pending.lock().try_remove(usize::try_from(tag).ok()?)
    }

    /// A permit for a request that is answered later; given back when it is dropped.
    pub fn permit(self: &Arc<Self>) -> Option<RequestPermit> {
        let taken = self.requests.fetch_add(1, Ordering::Relaxed);
        let permit = RequestPermit(self.clone());
        (taken < REQUESTS_MAX).then_some(permit)
    }
}

pub(crate) struct Promise {
    link: Arc<RouterLink>,
    pub bytes: usize,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.link.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub(crate) struct RequestPermit(pub Arc<RouterLink>);

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All links of routers.
#[derive(Default)]
pub(crate) struct Routers {
    links: Mutex<BTreeMap<u64, Arc<RouterLink>>>,
    next: AtomicU64,
}

impl Routers {
    /// `address`: where clients reach it. All routers are told of it, and it of all.
    pub fn add(&self, outbox: Outbox, address: &str) -> Arc<RouterLink> {
        let link = Arc::new(RouterLink {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            address: address.to_owned(),
            outbox,
            pending: Mutex::default(),
            requests: AtomicUsize::new(0),
            promised: AtomicUsize::new(0),
        });
        let mut links = self.links.lock();
        links.insert(link.id, link.clone());
        if links.values().any(|link| !link.address.is_empty()) {
            tell_addresses(&links);
        }
        link
    }

    pub fn remove(&self, id: u64) {
        let mut links = self.links.lock();
        if links.remove(&id).is_some_and(|l| !l.address.is_empty()) {
            tell_addresses(&links);
        }
    }

    pub fn get(&self, id: u64) -> Option<Arc<RouterLink>> {
        self.links.lock().get(&id).cloned()
    }

    /// On the control lane of every link.
    pub fn tell_all(&self, body: &Body) {
        for link in self.links.lock().values() {
            link.tell(body.clone());
        }
    }
}

/// Tells all where the routers are that are here. Under the links' lock, so that what is told last
/// is so; nobody tells it again, so a link that has no room for it is ended.
fn tell_addresses(links: &BTreeMap<u64, Arc<RouterLink>>) {
    let all: BTreeSet<&str> = links.values().map(|link| &*link.address).collect();
    let all = all.into_iter().filter(|address| !address.is_empty());
    let addresses: Vec<_> = all.take(ADDRESSES_MAX).map(str::to_owned).collect();
    for link in links.values() {
        let addresses = addresses.clone();
        link.push_on(Lane::Control, Body::Routers(v1::Routers { addresses }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The last list that a link was told of.
    fn told(outbox: &Outbox) -> Option<Vec<String>> {
        let messages = outbox.take(Lane::Control).into_iter();
        let lists = messages.filter_map(|message| match message.body {
            Some(Body::Routers(v1::Routers { addresses })) => Some(addresses),
            _ => None,
        });
        lists.last()
    }

    #[test]
    fn routers_are_told_of_each_other_as_they_come_and_go() {
        let routers = Routers::default();
        let (a, b, nowhere) = (Outbox::detached(), Outbox::detached(), Outbox::detached());
        routers.add(a.clone(), "http://a");
        assert_eq!(told(&a), Some(vec!["http://a".into()]));
        routers.add(nowhere.clone(), "");
        let late = routers.add(b.clone(), "http://b");
        let both = Some(vec!["http://a".to_owned(), "http://b".to_owned()]);
        assert_eq!((told(&a), told(&b)), (both.clone(), both.clone()));
        assert_eq!(
            told(&nowhere),
            both,
            "it may send clients there all the same"
        );
        // The same one again, before it is known that its older link is gone.
        let again = Outbox::detached();
        routers.add(again.clone(), "http://b");
        assert_eq!(told(&again), both);
        routers.remove(late.id);
        assert_eq!(told(&again), both);
        routers.remove(late.id + 1);
        assert_eq!(told(&a), Some(vec!["http://a".into()]));
    }

    #[test]
    fn a_router_that_cannot_be_told_of_the_others_is_let_go() {
        let routers = Routers::default();
        let stuck = Outbox::detached();
        let link = routers.add(stuck.clone(), "http://a");
        while stuck
            .send(
                Lane::Control,
                message(Body::Routers(v1::Routers::default())),
            )
            .is_ok()
        {}
        assert!(!link.is_closed());
        routers.add(Outbox::detached(), "http://b");
        assert!(link.is_closed());
    }

    fn edit(seq: Seq) -> Pending {
        Pending::Edit {
            doc: DocId::default(),
            user: "ana".into(),
            client: ClientId::default(),
            seq,
            base: Revision(0),
        }
    }

    #[test]
    fn an_outcome_is_told_once_and_its_tag_used_again() {
        let link = Routers::default().add(Outbox::detached(), "");
        let (a, b) = (
            link.expect(edit(Seq(1))).unwrap(),
            link.expect(edit(Seq(2))).unwrap(),
        );
        assert!(matches!(
            link.take(b),
            Some(Pending::Edit { seq: Seq(2), .. })
        ));
        assert!(link.take(b).is_none());
        assert!(link.take(99).is_none());
        assert_eq!(link.expect(edit(Seq(3))), Some(b));
        assert!(matches!(
            link.take(a),
            Some(Pending::Edit { seq: Seq(1), .. })
        ));
    }

    #[test]
    fn what_waits_is_bounded() {
        let link = Routers::default().add(Outbox::detached(), "");
        for n in 0..PENDING_MAX {
            assert!(link.expect(edit(Seq(n as u64))).is_some());
        }
        assert!(link.expect(edit(Seq(0))).is_none());
        let permits: Vec<_> = (0..REQUESTS_MAX).map(|_| link.permit().unwrap()).collect();
        assert!(link.permit().is_none());
        drop(permits);
        assert!(link.permit().is_some());
    }
}
