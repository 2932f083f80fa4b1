//! One document on this router: one feed from its leader, however many sockets. `feed` decides,
//! the hub performs: it sends, encodes, queues, and keeps the sessions of the sockets.
//!
//! Called from the links' readers and from the sockets' tasks; the lock is held for short
//! and never across a wait. Lock order: the map of hubs, a hub, the upstream, an outbox.

mod checks;
mod deliver;
mod followers;
pub(crate) mod notes;
mod open;
mod presence;
mod slots;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    frame::{Encoding, ServerFrame},
    ids::{ClientId, DocId, GroupId, Revision, Role, Seq, UserId},
    reject::Code,
    v1::{self, message::Body},
};
use parking_lot::Mutex;

use crate::{
    Shared,
    accounts::Account,
    convert,
    feed::{Action, Actions, Event, Feed, Hello, Message, STUCK_MS},
    ids::{LinkId, ReaderId},
    queue::{End, Queue},
    session::{Answer, AnswerAction, Attempt, OpAction, Session},
    state::SharedState,
    upstream::Route,
    wire,
};
use checks::Checks;
pub(crate) use followers::Follower;
use followers::Followers;
pub(crate) use open::kind_name;
use presence::{Own, People};
use slots::Slots;

/// A document that nobody has open is followed this much longer: tabs reload.
const LINGER_MS: u64 = 5_000;
/// Who is sent to another router comes there after so long at the least.
const MOVE_PAUSE_MS: u32 = 100;

pub struct Hub {
    pub doc: DocId,
    pub group: GroupId,
    doc_bytes: Bytes,
    state: Mutex<State>,
}

struct State {
    feed: Feed,
    /// What the feed decided and is not performed yet; empty whenever the lock is free.
    actions: Actions,
    /// Boxed: most documents have one reader, and a map makes room for eleven.
    members: BTreeMap<ReaderId, Box<Member>>,
    followers: Followers,
    /// What who opens the document now starts from.
    held: Option<Arc<SharedState>>,
    /// Who they are: a client id is a name among its user's, and nothing to anybody else.
    users: BTreeMap<UserId, BTreeMap<ClientId, ReaderId>>,
    next: u64,
    slots: Slots,
    /// The way by the feed's link, kept so that it is not looked up for each message.
    route: Option<Route>,
    /// The last revision whose chain hash was sent, and whether a later one is due.
    marked: Revision,
    mark_due: bool,
    checks: Checks,
    people: People,
    empty_since_ms: u64,
}

/// One socket on this document.
struct Member {
    session: Session,
    account: Arc<Account>,
    /// Its own, for as long as it is here.
    slot: u32,
    encoding: Encoding,
    queue: Arc<Queue>,
    /// When it last said what it has.
    checked_ms: Option<u64>,
    /// Whether it came to where a ticket sent it, and goes where the next one sends it.
    placed: bool,
    /// Its user's, for people to read.
    name: Arc<str>,
    /// Boxed: many sockets never say where they are.
    presence: Option<Box<Own>>,
    /// Slots whose presence it was not told for want of room.
    unseen: BTreeSet<u32>,
    /// Whether the feed's frames are for it: it was welcomed, and not told to open again.
    listens: bool,
}

/// A socket that said hello.
pub struct Joining {
    pub user: UserId,
    pub name: Arc<str>,
    pub account: Arc<Account>,
    pub client: ClientId,
    pub hello: Hello,
    pub encoding: Encoding,
    pub placed: bool,
    pub queue: Arc<Queue>,
}

impl Hub {
    /// `generation`: another one for each hub of this process.
    pub fn new(doc: DocId, group: GroupId, generation: u64) -> Self {
        let state = State {
            feed: Feed::new(generation << 32),
            actions: Actions::new(),
            members: BTreeMap::new(),
            followers: Followers::default(),
            held: None,
            users: BTreeMap::new(),
            next: 0,
            slots: Slots::default(),
            route: None,
            marked: Revision(0),
            mark_due: false,
            checks: Checks::default(),
            people: People::default(),
            empty_since_ms: 0,
        };
        Self {
            doc,
            group,
            doc_bytes: doc.to_bytes(),
            state: Mutex::new(state),
        }
    }

    // ---- Events ----------------------------------------------------------------------------

