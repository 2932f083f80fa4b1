//! Documents as they were at a revision, whole, so that history need not be told from its beginning.
//!
//! ```text
//! checkpoint = doc 16 · rev varint · hash 32 · ms varint · kind u8 · algebra u8 · title blob
//!              · authorship · content (the inserts that make it, in ot's binary form) to the end
//! ```

use std::sync::Arc;

use codraft_mutant::mutant;
use codraft_ot::{Authors, Chain, Content, Delta, Kind, varint};
use codraft_proto::{
    event::CHECKPOINT,
    ids::{DocId, Revision},
};
use codraft_raft::{command::Algebra, machine::Event};

use crate::{
    authorship::Authorship,
    segment::{SegmentError, array, blob, put_blob},
    state::{State, UNLIMITED},
};

/// When a document that goes on is kept whole once more. The same on all replicas.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// After so many revisions, if it is worth its size: one for each `bytes_a_revision` of the last one.
    pub revisions: u64,
    pub bytes_a_revision: u64,
    /// Or once so much of the events' own time passed, for one revision to so many bytes.
    pub ms: u64,
    pub bytes_a_revision_in_time: u64,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            revisions: 1_024,
            bytes_a_revision: 6,
            ms: 86_400_000,
            bytes_a_revision_in_time: 16,
        }
    }
}

impl CheckpointOptions {
    /// How often a document is looked at, in revisions: below that none is worth it.
    pub fn stride(&self) -> u64 {
        (self.revisions / 16).max(1)
    }

    /// Whether a document that was kept with so many bytes is due so many revisions later.
    pub fn is_due(&self, revisions: u64, bytes: u64) -> bool {
        revisions >= self.revisions.max(bytes / self.bytes_a_revision)
    }

    /// Whether it is if enough time has passed.
    pub fn may_be_due(&self, revisions: u64, bytes: u64) -> bool {
        revisions >= self.stride().max(bytes / self.bytes_a_revision_in_time)
    }
}

/// At which revision somebody asked for one.
pub fn asked(events: &[Arc<Event>]) -> Option<Revision> {
    let mut latest = events.iter().rev();
    let asked = latest.find(|event| u32::from(event.kind) == CHECKPOINT);
    asked.map(|event| event.rev)
}

/// All but the content.
fn begin(state: &State) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + state.content.encoded_bytes());
    out.extend_from_slice(&state.doc.0);
    varint::put(&mut out, state.rev.0);
    out.extend_from_slice(&state.hash.0);
    varint::put(&mut out, state.ts_ms);
    out.push(state.kind() as u8);
    out.push(state.algebra as u8);
    put_blob(&mut out, state.title.as_bytes());
    let mut authorship = state.authorship();
    if mutant!("checkpoint_forgets_who_wrote_it") {
        authorship.runs.iter_mut().for_each(|(_, user)| *user = 0);
    }
    authorship.encode(&mut out);
    out
}

/// In steps between which others have their turn.
pub async fn encode(state: &State) -> Vec<u8> {
    let mut out = begin(state);
    let mut encoding = state.content.encoding();
    while !encoding.step(&mut out) {
        tokio::task::yield_now().await;
    }
    out
}

/// When a document was as it is in a checkpoint.
///
/// # Errors
/// When it does not begin as one.
pub fn time(mut rest: &[u8]) -> Result<u64, SegmentError> {
    let _: [u8; 16] = array(&mut rest)?;
    varint::take(&mut rest)?;
    let _: [u8; 32] = array(&mut rest)?;
    Ok(varint::take(&mut rest)?)
}

/// # Errors
/// When it is not the spelling of any.
pub fn decode(mut rest: &[u8]) -> Result<State, SegmentError> {
    let doc = DocId(array(&mut rest)?);
    let rev = Revision(varint::take(&mut rest)?);
    let hash = Chain(array(&mut rest)?);
    let ts_ms = varint::take(&mut rest)?;
    let [kind, algebra] = array(&mut rest)?;
    let kind = Kind::from_number(kind.into()).ok_or(SegmentError::Invalid("kind"))?;
    let algebra = Algebra::from_number(algebra.into());
    let algebra = algebra.ok_or(SegmentError::Invalid("algebra"))?;
    let title = std::str::from_utf8(blob(&mut rest)?);
    let title = title.map_err(|_| SegmentError::Invalid("title"))?.into();
    let authorship = Authorship::take(&mut rest)?;
    let delta = Delta::decode(rest, &UNLIMITED);
    let content = delta.and_then(|delta| Content::from_delta(kind, &delta, &UNLIMITED));
    let content = content.map_err(|_| SegmentError::Invalid("content"))?;
    let units: u64 = authorship
        .runs
        .iter()
        .map(|(units, _)| u64::from(*units))
        .sum();
    if units != u64::from(content.units()) {
        return Err(SegmentError::Invalid("authors of another content"));
    }
    Ok(State {
        doc,
        rev,
        hash,
        ts_ms,
        algebra,
        title,
        content,
        users: Arc::new(authorship.users),
        authors: Authors::of(authorship.runs),
    })
}
