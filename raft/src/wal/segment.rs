//! The files of the log: made whole and ahead of time, so that a sync writes data alone.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::disk::{Disk, File};
use parking_lot::{Mutex, MutexGuard};

use super::record::{self, Found, HEAD, Position};

/// Zeros are written and synced in pieces of this size, so that a batch never waits long
/// behind them, in bytes.
const FILL: usize = 512 << 10;
/// Files of the log that stay open.
const OPEN_MAX: usize = 8;
/// What one read of the disk asks for, in bytes; a larger record goes alone.
const READ: u64 = 256 << 10;

/// Every segment begins with `magic | format | 0 | number | bytes made | crc | 0`; records
/// follow.
pub const HEADER: u64 = 64;
const MAGIC: [u8; 8] = *b"codraft\n";
/// Of the records, of what they hold, and of what applying them makes: raised when any of these
/// changes. Another one is refused, and its folder stays as it was found.
pub const FORMAT: u32 = 4;

/// Where a payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLocation {
    pub at: Position,
    pub length: u32,
}

impl RecordLocation {
    fn end(&self) -> u64 {
        self.at.offset + (HEAD + self.length as usize) as u64
    }
}

/// What the beginning of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Good,
    /// Another version of this program wrote it.
    Other(u32),
    Bad,
}

pub struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Used last, the latest at the end. The log grows, and a process may open so many files.
    open: Mutex<VecDeque<(u64, Arc<dyn File>)>>,
    /// The folder's entries could not be synced once, and nobody knows which of them are durable.
    unsure: AtomicBool,
}

