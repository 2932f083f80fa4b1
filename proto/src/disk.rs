//! The disk, as the log and the identity need it: a trait, and the machine's own.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod os;

use std::{io, path::Path, sync::Arc};

use crate::transport::BoxFuture;

pub use os::OsDisk;

/// A folder that is this process's alone while this lives.
pub type Claim = Box<dyn Send + Sync>;

/// Every implementor passes `conformance::all`. A future that is dropped was done or not, and
/// never comes later than what is asked for after it.
pub trait Disk: Send + Sync + 'static {
    /// The same disk by a hand of its own: what is asked of one never waits for the other.
    ///
    /// # Errors
    /// When there is none to be had.
    fn lane(&self) -> io::Result<Arc<dyn Disk>>;
    /// Takes a folder for its one user and changes nothing in it. The claim ends with the process,
    /// however that ends. `WouldBlock` while somebody else has it.
    fn claim<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Claim>>;
    /// The folder and those above it, durably.
    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// The names in a folder, of files and of folders, sorted.
    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>>;
    /// Opens for reading and writing; `create`: makes it when it is not there.
    fn open<'a>(&'a self, path: &'a Path, create: bool)
    -> BoxFuture<'a, io::Result<Arc<dyn File>>>;
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Makes the folder's entries durable: creations, renames, removals.
    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>>;
}

#[allow(clippy::len_without_is_empty)] // a file, not a collection
pub trait File: Send + Sync + 'static {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>>;
    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>>;
    /// Fewer bytes than asked for at the end of the file.
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>>;
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Both in one hand-off; gives the buffer back.
    fn write_and_sync(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>>;
}
