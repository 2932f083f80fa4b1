//! The snapshot tier: objects that are written once and never changed, named by what they hold.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod folder;

use std::{fmt, io};

use bytes::Bytes;
use codraft_proto::{ids::GroupId, transport::BoxFuture};

pub use folder::Folder;

/// The most that one object holds, in bytes.
pub const OBJECT_BYTES_MAX: usize = 256 << 20;

/// Bytes that are hashed before others have their turn.
const HASHED_AT_ONCE: usize = 256 << 10;

/// The BLAKE3 of an object's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Others have their turn in between.
    pub async fn of(content: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for step in content.chunks(HASHED_AT_ONCE) {
            hasher.update(step);
            tokio::task::yield_now().await;
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// What [`fmt::Display`] writes.
    pub fn parse(hex: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(hex).ok()?;
        // No second name for the same one.
        (hash.to_hex().as_str() == hex).then(|| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One object's name. Groups share none, so that each may remove what it does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub group: GroupId,
    pub hash: ContentHash,
}

impl ObjectId {
    pub async fn of(group: GroupId, content: &[u8]) -> Self {
        let hash = ContentHash::of(content).await;
        Self { group, hash }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}/{}", self.group.0, self.hash)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("object {0} is not there")]
    Missing(ObjectId),
    #[error("object {0} does not hold what its name says")]
    Damaged(ObjectId),
    #[error("an object of {bytes} bytes is too large: {OBJECT_BYTES_MAX} at most")]
    TooLarge { bytes: usize },
    #[error("there is no room for objects: {0}")]
    Full(#[source] io::Error),
    /// It may work another time.
    #[error("objects cannot be reached: {0}")]
    Unavailable(#[source] io::Error),
}

/// Every implementor passes `conformance::all`. A future that is dropped was done or not.
pub trait Snapshots: Send + Sync + 'static {
    /// Durable when it returns, and was read back. An object that is there stays as it is, and one
    /// that is damaged is put right.
    fn put(&self, group: GroupId, content: Bytes)
    -> BoxFuture<'_, Result<ObjectId, SnapshotError>>;

    /// The whole object, which is what its name says.
    fn get(&self, object: ObjectId) -> BoxFuture<'_, Result<Bytes, SnapshotError>>;

    /// `length` bytes from `offset` on, fewer at the end. Nobody has compared them with the name.
    fn get_range(
        &self,
        object: ObjectId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'_, Result<Bytes, SnapshotError>>;

    /// At most so many objects of a group whose hash comes after `after`, in the order of their
    /// hashes.
    fn list(
        &self,
        group: GroupId,
        after: Option<ContentHash>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<ObjectId>, SnapshotError>>;

    /// Removes an object; one that is not there is none of its business.
    fn remove(&self, object: ObjectId) -> BoxFuture<'_, Result<(), SnapshotError>>;
}
