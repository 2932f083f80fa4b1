//! How long history is kept. A round goes as a whole, once all of it and of the rounds before it is
//! older than that, seen from the newest event of the round that is archived: so the archive alone
//! decides it, and all replicas let go of the same. Of each document that had events there a checkpoint
//! at the last of them is carried over, from which all that is kept can be told.

use std::collections::BTreeMap;

use codraft_mutant::mutant;
use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_raft::archive::{ArchiveError, ArchiveMark};
use codraft_tiers::snapshots::ObjectId;

use crate::{
    Archivist, FAN, ReadError, checkpoint,
    object::{CARRIED, Entry, Head, Index, Run},
    pack::{self, Checkpoint},
    past::{PastError, Place},
    state::State,
};

/// Rounds that go at once: where nothing happened for long, many are too old all of a sudden.
const ROUNDS_AT_ONCE: usize = 64;
/// A pack of what is carried over takes no more once it has so many bytes, before they are compressed.
const PACK_BYTES: u64 = 16 << 20;

/// What is left of some rounds when the oldest of them go.
struct Rest {
    runs: Vec<Run>,
    /// The documents that had events in those which go, and the last of these.
    gone: BTreeMap<DocId, Revision>,
}

impl Archivist {
    /// Lets go of the rounds that are too old by the time of the newest event; every few rounds, since an
    /// index is written anew for it.
    pub(crate) async fn let_go(
        &self,
        head: &mut Head,
        mark: ArchiveMark,
        newest_ms: u64,
    ) -> Result<(), ArchiveError> {
        if self.retention_ms == 0 || !head.rounds.is_multiple_of(FAN as u64) {
            return Ok(());
        }
        let kept_ms = self.retention_ms >> u8::from(mutant!("history_kept_half_as_long"));
        let limit_ms = newest_ms.saturating_sub(kept_ms);
        let is_carried = |run: &&Run| run.level == CARRIED;
        let carried = head.runs.first().filter(is_carried).copied();
        let rounds = &head.runs[usize::from(carried.is_some())..];
        let Rest { mut runs, gone } = self.rest(head.group, rounds, limit_ms).await?;
        if gone.is_empty() {
            return Ok(());
        }
        if let Some(run) = self.carry(head.group, mark, carried, &gone).await? {
            runs.insert(0, run);
            head.runs = runs;
        }
        Ok(())
    }

    /// What is left when rounds go whose events are all from before a time, as long as they do.
    async fn rest(&self, group: GroupId, rounds: &[Run], limit_ms: u64) -> Result<Rest, ReadError> {
        let (mut runs, mut gone) = (Vec::new(), BTreeMap::new());
        let (mut is_old, mut count) = (true, 0);
        for run in rounds {
            let index = self.index(group, run.hash).await?;
            let mut packs = 0;
            while is_old && packs < index.packs.len() {
                is_old = count < ROUNDS_AT_ONCE
                    && self.is_before(group, &index, packs, limit_ms).await?;
                packs += usize::from(is_old);
                count += usize::from(is_old);
            }
            let is_gone = |entry: &&Entry| (entry.pack as usize) < packs && !entry.is_checkpoint();
            for entry in index.entries.iter().filter(is_gone) {
                let last: &mut Revision = gone.entry(entry.doc).or_default();
                *last = entry.last().max(*last);
            }
            match packs {
                0 => runs.push(*run),
                all if all == index.packs.len() => {}
                some => {
                    let rest = index.without(some);
                    runs.push(self.put_index(group, run.level, &rest).await?);
                }
            }
        }
        Ok(Rest { runs, gone })
    }

