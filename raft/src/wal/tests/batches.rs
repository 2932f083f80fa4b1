//! What waits goes together, and fails together.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn what_waits_shares_one_sync() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let before = disk.syncs();
    let logs: Vec<_> = (1..=64).map(|group| wal.group(GroupId(group))).collect();
    let waiting: Vec<_> = logs
        .iter()
        .map(|log| start(log, 1, records(1, 1)))
        .collect();
    let vote = logs[0].save_vote(Bytes::from_static(b"vote"));
    vote.await.unwrap();
    for saved in waiting {
        saved.await.unwrap().unwrap();
    }
    assert_eq!(disk.syncs() - before, 1, "64 groups and a vote");
    assert_eq!(wal.stats().syncs, 1);
    assert_eq!(wal.stats().records, 64);
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn while_one_batch_syncs_the_next_gathers() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let before = disk.syncs();
    let writers = 16;
    let each = 20;
    let mut running = Vec::new();
    for group in 0..writers {
        let log = wal.group(GroupId(group));
        running.push(async move {
            for i in 0..each {
                append(&log, i, 1).await.unwrap();
            }
        });
    }
    futures_util::future::join_all(running).await;
    let syncs = disk.syncs() - before;
    assert!(
        syncs <= 2 * each,
        "{syncs} syncs for {} appends",
        u64::from(writers) * each
    );
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn appended_is_read_at_once_and_told_after_the_sync() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    let mut saved = start(&log, 1, records(1, 3));
    assert_eq!((log.first_index(), log.last_index()), (1, Some(3)));
    assert_eq!(held(&log).await, records(1, 3));
    assert!(saved.try_recv().is_err(), "nothing was synced yet");
    saved.await.unwrap().unwrap();
    assert_eq!(log.read(1, 4, 1).await.unwrap().len(), 1, "one at least");
    assert_eq!(log.read(2, 3, usize::MAX).await.unwrap(), [record(2)]);
    for (from, to) in [(4, 9), (0, 1), (3, 3), (3, 1), (0, 0)] {
        assert!(
            log.read(from, to, usize::MAX).await.unwrap().is_empty(),
            "{from}..{to}"
        );
    }
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_sync_ends_it() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    append(&log, 1, 1).await.unwrap();
    disk.fail_syncs(true);
    let (one, two) = (start(&log, 2, records(2, 1)), start(&log, 3, records(3, 1)));
    assert!(
        one.await.unwrap().is_err() && two.await.unwrap().is_err(),
        "both callers know"
    );
    disk.fail_syncs(false);
    let syncs = disk.syncs();
    assert!(append(&log, 4, 1).await.is_err(), "it is never tried again");
    assert!(
        soon(log.save_vote(Bytes::from_static(b"vote")))
            .await
            .is_err()
    );
    assert!(soon(log.truncate_from(1)).await.is_err());
    assert_eq!(log.vote(), None, "what is refused changes nothing");
    assert_eq!(disk.syncs(), syncs);
    assert!(wal.failed().await.contains("injected"));
    tasks.shutdown().await;

    // What the failed sync left readable is made durable before anybody builds on it.
    let (wal, _, tasks) = open(&disk).await;
    let left = wal.group(GroupId(1)).last_index().unwrap();
    tasks.shutdown().await;
    disk.lose_power(1);
    let (wal, report, tasks) = open(&disk).await;
    assert_eq!(wal.group(GroupId(1)).last_index(), Some(left), "{report:?}");
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_says_so_in_time_and_waits_for_room() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    // Room for what is there, not for a second segment.
    disk.set_capacity(Some(100 << 10));
    let mut index = 0;
    while !wal.is_full() {
        append(&log, index, 10).await.unwrap();
        index += 10;
    }
    log.save_vote(Bytes::from_static(b"vote")).await.unwrap();
    append(&log, index, 100).await.unwrap();
    index += 100;
    // Beyond the reserve it waits; nothing is lost and nothing fails.
    loop {
        let waits = Duration::from_millis(100);
        match tokio::time::timeout(waits, append(&log, index, 10)).await {
            Ok(appended) => appended.unwrap(),
            Err(_) => break,
        }
        index += 10;
    }
    assert_eq!(disk.paths(), [file(1)], "nothing half made stays");
    tasks.shutdown().await;

    // A start finds the disk as full as before, and what it holds can be read.
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    assert!(log.last_index() >= Some(index - 1));
    wal.full(true).await;
    let end = log.last_index().unwrap() + 1;
    let more = append(&log, end, 100);
    let ((), appended) = tokio::join!(
        async {
            disk.set_capacity(None);
            wal.full(false).await;
        },
        more
    );
    appended.unwrap();
    assert_eq!(log.last_index(), Some(end + 99));
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_queue_refuses_and_changes_nothing() {
    let disk = MemoryDisk::new();
    let options = WalOptions {
        queue_bytes: 4 << 10,
        ..options()
    };
    let (wal, _, tasks) = open_with(&disk, options).await.unwrap();
    let log = wal.group(GroupId(1));
    let large = |n: usize| vec![Bytes::from(vec![7; n])];
    let first = start(&log, 0, large(3 << 10));
    let second = start(&log, 1, large(2 << 10));
    assert!(second.await.unwrap().is_err());
    assert_eq!(log.last_index(), Some(0));
    log.room().await;
    first.await.unwrap().unwrap();
    let alone = start(&log, 1, large(20 << 10));
    alone.await.unwrap().unwrap();
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_hole_is_refused() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    append(&log, 5, 5).await.unwrap();
    assert!(append(&log, 11, 1).await.is_err(), "10 is missing");
    log.purge_up_to(7, id(7)).await.unwrap();
    assert!(append(&log, 7, 1).await.is_err(), "7 was purged");
    append(&log, 8, 1).await.unwrap();
    assert_eq!(
        (log.first_index(), log.last_index()),
        (8, Some(8)),
        "over what stood there"
    );
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_log_keeps_nobody_waiting() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    let waiting = start(&log, 1, records(1, 1));
    tasks.shutdown().await;
    let told = waiting.await;
    assert!(
        told.is_err(),
        "let go; the disk had no error to tell of: {told:?}"
    );
    assert!(
        soon(log.save_vote(Bytes::from_static(b"vote")))
            .await
            .is_err()
    );
    log.room().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_committed_position_rides_along() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    let before = disk.syncs();
    log.save_committed(Bytes::from_static(b"one"));
    log.save_committed(Bytes::from_static(b"two"));
    tokio::task::yield_now().await;
    assert_eq!(disk.syncs(), before, "no sync of its own");
    append(&log, 1, 1).await.unwrap();
    assert_eq!(disk.syncs() - before, 1);
    log.save_committed(Bytes::from_static(b"three"));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    tasks.shutdown().await;
    let (wal, _, tasks) = open(&disk).await;
    assert_eq!(
        wal.group(GroupId(1)).committed().unwrap(),
        "three",
        "within a second"
    );
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_idle_log_marks_its_last_batch_once() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    append(&wal.group(GroupId(1)), 1, 1).await.unwrap();
    let before = used(&disk, 1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let after = used(&disk, 1);
    assert_eq!(after - before, 40, "one mark");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(used(&disk, 1), after, "and only one");
    tasks.shutdown().await;
    // So even the very last record is known to have been there.
    disk.flip(&file(1), before - 8);
    let (_, report, _) = open(&disk).await;
    assert!(report.damage.is_some());
}