impl Segments {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self {
            disk,
            dir,
            open: Mutex::default(),
            unsure: AtomicBool::new(false),
        }
    }

    /// The numbers of the segments that are there, durably, rising.
    pub async fn list(&self) -> io::Result<Vec<u64>> {
        self.disk.create_dir_all(&self.dir).await?;
        let mut numbers = Vec::new();
        for name in self.disk.list(&self.dir).await? {
            let digits = name.strip_suffix(".wal");
            if let Some(Ok(number)) = digits.map(|digits| u64::from_str_radix(digits, 16)) {
                numbers.push(number);
            }
        }
        // The process that made the last one may have died before it synced the folder.
        self.sync_dir().await?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes what is left of a segment that was being made.
    pub async fn tidy(&self) -> io::Result<()> {
        for name in self.disk.list(&self.dir).await? {
            if name.ends_with(".new") {
                self.disk.remove(&self.dir.join(name)).await?;
            }
        }
        Ok(())
    }

    /// A whole segment's bytes.
    pub async fn load(&self, number: u64) -> io::Result<Bytes> {
        let file = self.disk.open(&self.path(number), false).await?;
        let length = file.len().await?;
        Ok(file.read_at(0, length as usize).await?.into())
    }

    pub async fn file(&self, number: u64) -> io::Result<Arc<dyn File>> {
        let known = self.lock().iter().find(|(of, _)| *of == number).cloned();
        let file = match known {
            Some((_, file)) => file,
            None => self.disk.open(&self.path(number), false).await?,
        };
        self.keep_open(number, &file);
        Ok(file)
    }

    fn keep_open(&self, number: u64, file: &Arc<dyn File>) {
        let mut open = self.lock();
        open.retain(|(of, _)| *of != number);
        open.push_back((number, file.clone()));
        if open.len() > OPEN_MAX {
            open.pop_front();
        }
    }

    /// The segment; made if it is not there.
    pub async fn ensure(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn File>> {
        match self.file(number).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(number, bytes).await,
            // It may be there in name only.
            Ok(_) if self.unsure.load(Relaxed) => Err(not_synced()),
            other => other,
        }
    }

    /// Makes a segment of zeros; it is there, whole and durable, when this returns.
    async fn make(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn File>> {
        let unfinished = self.path(number).with_extension("new");
        let file = match self.fill(&unfinished, number, bytes).await {
            Ok(file) => file,
            Err(error) => {
                // On a full disk its bytes are worth more than its name.
                let _ = self.disk.remove(&unfinished).await;
                return Err(error);
            }
        };
        self.disk.rename(&unfinished, &self.path(number)).await?;
        self.sync_dir().await?;
        self.keep_open(number, &file);
        Ok(file)
    }

    async fn fill(
        &self,
        path: &std::path::Path,
        number: u64,
        bytes: u64,
    ) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, true).await?;
        let mut piece = Vec::new();
        let mut at = 0;
        while at < bytes {
            piece.clear();
            piece.resize(FILL.min((bytes - at) as usize), 0);
            if at == 0 {
                piece.splice(..HEADER as usize, header(number, bytes));
            }
            let written = piece.len() as u64;
            piece = file.write_and_sync(at, piece).await?;
            at += written;
        }
        Ok(file)
    }

    /// Removes a segment, durably.
    pub async fn remove(&self, number: u64) -> io::Result<()> {
        self.lock().retain(|(of, _)| *of != number);
        self.disk.remove(&self.path(number)).await?;
        self.sync_dir().await
    }

    /// Once it has failed it fails for good: what a later one says of the entries before is not
    /// to be believed.
    async fn sync_dir(&self) -> io::Result<()> {
        if mutant!("directory_not_synced") {
            return Ok(());
        }
        if self.unsure.load(Relaxed) {
            return Err(not_synced());
        }
        let synced = self.disk.sync_dir(&self.dir).await;
        self.unsure.store(synced.is_err(), Relaxed);
        synced
    }

    /// Reads payloads back and checks them; neighbours share a read.
    pub async fn read(&self, locations: &[RecordLocation], out: &mut Vec<Bytes>) -> io::Result<()> {
        let mut rest = locations;
        while let Some(first) = rest.first() {
            let reach = rest.iter().take_while(|location| {
                let here = location.at.segment == first.at.segment && location.at >= first.at;
                here && location.end() - first.at.offset <= READ
            });
            let (run, next) = rest.split_at(reach.count().max(1));
            let file = self.file(first.at.segment).await?;
            let end = run.last().map_or(first.end(), RecordLocation::end);
            let length = (end - first.at.offset) as usize;
            let bytes = Bytes::from(file.read_at(first.at.offset, length).await?);
            for location in run {
                let start = (location.at.offset - first.at.offset) as usize;
                match record::decode(&bytes, start, location.at) {
                    // A copy: a slice would keep its neighbours in memory.
                    Found::Record(record, _) => out.push(Bytes::copy_from_slice(&record.payload)),
                    Found::End | Found::Bad => return Err(unreadable(location.at)),
                }
            }
            rest = next;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(file_name(number))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<dyn File>)>> {
        self.open.lock()
    }
}

/// Of a segment.
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.wal")
}

fn not_synced() -> io::Error {
    io::Error::other("the folder of the log could not be synced before")
}

fn unreadable(at: Position) -> io::Error {
    let Position { segment, offset } = at;
    let reason = format!("the record at byte {offset} of segment {segment} does not read back");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

pub fn header(number: u64, bytes: u64) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32fast::hash(&header[..32]);
    header[32..36].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks that these are the bytes of segment `number`, all that were made.
pub fn read_header(bytes: &[u8], number: u64) -> Header {
    let field = |i: usize| {
        bytes
            .get(i..i + 4)
            .and_then(|b| Some(u32::from_le_bytes(b.try_into().ok()?)))
    };
    let Some((format, made_low, made_high)) = field(8)
        .zip(field(24))
        .zip(field(28))
        .map(|((a, b), c)| (a, b, c))
    else {
        return Header::Bad;
    };
    let made = u64::from(made_low) | u64::from(made_high) << 32;
    let checked = field(32) == Some(crc32fast::hash(&bytes[..32]));
    if bytes[..8] == MAGIC && checked && format != FORMAT {
        return Header::Other(format);
    }
    let good =
        made <= bytes.len() as u64 && bytes.get(..HEADER as usize) == Some(&header(number, made));
    if good { Header::Good } else { Header::Bad }
}
