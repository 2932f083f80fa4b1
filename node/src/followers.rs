//! Which links follow which documents of one group, and the credit that each feed has left.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{DocId, GroupId},
    link::{CREDIT_WINDOW, credit_cost},
    reject::Code,
    v1::{self, message::Body},
};
use parking_lot::Mutex;

use crate::{metrics::Metrics, presence::PresenceHub, routers::RouterLink, wire};

/// What the fan-out and the services share of a group; taken only for moments, mostly
/// under the group's own lock.
pub(crate) struct Feed {
    pub state: Mutex<FeedState>,
    /// Who is in the documents; changed under the state's lock while this node leads.
    pub presence: Arc<PresenceHub>,
}

impl Feed {
    pub fn new(metrics: &Arc<Metrics>, presence: PresenceHub) -> Self {
        let state = FeedState {
            leading: false,
            followers: Followers::new(metrics.clone()),
        };
        Self {
            state: Mutex::new(state),
            presence: Arc::new(presence),
        }
    }
}

pub(crate) struct FeedState {
    /// Whether this node leads, as the fan-out was told: feeds exist only then. Read under
    /// the group's lock, so that nobody follows after the feeds were cut.
    pub leading: bool,
    pub followers: Followers,
}

/// Changed only under the group's lock, or by a link that ended.
pub(crate) struct Followers {
    docs: BTreeMap<DocId, Vec<Follower>>,
    metrics: Arc<Metrics>,
}

struct Follower {
    link: Arc<RouterLink>,
    credit: u64,
}

impl Followers {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            docs: BTreeMap::new(),
            metrics,
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.docs.is_empty()
    }

    pub fn follows(&self, doc: &DocId) -> bool {
        self.docs.contains_key(doc)
    }

    /// The link gets all events of the document from here on. If it follows already its
    /// credit stays as it is, unless it starts `afresh`.
    pub fn add(&mut self, doc: DocId, link: &Arc<RouterLink>, afresh: bool) {
        // Its end has cleaned up, or will; a link that is closed must not come back.
        if link.is_closed() {
            return;
        }
        let of_doc = self.docs.entry(doc).or_default();
        match of_doc.iter_mut().find(|f| f.link.id == link.id) {
            Some(follower) if afresh => follower.credit = CREDIT_WINDOW,
            Some(_) => {}
            None => {
                of_doc.push(Follower {
                    link: link.clone(),
                    credit: CREDIT_WINDOW,
                });
                self.metrics.followers.inc();
            }
        }
    }

    pub fn remove(&mut self, doc: &DocId, link: u64) {
        if let Some(of_doc) = self.docs.get_mut(doc) {
            let before = of_doc.len();
            of_doc.retain(|f| f.link.id != link);
            self.metrics
                .followers
                .dec_by((before - of_doc.len()) as i64);
            if of_doc.is_empty() {
                self.docs.remove(doc);
            }
        }
    }

    /// A link has ended.
    pub fn remove_link(&mut self, link: u64) {
        let mut gone = 0;
        self.docs.retain(|_, of_doc| {
            let before = of_doc.len();
            of_doc.retain(|f| f.link.id != link);
            gone += (before - of_doc.len()) as i64;
            !of_doc.is_empty()
        });
        self.metrics.followers.dec_by(gone);
    }

    /// The router has delivered, or dropped, so many bytes of this feed.
    pub fn credit(&mut self, doc: &DocId, link: u64, bytes: u64) {
        let of_doc = self.docs.get_mut(doc);
        if let Some(follower) = of_doc.and_then(|f| f.iter_mut().find(|f| f.link.id == link)) {
            follower.credit = follower.credit.saturating_add(bytes).min(CREDIT_WINDOW);
        }
    }

    /// Sends events to all that follow their document. A link without credit is cut and
    /// follows again when it can take more; it never holds up the others.
    pub fn send(&mut self, doc: &DocId, events: v1::Events) {
        let Some(of_doc) = self.docs.get_mut(doc) else {
            return;
        };
        let cost = credit_cost(&events.events);
        let before = of_doc.len();
        let (mut events, mut behind) = (Some(events), before);
        of_doc.retain_mut(|follower| {
            behind -= 1;
            let Some(left) = follower.credit.checked_sub(cost) else {
                let problem = wire::problem(Code::Busy, "the feed's credit is used up");
                follower.link.push(cut(doc, problem));
                return false;
            };
            follower.credit = left;
            // The last one takes it: mostly there is one router, and no copy.
            let events = if behind == 0 {
                events.take()
            } else {
                events.clone()
            };
            if let Some(events) = events {
                follower.link.push(Body::Events(events));
            }
            true
        });
        let gone = before - of_doc.len();
        if gone > 0 {
            self.metrics.followers.dec_by(gone as i64);
            self.metrics.cuts.inc_by(gone as u64);
            if of_doc.is_empty() {
                self.docs.remove(doc);
            }
        }
    }

    /// Ends all feeds of the group for the same reason: one message a link, however many they are.
    pub fn cut_all(&mut self, group: GroupId, problem: &v1::Problem) {
        let docs = std::mem::take(&mut self.docs);
        let followers = docs.into_values().flatten();
        let (mut links, mut gone) = (BTreeMap::new(), 0);
        for Follower { link, .. } in followers {
            gone += 1;
            links.entry(link.id).or_insert(link);
        }
        for link in links.values() {
            link.push(Body::CutAll(v1::CutAll {
                group: group.0,
                problem: Some(problem.clone()),
            }));
        }
        self.metrics.followers.dec_by(gone as i64);
        self.metrics.cuts.inc_by(gone);
    }
}

