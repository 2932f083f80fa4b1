//! What a log keeps of its starts, and of how far the logs of others had come.

use codraft_proto::ids::NodeId;

use super::*;

fn standing(number: u64, offset: u64) -> Standing {
    Standing {
        number,
        name: number * 10,
        synced: Position { segment: 1, offset },
    }
}

/// Opens, begins, appends some, ends.
async fn life(disk: &MemoryDisk, name: u64, count: u64) -> Vec<Start> {
    let (wal, _, tasks) = open(disk).await;
    let starts = wal.begin(name).await.unwrap();
    let log = wal.group(GroupId(0));
    let first = log.last_index().map_or(0, |last| last + 1);
    append(&log, first, count).await.unwrap();
    tasks.shutdown().await;
    starts
}

#[tokio::test]
async fn starts_are_in_the_log_with_where_it_stood() {
    let disk = MemoryDisk::new();
    let first = life(&disk, 11, 5).await;
    let (wal, _, tasks) = open(&disk).await;
    let ended = wal.synced();
    tasks.shutdown().await;
    let second = life(&disk, 22, 5).await;
    assert_eq!(second[0], first[0]);
    let wanted = Start {
        number: 2,
        name: 22,
        opened: ended,
    };
    assert_eq!(second[1..], [wanted]);
    for name in 0..40 {
        let starts = life(&disk, name, 0).await;
        assert!(starts.len() <= STARTS_MAX);
        assert_eq!(starts.last().map(|start| start.number), Some(name + 3));
    }
}

#[tokio::test]
async fn no_crash_is_taken_for_an_older_copy() {
    for seed in 0..60 {
        let disk = MemoryDisk::new();
        let mut known = None;
        for name in 1..6 {
            let (wal, _, tasks) = open(&disk).await;
            let starts = wal.begin(name + 10 * seed).await.unwrap();
            let held = known.is_none_or(|known: Standing| known.is_held_by(&starts));
            assert!(held, "seed {seed}, start {name}: {known:?} in {starts:?}");
            let log = wal.group(GroupId(0));
            let next = log.last_index().map_or(0, |last| last + 1);
            // Over segments; what is told is what was synced, and then the power goes.
            append(&log, next, seed * 40 % 900).await.unwrap();
            let start = starts.last().unwrap();
            known = Some(Standing {
                synced: wal.synced(),
                ..start.standing()
            });
            let waits = self::start(&log, log.last_index().map_or(0, |l| l + 1), records(0, 9));
            tokio::task::yield_now().await;
            drop(waits);
            tasks.shutdown().await;
            disk.lose_power(seed * 10 + name);
        }
        // And a copy from before is none of these.
        let copy = disk.copy();
        let told = {
            let (wal, _, tasks) = open(&disk).await;
            let starts = wal.begin(99).await.unwrap();
            append(&wal.group(GroupId(1)), 0, 1).await.unwrap();
            let synced = wal.synced();
            tasks.shutdown().await;
            Standing {
                synced,
                ..starts.last().unwrap().standing()
            }
        };
        let starts = life(&copy, 77, 3).await;
        assert!(!told.is_held_by(&starts));
        assert!(!told.is_held_by(&life(&copy, 78, 30).await), "nor later");
    }
}

