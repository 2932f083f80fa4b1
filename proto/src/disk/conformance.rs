//! What every disk must do, clause by clause. Each implementor's tests call `all`, with what it
//! can be made to do wrong; who builds on a disk may rely on this and on nothing else.
#![allow(clippy::unwrap_used)] // only tests call it

use std::{future::poll_fn, io::ErrorKind, path::Path, sync::Arc, task::Poll};

use super::{Disk, File};

/// How to make the disk fail; none where that cannot be done to it.
#[derive(Default)]
pub struct Faults<'a> {
    /// Lets no byte more onto it than it holds now, or any number again.
    pub fill: Option<&'a dyn Fn(bool)>,
    /// Fails every sync of a file, or none.
    pub fail_syncs: Option<&'a dyn Fn(bool)>,
    /// Loses what was not synced; files that are open are not used any more.
    pub lose_power: Option<&'a dyn Fn()>,
}

/// All clauses, in a folder that does not exist yet.
///
/// # Panics
/// When the disk breaks one.
pub async fn all(disk: &dyn Disk, dir: &Path, faults: &Faults<'_>) {
    disk.create_dir_all(dir).await.unwrap();
    disk.create_dir_all(dir).await.unwrap();
    a_claimed_folder_is_nobody_elses(disk, dir).await;
    what_is_not_there_is_not_found(disk, dir).await;
    what_was_written_reads_back(disk, dir).await;
    a_large_write_is_whole(disk, dir).await;
    names_are_listed_renamed_and_removed(disk, dir).await;
    an_open_file_outlives_its_name(disk, dir).await;
    what_was_cancelled_is_old_or_new_and_never_comes_later(disk, dir).await;
    if let Some(fill) = faults.fill {
        a_full_disk_says_so_and_keeps_what_it_has(disk, dir, fill).await;
    }
    if let Some(fail) = faults.fail_syncs {
        a_failed_sync_is_told(disk, dir, fail).await;
    }
    if let Some(lose_power) = faults.lose_power {
        what_was_synced_outlives_a_loss_of_power(disk, dir, lose_power).await;
        if let Some(fail) = faults.fail_syncs {
            no_later_sync_makes_good_what_failed(disk, dir, fail, lose_power).await;
        }
    }
}

async fn make(disk: &dyn Disk, dir: &Path, name: &str) -> Arc<dyn File> {
    disk.open(&dir.join(name), true).await.unwrap()
}

/// All of a file, asked for with more than there is.
async fn contents(file: &Arc<dyn File>) -> Vec<u8> {
    let length = file.len().await.unwrap() as usize;
    let bytes = file.read_at(0, length + 100).await.unwrap();
    assert_eq!(bytes.len(), length, "as many as the file has");
    bytes
}

async fn a_claimed_folder_is_nobody_elses(disk: &dyn Disk, dir: &Path) {
    let claim = disk.claim(dir).await.unwrap();
    let refused = disk.claim(dir).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
    let names = disk.list(dir).await.unwrap();
    assert!(names.is_empty(), "nothing is left in it: {names:?}");
    drop(claim);
    drop(disk.claim(dir).await.unwrap());
}

async fn what_is_not_there_is_not_found(disk: &dyn Disk, dir: &Path) {
    let nothing = dir.join("nothing");
    let opened = disk.open(&nothing, false).await.err().unwrap();
    let renamed = disk.rename(&nothing, &dir.join("else")).await.unwrap_err();
    let removed = disk.remove(&nothing).await.unwrap_err();
    for error in [opened, renamed, removed] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert!(disk.list(dir).await.unwrap().is_empty(), "nothing was made");
}

async fn what_was_written_reads_back(disk: &dyn Disk, dir: &Path) {
    let file = make(disk, dir, "written").await;
    assert_eq!(contents(&file).await, b"", "a new file is empty");
    file.write_at(0, b"hello".to_vec()).await.unwrap();
    // Also to a reader that opens it again, before any sync.
    let again = disk.open(&dir.join("written"), false).await.unwrap();
    assert_eq!(contents(&again).await, b"hello");
    let buffer = again.write_and_sync(8, b"you".to_vec()).await.unwrap();
    assert_eq!(buffer, b"you", "the buffer comes back");
    assert_eq!(contents(&file).await, b"hello\0\0\0you", "a gap is zeros");
    file.write_at(1, b"E".to_vec()).await.unwrap();
    file.sync_data().await.unwrap();
    assert_eq!(contents(&again).await, b"hEllo\0\0\0you");
    // Opening to make it keeps what is there.
    assert_eq!(contents(&make(disk, dir, "written").await).await.len(), 11);
    assert_eq!(
        file.read_at(9, 100).await.unwrap(),
        b"ou",
        "fewer at the end"
    );
    assert_eq!(file.read_at(11, 1).await.unwrap(), b"");
    assert_eq!(file.read_at(1 << 40, 1).await.unwrap(), b"");
    disk.remove(&dir.join("written")).await.unwrap();
}

