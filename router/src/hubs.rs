//! All documents that are open on this router.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{DocId, GroupId},
    reject::Code,
};
use parking_lot::Mutex;

use crate::{
    Shared,
    feed::Event,
    hub::{Follower, Hub, Joining},
    ids::{LinkId, ReaderId},
};

#[derive(Default)]
pub struct Hubs {
    of: Mutex<BTreeMap<DocId, Arc<Hub>>>,
}

impl Hubs {
    pub fn get(&self, doc: DocId) -> Option<Arc<Hub>> {
        self.of.lock().get(&doc).cloned()
    }

    /// A socket joins its document, which is followed from then on.
    pub fn join(&self, shared: &Shared, doc: DocId, joining: Joining) -> (Arc<Hub>, ReaderId) {
        self.enter(shared, doc, |hub| hub.join(shared, joining))
    }

    /// A follower comes to its document, likewise.
    pub fn follow(&self, shared: &Shared, doc: DocId, follower: Follower) -> (Arc<Hub>, ReaderId) {
        self.enter(shared, doc, |hub| hub.follow(shared, follower))
    }

    fn enter(
        &self,
        shared: &Shared,
        doc: DocId,
        enter: impl FnOnce(&Hub) -> ReaderId,
    ) -> (Arc<Hub>, ReaderId) {
        // Under the map's lock, so that the hub is not forgotten in between.
        let mut of = self.of.lock();
        let hub = of.entry(doc).or_insert_with(|| {
            shared.metrics.hubs.inc();
            let group = shared.upstream.group_of(doc);
            Arc::new(Hub::new(doc, group, shared.next_generation()))
        });
        (hub.clone(), enter(hub))
    }

    fn all(&self) -> Vec<Arc<Hub>> {
        self.of.lock().values().cloned().collect()
    }

    fn of_group(&self, group: GroupId) -> Vec<Arc<Hub>> {
        self.of
            .lock()
            .values()
            .filter(|h| h.group == group)
            .cloned()
            .collect()
    }

    /// Who leads the group may have changed.
    pub fn reroute(&self, shared: &Shared, group: GroupId) {
        self.of_group(group)
            .iter()
            .for_each(|hub| hub.reroute(shared));
    }

    pub fn reroute_all(&self, shared: &Shared) {
        self.all().iter().for_each(|hub| hub.reroute(shared));
    }

    pub fn link_lost(&self, shared: &Shared, link: LinkId) {
        self.all()
            .iter()
            .for_each(|hub| hub.link_lost(shared, link));
    }

    /// A node feeds no document of the group any more.
    pub fn cut(&self, shared: &Shared, link: LinkId, group: GroupId, code: Code) {
        self.of_group(group)
            .iter()
            .for_each(|hub| hub.handle(shared, Event::Cut { link, code }));
    }

    pub fn silent(&self, shared: &Shared, group: GroupId) {
        self.of_group(group)
            .iter()
            .for_each(|hub| hub.handle(shared, Event::LeaderSilent));
    }

    pub fn unstick(&self, shared: &Shared) {
        self.all().iter().for_each(|hub| hub.unstick(shared));
    }

    pub fn due(&self, shared: &Shared, docs: &[DocId]) {
        for doc in docs {
            let Some(hub) = self.get(*doc) else { continue };
            if hub.due(shared) {
                self.forget(shared, &hub);
            }
        }
    }

    /// Forgets a hub that nobody has joined for a while.
    fn forget(&self, shared: &Shared, hub: &Arc<Hub>) {
        let mut of = self.of.lock();
        if hub.close(shared) && of.get(&hub.doc).is_some_and(|h| Arc::ptr_eq(h, hub)) {
            of.remove(&hub.doc);
            shared.metrics.hubs.dec();
        }
    }

    /// Sends the sockets of documents to the router where they are to meet: of `most` documents, and
    /// of how many it was.
    pub fn send_on(&self, shared: &Shared, most: usize) -> usize {
        let all = self.all().into_iter();
        let elsewhere = all.filter(|hub| shared.routers.is_elsewhere(hub.doc));
        elsewhere.filter(|hub| hub.send_on()).take(most).count()
    }

    /// Ends every socket.
    pub fn end_all(&self, end: crate::queue::End) {
        self.all().iter().for_each(|hub| hub.end(end));
    }
}
