//! A log is looked at by one who takes no part in it.

use super::{damage::log_with_last_batch, *};

async fn look(disk: &MemoryDisk) -> (Wal, WalReport, Vec<Odd>) {
    let disk = Arc::new(disk.clone());
    Wal::look(disk, DIR.into(), options()).await.unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn each_flipped_byte_below_a_mark_is_named_and_nothing_is_changed() {
    let disk = MemoryDisk::new();
    let (start, end) = log_with_last_batch(&disk, 19, 1).await;
    let mut entries = 0;
    for offset in 0..end {
        let bad = disk.copy();
        bad.flip(&file(1), offset);
        let found = bad.contents(&file(1));
        let (wal, _, odd) = look(&bad).await;
        assert_eq!(bad.contents(&file(1)), found, "offset {offset}");
        // No mark reaches up to the last batch: there it is a torn tail.
        let Some(odd) = odd.first() else {
            assert!(offset >= start, "offset {offset}");
            continue;
        };
        assert!(odd.is_exact, "offset {offset}: {odd:?}");
        assert_eq!((odd.segment, odd.offset), (1, offset as u64), "{odd:?}");
        if let Some((group, index)) = odd.entry {
            entries += 1;
            assert_eq!(group, GroupId(1), "offset {offset}: {odd:?}");
            assert_eq!(odd.stored, Some(record(index)), "offset {offset}");
            let log = wal.group(group);
            assert_eq!(held(&log).await, records(1, index - 1), "what is before");
        }
    }
    assert!(entries > 100, "{entries}");
}

#[tokio::test(flavor = "current_thread")]
async fn who_looks_makes_nothing_and_writes_nothing() {
    let disk = MemoryDisk::new();
    let must_exist = |must_exist| WalOptions {
        must_exist,
        ..options()
    };
    let on = || Arc::new(disk.clone());
    let nothing = Wal::look(on(), DIR.into(), must_exist(true)).await;
    assert!(matches!(nothing, Err(WalError::Missing)));
    let nothing = Wal::look(on(), DIR.into(), must_exist(false)).await;
    assert_eq!(nothing.unwrap().1.records, 0);
    assert!(disk.paths().is_empty());
    log_with_last_batch(&disk, 3, 1).await;
    let before = disk.contents(&file(1));
    let (wal, report, odd) = look(&disk).await;
    let log = wal.group(GroupId(1));
    assert_eq!(held(&log).await, records(1, 4));
    assert!(append(&log, 5, 1).await.is_err());
    assert!(report.damage.is_none() && odd.is_empty());
    assert_eq!(disk.contents(&file(1)), before);
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_of_the_log_that_is_missing_is_named() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    for i in 0..1_000 {
        append(&wal.group(GroupId(1)), 5 * i, 5).await.unwrap();
    }
    tasks.shutdown().await;
    let last = disk.paths().len() as u64;
    assert!(last > 3, "{last} files");
    for missing in [2, last - 1] {
        let bad = disk.copy();
        bad.remove(&file(missing)).await.unwrap();
        let odd = look(&bad).await.2;
        let named: Vec<_> = odd.iter().map(|odd| (odd.segment, odd.is_exact)).collect();
        assert_eq!(named, [(missing, false)], "{odd:?}");
    }
}
