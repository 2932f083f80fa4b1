//! A disk that is read and never written, so that nothing here can change what it looks at.
#![allow(clippy::disallowed_methods)] // reads what a node's disk wrote, and starts no thread for it

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use codraft_proto::{
    disk::{Claim, Disk, File},
    transport::BoxFuture,
};

/// Each call reads at once: whoever verifies has nothing else to do.
#[derive(Clone, Copy)]
pub struct ReadOnly;

fn done<'a, T: Send + 'a>(result: io::Result<T>) -> BoxFuture<'a, io::Result<T>> {
    Box::pin(std::future::ready(result))
}

fn never<'a, T: Send + 'a>() -> BoxFuture<'a, io::Result<T>> {
    done(Err(io::ErrorKind::ReadOnlyFilesystem.into()))
}

impl Disk for ReadOnly {
    fn lane(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(*self))
    }

    fn claim<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Claim>> {
        let claim = || -> io::Result<Claim> {
            let folder = fs::File::open(dir)?;
            folder.try_lock()?;
            Ok(Box::new(folder))
        };
        done(claim())
    }

    /// Makes none. One that is not there is as good as one with nothing in it.
    fn create_dir_all<'a>(&'a self, _path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        done(Ok(()))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        done(names(dir))
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        if create {
            return never();
        }
        let open = || -> io::Result<Arc<dyn File>> {
            let (path, file) = (path.to_owned(), fs::File::open(path)?);
            Ok(Arc::new(ReadFile { path, file }))
        };
        done(open())
    }

    fn rename<'a>(&'a self, _from: &'a Path, _to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        never()
    }

    fn remove<'a>(&'a self, _path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        never()
    }

    /// There is nothing of ours to sync.
    fn sync_dir<'a>(&'a self, _dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        done(Ok(()))
    }
}

struct ReadFile {
    path: PathBuf,
    file: fs::File,
}

impl File for ReadFile {
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        done(self.file.metadata().map(|of| of.len()))
    }

    fn write_at(&self, _offset: u64, _bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        never()
    }

    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let read = || {
            // No more memory than there is something to read.
            let rest = self.file.metadata()?.len().saturating_sub(offset);
            let length = length.min(usize::try_from(rest).unwrap_or(usize::MAX));
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        };
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        };
        done(read().map_err(named))
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        never()
    }

    fn write_and_sync(&self, _offset: u64, _bytes: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        never()
    }
}

/// What lies in a folder, sorted; nothing where there is none.
///
/// # Errors
/// When it cannot be listed.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let names = listed.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// All of a file; none where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
