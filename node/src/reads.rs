//! What needs a linearizable look at a group: opens, follows, descriptions. All that wait
//! share one barrier, and each is served in one step under the group's lock, so that an
//! answer has its exact place in the feed.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    time::Duration,
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_ot::{Delta, Kind};
use codraft_proto::{
    ids::{ClientId, DocId, Revision, Role, Seq},
    link::event_cost,
    reject::Code,
    tasks::Tasks,
    v1::{self, OpenedFrom, message::Body, reply},
};
use codraft_raft::{
    group::Group,
    machine::{Document, Lookup, Summary},
};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    followers::{Feed, FeedState},
    routers::{Promise, RequestPermit, RouterLink},
    states::{Spelling, States, head_of},
    wire,
};

/// Served under one hold of the group's lock, and spelled; between two such, operations are applied.
const AT_ONCE: usize = 32;
const AT_ONCE_BYTES: usize = 64 << 10;

/// Of the events between a state that is there and the head, as `credit_cost` counts them: each
/// reader has them anew, where a later state is shared.
const MISSED_MAX: u64 = 64 << 10;

/// How long until a full link is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// For what names no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct ReadRequest {
    pub link: Arc<RouterLink>,
    pub doc: DocId,
    pub kind: ReadKind,
    deadline: Instant,
    wait: Wait,
    /// The document that it waited for, and its place on the link.
    spelling: Option<(Arc<Spelling>, Promise)>,
    /// Counted against the link until it is answered.
    _permit: Option<RequestPermit>,
}

/// What has to happen before a request is looked at again.
#[derive(Clone, Default)]
enum Wait {
    #[default]
    Nothing,
    /// Its document is being read into memory; whether it is there by now, or cannot be had.
    Brought(Arc<AtomicBool>),
    Spelled(Arc<Spelling>),
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

impl ReadKind {
    /// Whether it is about more than a document's summary.
    fn needs_all(&self) -> bool {
        matches!(self, ReadKind::Open(_) | ReadKind::Follow(_))
    }
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
            wait: Wait::Nothing,
            spelling: None,
            _permit: permit,
        }
    }

    /// Whether it may be answered now, or nobody waits for it any longer.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let waits = match &self.wait {
            Wait::Nothing => false,
            Wait::Brought(done) => !done.load(Acquire),
            Wait::Spelled(spelling) => !spelling.is_done(),
        };
        !waits && !self.link_is_full() || self.deadline <= now
    }

    fn link_is_full(&self) -> bool {
        let own = self
            .spelling
            .as_ref()
            .map_or(0, |(_, promise)| promise.bytes);
        self.link.is_full(own)
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
                    state_at: Some(v1::Resume {
                        rev: 0,
                        hash: Bytes::from_static(&[0; 32]),
                    }),
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
    states: Arc<States>,
    /// `NodeConfig::spelled_at_once`.
    at_once: usize,
    tasks: Tasks,
    waiting: Mutex<VecDeque<ReadRequest>>,
    /// Or something that is waited for.
    arrived: Arc<Notify>,
}

impl Reads {
    pub fn new(
        group: Group,
        feed: Arc<Feed>,
        states: Arc<States>,
        at_once: usize,
        tasks: Tasks,
    ) -> Self {
        Self {
            group,
            feed,
            states,
            at_once,
            tasks,
            waiting: Mutex::default(),
            arrived: Arc::default(),
        }
    }

