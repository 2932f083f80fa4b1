//! A disk in memory that forgets what was not synced, for tests and simulation.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use codraft_proto::transport::BoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Disk, File};

/// What a torn write is torn into, in bytes.
const SECTOR: usize = 512;

#[derive(Clone)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// By path; the durable entry is there only after `sync_dir`.
    files: BTreeMap<PathBuf, Arc<Mutex<Data>>>,
    durable: BTreeMap<PathBuf, Arc<Mutex<Data>>>,
    fail_sync: bool,
    capacity: Option<u64>,
    syncs: u64,
}

#[derive(Default, Clone)]
struct Data {
    /// As a reader sees it.
    bytes: Vec<u8>,
    /// As it stands after a loss of power.
    durable: Vec<u8>,
    /// Writes since the last sync: offset and bytes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    pub fn new() -> Self {
        Self {
            inner: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many syncs were made.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// From now on every sync fails.
    pub fn fail_syncs(&self, fail: bool) {
        self.lock().fail_sync = fail;
    }

    /// Bytes that fit; more is a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The power goes: unsynced entries of folders are gone, of unsynced writes a random part
    /// survives, sector by sector.
    pub fn lose_power(&self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut inner = self.lock();
        inner.files = inner.durable.clone();
        for data in inner.files.values() {
            let mut data = data.lock().unwrap_or_else(PoisonError::into_inner);
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
    }

    /// Flips one bit of a file at rest.
    pub fn flip(&self, path: &Path, offset: usize) {
        if let Some(data) = self.lock().files.get(path) {
            let mut data = data.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(byte) = data.bytes.get_mut(offset) {
                *byte ^= 1;
            }
            if let Some(byte) = data.durable.get_mut(offset) {
                *byte ^= 1;
            }
        }
    }

    /// A file as it is.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let data = self.lock().files.get(path)?.clone();
        let data = data.lock().unwrap_or_else(PoisonError::into_inner);
        Some(data.bytes.clone())
    }

    /// Cuts what a file holds from `offset` on to zeros, durably.
    pub fn zero_from(&self, path: &Path, offset: usize) {
        if let Some(data) = self.lock().files.get(path) {
            let mut data = data.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tail) = data.bytes.get_mut(offset..) {
                tail.fill(0);
            }
            let bytes = data.bytes.clone();
            data.durable = bytes;
            data.unsynced.clear();
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

impl Disk for MemoryDisk {
    fn create_dir_all<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        ready(Ok(()))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let inner = self.lock();
        let here = inner.files.keys().filter(|path| path.parent() == Some(dir));
        let names = here.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        ready(Ok(names.collect()))
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        let mut inner = self.lock();
        let data = match inner.files.get(path) {
            Some(data) => data.clone(),
            None if create => inner.files.entry(path.to_owned()).or_default().clone(),
            None => return ready(Err(io::ErrorKind::NotFound.into())),
        };
        let file = MemoryFile {
            disk: self.clone(),
            data,
        };
        ready(Ok(Arc::new(file) as Arc<dyn File>))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let mut inner = self.lock();
        let result = match inner.files.remove(from) {
            Some(data) => {
                inner.files.insert(to.to_owned(), data);
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        };
        ready(result)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let gone = self.lock().files.remove(path);
        ready(gone.map(|_| ()).ok_or(io::ErrorKind::NotFound.into()))
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let mut inner = self.lock();
        inner.durable.retain(|path, _| path.parent() != Some(dir));
        let here: Vec<_> = inner
            .files
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .map(|(path, data)| (path.clone(), data.clone()))
            .collect();
        inner.durable.extend(here);
        ready(Ok(()))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    data: Arc<Mutex<Data>>,
}

impl MemoryFile {
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let full = self
            .disk
            .lock()
            .capacity
            .is_some_and(|most| offset + bytes.len() as u64 > most);
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut data = self.lock();
        put(&mut data.bytes, offset as usize, bytes);
        data.unsynced.push((offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        {
            let mut inner = self.disk.lock();
            inner.syncs += 1;
            if inner.fail_sync {
                return Err(io::Error::other("injected: the sync failed"));
            }
        }
        let mut data = self.lock();
        for (offset, bytes) in std::mem::take(&mut data.unsynced) {
            put(&mut data.durable, offset, &bytes);
        }
        Ok(())
    }
}

impl File for MemoryFile {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        ready(Ok(self.lock().bytes.len() as u64))
    }

    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        ready(self.write(offset, &bytes))
    }

    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let data = self.lock();
        let start = (offset as usize).min(data.bytes.len());
        let end = (start + length).min(data.bytes.len());
        ready(Ok(data.bytes[start..end].to_vec()))
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        ready(self.sync())
    }

    fn write_and_sync(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        ready(
            self.write(offset, &bytes)
                .and_then(|()| self.sync())
                .map(|()| bytes),
        )
    }
}
