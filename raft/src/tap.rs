//! What a checker may listen to: what this process put on its disk, committed and applied, told
//! where it becomes true. With nobody listening it costs a look at a flag.
//!
//! Events of target `codraft_record` with a field `what`; ids, hashes and stored forms as bytes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use codraft_proto::ids::{GroupId, NodeId, Term};

use crate::{
    command::{Anchored, Batch, Command, Restore, Trim},
    machine::{Applied, Event, Outcome, Shard},
    manifest::Manifest,
    oplog::{ArchiveMark, Logged},
    pages::PagePlace,
};

/// A replica's whole state is hashed at every so many entries, and as many more for each so many
/// units of text; the same ones everywhere.
const STATE_EVERY: u64 = 16;
const STATE_UNITS: u64 = 16 << 10;

pub fn listening() -> bool {
    tracing::enabled!(target: "codraft_record", tracing::Level::TRACE)
}

macro_rules! tell {
    ($($field:tt)*) => { tracing::trace!(target: "codraft_record", $($field)*) };
}

/// A vote is on this disk.
pub fn voted(group: GroupId, vote: &[u8]) {
    tell!(what = "voted", group = group.0, vote);
}

/// Records are in the log, and whatever stood there is not; they are not synced yet.
pub fn appended(group: GroupId, first: u64, records: &[Bytes]) {
    if listening() {
        for (index, record) in (first..).zip(records) {
            tell!(
                what = "appended",
                group = group.0,
                index,
                record = &record[..]
            );
        }
    }
}

pub fn truncated(group: GroupId, keep: u64) {
    tell!(what = "truncated", group = group.0, index = keep);
}

/// The disk said that all of the group's log up to `index` is on it.
pub fn synced(group: GroupId, index: u64) {
    tell!(what = "synced", group = group.0, index);
}

/// The log could not be written or synced: nothing more may be promised.
pub fn sync_failed() {
    tell!(what = "sync failed");
}

/// What was told before this was read from the disk when the log was opened. `cut`: bytes of a
/// torn tail.
pub fn recovered(damaged: bool, cut: u64) {
    tell!(what = "recovered", damaged, cut);
}

pub fn committed(group: GroupId, index: u64) {
    tell!(what = "committed", group = group.0, index);
}

pub fn leads(group: GroupId, term: Term) {
    tell!(what = "leads", group = group.0, term = term.0);
}

/// This node told another one that it holds `about` for dead; `evidence`: whether it has some.
pub fn suspects(about: NodeId, evidence: bool) {
    tell!(what = "suspects", about = about.0, evidence);
}

pub fn takes_over(group: GroupId, from: NodeId) {
    tell!(what = "takes over", group = group.0, from = from.0);
}

/// The leader lets go of the window of a quiet document.
pub fn trims(trim: &Trim) {
    tell!(what = "trims", doc = &trim.doc.0[..], floor = trim.floor.0);
}

/// The leader is about to make a node a voter.
pub fn promotes(group: GroupId, node: NodeId) {
    tell!(what = "promotes", group = group.0, node = node.0);
}

/// The state after a manifest's entry is on this disk.
pub fn kept(manifest: &Manifest) {
    if listening() {
        let archived = &manifest.archived.head[..];
        let (hash, events) = (&manifest.hash()[..], &places(manifest)[..]);
        let (group, index) = (manifest.group.0, manifest.index());
        tell!(what = "kept", group, index, hash, archived, events);
    }
}

/// A replica goes on with the state of a manifest that another one took.
pub fn installed(manifest: &Manifest) {
    if listening() {
        let archived = &manifest.archived.head[..];
        let (hash, events) = (&manifest.hash()[..], &places(manifest)[..]);
        let (group, index) = (manifest.group.0, manifest.index());
        tell!(what = "installed", group, index, hash, archived, events);
    }
}

/// A round of events is in this replica's archive.
pub fn archived(group: GroupId, before: ArchiveMark, mark: ArchiveMark, events: &[Arc<Event>]) {
    if listening() {
        let (before, head, runs) = (&before.head[..], &mark.head[..], &runs(events.iter())[..]);
        let (group, rounds, index) = (group.0, mark.rounds, mark.index);
        tell!(what = "archived", group, rounds, index, before, head, runs);
    }
}

/// Another replica's archive was brought here.
pub fn adopted(group: GroupId, mark: ArchiveMark) {
    let head = &mark.head[..];
    tell!(what = "adopted", group = group.0, head);
}

/// Where a manifest's events are: file and offset of each page.
fn places(manifest: &Manifest) -> Vec<u8> {
    let places = manifest.events.iter().map(|page| page.place);
    places.flat_map(place_bytes).collect()
}

fn place_bytes(place: PagePlace) -> [u8; 8] {
    let [file, offset] = [place.file, place.offset].map(u32::to_le_bytes);
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&file);
    bytes[4..].copy_from_slice(&offset);
    bytes
}

