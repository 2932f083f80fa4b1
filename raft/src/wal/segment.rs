//! The files of the log: made whole and ahead of time, so that a sync writes data alone.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::record::{self, Found, HEAD, Position};
use crate::disk::{Disk, File};

/// Zeros are written in pieces of this size.
const FILL: usize = 1 << 20;

/// Where a payload lies.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub at: Position,
    pub length: u32,
}

pub struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<dyn File>>>,
}

impl Segments {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self {
            disk,
            dir,
            open: Mutex::default(),
        }
    }

    /// The numbers of the segments that are there, rising. Leftovers of one that was being made
    /// are removed.
    pub async fn list(&self) -> io::Result<Vec<u64>> {
        self.disk.create_dir_all(&self.dir).await?;
        let mut numbers = Vec::new();
        for name in self.disk.list(&self.dir).await? {
            match name
                .strip_suffix(".wal")
                .map(|digits| u64::from_str_radix(digits, 16))
            {
                Some(Ok(number)) => numbers.push(number),
                _ if name.ends_with(".new") => self.disk.remove(&self.dir.join(name)).await?,
                _ => {}
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A whole segment's bytes.
    pub async fn load(&self, number: u64) -> io::Result<Bytes> {
        let file = self.file(number).await?;
        let length = file.len().await?;
        Ok(file.read_at(0, length as usize).await?.into())
    }

    pub async fn file(&self, number: u64) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.held(number) {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(number), false).await?;
        self.hold(number, file.clone());
        Ok(file)
    }

    /// Makes a segment of zeros; it is there, whole and durable, when this returns.
    pub async fn make(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn File>> {
        let unfinished = self.path(number).with_extension("new");
        let file = self.disk.open(&unfinished, true).await?;
        let mut at = 0;
        while at < bytes {
            let piece = FILL.min((bytes - at) as usize);
            // Synced piece by piece: a batch that comes meanwhile waits behind one of them.
            file.write_and_sync(at, vec![0; piece]).await?;
            at += piece as u64;
        }
        self.disk.rename(&unfinished, &self.path(number)).await?;
        self.disk.sync_dir(&self.dir).await?;
        self.hold(number, file.clone());
        Ok(file)
    }

    /// Reads a payload back and checks it.
    pub async fn read(&self, place: Place) -> io::Result<Bytes> {
        let file = self.file(place.at.segment).await?;
        let bytes = file
            .read_at(place.at.offset, HEAD + place.length as usize)
            .await?;
        // `decode` wants the record at its own offset of the whole segment.
        match record::decode_at(&bytes.into(), place.at) {
            Found::Record(record) => Ok(record.payload),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a record in segment {} does not read back",
                    place.at.segment
                ),
            )),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016x}.wal"))
    }

    fn held(&self, number: u64) -> Option<Arc<dyn File>> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    }

    fn hold(&self, number: u64, file: Arc<dyn File>) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, file);
    }
}