#[tokio::test]
async fn what_is_known_of_others_rides_along() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(0));
    append(&log, 0, 1).await.unwrap();
    let (syncs, end) = (wal.stats().syncs, wal.synced());
    wal.remember(NodeId(2), standing(1, 100));
    wal.remember(NodeId(2), standing(1, 300));
    wal.remember(NodeId(2), standing(1, 200));
    wal.remember(NodeId(3), standing(4, 50));
    assert_eq!(wal.remembered(NodeId(2)), Some(standing(1, 300)));
    assert_eq!(
        (wal.stats().syncs, wal.synced()),
        (syncs, end),
        "no sync of its own"
    );
    append(&log, 1, 1).await.unwrap();
    tasks.shutdown().await;
    disk.lose_power(1);

    let (wal, report, tasks) = open(&disk).await;
    assert_eq!(wal.remembered(NodeId(2)), Some(standing(1, 300)));
    assert_eq!(wal.remembered(NodeId(3)), Some(standing(4, 50)));
    assert!(report.damage.is_none());
    // A later start is news wherever its log stands.
    wal.remember(NodeId(2), standing(2, 10));
    assert_eq!(wal.remembered(NodeId(2)), Some(standing(2, 10)));
    tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_idle_logs_do_not_keep_each_other_awake() {
    let disks = [MemoryDisk::new(), MemoryDisk::new()];
    let (one, _, tasks_of_one) = open(&disks[0]).await;
    let (two, _, tasks_of_two) = open(&disks[1]).await;
    append(&one.group(GroupId(0)), 0, 1).await.unwrap();
    append(&two.group(GroupId(0)), 0, 1).await.unwrap();
    let mut syncs = Vec::new();
    for _ in 0..60 {
        let at = |wal: &Wal| Standing {
            synced: wal.synced(),
            ..standing(1, 0)
        };
        one.remember(NodeId(2), at(&two));
        two.remember(NodeId(1), at(&one));
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        syncs.push(one.stats().syncs + two.stats().syncs);
    }
    assert_eq!(syncs[20], syncs[59], "{syncs:?}");
    // What was known before the last mark is on the disk.
    tasks_of_one.shutdown().await;
    tasks_of_two.shutdown().await;
    disks[0].lose_power(1);
    let (one, _, tasks) = open(&disks[0]).await;
    assert!(one.remembered(NodeId(2)).is_some());
    tasks.shutdown().await;
}

#[tokio::test]
async fn a_purged_log_still_knows_its_starts_and_others() {
    let disk = MemoryDisk::new();
    life(&disk, 11, 1).await;
    let (wal, _, tasks) = open(&disk).await;
    wal.begin(22).await.unwrap();
    wal.remember(NodeId(2), standing(1, 300));
    let log = wal.group(GroupId(0));
    let mut next = 1;
    while disk.contents(&file(3)).is_none() {
        append(&log, next, 200).await.unwrap();
        next += 200;
    }
    append(&log, next, 400).await.unwrap();
    log.purge_up_to(next + 300, Bytes::from_static(b"last"))
        .await
        .unwrap();
    append(&log, next + 400, 1).await.unwrap();
    tasks.shutdown().await;
    assert!(disk.contents(&file(1)).is_none(), "the first file is gone");
    let (wal, _, tasks) = open(&disk).await;
    let names: Vec<u64> = wal
        .begin(33)
        .await
        .unwrap()
        .iter()
        .map(|s| s.name)
        .collect();
    assert_eq!(names, [11, 22, 33]);
    assert_eq!(wal.remembered(NodeId(2)), Some(standing(1, 300)));
    tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_full_disk_can_be_opened() {
    let disk = MemoryDisk::new();
    life(&disk, 1, 1).await;
    let paths = disk.paths();
    let used: usize = paths
        .iter()
        .filter_map(|path| Some(disk.contents(path)?.len()))
        .sum();
    disk.set_capacity(Some(used as u64));
    // Until nothing more fits.
    let (wal, _, tasks) = open(&disk).await;
    wal.begin(2).await.unwrap();
    let log = wal.group(GroupId(0));
    let mut next = 1;
    let moment = std::time::Duration::from_secs(5);
    let append = |next| start(&log, next, records(next, 20));
    while tokio::time::timeout(moment, append(next)).await.is_ok() {
        next += 20;
    }
    tasks.shutdown().await;
    for name in 3..8 {
        let (wal, _, tasks) = open(&disk).await;
        let starts = wal.begin(name).await.unwrap();
        assert_eq!(starts.last().map(|start| start.name), Some(name));
        assert!(held(&wal.group(GroupId(0))).await.len() as u64 >= next);
        tasks.shutdown().await;
    }
}