    /// Begins to read a document into memory; what says that this is over.
    fn bring(&self, doc: DocId) -> Arc<AtomicBool> {
        let done = Arc::new(AtomicBool::new(false));
        let (group, arrived, over) = (self.group.clone(), self.arrived.clone(), done.clone());
        self.tasks.spawn("cold document", async move {
            // It is looked at again in any case, and whoever waits gives up in time.
            if let Err(error) = group.bring(doc).await {
                tracing::error!(%doc, %error, "a cold document cannot be had");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            over.store(true, Release);
            arrived.notify_one();
        });
        done
    }

    pub fn push(&self, request: ReadRequest) {
        self.waiting.lock().push_back(request);
        self.arrived.notify_one();
    }

    /// What has come, behind what is `deferred`; that alone once it can be answered.
    async fn next(&self, mut deferred: Vec<ReadRequest>) -> Vec<ReadRequest> {
        loop {
            let before = deferred.len();
            deferred.extend(self.waiting.lock().drain(..));
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

/// Spells the documents that a group's reads wait for.
pub(crate) async fn spell(reads: Arc<Reads>) {
    let done = || reads.arrived.notify_one();
    reads.states.clone().spell(reads.group.clone(), done).await;
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
                    if mutant!("state_and_subscription_in_two_steps") {
                        let follow = requests
                            .iter()
                            .map(|request| (request.doc, request.link.clone()));
                        let later: Vec<_> = follow.collect();
                        answer(&reads, &mut requests, &mut deferred);
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        let mut feed = reads.feed.state.lock();
                        for (doc, link) in &later {
                            feed.followers.add(*doc, link, false);
                        }
                        continue;
                    }
                    answer(&reads, &mut requests, &mut deferred);
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
        reads
            .feed
            .state
            .lock()
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

/// What was asked on links that have much to read, of documents that are not in memory, or not
/// spelled, and what was asked there after it: on one link, of one document, everything is answered
/// in its order.
#[derive(Default)]
struct Deferred {
    requests: Vec<ReadRequest>,
    links: BTreeSet<u64>,
    docs: BTreeMap<(u64, DocId), Wait>,
}

impl Deferred {
    /// Keeps a request that cannot be answered yet; else gives it back. `bring` is asked for a cold
    /// document.
    fn keep_or(
        &mut self,
        mut request: ReadRequest,
        bring: Option<impl FnOnce() -> Arc<AtomicBool>>,
    ) -> Option<ReadRequest> {
        let link = request.link.id;
        if request.link_is_full() {
            self.links.insert(link);
        }
        if let Some(bring) = bring {
            let place = self.docs.entry((link, request.doc));
            place.or_insert_with(|| Wait::Brought(bring()));
        }
        let before = self.docs.get(&(link, request.doc)).cloned();
        if before.is_some() || self.links.contains(&link) {
            request.wait = before.unwrap_or_default();
            self.requests.push(request);
            return None;
        }
        Some(request)
    }

    /// Keeps one that starts from a document which is being spelled.
    fn spelled(&mut self, mut request: ReadRequest, spelling: Arc<Spelling>, bytes: usize) {
        request.wait = Wait::Spelled(spelling.clone());
        self.docs
            .insert((request.link.id, request.doc), request.wait.clone());
        let promise = request.link.promise(bytes);
        request.spelling = Some((spelling, promise));
        self.requests.push(request);
    }
}

/// Answers the first of them.
fn answer(reads: &Reads, requests: &mut VecDeque<ReadRequest>, deferred: &mut Deferred) {
    reads.group.with(|shard| {
        let mut feed = reads.feed.state.lock();
        if !feed.leading {
            // Lost since the barrier: the feeds are cut and stay so.
            let problem = wire::not_leader(&reads.group.leadership());
            requests
                .drain(..)
                .for_each(|request| request.fail(problem.clone()));
            return;
        }
        let mut look = Look {
            reads,
            feed: &mut feed,
            deferred,
            spelled: BTreeMap::new(),
            spelled_bytes: 0,
        };
        for _ in 0..AT_ONCE {
            let Some(request) = requests.pop_front() else {
                break;
            };
            let document = shard.document(&request.doc);
            let is_cold = matches!(document, Lookup::Cold(_))
                && request.kind.needs_all()
                && !mutant!("cold_taken_for_missing");
            let doc = request.doc;
            let bring = is_cold.then_some(|| reads.bring(doc));
            let Some(request) = look.deferred.keep_or(request, bring) else {
                continue;
            };
            match document {
                Lookup::Cold(packed) => look.serve_summary(&packed.summary(), request),
                document => look.serve(document.present().map(Arc::as_ref), request),
            }
            if look.spelled_bytes >= AT_ONCE_BYTES {
                break;
            }
        }
    });
}

/// One hold of the group's lock.
struct Look<'a> {
    reads: &'a Reads,
    feed: &'a mut FeedState,
    deferred: &'a mut Deferred,
    /// Small documents, as they are now.
    spelled: BTreeMap<DocId, Bytes>,
    spelled_bytes: usize,
}

impl Look<'_> {
    /// What needs no more of a document than that.
    fn serve_summary(&mut self, summary: &Summary, request: ReadRequest) {
        let body = match &request.kind {
            ReadKind::Unfollow => return self.unfollow(&request),
            ReadKind::Describe { id, user } if summary.role(user).is_some() => {
                described(*id, wire::description(&request.doc, summary, user))
            }
            ReadKind::Role { id, user } if summary.role(user).is_some() => {
                described(*id, wire::short_description(&request.doc, summary, user))
            }
            _ => return request.fail(wire::not_found()),
        };
        request.link.push(body);
    }

    fn unfollow(&mut self, request: &ReadRequest) {
        self.feed.followers.remove(&request.doc, request.link.id);
    }

    /// `document`: none if it is missing.
    fn serve(&mut self, document: Option<&Document>, request: ReadRequest) {
        let body = match (&request.kind, document) {
            (ReadKind::Unfollow, _) => return self.unfollow(&request),
            (ReadKind::Follow(after), Some(document)) => {
                self.follow(&request, true);
                Body::Followed(followed(document, after.as_ref()))
            }
            (ReadKind::Open(open), Some(document)) => {
                let Some(role) = document.role(&open.user) else {
                    return request.fail(wire::not_found());
                };
                let reader = Reader::new(document, role, open);
                match self.start(&reader, open, &request) {
                    Ok(start) => {
                        self.follow(&request, false);
                        Body::Opened(opened(&reader, open, start))
                    }
                    Err(spelling) => {
                        let bytes = document.content().encoded_bytes();
                        return self.deferred.spelled(request, spelling, bytes);
                    }
                }
            }
            (ReadKind::Describe { id, user }, Some(document)) if document.role(user).is_some() => {
                let summary = document.summary();
                described(*id, wire::description(&request.doc, &summary, user))
            }
            (ReadKind::Role { id, user }, Some(document)) if document.role(user).is_some() => {
                let summary = document.summary();
                described(*id, wire::short_description(&request.doc, &summary, user))
            }
            _ => return request.fail(wire::not_found()),
        };
        request.link.push(body);
    }

    fn follow(&mut self, request: &ReadRequest, afresh: bool) {
        if !mutant!("state_and_subscription_in_two_steps") {
            self.feed.followers.add(request.doc, &request.link, afresh);
        }
    }

    /// What a reader starts from, or what it has to wait for.
    fn start(
        &mut self,
        reader: &Reader<'_>,
        open: &v1::Open,
        request: &ReadRequest,
    ) -> Result<Start, Arc<Spelling>> {
        let may_resume = !(open.unsent && mutant!("bare_snapshot_to_unsent_work"));
        if let Some(at) = open.resume.as_ref().filter(|_| may_resume)
            && let Some(events) = reader.after(at)
        {
            return Ok(Start::new(OpenedFrom::Resume, events));
        }
        if let Some(at) = &open.held
            && let Some(events) = reader.after_state(at, MISSED_MAX)
        {
            return Ok(Start::new(OpenedFrom::Held, events));
        }
        if !open.bring {
            return Ok(Start::new(OpenedFrom::Nothing, Vec::new()));
        }
        let document = reader.document;
        if document.content().encoded_bytes() <= self.reads.at_once {
            return Ok(Start {
                state: Some((head_of(document), self.spelled(document))),
                ..Start::new(OpenedFrom::State, Vec::new())
            });
        }
        // What it waited for is good however much came since, or it might wait for ever.
        let own = request
            .spelling
            .iter()
            .map(|(own, _)| (own.clone(), u64::MAX));
        let latest = self.reads.states.latest(&request.doc);
        for (spelling, most) in own.chain(latest.map(|latest| (latest, MISSED_MAX))) {
            if !spelling.is_done() {
                return Err(spelling);
            }
            if let Some(state) = spelling.state()
                && let Some(events) = reader.after_state(&state.at, most)
            {
                return Ok(Start {
                    state: Some((state.at.clone(), state.bytes.clone())),
                    kept: state.kept,
                    ..Start::new(OpenedFrom::State, events)
                });
            }
        }
        Err(self.reads.states.ask(request.doc))
    }

    /// A small document as it is.
    fn spelled(&mut self, document: &Document) -> Bytes {
        let spelled = self.spelled.entry(document.id()).or_insert_with(|| {
            let mut bytes = Vec::new();
            document.content().encode(&mut bytes);
            self.spelled_bytes += bytes.len();
            bytes.into()
        });
        spelled.clone()
    }
}

/// What a reader starts from, and all after it.
struct Start {
    from: OpenedFrom,
    events: Vec<v1::Event>,
    state: Option<(v1::Resume, Bytes)>,
    /// Of a large one: the revision at which the archive has it whole, or 0.
    kept: u64,
}

impl Start {
    fn new(from: OpenedFrom, events: Vec<v1::Event>) -> Self {
        Self {
            from,
            events,
            state: None,
            kept: 0,
        }
    }
}

/// The reader that opens a document.
struct Reader<'a> {
    document: &'a Document,
    role: Role,
    /// The first revision that it may resume from.
    visible_from: Revision,
    /// Sequence and revision of what was last applied of its client's.
    acked: Option<(Seq, Revision)>,
}

impl<'a> Reader<'a> {
    fn new(document: &'a Document, role: Role, open: &v1::Open) -> Self {
        let acked = ClientId::from_slice(&open.client)
            .and_then(|client| document.acked(&open.user.as_str().into(), client));
        Self {
            document,
            role,
            visible_from: document
                .grant_of(&open.user)
                .map_or(Revision(u64::MAX), |grant| grant.visible_from()),
            acked,
        }
    }

    /// All after what it has.
    fn after(&self, at: &v1::Resume) -> Option<Vec<v1::Event>> {
        (at.rev >= self.visible_from.0)
            .then(|| events_after(self.document, at))
            .flatten()
    }

    /// All after a state, where that takes `most` at most. None of its own is among them: to a client
    /// that starts with a document, what is in flight is all there can be.
    fn after_state(&self, at: &v1::Resume, most: u64) -> Option<Vec<v1::Event>> {
        if self.acked.is_some_and(|(_, rev)| rev > Revision(at.rev)) {
            return None;
        }
        let missed = self.document.events_after(Revision(at.rev))?;
        let cost: u64 = missed.map(|event| event_cost(event.body.len())).sum();
        (cost <= most).then(|| self.after(at)).flatten()
    }
}

fn described(id: u64, description: v1::Description) -> Body {
    Body::Reply(v1::Reply {
        id,
        body: Some(reply::Body::Description(description)),
    })
}

fn followed(document: &Document, after: Option<&v1::Resume>) -> v1::Followed {
    let events = after.and_then(|after| events_after(document, after));
    v1::Followed {
        doc: document.id().to_bytes(),
        problem: None,
        rev: document.rev().0,
        hash: Bytes::copy_from_slice(&document.hash().0),
        resumed: events.is_some(),
        events: events.unwrap_or_default(),
        ts_ms: document.updated_ms(),
    }
}

fn opened(reader: &Reader<'_>, open: &v1::Open, start: Start) -> v1::Opened {
    let document = reader.document;
    let acked = reader
        .acked
        .filter(|_| !mutant!("welcome_without_acknowledged"));
    let (state_at, state) = start.state.unzip();
    v1::Opened {
        tag: open.tag,
        doc: document.id().to_bytes(),
        problem: None,
        role: reader.role as u32,
        kind: document.kind() as u32,
        algebra: document.algebra().as_str().to_owned(),
        rev: document.rev().0,
        hash: Bytes::copy_from_slice(&document.hash().0),
        acked: acked.map(|(seq, rev)| v1::Acked {
            seq: seq.0,
            rev: rev.0,
        }),
        from: start.from.into(),
        events: start.events,
        state: state.unwrap_or_default(),
        title: document.title().to_owned(),
        floor: document.floor().0,
        ts_ms: document.updated_ms(),
        state_at,
        kept: start.kept,
    }
}

/// All after a revision, if it is in the window and was this very one.
fn events_after(document: &Document, after: &v1::Resume) -> Option<Vec<v1::Event>> {
    let hash = document.hash_at(Revision(after.rev))?;
    if after.hash != hash.0.as_slice() {
        return None;
    }
    let one_off = after.rev < document.rev().0 && mutant!("tail_off_by_one");
    let events = document.events_after(Revision(after.rev + u64::from(one_off)))?;
    Some(events.map(|event| wire::event(event)).collect())
}
