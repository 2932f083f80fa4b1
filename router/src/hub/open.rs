//! The welcome: a document is open for one socket.

use std::collections::BTreeSet;

use codraft_proto::frame::{At, ServerFrame, Welcome, binary::Clock};

use super::{
    Hub, State,
    deliver::{frame_of, who_frame},
};
use crate::{
    Shared,
    feed::{Opened, Start},
    ids::ReaderId,
    wire,
};

impl Hub {
    /// Tells a reader that its document is open: the state, or what it has missed.
    pub(super) fn welcome(
        &self,
        shared: &Shared,
        state: &mut State,
        reader: ReaderId,
        from: At,
        opened: Opened,
    ) {
        let Some(member) = state.members.get_mut(&reader) else {
            return;
        };
        member.listens = true;
        member.session.opened(opened.role, opened.acked);
        let (client, user) = (member.session.client, member.session.user.clone());
        let encoding = member.encoding;
        let (head, head_ts_ms) = (opened.head.at(), opened.head.ts_ms);
        let doc = match opened.start {
            Start::Resume => None,
            Start::State(state) => Some(state),
        };
        let you = member.slot;
        let ts_ms = opened.events.first().map_or(head_ts_ms, |e| e.ts_ms);
        let mut missed = Vec::with_capacity(opened.events.len());
        let mut missed_slots = BTreeSet::new();
        for event in opened.events {
            let slot = state.slots.of(event.client, &event.user);
            missed_slots.insert(slot);
            missed.push(frame_of(event, slot));
        }
        let who = state.slots.introduce(you, &missed_slots);
        let who = who
            .into_iter()
            .map(|(n, slot)| who_frame(n, slot))
            .collect();
        state.slots.trim();
        let is_resumed = doc.is_none();
        let welcome = Welcome {
            client,
            user,
            you,
            role: opened.role,
            kind: kind_name(opened.kind).to_owned(),
            algebra: opened.algebra,
            title: opened.title,
            rev: from.rev,
            hash: from.hash,
            ts_ms,
            acked: opened.acked,
            who,
            doc,
            frame_bytes: shared.limits.frame_bytes,
            incarnation: shared.incarnation,
        };
        let mut frames = vec![ServerFrame::Welcome(Box::new(welcome))];
        frames.extend(missed);
        if is_resumed {
            frames.push(ServerFrame::Mark(head));
        }
        if let Some(member) = state.members.get(&reader) {
            let message = wire::frames(encoding, Clock::default(), &frames);
            member.queue.push(message);
            if state.feed.is_saving() {
                member.push(&ServerFrame::Saving { on: true });
            }
        }
    }
}

pub(crate) fn kind_name(kind: u32) -> &'static str {
    if kind == 2 { "rich" } else { "text" }
}
