//! For who reads what a node keeps without being one: what an entry of a log says, and up to where its
//! group had agreed.

use std::io;

use bytes::Bytes;
use openraft::EntryPayload;

use crate::{
    command::{Batch, DecodeError},
    events::LogId,
    types::{self, Entry, Proposal},
    wal::GroupWal,
};

#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error(transparent)]
    Entry(#[from] io::Error),
    #[error("its commands: {0}")]
    Batch(#[from] DecodeError),
}

/// An entry as a log holds it: its log id, and its commands if it is there for any.
///
/// # Errors
/// When it is no entry that this version could have written.
pub fn entry(stored: Bytes) -> Result<(LogId, Option<Batch>), EntryError> {
    let entry = Entry::from_stored(stored)?;
    let batch = match entry.payload {
        EntryPayload::Normal(Proposal { batch, .. }) => Some(Batch::decode(&batch)?),
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    };
    Ok((entry.log_id, batch))
}

/// The last entry of which a log says that its group agreed on it; none where it says so of none.
///
/// # Errors
/// When that does not read back.
pub fn committed(log: &GroupWal) -> io::Result<Option<LogId>> {
    types::committed_from_stored(&log.committed().unwrap_or_default())
}

/// The last entry that a log let go of, since a state is kept that it is part of; none where all are there.
///
/// # Errors
/// When that does not read back.
pub fn purged(log: &GroupWal) -> io::Result<Option<LogId>> {
    let purged = log.purged();
    purged
        .map(|last| types::log_id_from_stored(&last))
        .transpose()
}
