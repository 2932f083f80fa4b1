//! A disk that takes its time, so that a loss of power finds writes that are not synced, and
//! that fails when it is told to.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use codraft_proto::{
    disk::{
        Claim, Disk, File,
        memory::{MemoryDisk, SECTOR},
    },
    transport::BoxFuture,
};
use codraft_raft::identity::WAL;
use parking_lot::{Mutex, MutexGuard};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::Notify;

use super::Struck;
use crate::memory::{aside, quietly};

/// Clones are the same disk.
#[derive(Clone)]
pub struct SlowDisk {
    pub memory: MemoryDisk,
    manner: Arc<Manner>,
}

struct Manner {
    sync_us: (u64, u64),
    struck: Struck,
    state: Mutex<State>,
    pauses: Pauses,
}

/// A machine's pauses: while there are any, its disk answers nothing.
#[derive(Clone, Default)]
pub struct Pauses {
    inner: Arc<(Mutex<u32>, Notify)>,
}

impl Pauses {
    fn lock(&self) -> MutexGuard<'_, u32> {
        self.inner.0.lock()
    }

    pub fn change(&self, begins: bool) {
        let mut count = self.lock();
        if begins {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
            self.inner.1.notify_waiters();
        }
    }

    async fn over(&self) {
        loop {
            let changed = self.inner.1.notified();
            if *self.lock() == 0 {
                return;
            }
            changed.await;
        }
    }
}

struct State {
    rng: StdRng,
    /// How many times as long, and by which fault.
    slow: Option<(u32, usize)>,
    failing: Option<usize>,
    full: Option<usize>,
    /// Nothing fits into the archive.
    archive_full: Option<usize>,
    /// A sync or a write has failed since the last start.
    hurt: bool,
    /// Writes of more than one sector that wait for their sync.
    open: usize,
    /// Up to where a mark of the log says that it was synced, by file of the log.
    vouched: BTreeMap<PathBuf, u64>,
    /// Where the log ends: its file, and behind the last record that was written, synced or not.
    /// None while it goes on in a file that holds nothing yet.
    end: Option<(PathBuf, u64)>,
}

/// Where nodes archive.
const ARCHIVE: &str = "/data/archive";
/// Of a mark, and of the last record of a file, in the log's records.
const MARK: u32 = 1;
const ROLL: u32 = 7;
/// Of a record, before its payload; the payload's length comes first, the kind third.
const HEAD: usize = 24;

impl SlowDisk {
    pub fn new(seed: u64, sync_us: (u64, u64), struck: Struck, pauses: Pauses) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            slow: None,
            failing: None,
            full: None,
            archive_full: None,
            hurt: false,
            open: 0,
            vouched: BTreeMap::new(),
            end: None,
        };
        Self {
            memory: MemoryDisk::new(),
            manner: Arc::new(Manner {
                sync_us,
                struck,
                state: Mutex::new(state),
                pauses,
            }),
        }
    }

    /// A copy of all its files, as somebody makes one of a folder.
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(
            seed,
            self.manner.sync_us,
            self.manner.struck.clone(),
            self.manner.pauses.clone(),
        );
        Self {
            memory: self.memory.copy(),
            ..copy
        }
    }

    /// Bytes of all its files, as they are.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        let paths = self.memory.paths();
        let contents = paths.iter().filter_map(|path| self.memory.contents(path));
        contents.collect()
    }

    /// What was not synced is lost, but for what happened to be written out.
    pub fn lose_power(&self, seed: u64) {
        self.memory.lose_power(seed);
    }

    pub fn set_slow(&self, slow: Option<(u32, usize)>) {
        self.manner.lock().slow = slow;
    }

    /// All syncs fail until `mend`.
    pub fn fail(&self, fault: usize) {
        self.manner.lock().failing = Some(fault);
        self.memory.fail_syncs(true);
    }

    /// Nothing more fits until `mend`; `entirely`: nor can anything be written over, as on disks
    /// that copy what they change.
    pub fn fill(&self, fault: usize, entirely: bool) {
        self.manner.lock().full = Some(fault);
        let paths = self.memory.paths();
        let held = paths.iter().filter_map(|path| self.memory.contents(path));
        let used: usize = held.map(|bytes| bytes.len()).sum();
        let fits = if entirely { 0 } else { used as u64 };
        self.memory.set_capacity(Some(fits));
    }

    /// Nothing more is archived until `mend`.
    pub fn fill_archive(&self, fault: usize) {
        self.manner.lock().archive_full = Some(fault);
    }

    pub fn mend(&self) {
        let mut state = self.manner.lock();
        (state.failing, state.full, state.archive_full) = (None, None, None);
        self.memory.fail_syncs(false);
        self.memory.set_capacity(None);
    }

    /// Whether there is a write that a loss of power may tear.
    pub fn would_tear(&self) -> bool {
        self.manner.lock().open > 0
    }

    /// Whether a sync or a write has failed since the last start of a process on it.
    pub fn is_hurt(&self) -> bool {
        self.manner.lock().hurt
    }

    /// A process starts on it.
    pub fn start(&self) {
        self.manner.lock().hurt = false;
    }

    /// Where the log ends, if there is room behind it in its file.
    pub fn end(&self) -> Option<(PathBuf, usize)> {
        let (path, end) = self.manner.lock().end.clone()?;
        let bytes = self.memory.contents(&path)?;
        let behind = bytes.get(end as usize..end as usize + HEAD)?;
        let free = behind.iter().all(|byte| *byte == 0);
        free.then_some((path, end as usize))
    }

    /// Up to where the log says of itself that it is synced: what is damaged below cannot be
    /// taken for a torn tail.
    pub fn vouched(&self, path: &Path) -> u64 {
        self.manner.lock().vouched.get(path).copied().unwrap_or(0)
    }
}

