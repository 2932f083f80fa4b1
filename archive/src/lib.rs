//! What remains of a group's events when its op log lets them go: the archive, from which every
//! revision can be told.
//!
//! The events of a round become segments, one or more a document (`segment`), and these lie in a
//! pack. An index says where each of them is; indices of one level become one of the next, so that a
//! document's segments are found in few of them. A head lists the indices, so that its hash stands
//! for all that was ever archived. Replicas archive the same rounds and get the same objects.

mod audit;
mod authorship;
mod checkpoint;
mod history;
mod object;
mod pack;
mod past;
mod retention;
pub mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, GroupId},
    transport::BoxFuture,
    v1,
};
use codraft_raft::{
    archive::{Archive, ArchiveError, ArchiveMark, Cause, Round},
    group::BulkLink,
    machine::Event,
};
use codraft_tiers::snapshots::{ContentHash, OBJECT_BYTES_MAX, ObjectId, SnapshotError, Snapshots};

pub use audit::{AuditError, Lying};
pub use authorship::Authorship;
pub use checkpoint::CheckpointOptions;
pub use history::{History, HistoryError};
use lru::LruCache;
use object::{Head, Index, Run};
use pack::Checkpoint;
pub use pack::PackError;
use parking_lot::Mutex;
pub use past::PastError;
pub use segment::SegmentError;
pub use state::{FoldError, State};

/// The folder of the archive, in the node's.
pub const ARCHIVE: &str = "archive";
/// So many indices of one level become one of the next.
const FAN: usize = 8;
/// An index is not merged into one of more entries.
const ENTRIES_MAX: u64 = 1 << 18;
/// What is asked of another replica at once, in bytes.
const PART: u32 = 1 << 20;
/// Entries of indices that stay in memory once they were read.
const CACHED_ENTRIES: usize = 1 << 19;
/// Objects that are listed at once.
const LISTED: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Object(#[from] SnapshotError),
    #[error("object {object}: {error}")]
    Wrong { object: ObjectId, error: PackError },
    #[error("object {object} has a checkpoint of something else")]
    Elsewhere { object: ObjectId },
}

impl ReadError {
    /// What is missing or damaged, if that is the reason.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::Object(SnapshotError::Missing(object) | SnapshotError::Damaged(object)) => {
                Some(*object)
            }
            Self::Object(_) => None,
            Self::Wrong { object, .. } | Self::Elsewhere { object } => Some(*object),
        }
    }
}

/// The archive of a node's groups, in a snapshot tier.
pub struct Archivist {
    store: Arc<dyn Snapshots>,
    options: CheckpointOptions,
    /// For how long history is kept, by the events' own time; 0 for ever.
    retention_ms: u64,
    /// Those read last.
    indices: Mutex<LruCache<ContentHash, Arc<Index>>>,
}

impl Archivist {
    pub fn new(store: Arc<dyn Snapshots>, options: CheckpointOptions) -> Self {
        Self {
            store,
            options,
            retention_ms: 0,
            indices: Mutex::new(LruCache::unbounded()),
        }
    }

    /// Lets go of history that is older than so many milliseconds; of none for 0. The same on all replicas,
    /// from the first round on.
    pub fn retaining(mut self, retention_ms: u64) -> Self {
        self.retention_ms = retention_ms;
        self
    }

    async fn head(&self, group: GroupId, mark: ArchiveMark) -> Result<Head, ReadError> {
        if mark.rounds == 0 {
            return Ok(Head {
                group,
                ..Head::default()
            });
        }
        let hash = ContentHash(mark.head);
        let object = ObjectId { group, hash };
        let head = Head::decode(&self.store.get(object).await?);
        head.map_err(|error| wrong(object, error))
    }

    async fn index(&self, group: GroupId, hash: ContentHash) -> Result<Arc<Index>, ReadError> {
        if let Some(index) = self.indices.lock().get(&hash) {
            return Ok(index.clone());
        }
        let object = ObjectId { group, hash };
        let index = Index::decode(&self.store.get(object).await?);
        let index = Arc::new(index.map_err(|error| wrong(object, error))?);
        let mut indices = self.indices.lock();
        indices.put(hash, index.clone());
        let mut entries: usize = indices.iter().map(|(_, index)| index.entries.len()).sum();
        while entries > CACHED_ENTRIES
            && let Some((_, index)) = indices.pop_lru()
        {
            entries -= index.entries.len();
        }
        Ok(index)
    }

