//! The page log: what a node keeps of its documents outside its memory.
//!
//! A page is written once and never changed. Pages lie in files one behind the other, and a page is
//! found by its place alone: what refers to it (a manifest, the state in memory) says whose page
//! should be there, and a page that is not what it should be is an error, never another page. A
//! process writes to files that it made itself, so nothing is ever written behind a torn end: what
//! no manifest refers to was never promised, and goes with its file.

mod format;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use codraft_proto::disk::{Disk, File};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use format::{FORMAT, PageError, PageKey, PagePlace};
pub use walk::{Mended, Stands, mended, walk, wrong_byte};

/// The folder of the pages, in the node's.
pub const PAGES: &str = "pages";
/// The end of the name of a file that nothing refers to any more and in which a page is damaged, and how
/// many of them stay, for who wants to look at them.
const ASIDE: &str = "damaged";
const ASIDE_MAX: usize = 2;
/// Files of pages that stay open.
const OPEN_MAX: usize = 16;
/// Pages are put together up to this size before they are written, in bytes; a larger one goes alone.
const WRITE: usize = 1 << 20;

/// Bytes that are needed, by file.
pub type Uses = BTreeMap<u32, u64>;

#[derive(Debug, Clone)]
pub struct PageOptions {
    /// A file takes no more pages once it holds this many bytes.
    pub file_bytes: u32,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
        }
    }
}

/// Clones are the same log.
#[derive(Clone)]
pub struct PageLog {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: PageOptions,
    writer: tokio::sync::Mutex<Writer>,
    files: Mutex<Files>,
    /// Those of which a page did not read back.
    damaged: watch::Sender<BTreeSet<u32>>,
}

/// Where the next page goes.
struct Writer {
    /// The number that the next file gets; never one that was used before.
    next: u32,
    current: Option<Current>,
    /// Written, and not synced yet.
    unsynced: Vec<Arc<dyn File>>,
    /// Files were made since the folder was synced.
    unlisted: bool,
}

struct Current {
    number: u32,
    file: Arc<dyn File>,
    end: u32,
}

#[derive(Default)]
struct Files {
    /// All that are there, and how many bytes each has.
    sizes: BTreeMap<u32, u64>,
    /// Used last, the latest at the end.
    open: VecDeque<(u32, Arc<dyn File>)>,
}

