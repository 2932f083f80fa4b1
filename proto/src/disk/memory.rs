//! A disk in memory that forgets what was not synced, for tests and simulation. What it loses,
//! and how, is decided by the seeds it is given alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::transport::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Claim, Disk, File};

/// What a torn write is torn into, in bytes.
pub const SECTOR: usize = 512;

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// By path, as a reader sees them.
    files: BTreeMap<PathBuf, Arc<Mutex<Data>>>,
    /// By path, as they are found after a loss of power: entries are durable only by `sync_dir`.
    durable: BTreeMap<PathBuf, Arc<Mutex<Data>>>,
    claimed: BTreeSet<PathBuf>,
    fail_sync: bool,
    fail_sync_dir: bool,
    capacity: Option<u64>,
    /// Held by each open file.
    open: Arc<()>,
    /// Bytes of all files.
    used: u64,
    syncs: u64,
}

#[derive(Default, Clone)]
struct Data {
    /// As a reader sees it.
    bytes: Vec<u8>,
    /// As it stands after a loss of power, but for `unsynced`.
    durable: Vec<u8>,
    /// Writes since the last sync: offset and bytes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl MemoryDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many syncs were made.
    pub fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    /// From now on every sync fails, or works again. What a failed sync should have made
    /// durable can still be read, and no later sync makes it durable: so do kernels.
    pub fn fail_syncs(&self, fail: bool) {
        self.inner.lock().fail_sync = fail;
        self.fail_dir_syncs(fail);
    }

    /// The same for those of folders alone.
    pub fn fail_dir_syncs(&self, fail: bool) {
        self.inner.lock().fail_sync_dir = fail;
    }

    /// Files that somebody has open.
    pub fn open_files(&self) -> usize {
        Arc::strong_count(&self.inner.lock().open) - 1
    }

    /// Bytes that fit, over all files; a write of more finds a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.lock().capacity = bytes;
    }

    /// The power goes: unsynced entries of folders are gone, of unsynced writes a random part
    /// survives, sector by sector.
    pub fn lose_power(&self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut inner = self.inner.lock();
        inner.files = inner.durable.clone();
        for data in inner.files.values() {
            let mut data = data.lock();
            let mut bytes = data.durable.clone();
            for (offset, written) in std::mem::take(&mut data.unsynced) {
                let mut at = 0;
                while at < written.len() {
                    let end = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                    let end = end.min(written.len());
                    if rng.random_bool(0.5) {
                        put(&mut bytes, offset + at, &written[at..end]);
                    }
                    at = end;
                }
            }
            data.bytes.clone_from(&bytes);
            data.durable = bytes;
        }
        inner.used = inner
            .files
            .values()
            .map(|data| data.lock().bytes.len() as u64)
            .sum();
    }

    /// Flips one bit of a file at rest.
    pub fn flip(&self, path: &Path, offset: usize) {
        self.change(path, |bytes| {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1;
            }
        });
    }

    /// Makes what a file holds from `offset` on zeros.
    pub fn zero_from(&self, path: &Path, offset: usize) {
        self.change(path, |bytes| {
            if let Some(tail) = bytes.get_mut(offset..) {
                tail.fill(0);
            }
        });
    }

    /// Changes a file at rest, durably, behind everybody's back.
    pub fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let inner = self.inner.lock();
        let Some(data) = inner.files.get(path) else {
            return;
        };
        let mut data = data.lock();
        change(&mut data.bytes);
        data.durable = data.bytes.clone();
        data.unsynced.clear();
    }

    /// A file as it is.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let data = self.inner.lock().files.get(path)?.clone();
        let data = data.lock();
        Some(data.bytes.clone())
    }

    /// All files there are.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.inner.lock().files.keys().cloned().collect()
    }

    /// Another disk with the same files, all of it durable.
    pub fn copy(&self) -> MemoryDisk {
        let mut copy = Inner::default();
        for (path, data) in &self.inner.lock().files {
            let bytes = data.lock().bytes.clone();
            copy.used += bytes.len() as u64;
            let data = Data {
                durable: bytes.clone(),
                bytes,
                unsynced: Vec::new(),
            };
            copy.files.insert(path.clone(), Arc::new(Mutex::new(data)));
        }
        copy.durable = copy.files.clone();
        MemoryDisk {
            inner: Arc::new(Mutex::new(copy)),
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

fn ready<T: Send + 'static>(result: io::Result<T>) -> BoxFuture<'static, io::Result<T>> {
    // One turn of the runtime, as a real disk would take at least.
    Box::pin(async move {
        tokio::task::yield_now().await;
        result
    })
}

struct MemoryClaim(MemoryDisk, PathBuf);

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.0.inner.lock().claimed.remove(&self.1);
    }
}

