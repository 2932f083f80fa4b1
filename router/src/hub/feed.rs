//! Following a document: where its feed comes from, and how it is found again.

use codraft_mutant::mutant;
use codraft_proto::{
    frame::{At, ServerFrame, binary::Clock},
    ids::ClientId,
    link::{CREDIT_WINDOW, credit_cost},
    reject::Code,
    v1::{self, message::Body},
};

use super::{Hub, PAUSE_MIN_MS, Phase, STUCK_MS, State};
use crate::{Shared, lock, queue::End, upstream::Route, wire};

/// Consumed bytes are credited to the node in steps of this.
const CREDIT_STEP: u64 = CREDIT_WINDOW / 4;

/// How the feed of this document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// Nothing is delivered: the first answer to an open starts the feed.
    Cold,
    /// Asked to be fed from the position on. `leader`: of one that is known to lead, so
    /// operations need not wait for the answer.
    Following {
        since_ms: u64,
        leader: bool,
    },
    Live,
}

impl Feed {
    pub fn takes_operations(self) -> bool {
        match self {
            Feed::Live | Feed::Following { leader: true, .. } => true,
            Feed::Cold | Feed::Following { leader: false, .. } => false,
        }
    }
}

/// What has been delivered: the last revision, its chain hash, the time of its event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub rev: u64,
    pub hash: [u8; 32],
    pub ts_ms: u64,
}

impl Position {
    pub fn clock(&self) -> Clock {
        Clock {
            rev: self.rev,
            ts_ms: self.ts_ms,
        }
    }
    pub fn at(&self) -> At {
        At {
            rev: self.rev,
            hash: self.hash,
        }
    }
}

pub(super) fn resume(at: At) -> v1::Resume {
    v1::Resume {
        rev: at.rev,
        hash: bytes::Bytes::copy_from_slice(&at.hash),
    }
}