    async fn add_round(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        round: Round,
    ) -> Result<ArchiveMark, ArchiveError> {
        let mut head = self.head(group, mark).await?;
        let events = round.events;
        let checkpoints = self.checkpoints(group, mark, &events).await?;
        let (pack, entries) = pack::encode(&events, &checkpoints).await?;
        pack::compare(&pack, &entries, &events, &checkpoints).await?;
        // It was read back, and is the same.
        let object = self.store.put(group, pack).await?;
        let index = Index {
            packs: vec![object.hash],
            entries,
        };
        let newest_ms = events.iter().map(|event| event.ts_ms).max();
        self.let_go(&mut head, mark, newest_ms.unwrap_or(0)).await?;
        let run = self.put_index(group, 0, &index).await?;
        head.runs.push(run);
        self.merge(&mut head).await?;
        head.rounds += 1;
        head.index = round.to;
        let object = self.store.put(group, head.encode().into()).await?;
        Ok(ArchiveMark {
            rounds: head.rounds,
            index: head.index,
            head: object.hash.0,
        })
    }

    /// The documents of a round that are due to be kept whole.
    async fn checkpoints(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        events: &[Arc<Event>],
    ) -> Result<BTreeMap<DocId, Checkpoint>, ArchiveError> {
        let mut checkpoints = BTreeMap::new();
        for of_doc in events.chunk_by(|a, b| a.doc == b.doc) {
            match self.checkpoint(group, mark, of_doc).await {
                Ok(Some(checkpoint)) => {
                    checkpoints.insert(of_doc[0].doc, checkpoint);
                }
                Ok(None) => {}
                Err(PastError::Read(error)) => return Err(error.into()),
                // So it is on every replica: its history is told without one.
                Err(PastError::Fold(error)) => {
                    let doc = of_doc[0].doc;
                    tracing::error!(%group, %doc, %error, "a document has no checkpoint");
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(checkpoints)
    }

    /// The document of these events as it is after them, or after the one that asked for it, if it is
    /// due to be kept whole.
    async fn checkpoint(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        events: &[Arc<Event>],
    ) -> Result<Option<Checkpoint>, PastError> {
        let (first, last) = (&events[0], &events[events.len() - 1]);
        let asked = checkpoint::asked(events);
        let (rev, stride) = (asked.unwrap_or(last.rev), self.options.stride());
        if asked.is_none() && (first.rev.0 - 1) / stride == rev.0 / stride {
            return Ok(None);
        }
        let past = self.past(group, mark, &first.doc).await?;
        let before = past.checkpoint(rev);
        let (at, bytes) = before.map_or((0, 0), |place| (place.rev().0, place.bytes()));
        let since = rev.0 - at;
        let mut is_due = asked.is_some() || self.options.is_due(since, bytes);
        if !is_due && self.options.may_be_due(since, bytes) {
            let time = self.time_of(&past, before).await?;
            let time = time.unwrap_or(first.ts_ms);
            is_due = last.ts_ms >= time.saturating_add(self.options.ms);
        }
        if !is_due {
            return Ok(None);
        }
        let known = State::before(first.doc);
        let mut state = self.state(&past, known, rev, |_| {}).await?;
        past::pass_all(&mut state, events, rev, |_| {}).await?;
        let spelled = checkpoint::encode(&state).await;
        Ok(Some(Checkpoint { rev, spelled }))
    }

    async fn put_index(
        &self,
        group: GroupId,
        level: u64,
        index: &Index,
    ) -> Result<Run, SnapshotError> {
        let entries = index.entries.len() as u64;
        let object = self.store.put(group, index.encode().into()).await?;
        let hash = object.hash;
        Ok(Run {
            level,
            entries,
            hash,
        })
    }

    /// Makes one index of the last ones where there are enough of a level.
    async fn merge(&self, head: &mut Head) -> Result<(), ReadError> {
        while let Some(first) = head.runs.len().checked_sub(FAN) {
            let last = &head.runs[first..];
            let level = last[0].level;
            let entries: u64 = last.iter().map(|run| run.entries).sum();
            if last.iter().any(|run| run.level != level) || entries > ENTRIES_MAX {
                break;
            }
            let mut indices = Vec::with_capacity(FAN);
            for run in last {
                indices.push(self.index(head.group, run.hash).await?);
            }
            let merged = Index::merge(&indices).await;
            let run = self.put_index(head.group, level + 1, &merged).await?;
            head.runs.truncate(first);
            head.runs.push(run);
        }
        Ok(())
    }

    /// All objects that can be found from a mark, and are there.
    async fn found(
        &self,
        group: GroupId,
        mark: ArchiveMark,
    ) -> Result<Vec<ContentHash>, ReadError> {
        let mut found = Vec::new();
        if mark.rounds > 0 {
            found.push(ContentHash(mark.head));
        }
        for run in self.head(group, mark).await?.runs {
            found.push(run.hash);
            found.extend(&self.index(group, run.hash).await?.packs);
        }
        Ok(found)
    }

    /// An object, from here or from another replica.
    async fn bring(&self, object: ObjectId, link: &dyn BulkLink) -> Result<Bytes, ArchiveError> {
        if let Ok(content) = self.store.get(object).await {
            return Ok(content);
        }
        let mut content = Vec::new();
        loop {
            let part = v1::FetchObject {
                hash: Bytes::copy_from_slice(&object.hash.0),
                offset: content.len() as u64,
                length: PART,
            };
            let body = Some(v1::fetch::Body::Object(part));
            let (id, group) = (0, object.group.0);
            let fetched = link.fetch(v1::Fetch { id, group, body }).await?;
            let [part] = &fetched.pages[..] else {
                return Err(format!("the other replica: {}", fetched.error).into());
            };
            content.extend_from_slice(part);
            if content.len() > OBJECT_BYTES_MAX {
                return Err("an object is too large".into());
            }
            if part.len() < PART as usize {
                break;
            }
        }
        let content = Bytes::from(content);
        if ContentHash::of(&content).await != object.hash {
            return Err(format!("what came is not object {object}").into());
        }
        self.store.put(object.group, content.clone()).await?;
        Ok(content)
    }

    async fn bring_all(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        link: &dyn BulkLink,
    ) -> Result<(), ArchiveError> {
        let object = |hash| ObjectId { group, hash };
        let head = self.bring(object(ContentHash(mark.head)), link).await?;
        let head = Head::decode(&head)?;
        if (head.group, head.rounds, head.index) != (group, mark.rounds, mark.index) {
            return Err("the other replica's mark is not that of its archive".into());
        }
        for run in head.runs {
            let index = Index::decode(&self.bring(object(run.hash), link).await?)?;
            for pack in index.packs {
                self.bring(object(pack), link).await?;
            }
        }
        Ok(())
    }

    async fn remove_others(
        &self,
        group: GroupId,
        marks: Vec<ArchiveMark>,
    ) -> Result<(), ArchiveError> {
        let mut needed = BTreeSet::new();
        for mark in marks {
            needed.extend(self.found(group, mark).await?);
        }
        let mut after = None;
        loop {
            let listed = self.store.list(group, after, LISTED).await?;
            let Some(last) = listed.last() else {
                return Ok(());
            };
            after = Some(last.hash);
            for object in listed
                .iter()
                .filter(|object| !needed.contains(&object.hash))
            {
                self.store.remove(*object).await?;
            }
        }
    }
}

fn wrong(object: ObjectId, error: SegmentError) -> ReadError {
    let error = error.into();
    ReadError::Wrong { object, error }
}

impl Archive for Archivist {
    fn add(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        round: Round,
    ) -> BoxFuture<'_, Result<ArchiveMark, ArchiveError>> {
        Box::pin(self.add_round(group, mark, round))
    }

    fn adopt<'a>(
        &'a self,
        group: GroupId,
        mark: ArchiveMark,
        link: &'a dyn BulkLink,
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(self.bring_all(group, mark, link))
    }

    fn mend<'a>(
        &'a self,
        why: &'a Cause,
        link: &'a dyn BulkLink,
    ) -> BoxFuture<'a, Result<bool, ArchiveError>> {
        Box::pin(async move {
            let Some(object) = why.downcast_ref().and_then(ReadError::object) else {
                return Ok(false);
            };
            self.bring(object, link).await?;
            Ok(true)
        })
    }

    fn fetch(
        &self,
        group: GroupId,
        part: v1::FetchObject,
    ) -> BoxFuture<'_, Result<Bytes, ArchiveError>> {
        Box::pin(async move {
            let hash = part.hash[..].try_into().map(ContentHash);
            let hash = hash.map_err(|_| "a hash has 32 bytes")?;
            let object = ObjectId { group, hash };
            let length = part.length.min(PART) as usize;
            Ok(self.store.get_range(object, part.offset, length).await?)
        })
    }

    fn tidy(
        &self,
        group: GroupId,
        marks: Vec<ArchiveMark>,
    ) -> BoxFuture<'_, Result<(), ArchiveError>> {
        Box::pin(self.remove_others(group, marks))
    }
}
