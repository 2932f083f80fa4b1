//! The window of a document in which nothing happens any more is only for those who come back to it: it
//! goes after a while, by a command in the log, which brings it into memory where it has left it. Who comes
//! later reads what is missing from the archive.

use std::{sync::Arc, time::Duration};

use codraft_proto::ids::{DocId, Slot};

use super::{Inner, Origin};
use crate::{
    clocks::Clocks,
    command::{Command, Trim},
    limits::TRIMS_MAX,
    machine::{Held, Lookup, Slots},
    tap,
};

/// There may be very many cold ones, so each is looked at in one turn of so many.
const COLD_TURNS: u16 = 64;

/// Looks after the documents as long as the group lives.
pub(super) async fn trim_quiet(group: Arc<Inner>, clocks: Arc<Clocks>, quiet_ms: u64) {
    let pause = Duration::from_millis((quiet_ms / 60).clamp(100, 60_000));
    for turn in (0..COLD_TURNS).cycle() {
        tokio::time::sleep(pause).await;
        if group.leadership.lock().node != Some(group.node) {
            continue;
        }
        // Pointers: nothing that is applied waits while they are gone through.
        let slots = group.core.lock().shard.slots();
        for trim in quiet(&slots, turn, clocks.stamp_ms(), quiet_ms) {
            tap::trims(&trim);
            // Where there is no room for it the next look finds it again.
            let _ = group.push(Command::Trim(trim), Origin::NOBODY);
        }
    }
}

/// Some of those in which nothing happened for so long; of the cold ones, those whose turn it is.
fn quiet(slots: &Slots, turn: u16, now_ms: u64, quiet_ms: u64) -> Vec<Trim> {
    let trim = |(slot, doc, held): (Slot, &DocId, &Held)| {
        let (floor, rev, updated_ms) = match held.lookup() {
            Lookup::Present(document) => (document.floor(), document.rev(), document.updated_ms()),
            Lookup::Cold(packed) if slot.0 % COLD_TURNS == turn => {
                let summary = packed.summary();
                (summary.floor, summary.rev, summary.updated_ms)
            }
            Lookup::Cold(_) | Lookup::Missing => return None,
        };
        let is_quiet = floor < rev && updated_ms.saturating_add(quiet_ms) <= now_ms;
        is_quiet.then_some(Trim {
            doc: *doc,
            floor: rev,
        })
    };
    slots.iter().filter_map(trim).take(TRIMS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codraft_ot::Kind;
    use codraft_proto::{ids::GroupId, placement::slot_of};

    use super::*;
    use crate::{
        command::{Algebra, Batch, Create},
        machine::{InSlot, MachineLimits, Page, Shard},
        pages::PagePlace,
    };

    const DOC: DocId = DocId([7; 16]);

    fn shard() -> Shard {
        let mut shard = Shard::new(GroupId(0), MachineLimits::default());
        let create = Create {
            doc: DOC,
            kind: Kind::Text,
            algebra: Algebra::Delta1,
            title: "quiet".into(),
            owner: "ada".into(),
            initial: None,
        };
        let commands = vec![Command::Create(create)];
        let ts_ms = 1_000;
        shard.apply(1, &Batch { ts_ms, commands });
        shard
    }

    /// In how many turns it is found.
    fn found(slots: &Slots, now_ms: u64) -> usize {
        let turns = (0..COLD_TURNS).map(|turn| quiet(slots, turn, now_ms, 500).len());
        turns.sum::<usize>()
    }

    #[test]
    fn a_quiet_document_is_found_in_memory_at_each_look_and_elsewhere_in_its_turn() {
        let shard = shard();
        let warm = shard.slots();
        assert_eq!(found(&warm, 1_499), 0);
        assert_eq!(found(&warm, 1_500), usize::from(COLD_TURNS));
        let page = Page {
            place: PagePlace {
                file: 1,
                offset: 0,
                length: 1,
            },
            digest: [0; 32],
        };
        let (mut in_slot, mut cold) = (InSlot::default(), Slots::default());
        let summary = shard.summary(&DOC).unwrap();
        assert!(in_slot.push(DOC, Held::cold(1, page, summary)));
        cold.put(slot_of(&DOC), in_slot);
        assert_eq!(found(&cold, 1_499), 0);
        assert_eq!(found(&cold, 1_500), 1);
    }
}
