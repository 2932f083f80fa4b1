//! Says where it is, and keeps where it is told that the others are.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use codraft_proto::{
    frame::{ClientFrame, Presence, ServerFrame},
    ids::Revision,
};
use tokio::time::Instant;

use super::{Client, Connection};
use crate::record::{ClientSeen, Id, Place};

/// Between two places.
const EVERY: Duration = Duration::from_millis(300);

#[derive(Default)]
pub(super) struct Seen {
    /// What it said on this socket, and when.
    pub said: Option<(Place, Instant)>,
    /// Others, by the router's numbers.
    people: BTreeMap<u32, (Id, Place)>,
}

impl Seen {
    pub fn people(&self) -> BTreeMap<Id, Place> {
        self.people.values().copied().collect()
    }
}

impl Client {
    pub(super) async fn say_where(&mut self) -> Result<()> {
        let now = Instant::now();
        let number = self.plan.number;
        let document = self.store.document.as_ref().filter(|d| d.is_saved());
        let (Some(document), Connection::Open(open)) = (document, &mut self.connection) else {
            return Ok(());
        };
        let (rev, units) = (document.rev(), document.content().units());
        let place = (rev.0, (rev.0 as u32 * 7 + number) % (units + 1));
        let is_due = |(said, at): (Place, Instant)| said != place && now >= at + EVERY;
        if !open.live || !open.seen.said.is_none_or(is_due) {
            return Ok(());
        }
        open.seen.said = Some((place, now));
        self.note(ClientSeen::Said {
            client: self.author(),
            doc: self.doc.0,
            rev: place.0,
            cursor: place.1,
        });
        let presence = Some(Presence {
            cursor: Some(place.1),
            ..Presence::default()
        });
        match &mut self.connection {
            Connection::Open(open) => {
                let frame = ClientFrame::Presence { rev, presence };
                open.socket.send(&frame).await
            }
            _ => Ok(()),
        }
    }

    /// Of others: where somebody is, who a number is, or all of them anew.
    pub(super) fn sees(&mut self, frame: &ServerFrame) {
        let Connection::Open(open) = &mut self.connection else {
            return;
        };
        if matches!(frame, ServerFrame::Welcome(_)) {
            // What was said before was said of another sitting.
            open.seen = Seen::default();
        }
        let people = &mut open.seen.people;
        match frame {
            ServerFrame::Who(who) => {
                let is = open.socket.author(who.slot);
                if people.get(&who.slot).map(|(of, _)| *of) != is {
                    people.remove(&who.slot);
                }
            }
            ServerFrame::Presence { slot, .. } if open.socket.is_mine(*slot) => {}
            ServerFrame::Presence {
                slot,
                rev: Revision(rev),
                presence,
                ..
            } => {
                people.remove(slot);
                let cursor = presence.as_ref().and_then(|presence| presence.cursor);
                let (Some(cursor), Some(of)) = (cursor, open.socket.author(*slot)) else {
                    return;
                };
                people.insert(*slot, (of, (*rev, cursor)));
                self.note(ClientSeen::Shown {
                    client: self.author(),
                    doc: self.doc.0,
                    of,
                    rev: *rev,
                    cursor,
                });
            }
            _ => {}
        }
    }
}
