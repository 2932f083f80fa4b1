//! What needs a linearizable look at a group: opens, follows, descriptions. All that wait
//! share one barrier, and each is served in one step under the group's lock, so that an
//! answer has its exact place in the feed.

mod start;
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
    ids::{DocId, Role},
    reject::Code,
    tasks::Tasks,
    v1::{self, OpenedFrom, message::Body, reply},
};
use codraft_raft::{
    group::Group,
    machine::{Document, Lookup, Summary},
};
use parking_lot::Mutex;
use start::{Known, Reader, Start, followed, opened};
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
    /// There was a barrier since it came, so what is applied here is late enough for good.
    passed: bool,
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
    /// Who is in the document.
    Presence {
        id: u64,
        user: String,
    },
}

impl ReadKind {
    /// Whether it goes on from somewhere before the head of a document, which only its window tells.
    fn needs_window(&self, summary: &Summary) -> bool {
        let is_behind =
            |at: &Option<v1::Resume>| at.as_ref().is_some_and(|at| !wire::is_head(summary, at));
        match self {
            ReadKind::Open(open) => is_behind(&open.resume) || is_behind(&open.held),
            ReadKind::Follow(after) => is_behind(after),
            ReadKind::Unfollow
            | ReadKind::Describe { .. }
            | ReadKind::Role { .. }
            | ReadKind::Presence { .. } => false,
        }
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
            passed: false,
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

    /// Whether a cold document has to be in memory for it, and not its page's text alone.
    fn needs_memory(&self, summary: &Summary) -> bool {
        let unread = |page: &Arc<Spelling>| page.is_done() && !page.is_at_rest(summary);
        self.spelled().is_some_and(unread) || self.kind.needs_window(summary)
    }

    fn spelled(&self) -> Option<&Arc<Spelling>> {
        self.spelling.as_ref().map(|(spelling, _)| spelling)
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
            ReadKind::Describe { id, .. }
            | ReadKind::Role { id, .. }
            | ReadKind::Presence { id, .. } => Body::Reply(v1::Reply {
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
        give_up_late(&reads, &mut requests);
        let no_barrier = requests
            .iter()
            .all(|request| request.passed || matches!(request.kind, ReadKind::Unfollow));
        let barrier = if no_barrier {
            Ok(())
        } else {
            begin(&reads, &mut requests);
            barrier(&reads, &mut requests).await
        };
        match barrier {
            Ok(()) => {
                requests
                    .iter_mut()
                    .for_each(|request| request.passed = true);
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

/// Begins to read the pages of what is opened while the barrier is under way. Whether they are the
/// heads' is looked at after it.
fn begin(reads: &Reads, requests: &mut [ReadRequest]) {
    if !reads.feed.state.lock().leading {
        return;
    }
    reads.group.with(|shard| {
        let fresh = requests
            .iter_mut()
            .filter(|request| !request.passed && !request.link_is_full());
        for request in fresh.take(AT_ONCE) {
            let (ReadKind::Open(open), Lookup::Cold(packed)) =
                (&request.kind, shard.document(&request.doc))
            else {
                continue;
            };
            let summary = packed.summary();
            let known = Known::of(shard, request.doc, &summary);
            if request.kind.needs_window(&summary) || summary.role(&open.user).is_none() {
                continue;
            }
            let page = reads.states.latest(&request.doc);
            let page = page.unwrap_or_else(|| reads.states.ask(request.doc));
            if !page.is_done() {
                request.spelling = Some((page, request.link.promise(known.bytes)));
            }
        }
    });
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

/// Whose time is up is told so and taken out.
fn give_up_late(reads: &Reads, requests: &mut Vec<ReadRequest>) {
    let now = Instant::now();
    for request in requests.extract_if(.., |request| request.deadline <= now) {
        let problem = wire::problem(Code::Timeout, "no answer in time");
        give_up(reads, request, problem);
    }
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
                give_up_late(reads, requests);
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
            let doc = request.doc;
            let summary = shard.summary(&doc);
            let known = summary
                .as_ref()
                .map(|summary| Known::of(shard, doc, summary));
            let is_short =
                |known: &Known<'_>| known.document.is_none() && request.needs_memory(known.summary);
            let bring = known
                .as_ref()
                .is_some_and(is_short)
                .then_some(|| reads.bring(doc));
            if let Some(request) = look.deferred.keep_or(request, bring) {
                look.serve(known, request);
            }
            if look.spelled_bytes >= AT_ONCE_BYTES {
                break;
            }
        }
    });
}

/// Why a document is not opened now.
enum Later {
    /// Nor ever.
    Missing,
    Spelled(Arc<Spelling>),
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
    fn unfollow(&mut self, request: &ReadRequest) {
        self.feed.followers.remove(&request.doc, request.link.id);
        let presence = &self.reads.feed.presence;
        presence.leave(request.doc, request.link.id);
    }

    /// `known`: none if the document is missing.
    fn serve(&mut self, known: Option<Known<'_>>, request: ReadRequest) {
        let Some(known) = known else {
            return match &request.kind {
                ReadKind::Unfollow => self.unfollow(&request),
                _ => request.fail(wire::not_found()),
            };
        };
        let summary = known.summary;
        let body = match &request.kind {
            ReadKind::Unfollow => return self.unfollow(&request),
            // Whom the router feeds had a role until then.
            ReadKind::Follow(_) if summary.deleted_ms.is_some() => {
                return request.fail(wire::problem(Code::Deleted, "the document was deleted"));
            }
            ReadKind::Follow(after) => {
                self.follow(&request, true);
                Body::Followed(followed(known, after.as_ref()))
            }
            ReadKind::Open(open) => match self.open(known, open, &request) {
                Ok(opened) => {
                    self.follow(&request, false);
                    Body::Opened(opened)
                }
                Err(Later::Missing) => return request.fail(wire::not_found()),
                Err(Later::Spelled(spelling)) => {
                    return self.deferred.spelled(request, spelling, known.bytes);
                }
            },
            ReadKind::Describe { id, user } if summary.role(user).is_some() => {
                described(*id, wire::description(&request.doc, summary, user))
            }
            ReadKind::Role { id, user } if summary.role(user).is_some() => {
                described(*id, wire::short_description(&request.doc, summary, user))
            }
            ReadKind::Presence { id, user } if summary.role(user).is_some() => {
                let here = self.reads.feed.presence.here(request.doc);
                Body::Reply(v1::Reply {
                    id: *id,
                    body: Some(reply::Body::Presence(here)),
                })
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

    fn open(
        &mut self,
        known: Known<'_>,
        open: &v1::Open,
        request: &ReadRequest,
    ) -> Result<v1::Opened, Later> {
        let is_cold = known.document.is_none();
        if known.summary.role(&open.user).is_none() || is_cold && mutant!("cold_taken_for_missing")
        {
            return Err(Later::Missing);
        }
        let page = is_cold.then(|| self.page(known, request)).transpose()?;
        let at_rest = page
            .as_ref()
            .and_then(|page| page.state()?.at_rest.as_ref());
        let reader = Reader::new(known, at_rest, open).ok_or(Later::Missing)?;
        let start = self.start(&reader, open, request).map_err(Later::Spelled)?;
        Ok(opened(&reader, open, start))
    }

    /// The page of a cold document as it is at its head, or one that may be.
    fn page(&self, known: Known<'_>, request: &ReadRequest) -> Result<Arc<Spelling>, Later> {
        let own = request.spelled().cloned();
        let latest = self.reads.states.latest(&known.id);
        for page in own.into_iter().chain(latest) {
            if !page.is_done() {
                return Err(Later::Spelled(page));
            }
            if page.is_at_rest(known.summary) {
                return Ok(page);
            }
        }
        Err(Later::Spelled(self.reads.states.ask(known.id)))
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
        if let Some(document) = reader.known.document
            && document.content().encoded_bytes() <= self.reads.at_once
        {
            return Ok(Start {
                state: Some((head_of(document), self.spelled(document))),
                ..Start::new(OpenedFrom::State, Vec::new())
            });
        }
        // What it waited for is good however much came since, or it might wait for ever.
        let own = request.spelled().map(|own| (own.clone(), u64::MAX));
        let latest = self.reads.states.latest(&request.doc);
        for (spelling, most) in own
            .into_iter()
            .chain(latest.map(|latest| (latest, MISSED_MAX)))
        {
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

fn described(id: u64, description: v1::Description) -> Body {
    Body::Reply(v1::Reply {
        id,
        body: Some(reply::Body::Description(description)),
    })
}