/// The kind of the record at an offset, and where the next one begins.
fn record(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let head = bytes.get(at..at + HEAD)?;
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let next = at + (HEAD + word(0) as usize).next_multiple_of(8);
    (word(8) != 0).then_some((word(8), next))
}

impl State {
    /// Records are written to the log, and zeros behind them perhaps.
    fn written(&mut self, path: &Path, offset: u64, bytes: &[u8]) {
        let (mut end, mut last) = (0, None);
        while let Some((kind, next)) = record(bytes, end) {
            (end, last) = (next, Some(kind));
        }
        match last {
            Some(ROLL) => self.end = None,
            Some(_) => self.end = Some((path.to_owned(), offset + end as u64)),
            None => {}
        }
    }
}

impl Manner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    async fn pause(&self) {
        let (time, slow) = {
            let mut state = self.lock();
            let (least, most) = self.sync_us;
            let us = state.rng.random_range(least..=most);
            let times = state.slow.map_or(1, |(times, _)| times);
            (
                Duration::from_micros(us) * times,
                state.slow.map(|(_, fault)| fault),
            )
        };
        tokio::time::sleep(time).await;
        self.struck.all(slow);
        self.pauses.over().await;
    }

    /// Whether anything fits where a file is.
    fn has_room(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        match state.archive_full.filter(|_| path.starts_with(ARCHIVE)) {
            Some(fault) => {
                state.hurt = true;
                self.struck.all(Some(fault));
                Err(io::ErrorKind::StorageFull.into())
            }
            None => Ok(()),
        }
    }

    /// A result of the memory's: what failed, failed by a fault.
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::NotFound
        {
            let mut state = self.lock();
            let full = error.kind() == io::ErrorKind::StorageFull;
            let fault = if full { state.full } else { state.failing };
            state.hurt = true;
            self.struck.all(fault);
        }
        result
    }
}

impl Disk for SlowDisk {
    fn lane(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(self.clone()))
    }

    fn claim<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Claim>> {
        self.memory.claim(dir)
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(quietly(|| self.memory.create_dir_all(path)))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.memory.list(dir)
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            if create {
                self.manner.has_room(path)?;
            }
            let file = quietly(|| self.memory.open(path, create)).await?;
            // Files of the log are made under another name.
            let (manner, path) = (self.manner.clone(), path.with_extension("wal"));
            Ok(Arc::new(SlowFile { file, path, manner }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(quietly(|| self.memory.rename(from, to)))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.memory.remove(path)
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.manner.pause().await;
            self.manner
                .told(quietly(|| self.memory.sync_dir(dir)).await)
        })
    }
}

/// A write, from when it is made until it is synced or given up.
struct Open<'a> {
    manner: &'a Manner,
    counts: usize,
}

impl<'a> Open<'a> {
    fn new(manner: &'a Manner, offset: u64, bytes: usize) -> Self {
        let within = offset as usize % SECTOR;
        let counts = usize::from(within + bytes > SECTOR);
        manner.lock().open += counts;
        Self { manner, counts }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.manner.lock().open -= self.counts;
    }
}

struct SlowFile {
    file: Arc<dyn File>,
    path: PathBuf,
    manner: Arc<Manner>,
}

impl File for SlowFile {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.len()
    }

    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.manner.has_room(&self.path)?;
            let written = quietly(|| self.file.write_at(offset, bytes)).await;
            self.manner.told(written)
        })
    }

    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        self.file.read_at(offset, length)
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.manner.pause().await;
            self.manner.told(quietly(|| self.file.sync_data()).await)
        })
    }

    fn write_and_sync(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            self.write_at(offset, bytes.clone()).await?;
            let is_log = self.path.parent().is_some_and(|dir| dir.ends_with(WAL));
            if is_log && offset > 0 {
                aside(|| self.manner.lock().written(&self.path, offset, &bytes));
            }
            let _open = Open::new(&self.manner, offset, bytes.len());
            self.sync_data().await?;
            // Each batch of the log begins with a mark of what was synced before it.
            if is_log && record(&bytes, 0).is_some_and(|(kind, _)| kind == MARK) {
                let mut state = self.manner.lock();
                state.vouched.insert(self.path.clone(), offset);
            }
            Ok(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use codraft_proto::disk::conformance;

    use super::*;

    #[tokio::test]
    async fn it_does_what_a_disk_must() {
        let disk = SlowDisk::new(7, (1, 2), Struck::default(), Pauses::default());
        let fill = |full| match full {
            true => disk.fill(1, false),
            false => disk.mend(),
        };
        let fail_syncs = |fail| match fail {
            true => disk.fail(2),
            false => disk.mend(),
        };
        let faults = conformance::Faults {
            fill: Some(&fill),
            fail_syncs: Some(&fail_syncs),
            lose_power: Some(&|| disk.lose_power(3)),
        };
        conformance::all(&disk, Path::new("/disk"), &faults).await;
    }
}
