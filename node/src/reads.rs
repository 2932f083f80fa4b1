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
    v1::{self, OpenedFrom, message::Body, reply},
};
use codraft_raft::{
    group::Group,
    machine::{Document, Lookup},
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    followers::{Feed, FeedState},
    metrics::lock,
    routers::{RequestPermit, RouterLink},
    wire,
};

/// Served under one hold of the group's lock; between two such, operations are applied.
const AT_ONCE: usize = 32;

/// How long until a full link or a cold document is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// For what names no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct ReadRequest {
    pub link: Arc<RouterLink>,
    pub doc: DocId,
    pub kind: ReadKind,
    deadline: Instant,
    /// Not looked at again before, since its document was cold.
    not_before: Instant,
    /// Counted against the link until it is answered.
    _permit: Option<RequestPermit>,
}

pub(crate) enum ReadKind {
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

impl ReadRequest {
    pub fn new(
        link: Arc<RouterLink>,
        doc: DocId,
        kind: ReadKind,
        permit: Option<RequestPermit>,
        patience: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        Self {
            link,
            doc,
            kind,
            deadline: now + patience.unwrap_or(PATIENCE),
            not_before: now,
            _permit: permit,
        }
    }

    /// Whether it may be answered now, or nobody waits for it any longer.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let may = !self.link.is_full() && self.not_before <= now;
        may || self.deadline <= now
    }

    pub fn fail(self, problem: v1::Problem) {
        let doc = self.doc.to_bytes();
        let fails = problem.code != Code::NotFound as u32;
        let body = match self.kind {
            ReadKind::Open(open) if fails && mutant!("blank_document_after_a_failed_load") => {
                Body::Opened(v1::Opened {
                    tag: open.tag,
                    doc,
                    role: Role::Editor as u32,
                    kind: Kind::Text as u32,
                    hash: Bytes::from_static(&[0; 32]),
                    from: OpenedFrom::State.into(),
                    state: Delta::new().to_bytes().into(),
                    ..Default::default()
                })
            }
            ReadKind::Open(open) => Body::Opened(v1::Opened {
                tag: open.tag,
                doc,
                problem: Some(problem),
                ..Default::default()
            }),
            ReadKind::Follow(_) => Body::Followed(v1::Followed {
                doc,
                problem: Some(problem),
                ..Default::default()
            }),
            ReadKind::Unfollow => return,
            ReadKind::Describe { id, .. } | ReadKind::Role { id, .. } => Body::Reply(v1::Reply {
                id,
                body: Some(reply::Body::Problem(problem)),
            }),
        };
        self.link.push(body);
    }
}

/// What waits at one group. Bounded by the links' own places.
pub(crate) struct Reads {
    group: Group,
    feed: Arc<Feed>,
    waiting: Mutex<VecDeque<ReadRequest>>,
    arrived: Notify,
}