    /// Lets the feed take an event in, and performs what it decides.
    pub fn handle(&self, shared: &Shared, event: Event) {
        self.handle_locked(shared, &mut self.state.lock(), event);
    }

    fn handle_locked(&self, shared: &Shared, state: &mut State, event: Event) {
        let now_ms = shared.now_ms();
        state.feed.handle(now_ms, event, &mut state.actions);
        while let Some(action) = state.actions.pop_front() {
            if let Some(event) = self.perform(shared, state, action) {
                state.feed.handle(now_ms, event, &mut state.actions);
            }
        }
        self.announce(shared, state);
    }

    /// Performs an action. Returns what the feed has to hear of it.
    fn perform(&self, shared: &Shared, state: &mut State, action: Action) -> Option<Event> {
        match action {
            Action::Send { link, message } => {
                return self.send(shared, state, link, message);
            }
            Action::Hold { state: held, kept } => {
                state.held = Some(Arc::new(SharedState::new(held, kept)));
            }
            Action::Release => state.held = None,
            Action::Welcome {
                reader,
                from,
                opened,
            } => self.welcome(shared, state, reader, from, *opened),
            Action::Deliver { before, events } => {
                return self.deliver(shared, state, before, events);
            }
            Action::Submit { reader } => {
                let link = state.feed.takes_operations()?;
                return self.submit(shared, state, link, reader);
            }
            Action::SubmitAll => return self.submit_all(shared, state),
            Action::Unsubmit => {
                let sessions = state.members.values_mut().map(|m| &mut m.session);
                sessions.for_each(Session::unsent);
            }
            Action::Resync { reader, reason } => {
                if state.followers.user(reader).is_some() {
                    return Some(self.follows(shared, reader));
                }
                if let Some(member) = state.members.get_mut(&reader) {
                    member.listens = false;
                    let reason = reason.to_owned();
                    member.push(&ServerFrame::Resync { reason });
                }
            }
            Action::End { reader, code } => {
                shared.metrics.rejected(code);
                if let Some(member) = state.members.get_mut(&reader) {
                    member.listens = false;
                    member.queue.end(End::because(code));
                }
                state.followers.end(reader, code);
            }
            Action::EndAll { code } => {
                shared.metrics.rejected(code);
                Self::end_all(state, End::because(code));
            }
            Action::Saving { on } => {
                let listeners = state.members.values().filter(|m| m.listens);
                listeners.for_each(|member| member.push(&ServerFrame::Saving { on }));
            }
            Action::WakeAt { at_ms } => shared.timers.add(at_ms, self.doc),
            Action::Lost => {
                shared.metrics.saving.inc();
            }
            Action::Found { gap_ms } => {
                shared.metrics.saving.dec();
                let gap_ms = gap_ms.map(|gap_ms| gap_ms as f64 / 1000.0);
                gap_ms
                    .into_iter()
                    .for_each(|s| shared.metrics.failover.observe(s));
            }
            Action::Broke => {
                shared.metrics.resyncs.inc();
            }
        }
        None
    }

    fn send(
        &self,
        shared: &Shared,
        state: &mut State,
        link: LinkId,
        message: Message,
    ) -> Option<Event> {
        let doc = self.doc_bytes.clone();
        let body = match &message {
            Message::Open {
                tag,
                reader,
                hello,
                held,
                bring,
            } => {
                let (client, user) = state.who_opens(*reader)?;
                Body::Open(v1::Open {
                    tag: tag.0,
                    doc,
                    client,
                    user: user.to_string(),
                    resume: hello.resume.map(convert::resume),
                    unsent: hello.unsent,
                    held: held.map(convert::resume),
                    bring: *bring,
                })
            }
            Message::Follow { after } => {
                let after = Some(convert::resume(*after));
                Body::Follow(v1::Follow { doc, after })
            }
            Message::Unfollow => Body::Unfollow(v1::Unfollow { doc }),
            Message::Credit { bytes } => Body::Credit(v1::Credit { doc, bytes: *bytes }),
        };
        let route = state.route_by(shared, link);
        let sent = route.is_some_and(|route| route.send(body));
        (!sent).then_some(Event::NotSent(message))
    }

