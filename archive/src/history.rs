//! A document at any of its revisions, of the archive and of what is not archived yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codraft_proto::ids::{DocId, Revision};
use codraft_raft::{
    archive::ArchiveMark,
    group::{Group, KeepError},
    machine::Event,
};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    Archivist, FoldError, PastError, ReadError, State,
    past::{Place, pass_all},
};

/// States stay in memory at revisions so far apart at least, until all take so many bytes.
const STRIDE: u64 = 1_024;
const CACHED_BYTES: u64 = 32 << 20;
/// Who may hold states, and what is made of them, at once; others wait.
const AT_ONCE: usize = 2;
/// A round that is archived meanwhile takes events from where they were looked for.
const TRIES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Archive(#[from] ReadError),
    #[error(transparent)]
    Kept(#[from] KeepError),
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The document has none such, or what led to it is gone.
    #[error("revision {0} cannot be told")]
    Missing(Revision),
    /// It is older than history is kept.
    #[error("what was before revision {oldest} is not kept any more")]
    Erased { oldest: Revision },
}

impl From<PastError> for HistoryError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Read(error) => Self::Archive(error),
            PastError::Fold(error) => Self::Fold(error),
        }
    }
}

/// The history of the documents of a node.
pub struct History {
    archivist: Arc<Archivist>,
    turns: Semaphore,
    states: Mutex<States>,
}

impl History {
    pub fn new(archivist: Arc<Archivist>) -> Self {
        Self {
            archivist,
            turns: Semaphore::new(AT_ONCE),
            states: Mutex::new(States::default()),
        }
    }

    /// To be held by whoever holds a state: each may take many times what its document takes.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// A document at a revision that its group has applied here.
    ///
    /// # Errors
    /// When something that leads to it does not read back, or it is not kept any more.
    pub async fn at(
        &self,
        group: &Group,
        doc: DocId,
        version: Revision,
    ) -> Result<State, HistoryError> {
        tried(group, version, || self.try_at(group, doc, version)).await
    }

    /// None where a round was archived meanwhile.
    async fn try_at(
        &self,
        group: &Group,
        doc: DocId,
        version: Revision,
    ) -> Result<Option<State>, HistoryError> {
        let known = self.states.lock().nearest(doc, version);
        let keep = |state: &State| self.states.lock().keep(state);
        let past = self.archivist.past(group.id(), mark(group), &doc).await?;
        if let Some(oldest) = past
            .carried()
            .map(Place::rev)
            .filter(|kept| version < *kept)
        {
            return Err(HistoryError::Erased { oldest });
        }
        let mut state = self.archivist.state(&past, known, version, keep).await?;
        if state.rev < version {
            let events = group.unarchived(doc, state.rev, version).await?;
            match pass_all(&mut state, &events, version, keep).await {
                Err(FoldError::Gap { .. }) => return Ok(None),
                passed => passed?,
            }
        }
        Ok((state.rev == version).then_some(state))
    }

    /// The events of a document from one revision to another, both included, which its group has
    /// applied here.
    ///
    /// # Errors
    /// When something does not read back, or the first of them is not kept any more.
    pub async fn events(
        &self,
        group: &Group,
        doc: DocId,
        from: Revision,
        to: Revision,
    ) -> Result<Vec<Arc<Event>>, HistoryError> {
        tried(group, from, || self.try_events(group, doc, from, to)).await
    }

    /// None where a round was archived meanwhile.
    async fn try_events(
        &self,
        group: &Group,
        doc: DocId,
        from: Revision,
        to: Revision,
    ) -> Result<Option<Vec<Arc<Event>>>, HistoryError> {
        // What is gone is gone, though a document's window may have some of it yet.
        let oldest = self.archivist.oldest(group.id(), mark(group), &doc);
        if let Some(oldest) = oldest.await?.filter(|oldest| from <= *oldest) {
            return Err(HistoryError::Erased { oldest });
        }
        let before = Revision(from.0.saturating_sub(1));
        let is_whole = |events: &[Arc<Event>]| {
            let revs = (from.0..=to.0).map(Revision);
            revs.eq(events.iter().map(|event| event.rev))
        };
        // Most of what is asked for is at hand.
        let recent = group.unarchived(doc, before, to).await?;
        if is_whole(&recent) {
            return Ok(Some(recent));
        }
        let archived = self
            .archivist
            .events(group.id(), mark(group), doc, from, to);
        let mut events: Vec<_> = archived.await?.into_iter().map(Arc::new).collect();
        let last = events.last().map_or(before, |event| event.rev);
        events.extend(group.unarchived(doc, last, to).await?);
        Ok(Some(events).filter(|events| is_whole(events)))
    }

