//! One document on this router: one feed from its leader, however many sockets. The feed is
//! delivered in revision order without a gap; when it breaks, the hub follows again from the
//! last revision it delivered, wherever the leader is by then, and sends again what was not
//! answered. Sockets do not notice.
//!
//! Called from the links' readers and from the sockets' tasks; the lock is held for short
//! and never across a wait. Lock order: the map of hubs, a hub, the upstream, an outbox.

mod deliver;
mod feed;
mod open;
mod slots;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    frame::{At, Encoding, ServerFrame},
    ids::{ClientId, DocId, GroupId, Role, UserId},
    reject::Code,
    v1::{self, answer::Verdict as Answered, message::Body},
};

use crate::{
    Shared, lock,
    queue::{End, Queue},
    session::{Answer, Rate, Session, Told, Verdict},
    upstream::Route,
    wire,
};
use feed::{Feed, Position};
pub(crate) use open::kind_name;
use slots::Slots;

/// A document that nobody has open is followed this much longer: tabs reload.
const LINGER_MS: u64 = 5_000;
/// The pause before what failed is tried again; doubled each time.
const PAUSE_MIN_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 500;
/// What a node has not answered for so long is asked again: every request may be repeated.
const STUCK_MS: u64 = 5_000;

pub struct Hub {
    pub doc: DocId,
    pub group: GroupId,
    doc_bytes: Bytes,
    state: Mutex<State>,
}

struct State {
    members: BTreeMap<u64, Member>,
    clients: BTreeMap<ClientId, u64>,
    /// Which member an `Opened` with this tag is for.
    opening: BTreeMap<u64, u64>,
    next: u64,
    slots: Slots,
    route: Option<Route>,
    feed: Feed,
    /// What all live members have been sent; `None` until a first answer.
    position: Option<Position>,
    /// Bytes of the feed that were delivered and not yet credited.
    uncredited: u64,
    /// The last revision whose chain hash was sent, and whether a later one is due.
    marked: u64,
    mark_due: bool,
    /// Since when the document has no feed, and whether the sockets were told.
    lost_ms: Option<u64>,
    saving: bool,
    pause_ms: u64,
    retry_due: bool,
    attempt: u32,
    empty_since_ms: u64,
}

/// One socket on this document.
struct Member {
    session: Session,
    encoding: Encoding,
    queue: Arc<Queue>,
    phase: Phase,
    resume: Option<At>,
    unsent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No leader has been asked yet.
    Waiting,
    Opening {
        since_ms: u64,
    },
    Live,
    /// It was told to open again and has not done so yet.
    Resync,
}

/// A socket that said hello.
pub struct Joining {
    pub user: UserId,
    pub client: ClientId,
    pub resume: Option<At>,
    pub unsent: bool,
    pub encoding: Encoding,
    pub queue: Arc<Queue>,
}

impl Hub {
    pub fn new(doc: DocId, group: GroupId) -> Self {
        let state = State {
            members: BTreeMap::new(),
            clients: BTreeMap::new(),
            opening: BTreeMap::new(),
            next: 0,
            slots: Slots::default(),
            route: None,
            feed: Feed::Cold,
            position: None,
            uncredited: 0,
            marked: 0,
            mark_due: false,
            lost_ms: None,
            saving: false,
            pause_ms: PAUSE_MIN_MS,
            retry_due: false,
            attempt: 0,
            empty_since_ms: 0,
        };
        Self {
            doc,
            group,
            doc_bytes: doc.to_bytes(),
            state: Mutex::new(state),
        }
    }

    /// A socket joins; its number among the members.
    pub fn join(&self, shared: &Shared, joining: Joining) -> Result<u64, Code> {
        let mut state = lock(&self.state);
        let user = &joining.user;
        let of_user = state
            .members
            .values()
            .filter(|m| m.session.user == *user)
            .count();
        if of_user >= shared.limits.sockets_per_user_and_document as usize {
            return Err(Code::TooManySockets);
        }
        if let Some(other) = state.clients.get(&joining.client).copied()
            && !mutant!("two_sockets_with_one_client")
        {
            let Some(member) = state.members.get(&other) else {
                return Err(Code::Internal);
            };
            if member.session.user != *user {
                return Err(Code::ForeignClient);
            }
            member.queue.end(End::because(Code::Replaced));
            self.remove(&mut state, other);
        }
        let now_ms = shared.now_ms();
        let limits = &shared.limits;
        let (ops, bytes) = (limits.ops_per_second, limits.bytes_per_second);
        let rate = Rate::new(u64::from(ops), u64::from(bytes), now_ms);
        state.next += 1;
        let id = state.next;
        state.clients.insert(joining.client, id);
        let member = Member {
            session: Session::new(joining.client, user.clone(), rate),
            encoding: joining.encoding,
            queue: joining.queue,
            phase: Phase::Waiting,
            resume: joining.resume,
            unsent: joining.unsent,
        };
        state.members.insert(id, member);
        self.connect_if_cold(shared, &mut state);
        self.open_waiting(shared, &mut state);
        Ok(id)
    }

