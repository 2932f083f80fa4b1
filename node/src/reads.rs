//! What needs a linearizable look at a group: opens, follows, descriptions. All that wait
//! share one barrier, and each is served in one step under the group's lock, so that an
//! answer has its exact place in the feed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_ot::{Delta, Kind};
use codraft_proto::{
    ids::{ClientId, DocId, Role},
    reject::Code,
    v1::{self, message::Body, reply},
};
use codraft_raft::machine::{Document, Shard};
use tokio::{sync::Notify, time::Instant};

use crate::{
    hosted::{FeedState, Hosted},
    metrics::lock,
    routers::{Place, RouterLink},
    wire,
};

/// Served under one hold of the group's lock; between two such, operations are applied.
const AT_ONCE: usize = 32;

/// How long until a full link is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// For what names no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Ask {
    pub link: Arc<RouterLink>,
    pub doc: DocId,
    pub what: What,
    deadline: Instant,
    /// Counted against the link until it is answered.
    _place: Option<Place>,
}

pub(crate) enum What {
    Open(v1::Open),
    Follow(Option<v1::Resume>),
    /// In line with the rest, so that it undoes the follow before it and not the one after.
    Unfollow,
    Describe {
        id: u64,
        user: String,
    },
    Role {
        id: u64,
        user: String,
    },
}

impl Ask {
    pub fn new(
        link: Arc<RouterLink>,
        doc: DocId,
        what: What,
        place: Option<Place>,
        patience: Option<Duration>,
    ) -> Self {
        let deadline = Instant::now() + patience.unwrap_or(PATIENCE);
        Self {
            link,
            doc,
            what,
            deadline,
            _place: place,
        }
    }

    /// Whether its link has room, or nobody waits for it any longer.
    fn is_due(&self) -> bool {
        !self.link.is_full() || self.deadline <= Instant::now()
    }

    pub fn fail(self, problem: v1::Problem) {
        let doc = self.doc.to_bytes();
        let fails = problem.code != Code::NotFound as u32;
        let body = match self.what {
            What::Open(open) if fails && mutant!("blank_document_after_a_failed_load") => {
                Body::Opened(v1::Opened {
                    tag: open.tag,
                    doc,
                    role: Role::Editor as u32,
                    kind: Kind::Text as u32,
                    hash: Bytes::from_static(&[0; 32]),
                    state: Delta::new().to_bytes().into(),
                    ..Default::default()
                })
            }
            What::Open(open) => Body::Opened(v1::Opened {
                tag: open.tag,
                doc,
                problem: Some(problem),
                ..Default::default()
            }),
            What::Follow(_) => Body::Followed(v1::Followed {
                doc,
                problem: Some(problem),
                ..Default::default()
            }),
            What::Unfollow => return,
            What::Describe { id, .. } | What::Role { id, .. } => Body::Reply(v1::Reply {
                id,
                body: Some(reply::Body::Problem(problem)),
            }),
        };
        self.link.push(body);
    }
}

/// What waits at one group. Bounded by the links' own places.
#[derive(Default)]
pub(crate) struct Reads {
    waiting: Mutex<VecDeque<Ask>>,
    arrived: Notify,
}

impl Reads {
    pub fn push(&self, ask: Ask) {
        lock(&self.waiting).push_back(ask);
        self.arrived.notify_one();
    }

    /// What has come, behind what is `held`; that alone once it can be answered.
    async fn next(&self, mut held: Vec<Ask>) -> Vec<Ask> {
        loop {
            let before = held.len();
            held.extend(lock(&self.waiting).drain(..));
            if held.len() > before || held.iter().any(Ask::is_due) {
                return held;
            }
            let arrived = self.arrived.notified();
            if held.is_empty() {
                arrived.await;
            } else {
                // Either way it is looked at again.
                let _ = tokio::time::timeout(LOOK_AGAIN, arrived).await;
            }
        }
    }
}

