//! What the archive tells of one document: its events, and its states.

use std::borrow::Borrow;

use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_raft::{archive::ArchiveMark, machine::Event};
use codraft_tiers::snapshots::ObjectId;

use crate::{
    Archivist, ReadError, checkpoint,
    object::Entry,
    pack,
    state::{FoldError, State},
    wrong,
};

/// Events that are passed before others have their turn.
const AT_ONCE: usize = 64;

/// Where something of a document lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    object: ObjectId,
    entry: Entry,
}

/// All that is archived of a document, in order.
pub(crate) struct Past(Vec<Place>);

impl Past {
    /// The last revision that is archived; 0 for none.
    pub fn last(&self) -> Revision {
        let last = self.0.iter().map(|place| place.entry.last()).max();
        last.unwrap_or_default()
    }

    /// Where what was before is gone: the checkpoint that all later revisions are told from.
    pub fn carried(&self) -> Option<&Place> {
        // Others stand behind a segment that begins with their revision, or before it.
        self.0.first().filter(|place| place.entry.is_checkpoint())
    }

    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Place> {
        self.0.iter().filter(|place| !place.entry.is_checkpoint())
    }

    pub fn checkpoints(&self) -> impl DoubleEndedIterator<Item = &Place> {
        self.0.iter().filter(|place| place.entry.is_checkpoint())
    }

    /// The latest checkpoint at or before a revision.
    pub fn checkpoint(&self, at_most: Revision) -> Option<&Place> {
        let mut latest = self.checkpoints().rev();
        latest.find(|place| place.entry.rev <= at_most)
    }
}

impl Place {
    pub fn new(object: ObjectId, entry: Entry) -> Self {
        Self { object, entry }
    }

    pub fn rev(&self) -> Revision {
        self.entry.rev
    }

    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// How many bytes it takes before it is compressed.
    pub fn bytes(&self) -> u64 {
        u64::from(self.entry.end - self.entry.start)
    }
}

impl Archivist {
    pub(crate) async fn past(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        doc: &DocId,
    ) -> Result<Past, ReadError> {
        let mut past = Vec::new();
        for run in self.head(group, mark).await?.runs {
            let index = self.index(group, run.hash).await?;
            past.extend(index.of(doc).iter().map(|entry| {
                let hash = index.packs[entry.pack as usize];
                let object = ObjectId { group, hash };
                let entry = *entry;
                Place { object, entry }
            }));
        }
        Ok(Past(past))
    }

    pub(crate) async fn held(&self, place: &Place) -> Result<Vec<u8>, ReadError> {
        let Place { object, entry } = *place;
        let (offset, length) = (entry.offset.into(), entry.length as usize);
        let block = self.store.get_range(object, offset, length).await?;
        pack::open(&block).map_err(|error| ReadError::Wrong { object, error })
    }

    pub(crate) async fn segment(&self, place: &Place) -> Result<Vec<Event>, ReadError> {
        let Place { object, entry } = *place;
        let events = pack::read(&self.held(place).await?, &entry);
        events.map_err(|error| ReadError::Wrong { object, error })
    }

    /// A checkpoint's bytes.
    pub(crate) async fn spelled(&self, place: &Place) -> Result<Vec<u8>, ReadError> {
        let held = self.held(place).await?;
        let spelled = pack::part(&held, &place.entry);
        let spelled = spelled.map_err(|error| wrong(place.object, error))?;
        Ok(spelled.to_vec())
    }

    /// The document as a checkpoint has it.
    pub(crate) async fn state_in(&self, place: &Place) -> Result<State, ReadError> {
        let Place { object, entry } = *place;
        let state = checkpoint::decode(&self.spelled(place).await?);
        let state = state.map_err(|error| wrong(object, error))?;
        match (state.doc, state.rev) == (entry.doc, entry.rev) {
            true => Ok(state),
            false => Err(ReadError::Elsewhere { object }),
        }
    }

