//! The log over a disk that loses power, tears writes, flips bits and fills up.

mod batches;
mod damage;
mod inspect;
mod os;
mod power;
mod segments;
mod starts;

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use codraft_proto::disk::memory::MemoryDisk;

use super::*;
use bytes::Bytes;

const DIR: &str = "/wal";

fn file(segment: u64) -> PathBuf {
    Path::new(DIR).join(format!("{segment:016x}.wal"))
}

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 64 << 10,
        cache_bytes: 1 << 10,
        ..WalOptions::default()
    }
}

async fn open(disk: &MemoryDisk) -> (Wal, WalReport, Tasks) {
    open_with(disk, options()).await.unwrap()
}

async fn open_with(
    disk: &MemoryDisk,
    options: WalOptions,
) -> Result<(Wal, WalReport, Tasks), WalError> {
    let tasks = Tasks::new();
    let (wal, report) = Wal::open(&tasks, Arc::new(disk.clone()), DIR.into(), options).await?;
    Ok((wal, report, tasks))
}

/// The record at index `n`, of 9 to 60 bytes.
fn record(n: u64) -> Bytes {
    Bytes::from(format!("record {n} {}", "x".repeat((n % 50) as usize)))
}

/// What stands for the log id of an entry.
fn id(index: u64) -> Bytes {
    Bytes::from(format!("id {index}"))
}

fn records(first: u64, count: u64) -> Vec<Bytes> {
    (first..first + count).map(record).collect()
}

fn start(log: &GroupWal, first: u64, records: Vec<Bytes>) -> oneshot::Receiver<io::Result<()>> {
    let (told, saved) = oneshot::channel();
    let done = move |result| {
        let _ = told.send(result);
    };
    log.append(first, records, Box::new(done));
    saved
}

async fn append(log: &GroupWal, first: u64, count: u64) -> io::Result<()> {
    soon(start(log, first, records(first, count)))
        .await
        .unwrap()
}

/// What should not be waited for long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, what)
        .await
        .expect("somebody waits for ever")
}

async fn held(log: &GroupWal) -> Vec<Bytes> {
    log.read(log.first_index(), u64::MAX, usize::MAX)
        .await
        .unwrap()
}

/// Up to where a segment is not zero, to the next record's beginning.
fn used(disk: &MemoryDisk, segment: u64) -> usize {
    let bytes = disk.contents(&file(segment)).unwrap();
    (bytes.iter().rposition(|b| *b != 0).unwrap() + 1).next_multiple_of(8)
}
