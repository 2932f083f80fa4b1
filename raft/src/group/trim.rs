//! The window of a document in which nothing happens any more is only for those who come back to it: it
//! goes after a while, by a command in the log. Who comes later reads what is missing from the archive.

use std::{sync::Arc, time::Duration};

use super::{Inner, Origin};
use crate::{
    clocks::Clocks,
    command::{Command, Trim},
    limits::TRIMS_MAX,
    machine::{Document, Held, Lookup, Slots},
    tap,
};

/// Looks after the documents in memory as long as the group lives.
pub(super) async fn trim_quiet(group: Arc<Inner>, clocks: Arc<Clocks>, quiet_ms: u64) {
    let pause = Duration::from_millis((quiet_ms / 60).clamp(100, 60_000));
    loop {
        tokio::time::sleep(pause).await;
        if group.leadership.lock().node != Some(group.node) {
            continue;
        }
        // Pointers: nothing that is applied waits while they are gone through.
        let slots = group.core.lock().shard.slots();
        for trim in quiet(&slots, clocks.stamp_ms(), quiet_ms) {
            tap::trims(&trim);
            // Where there is no room for it the next look finds it again.
            let _ = group.queue.push(Command::Trim(trim), Origin::NOBODY);
        }
    }
}

/// Some of those in which nothing happened for so long.
fn quiet(slots: &Slots, now_ms: u64, quiet_ms: u64) -> Vec<Trim> {
    let is_quiet = |document: &Document| {
        let is_kept = document.floor() < document.rev();
        is_kept && document.updated_ms().saturating_add(quiet_ms) <= now_ms
    };
    let trim = |(_, doc, held): (_, &_, &Held)| match held.lookup() {
        Lookup::Present(document) if is_quiet(document) => Some(Trim {
            doc: *doc,
            floor: document.rev(),
        }),
        _ => None,
    };
    slots.iter().filter_map(trim).take(TRIMS_MAX).collect()
}