impl Disk for MemoryDisk {
    fn lane(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(self.clone()))
    }

    fn claim<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Claim>> {
        if !self.inner.lock().claimed.insert(dir.to_owned()) {
            return ready(Err(io::ErrorKind::WouldBlock.into()));
        }
        ready(Ok(
            Box::new(MemoryClaim(self.clone(), dir.to_owned())) as Claim
        ))
    }

    /// Folders need not be made here.
    fn create_dir_all<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        ready(Ok(()))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let inner = self.inner.lock();
        let below = inner
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok());
        let first =
            below.filter_map(|path| Some(path.iter().next()?.to_string_lossy().into_owned()));
        let names: BTreeSet<_> = first.collect();
        ready(Ok(names.into_iter().collect()))
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        let mut inner = self.inner.lock();
        let data = match inner.files.get(path) {
            Some(data) => data.clone(),
            None if create => inner.files.entry(path.to_owned()).or_default().clone(),
            None => return ready(Err(io::ErrorKind::NotFound.into())),
        };
        let file = MemoryFile {
            disk: self.clone(),
            data,
            _open: inner.open.clone(),
        };
        ready(Ok(Arc::new(file) as Arc<dyn File>))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let mut inner = self.inner.lock();
        let Some(data) = inner.files.remove(from) else {
            return ready(Err(io::ErrorKind::NotFound.into()));
        };
        if let Some(replaced) = inner.files.insert(to.to_owned(), data) {
            inner.used -= replaced.lock().bytes.len() as u64;
        }
        ready(Ok(()))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let mut inner = self.inner.lock();
        let Some(removed) = inner.files.remove(path) else {
            return ready(Err(io::ErrorKind::NotFound.into()));
        };
        inner.used -= removed.lock().bytes.len() as u64;
        ready(Ok(()))
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let mut inner = self.inner.lock();
        if inner.fail_sync_dir {
            return ready(Err(io::Error::other("injected: the folder's sync failed")));
        }
        let Inner { files, durable, .. } = &mut *inner;
        durable.retain(|path, _| path.parent() != Some(dir));
        let here = files.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable.extend(here.map(|(path, data)| (path.clone(), data.clone())));
        ready(Ok(()))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    data: Arc<Mutex<Data>>,
    _open: Arc<()>,
}

impl MemoryFile {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner.lock();
        let mut data = self.data.lock();
        let grows = (offset + bytes.len() as u64).saturating_sub(data.bytes.len() as u64);
        if inner.capacity.is_some_and(|most| inner.used + grows > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.used += grows;
        put(&mut data.bytes, offset as usize, bytes);
        data.unsynced.push((offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let fail = {
            let mut inner = self.disk.inner.lock();
            inner.syncs += 1;
            inner.fail_sync
        };
        let mut data = self.data.lock();
        let written = std::mem::take(&mut data.unsynced);
        if fail {
            return Err(io::Error::other("injected: the sync failed"));
        }
        for (offset, bytes) in written {
            put(&mut data.durable, offset, &bytes);
        }
        Ok(())
    }
}

impl File for MemoryFile {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        ready(Ok(self.data.lock().bytes.len() as u64))
    }

    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        ready(self.write(offset, &bytes))
    }

    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let data = self.data.lock();
        let start = (offset as usize).min(data.bytes.len());
        let end = start.saturating_add(length).min(data.bytes.len());
        ready(Ok(data.bytes[start..end].to_vec()))
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        ready(self.sync())
    }

    /// The power may go between the write and the sync.
    fn write_and_sync(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            self.write(offset, &bytes)?;
            tokio::task::yield_now().await;
            self.sync()?;
            tokio::task::yield_now().await;
            Ok(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::conformance, *};

    #[tokio::test]
    async fn it_does_what_a_disk_must() {
        let disk = MemoryDisk::new();
        let fill = |full: bool| {
            let used = disk.inner.lock().used;
            disk.set_capacity(full.then_some(used));
        };
        let faults = conformance::Faults {
            fill: Some(&fill),
            fail_syncs: Some(&|fail| disk.fail_syncs(fail)),
            lose_power: Some(&|| disk.lose_power(1)),
        };
        conformance::all(&disk, Path::new("/disk"), &faults).await;
    }
}