    /// The first revision that can be told of a document of which something is gone; none where nothing is.
    ///
    /// # Errors
    /// When an object is missing or damaged.
    pub(crate) async fn oldest(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        doc: &DocId,
    ) -> Result<Option<Revision>, ReadError> {
        if self.retention_ms == 0 {
            return Ok(None);
        }
        let past = self.past(group, mark, doc).await?;
        Ok(past.carried().map(Place::rev))
    }

    /// When a document was as a checkpoint has it, or when it was created where there is none.
    pub(crate) async fn time_of(
        &self,
        past: &Past,
        checkpoint: Option<&Place>,
    ) -> Result<Option<u64>, ReadError> {
        if let Some(place) = checkpoint {
            let time = checkpoint::time(&self.spelled(place).await?);
            return Ok(Some(time.map_err(|error| wrong(place.object, error))?));
        }
        let Some(first) = past.segments().next() else {
            return Ok(None);
        };
        Ok(self.segment(first).await?.first().map(|event| event.ts_ms))
    }

    /// The events of a document from one revision to another, as far as they are archived at a mark, in
    /// order.
    ///
    /// # Errors
    /// When an object is missing or damaged.
    pub async fn events(
        &self,
        group: GroupId,
        mark: ArchiveMark,
        doc: DocId,
        from: Revision,
        to: Revision,
    ) -> Result<Vec<Event>, ReadError> {
        let past = self.past(group, mark, &doc).await?;
        let mut events = Vec::new();
        for place in past.segments() {
            if place.entry.last() < from || place.entry.rev > to {
                continue;
            }
            let some = self.segment(place).await?.into_iter();
            events.extend(some.filter(|event| event.rev >= from && event.rev <= to));
        }
        Ok(events)
    }

    /// The document at a revision, or as late as it is archived: from a checkpoint on, or from a state
    /// that is known. `each` sees it whenever it goes on.
    pub(crate) async fn state(
        &self,
        past: &Past,
        known: State,
        version: Revision,
        mut each: impl FnMut(&State),
    ) -> Result<State, PastError> {
        let checkpoint = past.checkpoint(version);
        let mut state = match checkpoint.filter(|place| place.entry.rev > known.rev) {
            Some(place) => self.state_in(place).await?,
            None => known,
        };
        for place in past.segments() {
            if place.entry.last() <= state.rev {
                continue;
            }
            if place.entry.rev > version {
                break;
            }
            let events = self.segment(place).await?;
            let known = events.partition_point(|event| event.rev <= state.rev);
            pass_all(&mut state, &events[known..], version, &mut each).await?;
        }
        Ok(state)
    }

    /// The last revision that was made at a time or before, of those that are kept; 0 for none. None where
    /// what comes next is not archived.
    pub(crate) async fn revision_at(
        &self,
        past: &Past,
        ms: u64,
    ) -> Result<Option<Revision>, ReadError> {
        let segments: Vec<_> = past.segments().collect();
        // The first segment that begins later, and the one before it: there it is.
        let (mut low, mut high) = (0, segments.len());
        let carried = past.carried().map(Place::rev);
        let mut found = (carried.unwrap_or_default(), false);
        while low < high {
            let middle = low + (high - low) / 2;
            let events = self.segment(segments[middle]).await?;
            let count = events.partition_point(|event| event.ts_ms <= ms);
            match events[..count].last() {
                None => high = middle,
                Some(last) => {
                    found = (last.rev, count < events.len());
                    low = middle + 1;
                    if found.1 {
                        break;
                    }
                }
            }
        }
        let is_inside = found.1 || found.0 < past.last();
        Ok(is_inside.then_some(found.0))
    }
}

/// Why a state cannot be had from the archive.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Passes events as far as `version`.
///
/// # Errors
/// When an event does not follow on what was before it.
pub(crate) async fn pass_all<E: Borrow<Event>>(
    state: &mut State,
    events: &[E],
    version: Revision,
    mut each: impl FnMut(&State),
) -> Result<(), FoldError> {
    let mut scratch = Vec::new();
    for (nth, event) in events.iter().map(Borrow::borrow).enumerate() {
        if event.rev > version {
            break;
        }
        state.pass(event, &mut scratch)?;
        each(state);
        if nth % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