/// Systems may take a part of a write: who asked for all of it is told only when all is there.
async fn a_large_write_is_whole(disk: &dyn Disk, dir: &Path) {
    let file = make(disk, dir, "large").await;
    let bytes: Vec<u8> = (0..5_000_011u32).map(|n| (n % 251) as u8).collect();
    file.write_at(3, bytes.clone()).await.unwrap();
    assert_eq!(file.len().await.unwrap(), bytes.len() as u64 + 3);
    assert!(file.read_at(3, bytes.len()).await.unwrap() == bytes);
    let bytes = file.write_and_sync(0, bytes).await.unwrap();
    assert!(file.read_at(0, bytes.len()).await.unwrap() == bytes);
    disk.remove(&dir.join("large")).await.unwrap();
}

async fn names_are_listed_renamed_and_removed(disk: &dyn Disk, dir: &Path) {
    for name in ["b", "c", "a"] {
        let file = make(disk, dir, name).await;
        file.write_at(0, name.into()).await.unwrap();
    }
    let below = dir.join("below");
    disk.create_dir_all(&below).await.unwrap();
    make(disk, &below, "not here").await;
    let mut names = disk.list(dir).await.unwrap();
    assert!(names.is_sorted());
    names.retain(|name| name != "below");
    assert_eq!(names, ["a", "b", "c"]);
    disk.rename(&dir.join("a"), &dir.join("c")).await.unwrap();
    let replaced = disk.open(&dir.join("c"), false).await.unwrap();
    assert_eq!(contents(&replaced).await, b"a", "in the place of the other");
    disk.remove(&dir.join("b")).await.unwrap();
    disk.sync_dir(dir).await.unwrap();
    let mut names = disk.list(dir).await.unwrap();
    names.retain(|name| name != "below");
    assert_eq!(names, ["c"]);
    disk.remove(&dir.join("c")).await.unwrap();
    disk.remove(&below.join("not here")).await.unwrap();
}

async fn an_open_file_outlives_its_name(disk: &dyn Disk, dir: &Path) {
    let file = make(disk, dir, "old name").await;
    file.write_at(0, b"kept".to_vec()).await.unwrap();
    let (from, to) = (dir.join("old name"), dir.join("new name"));
    disk.rename(&from, &to).await.unwrap();
    file.write_at(4, b" on".to_vec()).await.unwrap();
    let renamed = disk.open(&to, false).await.unwrap();
    assert_eq!(contents(&renamed).await, b"kept on");
    disk.remove(&to).await.unwrap();
    file.write_at(0, b"K".to_vec()).await.unwrap();
    assert_eq!(contents(&file).await, b"Kept on");
    let other = make(disk, dir, "new name").await;
    assert_eq!(contents(&other).await, b"", "another file");
    disk.remove(&to).await.unwrap();
}

/// Whoever waited may be gone at any step. What it asked for is done or not, but in its turn: it
/// never lands on what was written after it.
async fn what_was_cancelled_is_old_or_new_and_never_comes_later(disk: &dyn Disk, dir: &Path) {
    let file = make(disk, dir, "cancelled").await;
    for polls in 0..4 {
        for synced in [false, true] {
            file.write_and_sync(0, vec![b'o'; 4_096]).await.unwrap();
            if synced {
                abandon(file.write_and_sync(0, vec![b'n'; 4_096]), polls).await;
            } else {
                abandon(file.write_at(0, vec![b'n'; 4_096]), polls).await;
            }
            let found = contents(&file).await;
            assert!(found.iter().all(|b| *b == found[0]) && b"on".contains(&found[0]));
            file.write_and_sync(0, vec![b'l'; 4_096]).await.unwrap();
            abandon(file.read_at(0, 4_096), polls).await;
            abandon(file.sync_data(), polls).await;
            assert_eq!(contents(&file).await, [b'l'; 4_096]);
        }
    }
    abandon(disk.open(&dir.join("half made"), true), 1).await;
    abandon(disk.rename(&dir.join("cancelled"), &dir.join("moved")), 1).await;
    let names = disk.list(dir).await.unwrap();
    let name = ["cancelled", "moved"].map(|name| names.iter().any(|other| other == name));
    assert!(name[0] != name[1], "under one of its names: {names:?}");
    for name in names.iter().filter(|name| *name != "below") {
        disk.remove(&dir.join(name)).await.unwrap();
    }
}