/// Serves a group's reads for as long as the node runs.
pub(crate) async fn serve(hosted: Arc<Hosted>) {
    let mut held = Held::default();
    loop {
        let mut asks = hosted.reads.next(std::mem::take(&mut held).asks).await;
        let all_unfollow = asks.iter().all(|ask| matches!(ask.what, What::Unfollow));
        let barrier = if all_unfollow {
            Ok(())
        } else {
            barrier(&hosted, &mut asks).await
        };
        match barrier {
            Ok(()) => {
                let mut asks = VecDeque::from(asks);
                while !asks.is_empty() {
                    let some = asks.len().min(AT_ONCE);
                    if mutant!("state_and_subscription_in_two_steps") {
                        let follow = asks
                            .iter()
                            .take(some)
                            .map(|ask| (ask.doc, ask.link.clone()));
                        let later: Vec<_> = follow.collect();
                        answer(&hosted, asks.drain(..some), &mut held);
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        let mut feed = lock(&hosted.feed.state);
                        for (doc, link) in &later {
                            feed.followers.add(*doc, link, false);
                        }
                        continue;
                    }
                    answer(&hosted, asks.drain(..some), &mut held);
                    tokio::task::yield_now().await;
                }
            }
            Err(problem) => {
                for ask in asks {
                    give_up(&hosted, ask, problem.clone());
                }
            }
        }
    }
}

/// An answer that needs no barrier; an unfollow is done all the same.
fn give_up(hosted: &Hosted, ask: Ask, problem: v1::Problem) {
    if matches!(ask.what, What::Unfollow) {
        lock(&hosted.feed.state)
            .followers
            .remove(&ask.doc, ask.link.id);
    }
    ask.fail(problem);
}

/// One barrier for all; whose time is up meanwhile is told so and taken out.
async fn barrier(hosted: &Hosted, asks: &mut Vec<Ask>) -> Result<(), v1::Problem> {
    let read = hosted.group.read();
    tokio::pin!(read);
    loop {
        let Some(first) = asks.iter().map(|ask| ask.deadline).min() else {
            return Ok(());
        };
        tokio::select! {
            biased;
            result = &mut read => return result.map_err(wire::reading),
            () = tokio::time::sleep_until(first) => {
                let now = Instant::now();
                let (late, waiting): (Vec<_>, Vec<_>) = std::mem::take(asks).into_iter().partition(|a| a.deadline <= now);
                *asks = waiting;
                for ask in late {
                    let problem = wire::problem(Code::Timeout, "no answer in time");
                    give_up(hosted, ask, problem);
                }
            }
        }
    }
}

/// What was asked on links that have much to read, and what was asked there after it: on one link
/// everything is answered in its order.
#[derive(Default)]
struct Held {
    asks: Vec<Ask>,
    links: BTreeSet<u64>,
}

fn answer(hosted: &Hosted, asks: impl Iterator<Item = Ask>, held: &mut Held) {
    hosted.group.with(|shard, _| {
        let mut state = lock(&hosted.feed.state);
        if !state.leading {
            // Lost since the barrier: the feeds are cut and stay so.
            let problem = wire::not_leader(&hosted.group.lead());
            asks.for_each(|ask| ask.fail(problem.clone()));
            return;
        }
        let mut states = BTreeMap::new();
        for ask in asks {
            let link = ask.link.id;
            if held.links.contains(&link) || ask.link.is_full() {
                held.links.insert(link);
                held.asks.push(ask);
            } else {
                serve_one(shard, &mut state, &mut states, ask);
            }
        }
    });
}

/// Documents as they are spelled for whom the window does not reach; many open the same one
/// at once when a router comes back.
type States = BTreeMap<DocId, Bytes>;

