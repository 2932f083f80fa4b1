//! What the log makes of a disk: appends and syncs a second for 1, 16 and 64 that wait, each for
//! its own record, beside what the disk gives a bare thread in the same run.
//!
//! `cargo run --release -p codraft-raft --example wal_bench [folder] [seconds]`
#![allow(clippy::disallowed_methods)] // the bare thread's file

use std::{
    error::Error,
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use codraft_proto::{disk::OsDisk, ids::GroupId, tasks::Tasks};
use codraft_raft::wal::{GroupWal, Wal, WalOptions};
use tokio::{sync::oneshot, time::Instant};

const RECORD_BYTES: usize = 256;
const GROUPS: u32 = 16;
const WAITERS: [usize; 3] = [1, 16, 64];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(2.0), |s| s.parse())?;
    let folder = folder.join(format!("codraft-wal-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(bench(&folder, Duration::from_secs_f64(seconds)));
    fs::remove_dir_all(&folder)?;
    result
}

async fn bench(folder: &Path, time: Duration) -> Result<(), Box<dyn Error>> {
    println!("{RECORD_BYTES} B records over {GROUPS} groups, each waiter for its own");
    println!(
        "{:>8} {:>11} {:>11} {:>9} {:>9} {:>9}",
        "waiters", "appends/s", "syncs/s", "p50 us", "p99 us", "cpu us"
    );
    raw(&folder.join("raw"), time)?;
    for waiters in WAITERS {
        let tasks = Tasks::new();
        let disk = Arc::new(OsDisk::start()?);
        let dir = folder.join(format!("wal-{waiters}"));
        let (wal, _) = Wal::open(&tasks, disk, dir, WalOptions::default()).await?;
        let (cpu, start) = (cpu_us(), Instant::now());
        let running = (0..waiters).map(|n| {
            let log = wal.group(GroupId(n as u32 % GROUPS));
            append_until(log, start + time)
        });
        let mut waits = futures_util::future::try_join_all(running).await?.concat();
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_us() - cpu);
        report(
            &waiters.to_string(),
            &mut waits,
            wal.stats().syncs,
            seconds,
            cpu,
        );
        tasks.shutdown().await;
    }
    raw(&folder.join("raw"), time)?;
    Ok(())
}

/// Appends one record after the other; how long each took.
async fn append_until(log: GroupWal, end: Instant) -> io::Result<Vec<Duration>> {
    let record = Bytes::from(vec![7; RECORD_BYTES]);
    let mut waits = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let (told, saved) = oneshot::channel();
        let done = move |result| {
            let _ = told.send(result);
        };
        // Nothing is awaited between the two: no other waiter of this group comes in between.
        let next = log.last_index().map_or(0, |last| last + 1);
        log.append(next, vec![record.clone()], Box::new(done));
        saved.await.map_err(io::Error::other)??;
        waits.push(start.elapsed());
    }
    Ok(waits)
}

/// Overwrites a file of zeros, a record and an `fdatasync` at a time.
fn raw(path: &Path, time: Duration) -> io::Result<()> {
    let options = fs::OpenOptions::new().write(true).create(true).clone();
    let file = options.open(path)?;
    let bytes = vec![0; 16 << 20];
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    let record = [7; RECORD_BYTES];
    let (cpu, start) = (cpu_us(), Instant::now());
    let mut waits = Vec::new();
    while start.elapsed() < time {
        let before = Instant::now();
        file.write_all_at(&record, (waits.len() * RECORD_BYTES % bytes.len()) as u64)?;
        file.sync_data()?;
        waits.push(before.elapsed());
    }
    let syncs = waits.len() as u64;
    report(
        "bare",
        &mut waits,
        syncs,
        start.elapsed().as_secs_f64(),
        cpu_us() - cpu,
    );
    Ok(())
}

fn report(name: &str, waits: &mut [Duration], syncs: u64, seconds: f64, cpu_us: f64) {
    waits.sort_unstable();
    let at = |share: usize| {
        waits
            .get(waits.len() * share / 100)
            .map_or(0, Duration::as_micros)
    };
    println!(
        "{name:>8} {:>11.0} {:>11.0} {:>9} {:>9} {:>9.1}",
        waits.len() as f64 / seconds,
        syncs as f64 / seconds,
        at(50),
        at(99),
        cpu_us / waits.len() as f64,
    );
}

/// What all threads of this process used, from the kernel; in steps of 10 ms.
fn cpu_us() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<f64>().ok())
        .sum();
    ticks * 10_000.0
}
