//! An archive read by one who trusts nothing in it.

use std::collections::{BTreeMap, BTreeSet};

use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_raft::archive::ArchiveMark;
use codraft_tiers::snapshots::{ContentHash, ObjectId};

use crate::{
    Archivist, ReadError, checkpoint,
    object::{Entry, Sort},
    pack,
    past::{Place, pass_all},
    state::{FoldError, State},
};

/// Why an archive does not tell what a document became.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("object {object}: {error}")]
    Fold { object: ObjectId, error: FoldError },
    #[error("object {object}: the checkpoint at revision {rev} is not what the events make")]
    Checkpoint { object: ObjectId, rev: Revision },
    #[error(
        "object {object}: what was before revision {rev} is gone, and history is kept for ever"
    )]
    Gone { object: ObjectId, rev: Revision },
    #[error("the mark says {0} rounds and the archive has {1}")]
    Mark(u64, u64),
}

impl AuditError {
    /// The object that tells something else, if it is one.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::Read(error) => error.object(),
            Self::Fold { object, .. }
            | Self::Checkpoint { object, .. }
            | Self::Gone { object, .. } => Some(*object),
            Self::Mark(..) => None,
        }
    }

    /// The revision that does not follow, or is told as something else.
    pub fn revision(&self) -> Option<Revision> {
        match self {
            Self::Fold { error, .. } => Some(error.revision()),
            Self::Checkpoint { rev, .. } | Self::Gone { rev, .. } => Some(*rev),
            Self::Read(_) | Self::Mark(..) => None,
        }
    }
}

/// What of a document lies in a part of a pack that does not read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    pub doc: DocId,
    pub first: Revision,
    pub last: Revision,
    /// Where its block is in the object, in bytes.
    pub offset: u64,
    pub length: u64,
}

impl Archivist {
    /// The documents of which something is archived at a mark.
    ///
    /// # Errors
    /// When the list of them does not read back, or is not the mark's.
    pub async fn documents(
        &self,
        group: GroupId,
        mark: ArchiveMark,
    ) -> Result<BTreeSet<DocId>, AuditError> {
        let head = self.head(group, mark).await?;
        if (head.group, head.rounds, head.index) != (group, mark.rounds, mark.index) {
            return Err(AuditError::Mark(mark.rounds, head.rounds));
        }
        let mut documents = BTreeSet::new();
        for run in head.runs {
            let index = self.index(group, run.hash).await?;
            documents.extend(index.entries.iter().map(|entry| entry.doc));
        }
        Ok(documents)
    }

    /// A document told from its creation on, or from the checkpoint that was carried over from the rounds
    /// that are gone, as late as it is archived, event by event: each leads to its hash, and each checkpoint
    /// on the way is what the events made. `each` sees it at that checkpoint, and whenever it goes on.
    ///
    /// # Errors
    /// When it is not so.
    pub async fn retold(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        doc: DocId,
        mut each: impl FnMut(&State),
    ) -> Result<State, AuditError> {
        let past = self.past(group, mark, &doc).await?;
        let mut checkpoints: BTreeMap<Revision, &Place> = BTreeMap::new();
        for place in past.checkpoints() {
            checkpoints.insert(place.rev(), place);
        }
        let mut state = State::before(doc);
        if let Some(place) = past.carried() {
            let (object, rev) = (place.object(), place.rev());
            if self.retention_ms == 0 {
                return Err(AuditError::Gone { object, rev });
            }
            checkpoints.remove(&rev);
            state = self.state_in(place).await?;
            each(&state);
        }
        for place in past.segments() {
            let object = place.object();
            let fold = |error| AuditError::Fold { object, error };
            let mut events = &self.segment(place).await?[..];
            while let Some(last) = events.last() {
                let next = checkpoints.range(..=last.rev).next();
                let to = next.map_or(last.rev, |(rev, _)| *rev);
                let (now, later) = events.split_at(events.partition_point(|event| event.rev <= to));
                pass_all(&mut state, now, to, &mut each)
                    .await
                    .map_err(fold)?;
                if let Some(place) = checkpoints.remove(&to) {
                    self.compare_checkpoint(place, &state).await?;
                }
                events = later;
            }
        }
        match checkpoints.first_key_value() {
            None => Ok(state),
            Some((rev, place)) => Err(AuditError::Checkpoint {
                object: place.object(),
                rev: *rev,
            }),
        }
    }

    async fn compare_checkpoint(&self, place: &Place, state: &State) -> Result<(), AuditError> {
        let (object, rev) = (place.object(), place.rev());
        let kept = self.spelled(place).await?;
        match kept == checkpoint::encode(state).await {
            true => Ok(()),
            false => Err(AuditError::Checkpoint { object, rev }),
        }
    }

    /// The first part of a damaged pack that does not read back; none where it is no pack of this mark,
    /// or where nothing of it is needed.
    ///
    /// # Errors
    /// When the indices do not read back.
    pub async fn lying(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        hash: ContentHash,
        content: &[u8],
    ) -> Result<Option<Lying>, ReadError> {
        let mut entries: Vec<Entry> = Vec::new();
        for run in self.head(group, mark).await?.runs {
            let index = self.index(group, run.hash).await?;
            let of_pack = |entry: &&Entry| index.packs[entry.pack as usize] == hash;
            entries.extend(index.entries.iter().filter(of_pack));
        }
        entries.sort_by_key(|entry| (entry.offset, entry.start));
        let prefix = Sort::Pack.prefix();
        let begins_well = content.starts_with(&prefix);
        for of_block in entries.chunk_by(|a, b| a.offset == b.offset) {
            let (start, length) = (of_block[0].offset as usize, of_block[0].length as usize);
            let block = content.get(start..start + length);
            let held = block.and_then(|block| pack::open(block).ok());
            let is_told = |entry: &Entry, held: &[u8]| match entry.is_checkpoint() {
                true => pack::part(held, entry).is_ok_and(|kept| checkpoint::decode(kept).is_ok()),
                false => pack::read(held, entry).is_ok(),
            };
            let wrong = match (&held, begins_well) {
                (Some(held), true) => of_block.iter().find(|entry| !is_told(entry, held)),
                _ => of_block.first(),
            };
            if let Some(entry) = wrong {
                let (offset, length) = match begins_well {
                    true => (u64::from(entry.offset), u64::from(entry.length)),
                    false => (0, prefix.len() as u64),
                };
                return Ok(Some(Lying {
                    doc: entry.doc,
                    first: entry.rev,
                    last: entry.last(),
                    offset,
                    length,
                }));
            }
        }
        Ok(None)
    }
}
