//! The same over the machine's own files.
#![allow(clippy::disallowed_methods)] // a folder for the test

use codraft_proto::disk::{Disk, OsDisk, conformance};

use super::*;

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let mut unique = [0; 8];
        codraft_proto::outside::Entropy::fill(&codraft_proto::outside::OsEntropy, &mut unique);
        let name = format!("codraft-{name}-{:016x}", u64::from_le_bytes(unique));
        Folder(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_log_over_real_files() {
    let folder = Folder::new("wal");
    for life in 0..3u64 {
        let tasks = Tasks::new();
        let disk = Arc::new(OsDisk::start().unwrap());
        let dir = folder.0.join("deep/wal");
        let (wal, report) = Wal::open(&tasks, disk, dir, options()).await.unwrap();
        assert_eq!((report.damage, report.cut_bytes), (None, 0));
        let log = wal.group(GroupId(1));
        assert_eq!(held(&log).await, records(0, life * 500));
        for i in 0..100 {
            append(&log, life * 500 + 5 * i, 5).await.unwrap();
        }
        log.save_vote(Bytes::from(format!("vote {life}")))
            .await
            .unwrap();
        assert_eq!(held(&log).await, records(0, life * 500 + 500));
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn files_and_folders() {
    let folder = Folder::new("disk");
    let disk = OsDisk::start().unwrap();
    let (one, two) = (folder.0.join("one"), folder.0.join("two"));
    disk.create_dir_all(&folder.0).await.unwrap();
    disk.create_dir_all(&folder.0).await.unwrap();
    let missing = disk.open(&one, false).await.err().unwrap();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let file = disk.open(&one, true).await.unwrap();
    file.write_at(3, b"defg".to_vec()).await.unwrap();
    let buffer = file.write_and_sync(0, b"abc".to_vec()).await.unwrap();
    assert_eq!(buffer, b"abc", "the buffer comes back");
    file.sync_data().await.unwrap();
    assert_eq!(file.len().await.unwrap(), 7);
    assert_eq!(file.read_at(2, 100).await.unwrap(), b"cdefg");
    assert!(file.read_at(7, 1).await.unwrap().is_empty());
    disk.rename(&one, &two).await.unwrap();
    disk.sync_dir(&folder.0).await.unwrap();
    assert_eq!(disk.list(&folder.0).await.unwrap(), ["two"]);
    // More than the thread's queue holds: who comes late waits.
    let reads = (0..3_000).map(|_| file.read_at(0, 1));
    let read = futures_util::future::join_all(reads).await;
    assert!(read.into_iter().all(|r| r.unwrap() == b"a"));
    disk.remove(&two).await.unwrap();
    assert!(disk.list(&folder.0).await.unwrap().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn the_machines_disk_does_what_a_disk_must() {
    let folder = Folder::new("disk");
    let disk = OsDisk::start().unwrap();
    let dir = folder.0.join("deep/disk");
    conformance::all(&disk, &dir, &conformance::Faults::default()).await;
    // What it cannot be made to do wrong, the kernel has files for.
    let full = disk.open(Path::new("/dev/full"), false).await.unwrap();
    let error = full.write_at(0, vec![1; 100]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    let error = full.write_and_sync(0, vec![1; 100]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    let unmapped = disk.open(Path::new("/proc/self/mem"), false).await.unwrap();
    assert!(
        unmapped.read_at(0, 8).await.is_err(),
        "EIO is told, not an empty file"
    );
}