    /// Who leads may have changed.
    pub fn reroute(&self, shared: &Shared) {
        if let Some(route) = shared.upstream.to_leader(self.group) {
            self.handle(shared, Event::Leader { link: route.link });
        }
    }

    pub fn link_lost(&self, shared: &Shared, link: LinkId) {
        let leader = self.leader(shared);
        self.handle(shared, Event::LinkLost { link, leader });
    }

    fn leader(&self, shared: &Shared) -> Option<LinkId> {
        shared.upstream.to_leader(self.group).map(|r| r.link)
    }

    // ---- Sockets ---------------------------------------------------------------------------

    /// A socket joins; its number among the members.
    pub fn join(&self, shared: &Shared, joining: Joining) -> ReaderId {
        let mut state = self.state.lock();
        let state = &mut *state;
        let user = &joining.user;
        if let Some(other) = state.reader_of(user, joining.client)
            && !mutant!("two_sockets_with_one_client")
        {
            if let Some(member) = state.members.get(&other) {
                member.queue.end(End::because(Code::Replaced));
            }
            self.remove(shared, state, other);
        }
        state.next += 1;
        let reader = ReaderId(state.next);
        let of_user = state.users.entry(user.clone()).or_default();
        of_user.insert(joining.client, reader);
        let slot = state.slots.enter(joining.client, user);
        state.slots.name(slot, &joining.name);
        let member = Box::new(Member {
            session: Session::new(joining.client, user.clone()),
            account: joining.account,
            slot,
            encoding: joining.encoding,
            placed: joining.placed,
            queue: joining.queue,
            checked_ms: None,
            name: joining.name,
            presence: None,
            unseen: BTreeSet::new(),
            listens: false,
        });
        state.members.insert(reader, member);
        self.open(shared, state, reader, joining.hello);
        reader
    }

    fn open(&self, shared: &Shared, state: &mut State, reader: ReaderId, hello: Hello) {
        let leader = self.leader(shared);
        let event = Event::Joined {
            reader,
            hello,
            leader,
        };
        self.handle_locked(shared, state, event);
    }

    pub fn leave(&self, shared: &Shared, reader: ReaderId) {
        let mut state = self.state.lock();
        self.remove(shared, &mut state, reader);
        self.linger_if_empty(shared, &mut state);
    }

    fn linger_if_empty(&self, shared: &Shared, state: &mut State) {
        if state.is_empty() {
            let now_ms = shared.now_ms();
            state.empty_since_ms = now_ms;
            shared.timers.add(now_ms + LINGER_MS, self.doc);
        }
    }

    fn remove(&self, shared: &Shared, state: &mut State, reader: ReaderId) {
        self.page_ended(shared, state, reader);
        let Some(member) = state.members.remove(&reader) else {
            return;
        };
        state.slots.leave(member.slot);
        state.checks.leave(reader);
        if let Some(of_user) = state.users.get_mut(&member.session.user) {
            of_user.retain(|_, other| *other != reader);
            if of_user.is_empty() {
                state.users.remove(&member.session.user);
            }
        }
        self.handle_locked(shared, state, Event::Left { reader });
    }

    /// A socket that was told to open again does so. Returns false if it was not told to.
    pub fn rejoin(&self, shared: &Shared, reader: ReaderId, hello: Hello) -> bool {
        let mut state = self.state.lock();
        let told = state.feed.awaits_hello(reader);
        let Some(member) = state.members.get_mut(&reader) else {
            return true;
        };
        if told {
            member.session.start_over();
            self.open(shared, &mut state, reader, hello);
        }
        told
    }

    // ---- Operations ------------------------------------------------------------------------