    pub fn leave(&self, shared: &Shared, member: u64) {
        let mut state = lock(&self.state);
        self.remove(&mut state, member);
        if state.members.is_empty() {
            let now_ms = shared.now_ms();
            state.empty_since_ms = now_ms;
            shared.due.add(now_ms + LINGER_MS, self.doc);
        }
    }

    fn remove(&self, state: &mut State, id: u64) {
        let Some(member) = state.members.remove(&id) else {
            return;
        };
        // A newer socket may have taken the client over.
        if state.clients.get(&member.session.client) == Some(&id) {
            state.clients.remove(&member.session.client);
        }
        // The tag stays: its answer still moves the feed.
    }

    /// A socket that was told to open again does so.
    pub fn rejoin(&self, shared: &Shared, id: u64, resume: Option<At>, unsent: bool) -> bool {
        let mut state = lock(&self.state);
        let Some(member) = state.members.get_mut(&id) else {
            return true;
        };
        if member.phase != Phase::Resync {
            return false;
        }
        (member.resume, member.unsent) = (resume, unsent);
        member.session.start_over();
        member.phase = Phase::Waiting;
        self.connect_if_cold(shared, &mut state);
        self.open_waiting(shared, &mut state);
        true
    }

    /// A client sent an operation.
    pub fn op(&self, shared: &Shared, id: u64, seq: u64, base: u64, ops: Bytes) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(member) = state.members.get_mut(&id) else {
            return;
        };
        let reads_only = member.session.role.is_some_and(|role| !role.can_edit());
        if reads_only && mutant!("stale_role_refused_as_final") {
            let (last, code) = (true, Code::Forbidden);
            let message = "the role does not allow edits".to_owned();
            #[rustfmt::skip]
            let frame = ServerFrame::Reject { seq, base, last, code, message, retry_after_ms: 0 };
            member.queue.push(wire::frame(member.encoding, &frame));
            return;
        }
        match member.session.op(seq, base, ops, shared.now_ms()) {
            Verdict::Repeat => {}
            Verdict::Refuse {
                code,
                retry_after_ms,
            } => {
                shared.metrics.rejected(code);
                let frame = ServerFrame::Reject {
                    seq,
                    base,
                    last: false,
                    code,
                    message: refusal(code).to_owned(),
                    retry_after_ms: retry_after_ms.unwrap_or(0),
                };
                member.queue.push(wire::frame(member.encoding, &frame));
            }
            Verdict::Submit => {
                let sent = match (&state.route, member.phase) {
                    (Some(route), Phase::Live) if state.feed.takes_operations() => {
                        self.submit(shared, route, member)
                    }
                    // Sent when the feed is back, or when the document is open.
                    _ => true,
                };
                if !sent {
                    self.retry_later(shared, state);
                }
            }
        }
    }

    /// Sends a member's operation on this link, unless it already was. `false` when the link
    /// took it not.
    fn submit(&self, shared: &Shared, route: &Route, member: &mut Member) -> bool {
        let Some(own) = member.session.unsent_on(route.link) else {
            return true;
        };
        let again = own.sent_ms.is_some();
        if again && mutant!("resubmission_dropped") {
            return true;
        }
        let submit = v1::Submit {
            doc: self.doc_bytes.clone(),
            client: member.session.client_bytes.clone(),
            user: member.session.user.to_string(),
            seq: own.seq,
            base: own.base,
            ops: own.ops.clone(),
        };
        if !route.send(Body::Submit(submit)) {
            return false;
        }
        if again {
            shared.metrics.resubmitted.inc();
        }
        member.session.sent(route.link, shared.now_ms());
        true
    }

    /// Sends all that has no answer yet, in the order in which it came.
    fn submit_all(&self, shared: &Shared, state: &mut State) {
        let Some(route) = state.route.clone() else {
            return;
        };
        let waits = |m: &Member| m.session.unsent_on(route.link).map(|own| own.since_ms);
        let mut waiting: Vec<(u64, u64)> = Vec::new();
        for (id, member) in &state.members {
            if member.phase == Phase::Live {
                waiting.extend(waits(member).map(|since_ms| (since_ms, *id)));
            }
        }
        waiting.sort_unstable();
        for (_, id) in waiting {
            let Some(member) = state.members.get_mut(&id) else {
                continue;
            };
            if !self.submit(shared, &route, member) {
                self.retry_later(shared, state);
                return;
            }
        }
    }

    /// A node answered an attempt. Whoever it says leads is handed back.
    pub fn answered(&self, shared: &Shared, answer: v1::Answer) -> Option<v1::Leadership> {
        let verdict = answer.verdict?;
        let mut lead = None;
        let (code, verdict) = match verdict {
            Answered::Already(rev) => (None, Answer::Already { rev }),
            Answered::Rebase(r) => (
                None,
                Answer::Rebase {
                    floor: r.floor,
                    head: r.head,
                },
            ),
            Answered::Refused(p) => {
                let code = Code::from_number(p.code).unwrap_or(Code::Malformed);
                (
                    Some(code),
                    Answer::Refused {
                        code,
                        message: p.message,
                    },
                )
            }
            Answered::Retry(p) => {
                let code = Code::from_number(p.code).unwrap_or(Code::Internal);
                lead = p.leader;
                let retry_after_ms = p.retry_after_ms;
                (
                    Some(code),
                    Answer::Retry {
                        code,
                        message: p.message,
                        retry_after_ms,
                    },
                )
            }
        };
        let mut state = lock(&self.state);
        let state = &mut *state;
        let delivered = state.position.as_ref().map_or(0, |p| p.rev);
        let id = ClientId::from_slice(&answer.client).and_then(|c| state.clients.get(&c))?;
        let member = state.members.get_mut(id)?;
        match member
            .session
            .answered(answer.seq, answer.base, verdict, delivered)
        {
            Told::Nothing => {}
            Told::Again(_) => self.retry_later(shared, state),
            Told::Client(verdict) => {
                if let Some(code) = code {
                    shared.metrics.rejected(code);
                }
                let frame = wire::answer(answer.seq, answer.base, verdict);
                member.queue.push(wire::frame(member.encoding, &frame));
            }
        }
        lead
    }

    /// A user's role changed by an event of the feed.
    fn granted(state: &mut State, user: &str, role: Option<Role>) {
        for member in state
            .members
            .values_mut()
            .filter(|m| *m.session.user == *user)
        {
            if member.phase != Phase::Live || member.session.role == role {
                continue;
            }
            if !mutant!("stale_role_refused_as_final") {
                member.session.role = role;
            }
            match role {
                Some(role) => {
                    let frame = ServerFrame::Role { role };
                    member.queue.push(wire::frame(member.encoding, &frame));
                }
                None if mutant!("revoked_feed_goes_on") => {}
                None => member.queue.end(End::because(Code::Revoked)),
            }
        }
    }

    /// Ends every socket of the document for the same reason.
    fn end_all(state: &State, end: End) {
        for member in state.members.values() {
            member.queue.end(end);
        }
    }

    fn retry_later(&self, shared: &Shared, state: &mut State) {
        if !state.retry_due {
            state.retry_due = true;
            shared.due.add(shared.now_ms() + state.pause_ms, self.doc);
            state.pause_ms = (state.pause_ms * 2).min(PAUSE_MAX_MS);
        }
    }

    /// Something came due: a retry, a mark, the end of the linger. `true` when nobody has
    /// been here for a while and the hub may be closed.
    pub fn due(&self, shared: &Shared) -> bool {
        let mut state = lock(&self.state);
        if std::mem::take(&mut state.retry_due) {
            self.retry(shared, &mut state);
        }
        if state.mark_due {
            self.mark(&mut state);
        }
        Self::is_abandoned(&state, shared.now_ms())
    }

    fn is_abandoned(state: &State, now_ms: u64) -> bool {
        state.members.is_empty() && now_ms >= state.empty_since_ms + LINGER_MS
    }

    /// Ends the feed, unless somebody has come after all. Under the lock of the map of hubs.
    pub fn close(&self, shared: &Shared) -> bool {
        let mut state = lock(&self.state);
        if !Self::is_abandoned(&state, shared.now_ms()) {
            return false;
        }
        if let Some(route) = state.route.take() {
            route.send(Body::Unfollow(v1::Unfollow {
                doc: self.doc_bytes.clone(),
            }));
        }
        if state.lost_ms.take().is_some() {
            shared.metrics.saving.dec();
        }
        true
    }

    pub fn end(&self, end: End) {
        Self::end_all(&lock(&self.state), end);
    }

    /// Once a second: what a node has not answered for long is asked again.
    pub fn unstick(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        let now_ms = shared.now_ms();
        let mut stuck = self.unstick_feed(&mut state, now_ms);
        for member in state.members.values_mut() {
            if let Phase::Opening { since_ms } = member.phase
                && now_ms >= since_ms + STUCK_MS
            {
                member.phase = Phase::Waiting;
                stuck = true;
            }
            stuck |= member.session.unstick(now_ms, STUCK_MS);
        }
        if stuck {
            self.retry_later(shared, &mut state);
        }
    }
}

fn refusal(code: Code) -> &'static str {
    match code {
        Code::Rate => "more operations or bytes a second than a socket may send",
        Code::SeqConflict => "this sequence number is in flight with other bytes",
        Code::Busy => "an operation is in flight already",
        _ => "",
    }
}
