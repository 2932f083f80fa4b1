//! From the feed to the sockets: each event becomes a frame once, a batch is encoded once for
//! each encoding that somebody listens in, and all sockets share the bytes.

use bytes::Bytes;
use codraft_proto::{
    event,
    frame::{Encoding, OpEvent, OtherEvent, ServerFrame, Who, binary::Clock},
    ids::ClientId,
};

use super::{
    Hub, State, notes,
    slots::{Slot, Slots},
};
use crate::{
    Shared,
    feed::{Event, FeedEvent, Position},
    ids::ReaderId,
    wire,
};

/// A mark is sent after so many revisions, or a while after the first that has none.
const MARK_REVISIONS: u64 = 64;
const MARK_AFTER_MS: u64 = 1_000;

impl Hub {
    /// Delivers events that lead on from `before` without a gap.
    pub(super) fn deliver(
        &self,
        shared: &Shared,
        state: &mut State,
        before: Position,
        events: Vec<FeedEvent>,
    ) -> Option<Event> {
        let mut unreadable = Vec::new();
        let head = state.feed.position()?;
        state.followers.reached(head.rev);
        let mut clock = before.clock();
        let mut frames = Vec::with_capacity(events.len() + 2);
        let mut applied = false;
        for event in events {
            applied |= self.acknowledge(shared, state, &event);
            let slot = announced(&mut state.slots, &event, &mut frames);
            let after = Clock {
                rev: event.rev,
                ts_ms: clock.ts_ms.max(event.ts_ms),
            };
            let grant = (event.kind == event::GRANT).then(|| event.body.clone());
            frames.push(frame_of(event, slot));
            if let Some((user, role)) = grant.as_deref().and_then(event::read_grant) {
                // Whose role it is hears of it here, and of nothing later without it.
                unreadable.extend(Self::fan_out(state, clock, &frames));
                clock = after;
                frames.clear();
                Self::granted(state, user, role);
            }
        }
        state.slots.trim();
        shared.metrics.events.inc_by(head.rev.0 - before.rev.0);
        if !state.mark_due {
            state.marked = state.marked.max(before.rev);
        }
        if head.rev >= state.marked + MARK_REVISIONS {
            state.marked = head.rev;
            frames.push(ServerFrame::Mark(head.at()));
        } else if !state.mark_due {
            state.mark_due = true;
            shared.timers.add(shared.now_ms() + MARK_AFTER_MS, self.doc);
        }
        unreadable.extend(Self::fan_out(state, clock, &frames));
        if !unreadable.is_empty() {
            return Some(Event::Unreadable {
                readers: unreadable,
            });
        }
        applied.then_some(Event::OperationApplied)
    }

    /// The chain hash at the position, for clients to resume by.
    pub(super) fn mark(&self, state: &mut State) {
        state.mark_due = false;
        if let Some(position) = state.feed.position().filter(|p| p.rev > state.marked) {
            state.marked = position.rev;
            let frame = ServerFrame::Mark(position.at());
            Self::fan_out(state, position.clock(), &[frame]);
        }
    }

    /// The author's own event on the feed is the acknowledgement. Returns true if it was of the
    /// operation in flight.
    fn acknowledge(&self, shared: &Shared, state: &mut State, event: &FeedEvent) -> bool {
        let author = event.client.and_then(|c| state.reader_of(&event.user, c));
        let Some(member) = author.and_then(|id| state.members.get_mut(&id)) else {
            return false;
        };
        let Some(own) = member.session.applied(event.seq, event.rev) else {
            return false;
        };
        let took_ms = shared.now_ms().saturating_sub(own.since_ms);
        shared.metrics.saved.observe(took_ms as f64 / 1000.0);
        true
    }

    /// Sends frames to every live member. `clock` is the event before them. Returns those in whose
    /// encoding they cannot be said: they hear nothing more, and open the document again.
    pub(super) fn fan_out(
        state: &mut State,
        clock: Clock,
        frames: &[ServerFrame],
    ) -> Vec<ReaderId> {
        let mut unreadable = Vec::new();
        if frames.is_empty() {
            return unreadable;
        }
        let (mut binary, mut json): (Option<Option<Bytes>>, Option<Option<Bytes>>) = (None, None);
        for (reader, member) in state.members.iter_mut().filter(|(_, m)| m.listens) {
            let message = match member.encoding {
                Encoding::Binary => &mut binary,
                Encoding::Json => &mut json,
            };
            match message.get_or_insert_with(|| wire::frames(member.encoding, clock, frames)) {
                Some(message) => {
                    member.queue.push(message.clone());
                }
                None => {
                    member.listens = false;
                    unreadable.push(*reader);
                }
            }
        }
        unreadable
    }
}

/// The slot of an event's author, after a `who` when all are to hear of it now.
fn announced(slots: &mut Slots, event: &FeedEvent, frames: &mut Vec<ServerFrame>) -> u32 {
    let slot = slots.of(event.client, &event.user);
    if let Some(who) = slots.announce(slot) {
        frames.push(ServerFrame::Who(who_frame(slot, who)));
    }
    slot
}

pub(super) fn who_frame(slot: u32, who: &Slot) -> Who {
    // A user who came by no tab has the client of zeros.
    Who {
        slot,
        client: who.client.unwrap_or(ClientId([0; 16])),
        user: who.user.clone(),
        name: who.name.clone(),
    }
}

pub(super) fn frame_of(event: FeedEvent, slot: u32) -> ServerFrame {
    let FeedEvent {
        rev,
        seq,
        base,
        ts_ms,
        kind,
        body,
        restores,
        ..
    } = event;
    if event::is_hidden(kind) {
        return ServerFrame::Skip { rev, ts_ms };
    }
    if kind == event::EDIT {
        return ServerFrame::Op(OpEvent {
            rev,
            slot,
            seq,
            base,
            ts_ms,
            restores,
            ops: body,
        });
    }
    let (user, role) = match event::read_grant(&body).filter(|_| kind == event::GRANT) {
        Some((user, role)) => (Some(user.into()), role),
        None => (None, None),
    };
    ServerFrame::Event(OtherEvent {
        rev,
        slot,
        ts_ms,
        note: notes::told(kind, &body),
        kind: event::name(kind).to_owned(),
        user,
        role,
    })
}
