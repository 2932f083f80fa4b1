//! A disk that takes its time, so that a loss of power finds writes that are not synced.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codraft_proto::transport::BoxFuture;
use codraft_raft::disk::{Disk, File, memory::MemoryDisk};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// What a sync takes, in microseconds.
const SYNC_US: std::ops::Range<u64> = 300..6_000;

#[derive(Clone)]
pub struct SlowDisk {
    disk: MemoryDisk,
    manner: Arc<Manner>,
}

struct Manner {
    rng: Mutex<StdRng>,
    lies: AtomicBool,
}

impl SlowDisk {
    pub fn new(seed: u64) -> Self {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let lies = AtomicBool::new(false);
        Self {
            disk: MemoryDisk::new(),
            manner: Arc::new(Manner { rng, lies }),
        }
    }

    /// From now on a sync does nothing and says that it did.
    pub fn lie(&self) {
        self.manner.lies.store(true, Ordering::Relaxed);
    }

    /// What was not synced is lost, but for what happened to be written out. Honest again.
    pub fn lose_power(&self, seed: u64) {
        self.manner.lies.store(false, Ordering::Relaxed);
        self.disk.lose_power(seed);
    }
}

impl Manner {
    fn pause(&self) -> tokio::time::Sleep {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(Duration::from_micros(rng.random_range(SYNC_US)))
    }
}

impl Disk for SlowDisk {
    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.create_dir_all(path)
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.disk.list(dir)
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let file = self.disk.open(path, create).await?;
            let manner = self.manner.clone();
            Ok(Arc::new(SlowFile { file, manner }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.remove(path)
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.manner.pause().await;
            self.disk.sync_dir(dir).await
        })
    }
}

struct SlowFile {
    file: Arc<dyn File>,
    manner: Arc<Manner>,
}

impl File for SlowFile {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.len()
    }

    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        self.file.read_at(offset, length)
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.manner.pause().await;
            if self.manner.lies.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.file.sync_data().await
        })
    }

    fn write_and_sync(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            self.file.write_at(offset, bytes.clone()).await?;
            self.sync_data().await?;
            Ok(bytes)
        })
    }
}