    /// The last revision that a document had at a time (milliseconds since 1970); 0 before it was
    /// created.
    ///
    /// # Errors
    /// When something does not read back.
    pub async fn revision_at(
        &self,
        group: &Group,
        doc: DocId,
        ms: u64,
    ) -> Result<Revision, HistoryError> {
        tried(group, Revision(0), || self.try_revision_at(group, doc, ms)).await
    }

    /// None where a round was archived meanwhile.
    async fn try_revision_at(
        &self,
        group: &Group,
        doc: DocId,
        ms: u64,
    ) -> Result<Option<Revision>, HistoryError> {
        let past = self.archivist.past(group.id(), mark(group), &doc).await?;
        if let Some(oldest) = past.carried() {
            let time = self.archivist.time_of(&past, Some(oldest)).await?;
            if time.is_some_and(|time| ms < time) {
                let oldest = oldest.rev();
                return Err(HistoryError::Erased { oldest });
            }
        }
        if let Some(rev) = self.archivist.revision_at(&past, ms).await? {
            return Ok(Some(rev));
        }
        let archived = past.last();
        let all = Revision(u64::MAX);
        let events = group.unarchived(doc, archived, all).await?;
        let first = events.first().map(|event| event.rev);
        if first.is_some_and(|first| first > archived + 1) {
            return Ok(None);
        }
        let count = events.partition_point(|event| event.ts_ms <= ms);
        Ok(Some(
            events[..count].last().map_or(archived, |event| event.rev),
        ))
    }

    /// The latest revision at which the archive has the document whole; none yet.
    ///
    /// # Errors
    /// When the archive does not read back.
    pub async fn checkpoint(
        &self,
        group: &Group,
        doc: DocId,
    ) -> Result<Option<Revision>, HistoryError> {
        let past = self.archivist.past(group.id(), mark(group), &doc).await?;
        let latest = past.checkpoint(Revision(u64::MAX));
        Ok(latest.map(|place| place.rev()))
    }
}

/// Tries what comes to nothing where a round is archived meanwhile, and what can be put right.
async fn tried<T, F>(
    group: &Group,
    version: Revision,
    attempt: impl Fn() -> F,
) -> Result<T, HistoryError>
where
    F: Future<Output = Result<Option<T>, HistoryError>>,
{
    for _ in 0..TRIES {
        let mark = mark(group);
        match attempt().await {
            Ok(Some(told)) => return Ok(told),
            Ok(None) => {}
            Err(error) => mended(group, mark, error).await?,
        }
    }
    Err(HistoryError::Missing(version))
}

/// Nothing, if what was missing or damaged in the archive is put right, or is not needed any more where
/// the mark moved on.
async fn mended(group: &Group, at: ArchiveMark, error: HistoryError) -> Result<(), HistoryError> {
    match &error {
        HistoryError::Archive(_) if mark(group) != at => Ok(()),
        HistoryError::Archive(why) if group.mend_archive(why).await => Ok(()),
        _ => Err(error),
    }
}

fn mark(group: &Group) -> ArchiveMark {
    *group.archive_marks().borrow()
}

/// States that were made, those used last at the front.
struct States {
    kept: LruCache<(DocId, Revision), State>,
    /// At which revisions.
    revs: BTreeMap<DocId, BTreeSet<Revision>>,
    bytes: u64,
}

impl Default for States {
    fn default() -> Self {
        Self {
            kept: LruCache::unbounded(),
            revs: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl States {
    /// The latest at or before a revision; else the one before all.
    fn nearest(&mut self, doc: DocId, version: Revision) -> State {
        let revs = self.revs.get(&doc);
        let rev = revs.and_then(|revs| revs.range(..=version).next_back().copied());
        let known = rev.and_then(|rev| self.kept.get(&(doc, rev)).cloned());
        known.unwrap_or_else(|| State::before(doc))
    }

    fn keep(&mut self, state: &State) {
        if !state.rev.0.is_multiple_of(STRIDE) {
            return;
        }
        let bytes = state.heap_bytes();
        if !state.rev.0.is_multiple_of(stride(bytes)) {
            return;
        }
        self.bytes += bytes;
        self.revs.entry(state.doc).or_default().insert(state.rev);
        let key = (state.doc, state.rev);
        if let Some(before) = self.kept.put(key, state.clone()) {
            self.bytes -= before.heap_bytes();
        }
        while self.bytes > CACHED_BYTES
            && let Some(((doc, rev), state)) = self.kept.pop_lru()
        {
            self.bytes -= state.heap_bytes();
            if let Some(revs) = self.revs.get_mut(&doc) {
                revs.remove(&rev);
                if revs.is_empty() {
                    self.revs.remove(&doc);
                }
            }
        }
    }
}

/// How far apart states of so many bytes are kept: the larger, the fewer there is room for.
fn stride(bytes: u64) -> u64 {
    const BYTES_A_REVISION: u64 = 128;
    (bytes / BYTES_A_REVISION).next_power_of_two().max(STRIDE)
}
