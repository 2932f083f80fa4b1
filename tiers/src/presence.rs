//! The presence tier: where people are in documents. It is about now, so it may forget all of it
//! at any time: whoever is here is said again.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod memory;

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    frame::Presence,
    ids::{ClientId, DocId, Revision, UserId},
};

pub use memory::Memory;

/// People in one document; more are refused.
pub const PEOPLE_MAX: usize = 1_024;

/// One tab of one user's: a client's id is a name among its user's alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    pub client: ClientId,
    pub user: UserId,
}

/// What is known of a person in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// For people to read.
    pub name: Arc<str>,
    /// Of the positions.
    pub rev: Revision,
    pub presence: Presence,
    /// When their page was heard, on one clock for all of a store. A person ages by this alone.
    pub last_seen_ms: u64,
}

/// None: gone.
pub type Change = (Person, Option<Standing>);

/// The document has [`PEOPLE_MAX`] people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{PEOPLE_MAX} people are in this document already")]
pub struct Full;

/// Every implementor passes `conformance::all`. None of it waits: one that has its people elsewhere
/// keeps a copy.
pub trait Presences: Send + Sync + 'static {
    /// They are here, and what was said of them before counts no more.
    ///
    /// # Errors
    /// They are new, and too many are here.
    fn put(&self, doc: DocId, who: &Person, standing: Standing) -> Result<(), Full>;

    /// They are gone; who is not here is none of its business.
    fn remove(&self, doc: DocId, who: &Person);

    /// Who was seen before this time is gone.
    fn expire(&self, before_ms: u64);

    /// Everybody in a document, in the order of their names.
    fn here(&self, doc: DocId) -> Vec<(Person, Standing)>;

    /// What changed since this was asked last: of each person the latest, once. That somebody was
    /// seen again where they were is no change.
    fn changes(&self) -> BTreeMap<DocId, Vec<Change>>;

    /// Forgets everybody, and what is not told yet.
    fn clear(&self);
}
