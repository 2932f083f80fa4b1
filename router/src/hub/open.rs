//! The welcome: a document is open for one socket.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use codraft_proto::{
    frame::{At, Encoding, ServerFrame, Snapshot, Welcome, binary::Clock},
    reject::Code,
};

use super::{
    Hub, State,
    deliver::{frame_of, who_frame},
};
use crate::{
    Shared,
    feed::{Opened, Start},
    ids::ReaderId,
    queue::{CatchUp, End},
    state::{self, SharedState},
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
        if state.followers.welcome(reader, opened.head.rev) {
            return;
        }
        let Some(member) = state.members.get_mut(&reader) else {
            return;
        };
        member.listens = true;
        member.session.opened(opened.role, opened.acked);
        let (client, user) = (member.session.client, member.session.user.clone());
        let encoding = member.encoding;
        let (head, head_ts_ms) = (opened.head.at(), opened.head.ts_ms);
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
        let held = state.held.clone().filter(|_| opened.start == Start::Held);
        let welcome = ServerFrame::Welcome(Box::new(Welcome {
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
            // It follows, and is not copied.
            doc: held.as_ref().map(|_| Bytes::new()),
            snapshot: held.as_ref().and_then(|held| self.snapshot(held)),
            frame_bytes: shared.limits.frame_bytes,
            incarnation: shared.incarnation,
        }));
        let Some(member) = state.members.get(&reader) else {
            return;
        };
        if held.is_none() || from != head {
            missed.push(ServerFrame::Mark(head));
        }
        match catch_up(encoding, welcome, held, missed) {
            Some(catch_up) => member.queue.catch_up(catch_up),
            None => member.queue.end(End::because(Code::Internal)),
        }
        if state.feed.is_saving() {
            member.push(&ServerFrame::Saving { on: true });
        }
        self.show_all(state, reader);
    }

    fn snapshot(&self, held: &SharedState) -> Option<Snapshot> {
        let version = held.kept?;
        let url = state::url(self.doc, version);
        Some(Snapshot { version, url })
    }
}

/// A welcome, and what was missed. `None` if it cannot be said in this encoding.
fn catch_up(
    encoding: Encoding,
    welcome: ServerFrame,
    held: Option<Arc<SharedState>>,
    missed: Vec<ServerFrame>,
) -> Option<CatchUp> {
    let mut frames = missed;
    frames.insert(0, welcome);
    let Some(held) = held else {
        return Some(CatchUp {
            start: wire::frames(encoding, Clock::default(), &frames)?,
            document: None,
        });
    };
    let (start, end) = wire::around_document(encoding, &frames, held.len())?;
    Some(CatchUp {
        start,
        document: Some((held, end)),
    })
}

pub(crate) fn kind_name(kind: u32) -> &'static str {
    if kind == 2 { "rich" } else { "text" }
}
