//! The few files the command itself reads and writes: configuration, keys, who runs.
//! Documents never pass here; they live behind `raft`'s disk.
#![allow(clippy::disallowed_methods)] // the one owner of configuration files

use std::{
    ffi::CString,
    fs,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making the folder {}", path.display()))
}

pub fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("finding {}", path.display()))
}

/// Takes a folder for this process alone, for as long as the file that it returns is open; none
/// while another process has it. Changes nothing in it: the lock is on the folder itself, and the
/// kernel gives it up with the process.
pub fn claim(path: &Path) -> Result<Option<fs::File>> {
    let lock = || -> io::Result<fs::File> {
        let folder = fs::File::open(path)?;
        folder.try_lock()?;
        Ok(folder)
    };
    match lock() {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// How large the file system is that a folder is on, or will be.
#[allow(unsafe_code)]
pub fn disk_bytes(path: &Path) -> Result<u64> {
    let there = path.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    let name = CString::new(there.as_os_str().as_bytes())?;
    // SAFETY: all zeros is a value of this struct of numbers.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends with a zero, and the struct is this function's own.
    if unsafe { libc::statvfs(name.as_ptr(), &mut found) } != 0 {
        let error = io::Error::last_os_error();
        return Err(error)
            .with_context(|| format!("asking how large the disk of {} is", path.display()));
    }
    Ok(found.f_blocks * found.f_frsize)
}

/// What lies in a folder.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        let name =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(path)?.map(name).collect()
    };
    list().with_context(|| format!("listing {}", path.display()))
}

pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}

/// Written whole or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o644)
}

/// As `replace`, readable by its owner alone.
pub fn replace_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o600)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let beside = path.with_extension("new");
    let put = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    put().with_context(|| format!("writing {}", path.display()))
}