    /// A client sent an operation.
    pub fn op(&self, shared: &Shared, reader: ReaderId, seq: Seq, base: Revision, ops: Bytes) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(member) = state.members.get_mut(&reader) else {
            return;
        };
        let reads_only = member.session.role.is_some_and(|role| !role.can_edit());
        if reads_only && mutant!("stale_role_refused_as_final") {
            return member.push(&refused(seq, base, true, Code::Forbidden, None));
        }
        let now_ms = shared.now_ms();
        let head = state.feed.position().map_or(Revision(0), |at| at.rev);
        let behind = head.0.saturating_sub(base.0);
        let (action, retry_after_ms) = match member.account.operation(ops.len(), behind, now_ms) {
            Ok(()) => (member.session.op(seq, base, ops, now_ms), None),
            Err(wait_ms) => (OpAction::Refuse(Code::Rate), Some(wait_ms)),
        };
        match action {
            OpAction::Repeat => {}
            OpAction::Refuse(code) => {
                shared.metrics.rejected(code);
                member.push(&refused(seq, base, false, code, retry_after_ms));
            }
            // Otherwise it is sent when the feed is back, or when the document is open.
            OpAction::Submit if member.listens => {
                if let Some(link) = state.feed.takes_operations()
                    && let Some(event) = self.submit(shared, state, link, reader)
                {
                    self.handle_locked(shared, state, event);
                }
            }
            OpAction::Submit => {}
        }
    }

    /// Sends a reader's operation on this link, unless it already was.
    fn submit(
        &self,
        shared: &Shared,
        state: &mut State,
        link: LinkId,
        reader: ReaderId,
    ) -> Option<Event> {
        let own = state.members.get(&reader)?.session.unsent_on(link)?;
        let again = own.sent_ms.is_some();
        if again && mutant!("resubmission_dropped") {
            return None;
        }
        let session = &state.members.get(&reader)?.session;
        let submit = v1::Submit {
            doc: self.doc_bytes.clone(),
            client: session.client_bytes.clone(),
            user: session.user.to_string(),
            seq: own.seq.0,
            base: own.base.0,
            ops: own.ops.clone(),
        };
        let route = state.route_by(shared, link);
        if !route.is_some_and(|route| route.send(Body::Submit(submit))) {
            return Some(Event::OperationRetried);
        }
        if again {
            shared.metrics.resubmitted.inc();
        }
        let member = state.members.get_mut(&reader)?;
        member.session.sent(link, shared.now_ms());
        None
    }

    /// Sends all that has no answer yet, in the order in which it came.
    fn submit_all(&self, shared: &Shared, state: &mut State) -> Option<Event> {
        let link = state.feed.takes_operations()?;
        let mut waiting: Vec<(u64, ReaderId)> = Vec::new();
        for (reader, member) in state.members.iter().filter(|(_, m)| m.listens) {
            let own = member.session.unsent_on(link);
            waiting.extend(own.map(|own| (own.since_ms, *reader)));
        }
        waiting.sort_unstable();
        let mut waiting = waiting.into_iter();
        waiting.find_map(|(_, reader)| self.submit(shared, state, link, reader))
    }

    /// A node answered an attempt.
    pub fn answered(&self, shared: &Shared, attempt: &Attempt, answer: Answer) {
        let code = match &answer {
            Answer::Refused { code, .. } | Answer::Retry { code, .. } => Some(*code),
            Answer::Already { .. } | Answer::Rebase { .. } => None,
        };
        let mut state = self.state.lock();
        let state = &mut *state;
        let delivered = state.feed.position().map_or(Revision(0), |p| p.rev);
        let reader = state.reader_of(&attempt.user, attempt.client);
        let Some(member) = reader.and_then(|id| state.members.get_mut(&id)) else {
            return;
        };
        let (seq, base) = (attempt.seq, attempt.base);
        match member.session.answered(seq, base, answer, delivered) {
            AnswerAction::Nothing => {}
            AnswerAction::Again(_) => self.handle_locked(shared, state, Event::OperationRetried),
            AnswerAction::Client(answer) => {
                code.into_iter()
                    .for_each(|code| shared.metrics.rejected(code));
                member.push(&wire::answer(seq, base, answer));
            }
        }
    }

    /// A user's role changed by an event of the feed.
    fn granted(state: &mut State, user: &str, role: Option<Role>) {
        if role.is_none() {
            state.followers.revoked(user);
        }
        for reader in state.users.get(user).into_iter().flat_map(BTreeMap::values) {
            let Some(member) = state.members.get_mut(reader) else {
                continue;
            };
            if !member.listens || member.session.role == role {
                continue;
            }
            if !mutant!("stale_role_refused_as_final") {
                member.session.role = role;
            }
            match role {
                Some(role) => member.push(&ServerFrame::Role { role }),
                None if mutant!("revoked_feed_goes_on") => {}
                None => member.queue.end(End::because(Code::Revoked)),
            }
        }
    }

    // ---- Time and the end ------------------------------------------------------------------

    /// Something came due: a retry, a mark, the end of the linger. Returns true if nobody has
    /// been here for a while and the hub may be closed.
    pub fn due(&self, shared: &Shared) -> bool {
        let mut state = self.state.lock();
        if state.feed.is_due(shared.now_ms()) {
            let leader = self.leader(shared);
            let other = match leader {
                Some(_) => None,
                None => shared.upstream.to_any(self.group).map(|r| r.link),
            };
            self.handle_locked(shared, &mut state, Event::Timer { leader, other });
        }
        if state.mark_due {
            self.mark(&mut state);
        }
        if state.people.is_due(shared.now_ms()) {
            self.say_now(shared, &mut state);
        }
        Self::is_abandoned(&state, shared.now_ms())
    }

    fn is_abandoned(state: &State, now_ms: u64) -> bool {
        state.is_empty() && now_ms >= state.empty_since_ms + LINGER_MS
    }

    /// Ends the feed, unless somebody has come after all. Under the lock of the map of hubs.
    pub fn close(&self, shared: &Shared) -> bool {
        let mut state = self.state.lock();
        let abandoned = Self::is_abandoned(&state, shared.now_ms());
        if abandoned {
            self.handle_locked(shared, &mut state, Event::Closed);
        }
        abandoned
    }

    /// Ends every socket of the document for the same reason.
    pub fn end(&self, end: End) {
        Self::end_all(&self.state.lock(), end);
    }

    fn end_all(state: &State, end: End) {
        state
            .members
            .values()
            .for_each(|member| member.queue.end(end));
        state.followers.end_all(end);
    }

    /// Lets those go that a ticket sends elsewhere by now; whether there were any.
    pub fn send_on(&self) -> bool {
        let mut state = self.state.lock();
        let mut any = false;
        for member in state.members.values_mut() {
            if std::mem::take(&mut member.placed) {
                any = true;
                member.queue.end(End {
                    reason: "the document is at another router now",
                    retry_after_ms: Some(MOVE_PAUSE_MS),
                    ..End::because(Code::ShuttingDown)
                });
            }
        }
        any
    }

    /// Once a second: what a node has not answered for long is asked again.
    pub fn unstick(&self, shared: &Shared) {
        let mut state = self.state.lock();
        let now_ms = shared.now_ms();
        let mut operations = false;
        for member in state.members.values_mut() {
            operations |= member.session.unstick(now_ms, STUCK_MS);
        }
        self.handle_locked(shared, &mut state, Event::Unstick { operations });
        self.look_for_pages(shared, &mut state);
        self.show_late(&mut state);
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.followers.is_empty()
    }

    /// The client, as it travels, and its user; a follower is no client.
    fn who_opens(&self, reader: ReaderId) -> Option<(Bytes, UserId)> {
        if let Some(user) = self.followers.user(reader) {
            return Some((Bytes::new(), user.clone()));
        }
        let session = &self.members.get(&reader)?.session;
        Some((session.client_bytes.clone(), session.user.clone()))
    }

    fn reader_of(&self, user: &str, client: ClientId) -> Option<ReaderId> {
        self.users.get(user)?.get(&client).copied()
    }

    fn route_by(&mut self, shared: &Shared, link: LinkId) -> Option<&Route> {
        if self.route.as_ref().is_none_or(|route| route.link != link) {
            self.route = shared.upstream.route(link);
        }
        self.route.as_ref()
    }
}

impl Member {
    fn push(&self, frame: &ServerFrame) {
        self.queue.push(wire::frame(self.encoding, frame));
    }
}

fn refused(
    seq: Seq,
    base: Revision,
    last: bool,
    code: Code,
    retry_after_ms: Option<u32>,
) -> ServerFrame {
    ServerFrame::Reject {
        seq,
        base,
        last,
        code,
        message: refusal(code).to_owned(),
        retry_after_ms: retry_after_ms.unwrap_or(0),
    }
}

fn refusal(code: Code) -> &'static str {
    match code {
        Code::Rate => "more operations or bytes a second than a user may send",
        Code::SeqConflict => "this sequence number is in flight with other bytes",
        Code::Busy => "an operation is in flight already",
        Code::Forbidden => "the role does not allow edits",
        _ => "",
    }
}
