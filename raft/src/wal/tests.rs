use std::path::Path;

use super::*;
use crate::disk::memory::MemoryDisk;

const DIR: &str = "/wal";
const FIRST: &str = "/wal/0000000000000001.wal";

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 64 << 10,
        cache_bytes: 1 << 10,
        ..WalOptions::default()
    }
}

async fn open(disk: &MemoryDisk) -> Result<(Wal, WalReport, Tasks), WalError> {
    let tasks = Tasks::new();
    let (wal, report) = Wal::open(&tasks, Arc::new(disk.clone()), DIR.into(), options()).await?;
    Ok((wal, report, tasks))
}

fn record(n: u64) -> Bytes {
    Bytes::from(format!("record {n} {}", "x".repeat((n % 50) as usize)))
}

async fn append(log: &GroupWal, first: u64, count: u64) -> io::Result<()> {
    let (done, saved) = completion();
    log.append(first, (first..first + count).map(record).collect(), done);
    wait(saved).await
}

async fn held(log: &GroupWal) -> Vec<Bytes> {
    log.read(log.first_index(), u64::MAX, usize::MAX)
        .await
        .unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_done_survives_a_loss_of_power() {
    for seed in 0..60 {
        let disk = MemoryDisk::new();
        let (wal, _, tasks) = open(&disk).await.unwrap();
        let logs = [wal.group(GroupId(1)), wal.group(GroupId(2))];
        for i in 0..10 {
            append(&logs[0], 1 + i, 1).await.unwrap();
            append(&logs[1], 1 + 3 * i, 3).await.unwrap();
        }
        logs[0]
            .save_vote(Bytes::from_static(b"vote"))
            .await
            .unwrap();
        // These are not waited for.
        logs[0].append(11, (11..40).map(record).collect(), Box::new(|_| {}));
        tokio::task::yield_now().await;
        tasks.shutdown().await;
        disk.lose_power(seed);

        let (wal, _, tasks) = open(&disk).await.unwrap();
        let logs = [wal.group(GroupId(1)), wal.group(GroupId(2))];
        let first = held(&logs[0]).await;
        assert!(first.len() >= 10, "seed {seed}: {} records", first.len());
        assert!(
            (1..).zip(&first).all(|(i, r)| *r == record(i)),
            "seed {seed}"
        );
        assert_eq!(held(&logs[1]).await.len(), 30, "seed {seed}");
        assert_eq!(logs[0].vote().unwrap(), "vote");
        // And it goes on from there.
        let next = logs[0].last_index().unwrap() + 1;
        append(&logs[0], next, 5).await.unwrap();
        tasks.shutdown().await;
        disk.lose_power(seed + 1000);
        let (wal, report, tasks) = open(&disk).await.unwrap();
        assert_eq!(
            wal.group(GroupId(1)).last_index(),
            Some(next + 4),
            "seed {seed} {report:?}"
        );
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_tail_torn_anywhere_is_cut_and_nothing_else() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    let log = wal.group(GroupId(1));
    append(&log, 1, 2).await.unwrap();
    let before = used(&disk);
    append(&log, 3, 2).await.unwrap();
    let after = used(&disk);
    tasks.shutdown().await;
    let whole = disk.contents(Path::new(FIRST)).unwrap();
    for cut in before..after {
        let torn = MemoryDisk::new();
        let file = torn.open(Path::new(FIRST), true).await.unwrap();
        file.write_and_sync(0, whole.clone()).await.unwrap();
        torn.sync_dir(Path::new(DIR)).await.unwrap();
        torn.zero_from(Path::new(FIRST), cut);
        let (wal, report, tasks) = open(&torn).await.unwrap();
        let left = held(&wal.group(GroupId(1))).await;
        assert!(
            (2..4).contains(&left.len()) || cut + ALIGN_SLACK > after,
            "cut at {cut}: {report:?}"
        );
        assert!(
            (1..).zip(&left).all(|(i, r)| *r == record(i)),
            "cut at {cut}"
        );
        tasks.shutdown().await;
    }
}

/// Zeros at the end of a record's padding or payload may be the record itself.
const ALIGN_SLACK: usize = 8;

fn used(disk: &MemoryDisk) -> usize {
    let bytes = disk.contents(Path::new(FIRST)).unwrap();
    (bytes.iter().rposition(|b| *b != 0).unwrap() + 1).next_multiple_of(8)
}

#[tokio::test(flavor = "current_thread")]
async fn a_flipped_bit_below_a_mark_is_damage() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    let log = wal.group(GroupId(1));
    for i in 1..=20 {
        append(&log, i, 1).await.unwrap();
    }
    tasks.shutdown().await;
    let end = used(&disk);
    let mut refused = 0;
    let mut cut = 0;
    for offset in (0..end).step_by(3) {
        let bad = MemoryDisk::new();
        let file = bad.open(Path::new(FIRST), true).await.unwrap();
        let bytes = disk.contents(Path::new(FIRST)).unwrap();
        file.write_and_sync(0, bytes).await.unwrap();
        bad.sync_dir(Path::new(DIR)).await.unwrap();
        bad.flip(Path::new(FIRST), offset);
        match open(&bad).await {
            Err(WalError::Damaged { .. }) => refused += 1,
            Ok((wal, _, tasks)) => {
                // A flip in padding is nothing; one in the last batch looks like a torn tail.
                let last = wal.group(GroupId(1)).last_index().unwrap();
                assert!(last >= 19, "offset {offset}: only {last} records are left");
                cut += u32::from(last < 20);
                tasks.shutdown().await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 100 && cut > 0, "{refused} refused, {cut} cut");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_idle_log_marks_its_last_batch() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    append(&wal.group(GroupId(1)), 1, 1).await.unwrap();
    let before = used(&disk);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let after = used(&disk);
    assert_eq!(after - before, 40, "one mark, and only one");
    tasks.shutdown().await;
    // So even the very last record is known to have been there.
    disk.flip(Path::new(FIRST), before - 8);
    assert!(matches!(open(&disk).await, Err(WalError::Damaged { .. })));
}

#[tokio::test(flavor = "current_thread")]
async fn what_waits_shares_one_sync() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    let before = disk.syncs();
    let mut waiting = Vec::new();
    for group in 1..=64 {
        let (done, saved) = completion();
        wal.group(GroupId(group)).append(1, vec![record(1)], done);
        waiting.push(saved);
    }
    for saved in waiting {
        wait(saved).await.unwrap();
    }
    assert!(
        disk.syncs() - before <= 2,
        "{} syncs for 64 groups",
        disk.syncs() - before
    );
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_sync_ends_it() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    let log = wal.group(GroupId(1));
    append(&log, 1, 1).await.unwrap();
    disk.fail_syncs(true);
    assert!(append(&log, 2, 1).await.is_err());
    disk.fail_syncs(false);
    assert!(append(&log, 3, 1).await.is_err(), "it is never tried again");
    assert!(wal.failed().await.contains("injected"));
    tasks.shutdown().await;
}

#[tokio::test(flavor = "current_thread")]
async fn segments_roll_and_records_out_of_memory_read_back() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    let log = wal.group(GroupId(1));
    for i in 0..400 {
        append(&log, 1 + 5 * i, 5).await.unwrap();
    }
    log.truncate_from(1990).await.unwrap();
    append(&log, 1990, 3).await.unwrap();
    log.purge_up_to(10).await.unwrap();
    for round in 0..2 {
        let (wal, tasks) = if round == 0 {
            (wal.clone(), tasks.clone())
        } else {
            tasks.shutdown().await;
            let (wal, report, tasks) = open(&disk).await.unwrap();
            assert!(report.segments > 1 && report.cut_bytes == 0, "{report:?}");
            (wal, tasks)
        };
        let log = wal.group(GroupId(1));
        assert_eq!((log.first_index(), log.last_index()), (11, Some(1992)));
        let all = held(&log).await;
        assert_eq!(all.len(), 1982);
        assert!((11..).zip(&all).all(|(i, r)| *r == record(i)));
        assert_eq!(log.read(11, 2000, 1).await.unwrap().len(), 1);
        if round == 1 {
            tasks.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn more_than_a_segment_that_waits_is_cut() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await.unwrap();
    let mut waiting = Vec::new();
    for group in 1..=40 {
        let (done, saved) = completion();
        let large = Bytes::from(vec![group as u8; 6 << 10]);
        wal.group(GroupId(group)).append(1, vec![large], done);
        waiting.push(saved);
    }
    for saved in waiting {
        wait(saved).await.unwrap();
    }
    let (done, saved) = completion();
    wal.group(GroupId(1))
        .append(2, vec![Bytes::from(vec![0; 65 << 10])], done);
    assert!(wait(saved).await.is_err(), "larger than a segment");
    tasks.shutdown().await;
    let (wal, report, tasks) = open(&disk).await.unwrap();
    assert!(report.segments > 3, "{report:?}");
    for group in 1..=40 {
        assert_eq!(held(&wal.group(GroupId(group))).await.len(), 1);
    }
    tasks.shutdown().await;
}