fn serve_one(shard: &Shard, feed: &mut FeedState, states: &mut States, ask: Ask) {
    let document = shard.document(&ask.doc);
    let body = match (&ask.what, document) {
        (What::Unfollow, _) => {
            feed.followers.remove(&ask.doc, ask.link.id);
            return;
        }
        (What::Follow(after), Some(document)) => {
            if !mutant!("state_and_subscription_in_two_steps") {
                feed.followers.add(ask.doc, &ask.link, true);
            }
            Body::Followed(followed(document, after.as_ref()))
        }
        (What::Open(open), Some(document)) => match document.role(&open.user) {
            Some(role) => {
                if !mutant!("state_and_subscription_in_two_steps") {
                    feed.followers.add(ask.doc, &ask.link, false);
                }
                Body::Opened(opened(document, role, open, states))
            }
            None => return ask.fail(wire::not_found()),
        },
        (What::Describe { id, user }, Some(document)) if document.role(user).is_some() => {
            let description = wire::description(document, user);
            Body::Reply(v1::Reply {
                id: *id,
                body: Some(reply::Body::Description(description)),
            })
        }
        (What::Role { id, user }, Some(document)) if document.role(user).is_some() => {
            let description = wire::short_description(document, user);
            Body::Reply(v1::Reply {
                id: *id,
                body: Some(reply::Body::Description(description)),
            })
        }
        _ => return ask.fail(wire::not_found()),
    };
    ask.link.push(body);
}

fn followed(document: &Document, after: Option<&v1::Resume>) -> v1::Followed {
    let events = after.and_then(|after| events_after(document, after));
    v1::Followed {
        doc: document.id().to_bytes(),
        problem: None,
        rev: document.rev(),
        hash: Bytes::copy_from_slice(&document.hash().0),
        resumed: events.is_some(),
        events: events.unwrap_or_default(),
        ts_ms: document.updated_ms(),
    }
}

fn opened(document: &Document, role: Role, open: &v1::Open, states: &mut States) -> v1::Opened {
    let visible = |after: &&v1::Resume| after.rev >= visible_from(document, role, &open.user);
    let events = open
        .resume
        .as_ref()
        .filter(visible)
        .filter(|_| !(open.unsent && mutant!("bare_snapshot_to_unsent_work")))
        .and_then(|r| events_after(document, r));
    let state = match &events {
        Some(_) => Bytes::new(),
        None => states
            .entry(document.id())
            .or_insert_with(|| state_of(document))
            .clone(),
    };
    let acked = ClientId::from_slice(&open.client)
        .and_then(|c| document.acked(&c))
        .filter(|_| !mutant!("welcome_without_acknowledged"));
    v1::Opened {
        tag: open.tag,
        doc: document.id().to_bytes(),
        problem: None,
        role: role as u32,
        kind: document.kind() as u32,
        algebra: document.algebra().as_str().to_owned(),
        rev: document.rev(),
        hash: Bytes::copy_from_slice(&document.hash().0),
        acked: acked.map(|(seq, rev)| v1::Acked { seq, rev }),
        resumed: events.is_some(),
        events: events.unwrap_or_default(),
        state,
        title: document.title().to_owned(),
        floor: document.floor(),
        ts_ms: document.updated_ms(),
    }
}

/// The first revision that a reader may resume from: owners and editors see all history,
/// the others what came since they were let in.
fn visible_from(document: &Document, role: Role, user: &str) -> u64 {
    if role.can_edit() {
        return 0;
    }
    let grant = document.grants().find(|(name, _)| name.as_ref() == user);
    grant.map_or(u64::MAX, |(_, grant)| grant.rev)
}

/// All after a revision, if it is in the window and was this very one.
fn events_after(document: &Document, after: &v1::Resume) -> Option<Vec<v1::Event>> {
    let hash = document.hash_at(after.rev)?;
    if after.hash != hash.0.as_slice() {
        return None;
    }
    let one_off = after.rev < document.rev() && mutant!("tail_off_by_one");
    let events = document.events_after(after.rev + u64::from(one_off))?;
    Some(events.map(|event| wire::event(event)).collect())
}

fn state_of(document: &Document) -> Bytes {
    let mut out = Vec::new();
    document.content().to_delta().encode(&mut out);
    out.into()
}