impl PageLog {
    /// Opens the log in `dir`, made when it is not there. Reads names and lengths alone.
    ///
    /// # Errors
    /// When the folder cannot be read or made.
    pub async fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: PageOptions,
    ) -> io::Result<PageLog> {
        disk.create_dir_all(&dir).await?;
        let names = disk.list(&dir).await?;
        let mut sizes = BTreeMap::new();
        for (number, name) in names.iter().filter_map(|n| Some((number_of(n)?, n))) {
            let file = disk.open(&dir.join(name), false).await?;
            sizes.insert(number, file.len().await?);
        }
        let last = sizes.last_key_value().map(|(last, _)| *last);
        let writer = Writer {
            next: last.map_or(1, |last| last + 1),
            current: None,
            unsynced: Vec::new(),
            unlisted: false,
        };
        let files = Files {
            sizes,
            ..Files::default()
        };
        Ok(PageLog {
            shared: Arc::new(Shared {
                disk,
                dir,
                options,
                writer: tokio::sync::Mutex::new(writer),
                files: Mutex::new(files),
                damaged: watch::Sender::default(),
            }),
        })
    }

    /// Puts pages behind the others; where each lies, in the same order. They are durable after the
    /// next [`PageLog::sync`], and can be read at once.
    ///
    /// # Errors
    /// When the disk has no room or fails. Nothing is written to that file again.
    pub async fn append(&self, pages: &[(PageKey, Bytes)]) -> io::Result<Vec<PagePlace>> {
        let mut writer = self.shared.writer.lock().await;
        let mut places = Vec::with_capacity(pages.len());
        let mut rest = pages;
        while !rest.is_empty() {
            let mut current = match writer.current.take() {
                Some(current) if self.takes_more(&current) => current,
                _ => self.make(&mut writer).await?,
            };
            let start = current.end;
            let first = format::size(rest[0].1.len())?;
            let mut piece = Vec::with_capacity(first);
            while let Some((page, others)) = rest.split_first() {
                let size = format::size(page.1.len())?;
                let fits = piece.is_empty() || piece.len() + size <= WRITE;
                if !fits || current.end >= self.shared.options.file_bytes {
                    break;
                }
                let place = PagePlace {
                    file: current.number,
                    offset: current.end,
                    length: page.1.len() as u32,
                };
                format::encode(&mut piece, place, &page.0, &page.1);
                current.end = start + piece.len() as u32;
                places.push(place);
                rest = others;
            }
            // Where it fails, or the caller goes away, the file is not taken up again.
            current.file.write_at(start.into(), piece).await?;
            let known = writer
                .unsynced
                .iter()
                .any(|f| Arc::ptr_eq(f, &current.file));
            if !known {
                writer.unsynced.push(current.file.clone());
            }
            self.shared.grown(&current);
            writer.current = Some(current);
        }
        Ok(places)
    }

    /// What is damaged is left as it is, so that all of it can go elsewhere.
    fn takes_more(&self, current: &Current) -> bool {
        let is_damaged = self.shared.damaged.borrow().contains(&current.number);
        current.end < self.shared.options.file_bytes && !is_damaged
    }

    async fn make(&self, writer: &mut Writer) -> io::Result<Current> {
        let number = writer.next;
        writer.next += 1;
        let file = self.shared.disk.open(&self.path(number), true).await?;
        writer.unlisted = true;
        self.shared.keep_open(number, &file);
        let header = format::header(number);
        let end = header.len() as u32;
        file.write_at(0, header).await?;
        let current = Current { number, file, end };
        self.shared.grown(&current);
        Ok(current)
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// When the disk fails; whether anything since the last sync is durable is not known then.
    pub async fn sync(&self) -> io::Result<()> {
        let mut writer = self.shared.writer.lock().await;
        let unsynced = std::mem::take(&mut writer.unsynced);
        let listed = !std::mem::take(&mut writer.unlisted);
        for file in unsynced {
            file.sync_data().await?;
        }
        if !listed {
            self.shared.disk.sync_dir(&self.shared.dir).await?;
        }
        Ok(())
    }

    /// The page at a place, if it is that of `key`.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written there.
    pub async fn read(&self, key: &PageKey, place: PagePlace) -> Result<Bytes, PageError> {
        let length = format::size(place.length as usize)?;
        let file = self.shared.file(place.file).await?;
        let bytes = file.read_at(place.offset.into(), length).await?;
        let page = format::decode(&bytes.into(), place, key);
        if page.is_err() {
            let damaged = &self.shared.damaged;
            damaged.send_if_modified(|files| files.insert(place.file));
        }
        page
    }

    /// The files of which a page did not read back, whenever that changes: what else is in them had
    /// better be elsewhere.
    pub fn damaged(&self) -> watch::Receiver<BTreeSet<u32>> {
        self.shared.damaged.subscribe()
    }

    /// What lies at a place, whatever it is.
    #[cfg(codraft_mutants)]
    pub async fn read_unchecked(&self, place: PagePlace) -> Result<Bytes, PageError> {
        let file = self.shared.file(place.file).await?;
        let payload = place.end() - u64::from(place.length);
        Ok(file.read_at(payload, place.length as usize).await?.into())
    }

    /// All files, and how many bytes each has.
    pub fn files(&self) -> BTreeMap<u32, u64> {
        self.shared.files.lock().sizes.clone()
    }

    /// No page that is written from now on lies in an earlier file than this.
    pub async fn current(&self) -> u32 {
        let writer = self.shared.writer.lock().await;
        let current = writer.current.as_ref();
        current.map_or(writer.next, |current| current.number)
    }

    /// Removes files to which nothing refers any more, but for the last of those that were damaged. The
    /// one that is written to stays.
    ///
    /// # Errors
    /// When the disk fails; what is left is removed another time.
    pub async fn remove(&self, files: impl IntoIterator<Item = u32>) -> io::Result<()> {
        let current = {
            let writer = self.shared.writer.lock().await;
            writer.current.as_ref().map(|current| current.number)
        };
        for number in files.into_iter().filter(|number| Some(*number) != current) {
            // Somebody else removes it where it is not known any more.
            if !self.shared.forget(number) {
                continue;
            }
            let damaged = &self.shared.damaged;
            match damaged.send_if_modified(|files| files.remove(&number)) {
                true => self.set_aside(number).await?,
                false => self.shared.disk.remove(&self.path(number)).await?,
            }
        }
        Ok(())
    }

    async fn set_aside(&self, number: u32) -> io::Result<()> {
        let Shared { disk, dir, .. } = &*self.shared;
        let names = disk.list(dir).await?;
        let aside = names.iter().map(Path::new);
        let aside = aside.filter(|name| name.extension().is_some_and(|end| end == ASIDE));
        for name in aside.rev().skip(ASIDE_MAX - 1) {
            disk.remove(&dir.join(name)).await?;
        }
        let path = self.path(number);
        disk.rename(&path, &path.with_extension(ASIDE)).await
    }

    fn path(&self, number: u32) -> PathBuf {
        self.shared.path(number)
    }
}

impl Shared {
    async fn file(&self, number: u32) -> io::Result<Arc<dyn File>> {
        let known = {
            let files = self.files.lock();
            files.open.iter().find(|(of, _)| *of == number).cloned()
        };
        let file = match known {
            Some((_, file)) => file,
            None => self.disk.open(&self.path(number), false).await?,
        };
        self.keep_open(number, &file);
        Ok(file)
    }

    fn keep_open(&self, number: u32, file: &Arc<dyn File>) {
        let mut files = self.files.lock();
        files.open.retain(|(of, _)| *of != number);
        files.open.push_back((number, file.clone()));
        if files.open.len() > OPEN_MAX {
            files.open.pop_front();
        }
    }

    fn grown(&self, current: &Current) {
        let mut files = self.files.lock();
        files.sizes.insert(current.number, current.end.into());
    }

    /// Whether it was known.
    fn forget(&self, number: u32) -> bool {
        let mut files = self.files.lock();
        files.open.retain(|(of, _)| *of != number);
        files.sizes.remove(&number).is_some()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08x}.pages"))
    }
}

/// The number of a file of pages, by its name.
pub fn number_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_suffix(".pages")?, 16).ok()
}
