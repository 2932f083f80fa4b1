//! The machine's disk: one thread that does what it is told, in order.
#![allow(clippy::disallowed_methods)] // the one owner of files and of a thread

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::transport::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Claim, Disk, File};

type Job = Box<dyn FnOnce() + Send>;

/// Requests that may wait for the thread; who asks for more waits for a place. The log's writer
/// has one under way at a time.
const QUEUE: usize = 1024;

#[derive(Clone)]
pub struct OsDisk {
    jobs: mpsc::Sender<Job>,
}

impl OsDisk {
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<OsDisk> {
        let (jobs, mut inbox) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || {
                while let Some(job) = inbox.blocking_recv() {
                    job();
                }
            })?;
        Ok(OsDisk { jobs })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let job: Job = Box::new(move || {
                let _ = answer.send(work());
            });
            let gone = || io::Error::other("the disk's thread is gone");
            jobs.send(job).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }
}

impl Disk for OsDisk {
    fn lane(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(OsDisk::start()?))
    }

    /// An advisory lock (`flock`) on the folder itself: there is no file that could be left behind,
    /// and the kernel gives it up only when the last write of a killed process is over.
    fn claim<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Claim>> {
        let (jobs, dir) = (self.jobs.clone(), dir.to_owned());
        self.run(move || {
            let folder = fs::File::open(dir)?;
            folder.try_lock()?;
            Ok(Box::new(OsClaim(Some(folder), jobs)) as Claim)
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let path = path.to_owned();
        self.run(move || create_dir_all(&path))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let dir = dir.to_owned();
        self.run(move || {
            let mut names = Vec::new();
            for entry in fs::read_dir(dir)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort_unstable();
            Ok(names)
        })
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        let (disk, path) = (self.clone(), path.to_owned());
        self.run(move || {
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(create)
                .open(path)?;
            Ok(Arc::new(OsFile {
                disk,
                file: Arc::new(file),
            }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let (from, to): (PathBuf, PathBuf) = (from.to_owned(), to.to_owned());
        self.run(move || fs::rename(from, to))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let path = path.to_owned();
        self.run(move || fs::remove_file(path))
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let dir = dir.to_owned();
        self.run(move || fs::File::open(dir)?.sync_all())
    }
}

struct OsClaim(Option<fs::File>, mpsc::Sender<Job>);

impl Drop for OsClaim {
    /// Behind whatever the thread was told before.
    fn drop(&mut self) {
        let folder = self.0.take();
        let _ = self.1.try_send(Box::new(move || drop(folder)));
    }
}

/// A folder whose own entry is lost with the power takes all that was synced in it along.
fn create_dir_all(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let sync_parent = || fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all();
    if path.is_dir() {
        // The process that made it may have died before the sync. Above what is ours we may not look.
        return match sync_parent() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        };
    }
    if let Some(parent) = parent {
        create_dir_all(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_parent()
}

struct OsFile {
    disk: OsDisk,
    file: Arc<fs::File>,
}

impl File for OsFile {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        let file = self.file.clone();
        self.disk.run(move || Ok(file.metadata()?.len()))
    }

    fn write_at(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        self.disk.run(move || file.write_all_at(&bytes, offset))
    }

    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let file = self.file.clone();
        self.disk.run(move || {
            let mut bytes = vec![0; length];
            let mut filled = 0;
            while filled < length {
                match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                    0 => break,
                    n => filled += n,
                }
            }
            bytes.truncate(filled);
            Ok(bytes)
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        self.disk.run(move || file.sync_data())
    }

    fn write_and_sync(&self, offset: u64, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let file = self.file.clone();
        self.disk.run(move || {
            file.write_all_at(&bytes, offset)?;
            file.sync_data()?;
            Ok(bytes)
        })
    }
}