impl Reads {
    pub fn new(group: Group, feed: Arc<Feed>) -> Self {
        Self {
            group,
            feed,
            waiting: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    pub fn push(&self, request: ReadRequest) {
        lock(&self.waiting).push_back(request);
        self.arrived.notify_one();
    }

    /// What has come, behind what is `deferred`; that alone once it can be answered.
    async fn next(&self, mut deferred: Vec<ReadRequest>) -> Vec<ReadRequest> {
        loop {
            let before = deferred.len();
            deferred.extend(lock(&self.waiting).drain(..));
            if deferred.len() > before || deferred.iter().any(ReadRequest::is_due) {
                return deferred;
            }
            let arrived = self.arrived.notified();
            if deferred.is_empty() {
                arrived.await;
            } else {
                // Either way it is looked at again.
                let _ = tokio::time::timeout(LOOK_AGAIN, arrived).await;
            }
        }
    }
}

/// Serves a group's reads for as long as the node runs.
pub(crate) async fn serve(reads: Arc<Reads>) {
    let mut deferred = Deferred::default();
    loop {
        let mut requests = reads.next(std::mem::take(&mut deferred).requests).await;
        let all_unfollow = requests
            .iter()
            .all(|request| matches!(request.kind, ReadKind::Unfollow));
        let barrier = if all_unfollow {
            Ok(())
        } else {
            barrier(&reads, &mut requests).await
        };
        match barrier {
            Ok(()) => {
                let mut requests = VecDeque::from(requests);
                while !requests.is_empty() {
                    let some = requests.len().min(AT_ONCE);
                    if mutant!("state_and_subscription_in_two_steps") {
                        let follow = requests
                            .iter()
                            .take(some)
                            .map(|request| (request.doc, request.link.clone()));
                        let later: Vec<_> = follow.collect();
                        answer(&reads, requests.drain(..some), &mut deferred);
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        let mut feed = lock(&reads.feed.state);
                        for (doc, link) in &later {
                            feed.followers.add(*doc, link, false);
                        }
                        continue;
                    }
                    answer(&reads, requests.drain(..some), &mut deferred);
                    tokio::task::yield_now().await;
                }
            }
            Err(problem) => {
                for request in requests {
                    give_up(&reads, request, problem.clone());
                }
            }
        }
    }
}

/// An answer that needs no barrier; an unfollow is done all the same.
fn give_up(reads: &Reads, request: ReadRequest, problem: v1::Problem) {
    if matches!(request.kind, ReadKind::Unfollow) {
        lock(&reads.feed.state)
            .followers
            .remove(&request.doc, request.link.id);
    }
    request.fail(problem);
}

/// One barrier for all; whose time is up meanwhile is told so and taken out.
async fn barrier(reads: &Reads, requests: &mut Vec<ReadRequest>) -> Result<(), v1::Problem> {
    let read = reads.group.read();
    tokio::pin!(read);
    loop {
        let Some(first) = requests.iter().map(|request| request.deadline).min() else {
            return Ok(());
        };
        tokio::select! {
            biased;
            result = &mut read => return result.map_err(wire::reading),
            () = tokio::time::sleep_until(first) => {
                let now = Instant::now();
                let (late, waiting): (Vec<_>, Vec<_>) = std::mem::take(requests).into_iter().partition(|a| a.deadline <= now);
                *requests = waiting;
                for request in late {
                    let problem = wire::problem(Code::Timeout, "no answer in time");
                    give_up(reads, request, problem);
                }
            }
        }
    }
}

/// What was asked on links that have much to read or of documents that are not in memory, and
/// what was asked there after it: on one link, of one document, everything is answered in its
/// order.
#[derive(Default)]
struct Deferred {
    requests: Vec<ReadRequest>,
    links: BTreeSet<u64>,
    docs: BTreeSet<DocId>,
}

impl Deferred {
    /// Keeps a request that cannot be answered yet; else gives it back.
    fn keep_or(&mut self, mut request: ReadRequest, is_cold: bool) -> Option<ReadRequest> {
        if request.link.is_full() {
            self.links.insert(request.link.id);
        }
        if is_cold {
            self.docs.insert(request.doc);
            request.not_before = Instant::now() + LOOK_AGAIN;
        }
        if self.links.contains(&request.link.id) || self.docs.contains(&request.doc) {
            self.requests.push(request);
            return None;
        }
        Some(request)
    }
}

fn answer(reads: &Reads, requests: impl Iterator<Item = ReadRequest>, deferred: &mut Deferred) {
    reads.group.with(|shard| {
        let mut state = lock(&reads.feed.state);
        if !state.leading {
            // Lost since the barrier: the feeds are cut and stay so.
            let problem = wire::not_leader(&reads.group.leadership());
            requests.for_each(|request| request.fail(problem.clone()));
            return;
        }
        let mut states = BTreeMap::new();
        for request in requests {
            let document = shard.document(&request.doc);
            let is_cold = matches!(document, Lookup::Cold);
            if let Some(request) = deferred.keep_or(request, is_cold) {
                let document = document.present().map(Arc::as_ref);
                serve_one(document, &mut state, &mut states, request);
            }
        }
    });
}

/// Documents as they are spelled for whom the window does not reach; many open the same one
/// at once when a router comes back.
type States = BTreeMap<DocId, Bytes>;

/// `document`: none if it is missing.
fn serve_one(
    document: Option<&Document>,
    feed: &mut FeedState,
    states: &mut States,
    request: ReadRequest,
) {
    let body = match (&request.kind, document) {
        (ReadKind::Unfollow, _) => {
            feed.followers.remove(&request.doc, request.link.id);
            return;
        }
        (ReadKind::Follow(after), Some(document)) => {
            if !mutant!("state_and_subscription_in_two_steps") {
                feed.followers.add(request.doc, &request.link, true);
            }
            Body::Followed(followed(document, after.as_ref()))
        }
        (ReadKind::Open(open), Some(document)) => match document.role(&open.user) {
            Some(role) => {
                if !mutant!("state_and_subscription_in_two_steps") {
                    feed.followers.add(request.doc, &request.link, false);
                }
                Body::Opened(opened(document, role, open, states))
            }
            None => return request.fail(wire::not_found()),
        },
        (ReadKind::Describe { id, user }, Some(document)) if document.role(user).is_some() => {
            let description = wire::description(document, user);
            Body::Reply(v1::Reply {
                id: *id,
                body: Some(reply::Body::Description(description)),
            })
        }
        (ReadKind::Role { id, user }, Some(document)) if document.role(user).is_some() => {
            let description = wire::short_description(document, user);
            Body::Reply(v1::Reply {
                id: *id,
                body: Some(reply::Body::Description(description)),
            })
        }
        _ => return request.fail(wire::not_found()),
    };
    request.link.push(body);
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
    let acked = ClientId::from_slice(&open.client)
        .and_then(|c| document.acked(&open.user.as_str().into(), c))
        .filter(|_| !mutant!("welcome_without_acknowledged"));
    let visible_from = visible_from(document, role, &open.user);
    let after = |at: &Option<v1::Resume>| {
        let at = at.as_ref().filter(|at| at.rev >= visible_from)?;
        events_after(document, at)
    };
    let may_resume = !(open.unsent && mutant!("bare_snapshot_to_unsent_work"));
    let resumed = after(&open.resume).filter(|_| may_resume);
    // A welcome with a document is the document as it is now: one that lay some events below would
    // lack what its reader saw acknowledged elsewhere.
    let held = open.held.clone().filter(|held| held.rev == document.rev());
    let held = || after(&held).map(|events| (OpenedFrom::Held, events));
    let (start, events) = resumed
        .map(|events| (OpenedFrom::Resume, events))
        .or_else(held)
        .unwrap_or((
            if open.bring {
                OpenedFrom::State
            } else {
                OpenedFrom::Nothing
            },
            Vec::new(),
        ));
    let state = match start {
        OpenedFrom::State => states
            .entry(document.id())
            .or_insert_with(|| state_of(document))
            .clone(),
        _ => Bytes::new(),
    };
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
        from: start.into(),
        events,
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
    document.content().encode(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codraft_proto::link::{Lane, Outbox};

    use super::*;
    use crate::routers::Routers;

    #[test]
    fn a_cold_document_is_waited_for_and_never_missing() {
        let outbox = Outbox::detached();
        let link = Routers::default().add(outbox.clone());
        let ask =
            |doc: u8, kind| ReadRequest::new(link.clone(), DocId([doc; 16]), kind, None, None);
        let (cold, other) = (1, 2);
        let mut deferred = Deferred::default();
        let kept = |request: Option<ReadRequest>| request.is_none();
        assert!(kept(
            deferred.keep_or(ask(cold, ReadKind::Follow(None)), true)
        ));
        assert!(
            kept(deferred.keep_or(ask(cold, ReadKind::Unfollow), false)),
            "what was asked of it later stays behind"
        );
        assert!(!kept(
            deferred.keep_or(ask(other, ReadKind::Follow(None)), false)
        ));
        assert!(
            outbox.take(Lane::Data).is_empty(),
            "nobody was told anything"
        );

        let first = &mut deferred.requests[0];
        assert!(first.not_before > Instant::now() && !first.is_due());
        first.not_before = Instant::now();
        assert!(first.is_due());
        let waiting = std::mem::take(&mut deferred).requests;
        assert_eq!(waiting.len(), 2);
        for request in waiting {
            assert!(!kept(deferred.keep_or(request, false)), "it is warm now");
        }
    }
}