/// Looks at a future so many times, then drops it.
async fn abandon<T>(mut future: crate::transport::BoxFuture<'_, T>, polls: usize) {
    for _ in 0..polls {
        let over = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        if over {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn a_full_disk_says_so_and_keeps_what_it_has(
    disk: &dyn Disk,
    dir: &Path,
    fill: &dyn Fn(bool),
) {
    let file = make(disk, dir, "full").await;
    file.write_and_sync(0, b"before".to_vec()).await.unwrap();
    fill(true);
    let error = file.write_at(6, vec![b'x'; 8_192]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    let error = file.write_and_sync(6, vec![b'x'; 8_192]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    let found = contents(&file).await;
    assert!(found.starts_with(b"before"), "what was there stays");
    assert!(
        found[6..].iter().all(|byte| *byte == b'x'),
        "a part at most"
    );
    // What needs no room works: a start on a full disk reads, overwrites, renames and removes.
    file.write_and_sync(0, b"BEFORE".to_vec()).await.unwrap();
    disk.rename(&dir.join("full"), &dir.join("fuller"))
        .await
        .unwrap();
    disk.remove(&dir.join("fuller")).await.unwrap();
    fill(false);
    let file = make(disk, dir, "full").await;
    file.write_and_sync(0, vec![b'y'; 8_192]).await.unwrap();
    disk.remove(&dir.join("full")).await.unwrap();
}

async fn a_failed_sync_is_told(disk: &dyn Disk, dir: &Path, fail: &dyn Fn(bool)) {
    let file = make(disk, dir, "sync").await;
    fail(true);
    assert!(file.write_and_sync(0, b"lost".to_vec()).await.is_err());
    assert!(file.sync_data().await.is_err());
    fail(false);
    file.write_and_sync(0, b"kept".to_vec()).await.unwrap();
    assert_eq!(contents(&file).await, b"kept");
    disk.remove(&dir.join("sync")).await.unwrap();
}

async fn what_was_synced_outlives_a_loss_of_power(
    disk: &dyn Disk,
    dir: &Path,
    lose_power: &dyn Fn(),
) {
    let file = make(disk, dir, "durable").await;
    file.write_and_sync(0, b"bytes".to_vec()).await.unwrap();
    let unnamed = make(disk, dir, "moved").await;
    disk.sync_dir(dir).await.unwrap();
    unnamed.write_at(0, b"named".to_vec()).await.unwrap();
    unnamed.sync_data().await.unwrap();
    lose_power();
    let file = disk.open(&dir.join("durable"), false).await.unwrap();
    assert_eq!(contents(&file).await, b"bytes");
    let file = disk.open(&dir.join("moved"), false).await.unwrap();
    assert_eq!(contents(&file).await, b"named");
    disk.rename(&dir.join("moved"), &dir.join("durable"))
        .await
        .unwrap();
    disk.sync_dir(dir).await.unwrap();
    lose_power();
    let file = disk.open(&dir.join("durable"), false).await.unwrap();
    assert_eq!(contents(&file).await, b"named", "its new name is durable");
    assert!(
        disk.open(&dir.join("moved"), false).await.is_err(),
        "and the old one gone"
    );
    disk.remove(&dir.join("durable")).await.unwrap();
    disk.sync_dir(dir).await.unwrap();
}

/// As kernels do: the pages of a failed sync count as clean.
async fn no_later_sync_makes_good_what_failed(
    disk: &dyn Disk,
    dir: &Path,
    fail: &dyn Fn(bool),
    lose_power: &dyn Fn(),
) {
    let file = make(disk, dir, "twice").await;
    file.write_and_sync(0, b"old".to_vec()).await.unwrap();
    disk.sync_dir(dir).await.unwrap();
    fail(true);
    assert!(file.write_and_sync(0, b"new".to_vec()).await.is_err());
    fail(false);
    file.sync_data().await.unwrap();
    lose_power();
    let file = disk.open(&dir.join("twice"), false).await.unwrap();
    assert_eq!(contents(&file).await, b"old");
    disk.remove(&dir.join("twice")).await.unwrap();
    disk.sync_dir(dir).await.unwrap();
}