    /// Whether all events of a pack are from before a time.
    async fn is_before(
        &self,
        group: GroupId,
        index: &Index,
        pack: usize,
        limit_ms: u64,
    ) -> Result<bool, ReadError> {
        let hash = index.packs[pack];
        let object = ObjectId { group, hash };
        let is_in = |entry: &&Entry| entry.pack as usize == pack && !entry.is_checkpoint();
        let mut entries: Vec<&Entry> = index.entries.iter().filter(is_in).collect();
        entries.sort_by_key(|entry| (entry.offset, entry.start));
        for of_block in entries.chunk_by(|a, b| a.offset == b.offset) {
            let held = self.held(&Place::new(object, *of_block[0])).await?;
            for entry in of_block {
                let events = pack::read(&held, entry);
                let events = events.map_err(|error| ReadError::Wrong { object, error })?;
                // Times do not fall in a document.
                if events.last().is_some_and(|last| last.ts_ms >= limit_ms) {
                    return Ok(false);
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(true)
    }

    /// The index of what is carried over: what was before, and each of these documents as it was at the
    /// last of its events that go. None where one cannot be told: so it is on every replica, and all is kept
    /// for longer.
    async fn carry(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        before: Option<Run>,
        gone: &BTreeMap<DocId, Revision>,
    ) -> Result<Option<Run>, ArchiveError> {
        let mut index = match before {
            Some(run) => Index::clone(&*self.index(group, run.hash).await?),
            None => Index::default(),
        };
        let goes = |doc: &DocId| gone.contains_key(doc) || mutant!("carried_over_once");
        index.entries.retain(|entry| !goes(&entry.doc));
        let mut carried = Carried::default();
        let again = take_small(&mut index, gone.len());
        for of_block in again.chunk_by(|a, b| (a.pack, a.offset) == (b.pack, b.offset)) {
            let hash = index.packs[of_block[0].pack as usize];
            let place = Place::new(ObjectId { group, hash }, of_block[0]);
            let held = self.held(&place).await?;
            for entry in of_block {
                let spelled = pack::part(&held, entry)?.to_vec();
                carried.push(entry.doc, entry.rev, spelled);
                self.put_full(group, &mut carried, &mut index).await?;
            }
        }
        for (doc, rev) in gone {
            let past = self.past(group, mark, doc).await?;
            let state = self.state(&past, State::before(*doc), *rev, |_| {}).await;
            let state = match state {
                Ok(state) => state,
                Err(PastError::Read(error)) => return Err(error.into()),
                Err(PastError::Fold(error)) => {
                    tracing::error!(%group, %doc, %error, "old rounds are kept: a document is not told");
                    return Ok(None);
                }
            };
            carried.push(*doc, *rev, checkpoint::encode(&state).await);
            self.put_full(group, &mut carried, &mut index).await?;
        }
        if !carried.checkpoints.is_empty() {
            self.put_carried(group, &mut carried, &mut index).await?;
        }
        let run = self.put_index(group, CARRIED, &index.tidied()).await?;
        Ok(Some(run))
    }

    async fn put_full(
        &self,
        group: GroupId,
        carried: &mut Carried,
        index: &mut Index,
    ) -> Result<(), ArchiveError> {
        match carried.bytes {
            ..PACK_BYTES => Ok(()),
            _ => self.put_carried(group, carried, index).await,
        }
    }

    async fn put_carried(
        &self,
        group: GroupId,
        carried: &mut Carried,
        index: &mut Index,
    ) -> Result<(), ArchiveError> {
        let Carried { checkpoints, .. } = std::mem::take(carried);
        let (pack, entries) = pack::encode_whole(&checkpoints).await?;
        pack::compare(&pack, &entries, &[], &checkpoints).await?;
        let object = self.store.put(group, pack).await?;
        index.extend(object.hash, entries);
        Ok(())
    }
}

/// Checkpoints on their way into a pack.
#[derive(Default)]
struct Carried {
    checkpoints: BTreeMap<DocId, Checkpoint>,
    bytes: u64,
}

impl Carried {
    fn push(&mut self, doc: DocId, rev: Revision, spelled: Vec<u8>) {
        self.bytes += spelled.len() as u64;
        self.checkpoints.insert(doc, Checkpoint { rev, spelled });
    }
}

/// Takes the checkpoints out of an index that go into a new pack with so many others: those of the last
/// packs of which little is needed, each of no more than twice of what comes behind it. So a checkpoint is
/// written anew a logarithm of times, and what nobody needs any more takes no more room than the rest.
fn take_small(index: &mut Index, mut others: usize) -> Vec<Entry> {
    let mut needed = vec![(0, 0); index.packs.len()];
    for entry in &index.entries {
        let (count, bytes) = &mut needed[entry.pack as usize];
        *count += 1;
        *bytes += u64::from(entry.end - entry.start);
    }
    let mut is_taken = vec![false; needed.len()];
    for (pack, (count, bytes)) in needed.into_iter().enumerate().rev() {
        if bytes > PACK_BYTES / 2 {
            continue;
        }
        if count > 2 * others {
            break;
        }
        is_taken[pack] = true;
        others += count;
    }
    let (mut taken, rest): (Vec<_>, Vec<_>) = index
        .entries
        .iter()
        .partition(|entry| is_taken[entry.pack as usize]);
    index.entries = rest;
    // Block by block.
    taken.sort_by_key(|entry| (entry.pack, entry.offset, entry.start));
    taken
}
