//! Files follow each other, and go when no group needs them.

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn segments_roll_and_records_out_of_memory_read_back() {
    let disk = MemoryDisk::new();
    let (mut wal, _, mut tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    for i in 0..400 {
        append(&log, 1 + 5 * i, 5).await.unwrap();
    }
    log.truncate_from(1990).await.unwrap();
    append(&log, 1990, 3).await.unwrap();
    log.purge_up_to(10, id(10)).await.unwrap();
    for round in 0..2 {
        let log = wal.group(GroupId(1));
        assert_eq!(
            (log.first_index(), log.last_index()),
            (11, Some(1992)),
            "round {round}"
        );
        let all = held(&log).await;
        assert_eq!(all.len(), 1982);
        assert!((11..).zip(&all).all(|(i, r)| *r == record(i)));
        assert_eq!(log.read(11, 2000, 1).await.unwrap().len(), 1);
        tasks.shutdown().await;
        let report;
        (wal, report, tasks) = open(&disk).await;
        assert!(report.segments > 1 && report.cut_bytes == 0, "{report:?}");
    }
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn truncated_then_appended_is_the_newer_one() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    append(&log, 0, 100).await.unwrap();
    let newer = |n: u64| Bytes::from(format!("newer {n} {}", "y".repeat(40)));
    // All at once: nothing of it is written yet when the next one comes.
    let truncated = log.truncate_from(50);
    let appended = async {
        start(&log, 50, (50..80).map(newer).collect());
        start(&log, 60, (160..170).map(newer).collect())
            .await
            .unwrap()
    };
    let (truncated, appended) = futures_util::future::join(truncated, appended).await;
    truncated.and(appended).unwrap();
    let expected: Vec<_> = (0..50)
        .map(record)
        .chain((50..60).chain(160..170).map(newer))
        .collect();
    assert_eq!(held(&log).await, expected);
    tasks.shutdown().await;
    let (wal, _, tasks) = open(&disk).await;
    assert_eq!(held(&wal.group(GroupId(1))).await, expected);
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn replaced_while_it_is_written_is_the_newer_one() {
    for turns in 0..8 {
        let disk = MemoryDisk::new();
        // What is written leaves memory at once.
        let options = WalOptions {
            cache_bytes: 0,
            ..options()
        };
        let (wal, _, tasks) = open_with(&disk, options).await.unwrap();
        let log = wal.group(GroupId(1));
        let older = start(&log, 0, records(0, 10));
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let newer = start(&log, 3, records(103, 2));
        let mut expected = records(0, 3);
        expected.extend(records(103, 2));
        older.await.unwrap().unwrap();
        assert_eq!(held(&log).await, expected, "{turns} turns, before");
        newer.await.unwrap().unwrap();
        assert_eq!(held(&log).await, expected, "{turns} turns, after");
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_segment_goes_when_every_group_purged_past_it() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let logs = [
        wal.group(GroupId(1)),
        wal.group(GroupId(2)),
        wal.group(GroupId(3)),
    ];
    logs[0]
        .save_vote(Bytes::from_static(b"a vote"))
        .await
        .unwrap();
    append(&logs[2], 0, 5).await.unwrap();
    for i in 0..300 {
        append(&logs[0], 5 * i, 5).await.unwrap();
        append(&logs[1], 5 * i, 5).await.unwrap();
    }
    let all = disk.paths().len();
    assert!(all > 3, "{all} segments");
    logs[2].purge_up_to(4, id(4)).await.unwrap();
    logs[0].purge_up_to(900, id(900)).await.unwrap();
    assert_eq!(disk.paths().len(), all, "group 2 needs all of them");
    logs[1].purge_up_to(900, id(900)).await.unwrap();
    // The files go after the answer.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let left = disk.paths().len();
    assert!(
        left < all && !disk.paths().contains(&file(1)),
        "{left} of {all}"
    );
    append(&logs[0], 1_500, 5).await.unwrap();
    tasks.shutdown().await;
    disk.lose_power(3);

    let (wal, report, tasks) = open(&disk).await;
    assert_eq!(report.damage, None);
    let logs = [
        wal.group(GroupId(1)),
        wal.group(GroupId(2)),
        wal.group(GroupId(3)),
    ];
    assert_eq!(
        logs[0].vote().unwrap(),
        "a vote",
        "said again before its segment went"
    );
    let purged = logs.each_ref().map(|log| log.purged().unwrap());
    assert_eq!(purged, [id(900), id(900), id(4)]);
    assert_eq!(held(&logs[0]).await, records(901, 604));
    assert_eq!(held(&logs[1]).await, records(901, 599));
    assert_eq!((logs[2].first_index(), logs[2].last_index()), (5, None));
    append(&logs[2], 5, 1).await.unwrap();
    tasks.shutdown().await;
    // One more than may be missing is damage.
    let first = disk.paths().into_iter().next().unwrap();
    codraft_proto::disk::Disk::remove(&disk, &first)
        .await
        .unwrap();
    let (_, report, _) = open(&disk).await;
    assert!(report.damage.is_some(), "{first:?} is missing: {report:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_record_larger_than_a_segment_makes_its_file_grow() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    append(&log, 0, 10).await.unwrap();
    let large: Vec<_> = [300_000, 20, 70_000]
        .map(|n| Bytes::from(vec![5; n]))
        .into();
    start(&log, 10, large.clone()).await.unwrap().unwrap();
    append(&log, 13, 10).await.unwrap();
    tasks.shutdown().await;
    let (wal, report, tasks) = open(&disk).await;
    assert_eq!(report.damage, None);
    let log = wal.group(GroupId(1));
    assert_eq!(log.read(10, 13, usize::MAX).await.unwrap(), large);
    assert_eq!(log.read(13, 99, usize::MAX).await.unwrap(), records(13, 10));
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn more_than_a_segment_may_wait_at_once() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let logs: Vec<_> = (0..40).map(|group| wal.group(GroupId(group))).collect();
    // 40 groups, about 8 KiB each, over segments of 64 KiB; and one append of 100 KiB.
    let mut waiting: Vec<_> = logs
        .iter()
        .map(|log| start(log, 0, records(0, 150)))
        .collect();
    waiting.push(start(&logs[0], 150, records(150, 2_000)));
    for saved in waiting {
        saved.await.unwrap().unwrap();
    }
    tasks.shutdown().await;
    let (wal, _, tasks) = open(&disk).await;
    assert_eq!(held(&wal.group(GroupId(0))).await, records(0, 2_150));
    assert_eq!(held(&wal.group(GroupId(39))).await, records(0, 150));
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_next_segment_is_made_before_it_is_needed() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    let mut index = 0;
    while used(&disk, 1) < 40 << 10 {
        append(&log, index, 5).await.unwrap();
        index += 5;
    }
    assert!(disk.contents(&file(2)).is_some());
    assert_eq!(used(&disk, 2), 40, "a header");
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn few_files_are_open_however_long_the_log_is() {
    let disk = MemoryDisk::new();
    let (wal, _, mut tasks) = open(&disk).await;
    append(&wal.group(GroupId(1)), 0, 30_000).await.unwrap();
    let few = |when: &str| assert!(disk.open_files() <= 10, "{} {when}", disk.open_files());
    few("after writing");
    tasks.shutdown().await;
    drop(wal);
    let (wal, report);
    (wal, report, tasks) = open(&disk).await;
    assert!(report.segments > 20, "{}", report.segments);
    few("after the start");
    assert_eq!(held(&wal.group(GroupId(1))).await.len(), 30_000);
    few("after reading");
    tasks.shutdown().await;
}

/// A process that dies there leaves a name that is not on the disk yet, and the kernel shows it
/// to the next one.
#[tokio::test(flavor = "current_thread")]
async fn a_name_that_a_dead_process_did_not_sync_is_synced_by_the_next() {
    let disk = MemoryDisk::new();
    let (wal, _, mut tasks) = open(&disk).await;
    let index = until_the_next_is_there(&disk, &wal).await;
    tasks.shutdown().await;
    disk.fail_dir_syncs(false);
    let wal;
    (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    append(&log, index, 2_000).await.unwrap();
    tasks.shutdown().await;
    disk.lose_power(7);
    let (wal, report, tasks) = open(&disk).await;
    assert_eq!(report.damage, None);
    assert_eq!(
        held(&wal.group(GroupId(1))).await,
        records(0, index + 2_000)
    );
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_segment_whose_name_could_not_be_synced_is_not_used() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let index = until_the_next_is_there(&disk, &wal).await;
    // The disk works again, and what it would say now is not to be believed.
    disk.fail_dir_syncs(false);
    let log = wal.group(GroupId(1));
    append(&log, index, 2_000).await.unwrap_err();
    let reason = soon(wal.failed()).await;
    assert!(reason.contains("could not be synced"), "{reason}");
    tasks.shutdown().await;
}

/// Writes until segment 2 is made and its name not synced; returns the next index.
async fn until_the_next_is_there(disk: &MemoryDisk, wal: &Wal) -> u64 {
    disk.fail_dir_syncs(true);
    let log = wal.group(GroupId(1));
    let mut index = 0;
    while disk.contents(&file(2)).is_none() {
        append(&log, index, 5).await.unwrap();
        index += 5;
    }
    assert_eq!(used(disk, 2), 40, "a header");
    index
}