pub(super) fn hash_of(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

/// The revision that these events lead to from `position`, those up to it left out; `None`
/// when they leave a gap.
fn reaches(events: &[v1::Event], position: u64) -> Option<u64> {
    events
        .iter()
        .try_fold(position, |rev, event| match event.rev {
            next if next <= position => Some(rev),
            next if next == rev + 1 => Some(next),
            next if next > rev && mutant!("feed_gap_let_through") => Some(next),
            next if next > rev && mutant!("state_and_subscription_in_two_steps") => Some(next),
            _ => None,
        })
}

impl Hub {
    /// Looks for the leader when there is no link to ask on.
    pub(super) fn connect_if_cold(&self, shared: &Shared, state: &mut State) {
        if state.route.is_some() {
            return;
        }
        match shared.upstream.to_leader(self.group) {
            Some(route) => self.connect(shared, state, route, true),
            None => self.retry_later(shared, state),
        }
    }

    /// Who leads may have changed.
    pub fn reroute(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        let Some(route) = shared.upstream.to_leader(self.group) else {
            return;
        };
        if state.route.as_ref().is_none_or(|r| r.link != route.link) {
            self.connect(shared, &mut state, route, true);
        } else if let Feed::Following {
            leader: leader @ false,
            ..
        } = &mut state.feed
        {
            *leader = true;
            self.submit_all(shared, &mut state);
        } else if (state.lost_ms.is_some() || state.saving) && state.feed == Feed::Live {
            // The leader fell silent and speaks again. Nobody may have waited for it, and yet who
            // comes next would be told that nothing is saved.
            self.found(shared, &mut state);
        }
    }

    pub fn link_lost(&self, shared: &Shared, link: u64) {
        let mut state = lock(&self.state);
        if state.route.as_ref().is_some_and(|r| r.link == link) {
            self.unroute(shared, &mut state);
            self.connect_if_cold(shared, &mut state);
        }
    }

    /// The leader has not been heard for long: the sockets are told that nothing is saved.
    pub fn silent(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        self.lost(shared, &mut state);
        Self::tell_saving(&mut state, true);
    }

    pub(super) fn unroute(&self, shared: &Shared, state: &mut State) {
        state.route = None;
        state.opening.clear();
        self.lost(shared, state);
        for member in state.members.values_mut() {
            member.session.unsent();
            if matches!(member.phase, Phase::Opening { .. }) {
                member.phase = Phase::Waiting;
            }
        }
    }

    fn lost(&self, shared: &Shared, state: &mut State) {
        let waited_for = state.members.values().any(|m| m.phase == Phase::Live);
        if state.lost_ms.is_none() && waited_for {
            state.lost_ms = Some(shared.now_ms());
            shared.metrics.saving.inc();
        }
    }

    /// The feed is back.
    pub(super) fn found(&self, shared: &Shared, state: &mut State) {
        state.pause_ms = PAUSE_MIN_MS;
        if let Some(since_ms) = state.lost_ms.take() {
            shared.metrics.saving.dec();
            let gap_ms = shared.now_ms().saturating_sub(since_ms);
            shared.metrics.failover.observe(gap_ms as f64 / 1000.0);
        }
        Self::tell_saving(state, false);
    }

    fn tell_saving(state: &mut State, on: bool) {
        if state.saving == on {
            return;
        }
        state.saving = on;
        let frame = ServerFrame::Saving { on };
        for member in state.members.values().filter(|m| m.phase == Phase::Live) {
            member.queue.push(wire::frame(member.encoding, &frame));
        }
    }

    /// From now on by this link.
    fn connect(&self, shared: &Shared, state: &mut State, route: Route, leader: bool) {
        if let Some(old) = state.route.take_if(|old| old.link != route.link) {
            old.send(Body::Unfollow(v1::Unfollow {
                doc: self.doc_bytes.clone(),
            }));
            self.unroute(shared, state);
        }
        state.route = Some(route);
        state.uncredited = 0;
        let position = state
            .position
            .filter(|_| state.members.values().any(|m| m.phase == Phase::Live));
        match position {
            Some(position) => {
                self.follow(shared, state, position, leader);
                if leader {
                    self.submit_all(shared, state);
                }
            }
            None => {
                state.position = None;
                state.feed = Feed::Cold;
                self.open_waiting(shared, state);
            }
        }
    }

    fn follow(&self, shared: &Shared, state: &mut State, position: Position, leader: bool) {
        self.lost(shared, state);
        state.feed = Feed::Following {
            since_ms: shared.now_ms(),
            leader,
        };
        let after = Some(resume(position.at()));
        let follow = Body::Follow(v1::Follow {
            doc: self.doc_bytes.clone(),
            after,
        });
        if !state.route.as_ref().is_some_and(|r| r.send(follow)) {
            state.route = None;
            self.retry_later(shared, state);
        }
    }

    /// The feed has a gap, or ended: follow again from the position, on the same link.
    pub(super) fn refollow(&self, shared: &Shared, state: &mut State) {
        shared.metrics.resyncs.inc();
        match state.position {
            Some(position) => self.follow(shared, state, position, true),
            None => state.feed = Feed::Cold,
        }
    }

    /// Tries again what had no answer or a wrong one.
    pub(super) fn retry(&self, shared: &Shared, state: &mut State) {
        let leader = shared.upstream.to_leader(self.group);
        let leads = leader.is_some();
        let lost = state.route.is_none() || matches!(state.feed, Feed::Following { .. });
        let route = match leader {
            Some(route) => Some(route),
            None if lost || state.feed == Feed::Cold => {
                state.attempt = state.attempt.wrapping_add(1);
                shared.upstream.to_any(self.group, state.attempt)
            }
            None => state.route.clone(),
        };
        let Some(route) = route else {
            if !state.members.is_empty() {
                self.retry_later(shared, state);
            }
            return;
        };
        let moved = state.route.as_ref().is_none_or(|r| r.link != route.link);
        if moved || lost {
            self.connect(shared, state, route, leads);
        } else {
            if state.feed.takes_operations() {
                self.submit_all(shared, state);
            }
            self.open_waiting(shared, state);
        }
    }

    pub(super) fn unstick_feed(&self, state: &mut State, now_ms: u64) -> bool {
        match state.feed {
            Feed::Following { since_ms, .. } => now_ms >= since_ms + STUCK_MS,
            _ => state.route.is_none() && !state.members.is_empty(),
        }
    }

    pub(super) fn is_of(state: &State, link: u64) -> bool {
        state.route.as_ref().is_some_and(|r| r.link == link)
    }

    /// Whether a problem means that somebody else is to be asked, or the same one later.
    pub(super) fn is_elsewhere(code: Code) -> bool {
        code.may_retry() && !matches!(code, Code::Unproven | Code::BaseAhead)
    }

    pub fn followed(
        &self,
        shared: &Shared,
        link: u64,
        followed: v1::Followed,
    ) -> Option<v1::Leadership> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if !Self::is_of(state, link) || !matches!(state.feed, Feed::Following { .. }) {
            return None;
        }
        if let Some(problem) = followed.problem {
            return self.not_fed(shared, state, problem);
        }
        let position = state.position.map_or(0, |p| p.rev);
        let whole = followed.resumed && reaches(&followed.events, position) == Some(followed.rev);
        let Some(hash) = hash_of(&followed.hash).filter(|_| whole) else {
            self.resync_all(shared, state);
            return None;
        };
        state.feed = Feed::Live;
        self.deliver(shared, state, followed.events, hash);
        self.found(shared, state);
        self.submit_all(shared, state);
        self.open_waiting(shared, state);
        None
    }

    pub fn cut(&self, shared: &Shared, link: u64, cut: v1::Cut) -> Option<v1::Leadership> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if !Self::is_of(state, link) || state.feed != Feed::Live {
            return None;
        }
        let problem = cut.problem.unwrap_or_default();
        if Code::from_number(problem.code) == Some(Code::Busy) {
            // Out of credit, which is ours to give: all of it is delivered by now.
            state.uncredited = 0;
            self.refollow(shared, state);
            return None;
        }
        self.not_fed(shared, state, problem)
    }

    fn not_fed(
        &self,
        shared: &Shared,
        state: &mut State,
        problem: v1::Problem,
    ) -> Option<v1::Leadership> {
        let code = Code::from_number(problem.code).unwrap_or(Code::Internal);
        if Self::is_elsewhere(code) {
            self.unroute(shared, state);
            self.retry_later(shared, state);
            return problem.leader;
        }
        shared.metrics.rejected(code);
        Self::end_all(state, End::because(code));
        state.feed = Feed::Cold;
        state.position = None;
        None
    }

    /// What the sockets have cannot be continued: each opens again, keeping its work.
    pub(super) fn resync_all(&self, shared: &Shared, state: &mut State) {
        shared.metrics.resyncs.inc();
        let frame = ServerFrame::Resync {
            reason: "the feed cannot be continued".to_owned(),
        };
        for member in state
            .members
            .values_mut()
            .filter(|m| m.phase == Phase::Live)
        {
            member.phase = Phase::Resync;
            member.queue.push(wire::frame(member.encoding, &frame));
        }
        state.feed = Feed::Cold;
        state.position = None;
        self.open_waiting(shared, state);
    }

    pub fn events(&self, shared: &Shared, link: u64, events: v1::Events) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if !Self::is_of(state, link) || state.feed != Feed::Live {
            return;
        }
        state.uncredited += credit_cost(&events.events);
        let position = state.position.map_or(0, |p| p.rev);
        match (reaches(&events.events, position), hash_of(&events.hash)) {
            (Some(rev), Some(_)) if rev == position => {} // all of it was delivered before
            (Some(_), Some(hash)) => self.deliver(shared, state, events.events, hash),
            _ => self.refollow(shared, state),
        }
        if state.uncredited >= CREDIT_STEP {
            let bytes = std::mem::take(&mut state.uncredited);
            let credit = v1::Credit {
                doc: self.doc_bytes.clone(),
                bytes,
            };
            if !state
                .route
                .as_ref()
                .is_some_and(|r| r.send(Body::Credit(credit)))
            {
                // The link is on its way out, or full: the node cuts the feed, which is mended.
                state.uncredited = bytes;
            }
        }
    }

    /// The chain hash at the position, for clients to resume by.
    pub(super) fn mark(&self, state: &mut State) {
        state.mark_due = false;
        let Some(position) = state.position.filter(|p| p.rev > state.marked) else {
            return;
        };
        state.marked = position.rev;
        let frame = ServerFrame::Mark(position.at());
        Self::fan_out(state, position.clock(), std::slice::from_ref(&frame));
    }

    pub(super) fn client_of(event: &v1::Event) -> Option<ClientId> {
        ClientId::from_slice(&event.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_lead_on_without_a_gap_or_not_at_all() {
        let events = |revs: &[u64]| -> Vec<v1::Event> {
            revs.iter()
                .map(|rev| v1::Event {
                    rev: *rev,
                    ..v1::Event::default()
                })
                .collect()
        };
        assert_eq!(reaches(&events(&[4, 5]), 3), Some(5));
        assert_eq!(
            reaches(&events(&[2, 3, 4]), 3),
            Some(4),
            "repeats are left out"
        );
        assert_eq!(reaches(&events(&[2, 3]), 3), Some(3));
        assert_eq!(reaches(&events(&[]), 3), Some(3));
        assert_eq!(reaches(&events(&[5]), 3), None);
        assert_eq!(reaches(&events(&[4, 6]), 3), None);
        assert_eq!(reaches(&events(&[4, 4]), 3), None);
    }
}