/// These events are in a page; of each document its revisions, and the chain hash at the last.
pub fn logged(place: PagePlace, events: &[Logged]) {
    if !listening() {
        return;
    }
    let events = events.iter().map(|logged| &logged.event);
    let (place, runs) = (&place_bytes(place)[..], &runs(events)[..]);
    tell!(what = "logged", place, runs);
}

/// Of each document its revisions, and the chain hash at the last.
fn runs<'a>(events: impl Iterator<Item = &'a Arc<Event>>) -> Vec<u8> {
    let mut runs = BTreeMap::new();
    for event in events {
        let run = runs
            .entry(event.doc)
            .or_insert((event.rev, event.rev, event.hash));
        *run = (run.0, event.rev, event.hash);
    }
    let mut told = Vec::new();
    for (doc, (first, last, hash)) in runs {
        told.extend_from_slice(&doc.0);
        told.extend_from_slice(&first.0.to_le_bytes());
        told.extend_from_slice(&last.0.to_le_bytes());
        told.extend_from_slice(&hash.0);
    }
    told
}

/// A replica begins with the state that was kept at `index`.
pub fn restored(group: GroupId, index: u64) {
    tell!(what = "restored", group = group.0, index);
}

/// A replica's state does not read back: it has no voice until it has another one's.
pub fn lacks(group: GroupId) {
    tell!(what = "lacks", group = group.0);
}

/// And now it has, that of the entry at `index`.
pub fn recovers(group: GroupId, index: u64) {
    tell!(what = "recovers", group = group.0, index);
}

/// The log up to `index` is gone from this disk.
pub fn purged(group: GroupId, index: u64) {
    tell!(what = "purged", group = group.0, index);
}

/// Documents that left memory.
pub fn cooled(documents: usize) {
    tell!(what = "cooled", documents);
}

/// Documents that are read before an entry needs them.
pub fn prefetched(documents: usize) {
    tell!(what = "prefetched", documents);
}

/// A document's page was damaged, and another replica had it.
pub fn mended(group: GroupId) {
    tell!(what = "mended", group = group.0);
}

/// How full something bounded is.
pub fn filled(of: &'static str, most: usize, bound: usize) {
    tell!(what = "filled", of, most, bound);
}

/// What came of the entry at `index`.
pub fn applied(shard: &Shard, index: u64, batch: &Batch, applied: &[Applied]) {
    if !listening() {
        return;
    }
    let group = shard.group().0;
    for (
        command,
        Applied {
            doc,
            outcome,
            event,
        },
    ) in batch.commands.iter().zip(applied)
    {
        let doc = &doc.0[..];
        if let Some(event) = event {
            let client = event.client.as_ref().map(|client| &client.0[..]);
            tell!(
                what = "applied",
                group,
                index,
                doc,
                rev = event.rev.0,
                kind = event.kind,
                user = &*event.user,
                client,
                seq = event.seq.0,
                ts_ms = event.ts_ms,
                body = &event.body[..],
                chain = &event.hash.0[..]
            );
            continue;
        }
        let (client, user, seq) = match command {
            Command::Edit(edit)
            | Command::Restore(Restore { edit, .. })
            | Command::Anchored(Anchored { edit, .. }) => {
                (Some(&edit.client.0[..]), &*edit.user, edit.seq.0)
            }
            _ => (None, "", 0),
        };
        let outcome = spelled(command, outcome);
        tell!(
            what = "outcome",
            group,
            index,
            doc,
            client,
            user,
            seq,
            outcome
        );
    }
    state(shard, index);
}

fn spelled(command: &Command, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied { .. } if matches!(command, Command::Quarantine(word) if !word.on) => {
            "lifted".to_owned()
        }
        Outcome::Applied { rev } => format!("applied {rev}"),
        Outcome::Already { rev, .. } => format!("already {rev}"),
        Outcome::Refused(refusal) => format!("refused {}", refusal.code.as_str()),
        Outcome::Rebase { floor, head } => format!("rebase {floor} {head}"),
        Outcome::Retry(code) => format!("retry {}", code.as_str()),
    }
}

/// The state after the entry at `index`, and what of it is bounded, at some entries.
pub fn state(shard: &Shard, index: u64) {
    if !listening() || !index.is_multiple_of(STATE_EVERY) {
        return;
    }
    let units = shard.documents().map(|d| u64::from(d.content().units()));
    let rarer = 1 + units.sum::<u64>() / STATE_UNITS;
    if !index.is_multiple_of(STATE_EVERY * rarer) {
        return;
    }
    let group = shard.group().0;
    let digest = codraft_mutant::cost::unpaid(|| shard.digest());
    tell!(what = "state", group, index, digest = &digest[..]);
    for document in shard.documents() {
        for (of, most, bound) in document.fills(shard.limits()) {
            filled(of, most, bound);
        }
    }
}
