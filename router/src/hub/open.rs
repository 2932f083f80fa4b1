//! Opening a document for one socket: the question to the leader, and the welcome.

use std::collections::BTreeSet;

use codraft_proto::{
    frame::{At, ServerFrame, Welcome, binary::Clock},
    ids::Role,
    reject::Code,
    v1::{self, message::Body},
};

use super::{
    Hub, Member, Phase, State,
    deliver::{frame_of, who_frame},
    feed::{Feed, Position, hash_of, resume},
    slots::{Full, Slot},
};
use crate::{Shared, lock, queue::End, wire};

impl Hub {
    /// Asks for the documents of the members that wait to be opened. Not while the feed is
    /// found again: an answer must take its place in a feed that stands.
    pub(super) fn open_waiting(&self, shared: &Shared, state: &mut State) {
        if matches!(state.feed, Feed::Following { .. }) {
            return;
        }
        let Some(route) = state.route.clone() else {
            return;
        };
        let now_ms = shared.now_ms();
        for (id, member) in &mut state.members {
            if member.phase != Phase::Waiting {
                continue;
            }
            let tag = shared.next_tag();
            let open = v1::Open {
                tag,
                doc: self.doc_bytes.clone(),
                client: member.session.client_bytes.clone(),
                user: member.session.user.to_string(),
                resume: member.resume.map(resume),
                unsent: member.unsent,
            };
            if !route.send(Body::Open(open)) {
                self.retry_later(shared, state);
                return;
            }
            state.opening.insert(tag, *id);
            member.phase = Phase::Opening { since_ms: now_ms };
        }
    }

    /// A document was opened for one socket.
    pub fn opened(&self, shared: &Shared, link: u64, opened: v1::Opened) -> Option<v1::Leadership> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let id = state.opening.remove(&opened.tag)?;
        if !Self::is_of(state, link) {
            return None;
        }
        if let Some(problem) = opened.problem {
            return self.not_opened(shared, state, id, problem);
        }
        let (hash, role) = (hash_of(&opened.hash), Role::from_number(opened.role));
        let (Some(hash), Some(role)) = (hash, role) else {
            let problem = v1::Problem {
                code: Code::Internal as u32,
                ..v1::Problem::default()
            };
            return self.not_opened(shared, state, id, problem);
        };
        let ts_ms = opened.ts_ms;
        match (state.feed, state.position) {
            (Feed::Live, Some(position)) if position.rev == opened.rev => {}
            (Feed::Cold, _) => {
                state.feed = Feed::Live;
                state.position = Some(Position {
                    rev: opened.rev,
                    hash,
                    ts_ms,
                });
                state.marked = opened.rev;
                self.found(shared, state);
            }
            _ => {
                // Not in its place: the feed is found again, then this one is asked again.
                if let Some(member) = state.members.get_mut(&id) {
                    member.phase = Phase::Waiting;
                }
                if state.feed == Feed::Live {
                    self.refollow(shared, state);
                }
                return None;
            }
        }
        let is_opening = |m: &&mut Member| matches!(m.phase, Phase::Opening { .. });
        let member = state.members.get_mut(&id).filter(is_opening)?;
        member.phase = Phase::Live;
        let acked = opened.acked.as_ref().map(|a| (a.seq, a.rev));
        member.session.opened(role, acked);
        self.welcome(shared, state, id, opened, hash, role);
        if let (Some(route), Some(member)) = (&state.route, state.members.get_mut(&id))
            && !self.submit(shared, route, member)
        {
            self.retry_later(shared, state);
        }
        None
    }

    fn not_opened(
        &self,
        shared: &Shared,
        state: &mut State,
        id: u64,
        problem: v1::Problem,
    ) -> Option<v1::Leadership> {
        let code = Code::from_number(problem.code).unwrap_or(Code::Internal);
        let member = state.members.get_mut(&id)?;
        if Self::is_elsewhere(code) {
            member.phase = Phase::Waiting;
            if matches!(code, Code::NotLeader | Code::NoLeader) && state.feed == Feed::Cold {
                self.unroute(shared, state);
            }
            self.retry_later(shared, state);
            return problem.leader;
        }
        shared.metrics.rejected(code);
        member.queue.end(End::because(code));
        None
    }

    /// Tells a member that its document is open: the state, or what it has missed.
    pub(super) fn welcome(
        &self,
        shared: &Shared,
        state: &mut State,
        id: u64,
        opened: v1::Opened,
        hash: [u8; 32],
        role: Role,
    ) {
        let Some(member) = state.members.get(&id) else {
            return;
        };
        let (client, user) = (member.session.client, member.session.user.clone());
        let (encoding, resumed) = (member.encoding, member.resume);
        let mut missed = Vec::with_capacity(opened.events.len());
        let mut missed_slots = BTreeSet::new();
        // Its own slot first: a client knows its operations by it.
        let mut full = state.slots.of(Some(client), &user).is_err();
        let resumed = resumed.filter(|_| opened.resumed);
        let first_ts_ms = opened.events.first().map_or(opened.ts_ms, |e| e.ts_ms);
        for event in opened.events.into_iter().filter(|_| resumed.is_some()) {
            match state.slots.of(Self::client_of(&event), &event.user) {
                Ok(slot) => {
                    missed_slots.insert(slot);
                    missed.push(frame_of(event, slot));
                }
                Err(Full) => full = true,
            }
        }
        if full {
            return self.start_anew(state);
        }
        let (at, ts_ms) = match resumed {
            Some(at) => (at, first_ts_ms),
            None => (
                At {
                    rev: opened.rev,
                    hash,
                },
                opened.ts_ms,
            ),
        };
        let clients = &state.clients;
        let is_here = |slot: &Slot| slot.client.is_some_and(|c| clients.contains_key(&c));
        let known = |n: u32, slot: &Slot| missed_slots.contains(&n) || is_here(slot);
        let who = state.slots.introduce(known);
        let who = who
            .into_iter()
            .map(|(n, slot)| who_frame(n, slot))
            .collect();
        let welcome = Welcome {
            client,
            user,
            role,
            kind: kind_name(opened.kind).to_owned(),
            algebra: opened.algebra,
            title: opened.title,
            rev: at.rev,
            hash: at.hash,
            ts_ms,
            acked: opened.acked.map(|a| (a.seq, a.rev)),
            who,
            doc: resumed.is_none().then_some(opened.state),
            frame_bytes: shared.limits.frame_bytes,
            incarnation: shared.incarnation,
        };
        let mut frames = vec![ServerFrame::Welcome(Box::new(welcome))];
        frames.extend(missed);
        if resumed.is_some() {
            frames.push(ServerFrame::Mark(At {
                rev: opened.rev,
                hash,
            }));
        }
        // What the feed counts its next event's time from.
        if let Some(Position { ts_ms, rev, .. }) = &mut state.position
            && *rev == opened.rev
        {
            *ts_ms = (*ts_ms).max(opened.ts_ms);
        }
        if let Some(member) = state.members.get(&id) {
            member
                .queue
                .push(wire::frames(encoding, Clock::default(), &frames));
            if state.saving {
                let frame = ServerFrame::Saving { on: true };
                member.queue.push(wire::frame(encoding, &frame));
            }
        }
    }
}

pub(crate) fn kind_name(kind: u32) -> &'static str {
    if kind == 2 { "rich" } else { "text" }
}