fn cut(doc: &DocId, problem: v1::Problem) -> Body {
    Body::Cut(v1::Cut {
        doc: doc.to_bytes(),
        problem: Some(problem),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codraft_proto::link::{Lane, Outbox};

    use super::*;
    use crate::routers::Routers;

    fn events(bytes: usize) -> v1::Events {
        let event = v1::Event {
            body: vec![0; bytes].into(),
            ..v1::Event::default()
        };
        v1::Events {
            events: vec![event],
            ..v1::Events::default()
        }
    }

    struct Room {
        followers: Followers,
        metrics: Arc<Metrics>,
        links: Vec<(Arc<RouterLink>, Outbox)>,
    }

    fn room() -> Room {
        let metrics = Metrics::new();
        let routers = Routers::default();
        let link = |_| {
            let outbox = Outbox::detached();
            (routers.add(outbox.clone(), ""), outbox)
        };
        let links = (0..2).map(link).collect();
        Room {
            followers: Followers::new(metrics.clone()),
            metrics,
            links,
        }
    }

    #[test]
    fn a_feed_without_credit_is_cut_and_the_other_goes_on() {
        let Room {
            mut followers,
            metrics,
            links,
        } = room();
        let doc = DocId([1; 16]);
        for (link, _) in &links {
            followers.add(doc, link, true);
        }
        let half = (CREDIT_WINDOW / 2) as usize - 64;
        followers.send(&doc, events(half));
        followers.send(&doc, events(half));
        followers.credit(&doc, links[0].0.id, CREDIT_WINDOW * 9);
        followers.send(&doc, events(1));
        let kinds = |outbox: &Outbox| {
            let messages = outbox.take(Lane::Data).into_iter();
            messages
                .map(|m| matches!(m.body, Some(Body::Events(_))))
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(&links[0].1), [true, true, true]);
        assert_eq!(kinds(&links[1].1), [true, true, false], "the last is a cut");
        assert_eq!(metrics.followers.get(), 1);
        followers.send(&doc, events(1));
        assert_eq!(kinds(&links[1].1), [] as [bool; 0]);
    }

    #[test]
    fn a_link_that_ended_follows_nothing() {
        let Room {
            mut followers,
            metrics,
            links,
        } = room();
        for n in 0..10 {
            followers.add(DocId([n; 16]), &links[0].0, true);
        }
        followers.add(DocId([3; 16]), &links[1].0, true);
        assert_eq!(metrics.followers.get(), 11);
        links[0].1.close();
        followers.remove_link(links[0].0.id);
        followers.add(DocId([1; 16]), &links[0].0, true);
        assert_eq!(metrics.followers.get(), 1);
        followers.remove_link(links[1].0.id);
        assert!(followers.is_empty());
        assert_eq!(metrics.followers.get(), 0);
    }

    /// More documents than messages wait at a link.
    #[test]
    fn a_leader_that_goes_cuts_each_link_once() {
        let Room {
            mut followers,
            metrics,
            links,
        } = room();
        for n in 0..100_000u128 {
            followers.add(DocId(n.to_be_bytes()), &links[(n % 2) as usize].0, true);
        }
        followers.cut_all(GroupId(3), &wire::not_found());
        for (link, outbox) in &links {
            let told: Vec<_> = outbox.take(Lane::Data);
            assert!(
                matches!(&told[..], [v1::Message { body: Some(Body::CutAll(cut)) }] if cut.group == 3),
                "{told:?}"
            );
            assert!(!link.is_closed());
        }
        assert!(followers.is_empty());
        assert_eq!(metrics.followers.get(), 0);
        assert_eq!(metrics.cuts.get(), 100_000);
    }
}
