//! A torn tail is cut; damage is quarantined.

use super::*;

/// A log of one segment whose last batch begins and ends at the offsets returned.
pub async fn log_with_last_batch(disk: &MemoryDisk, before: u64, last: u64) -> (usize, usize) {
    let (wal, _, tasks) = open(disk).await;
    let log = wal.group(GroupId(1));
    for i in 1..=before {
        append(&log, i, 1).await.unwrap();
    }
    let start = used(disk, 1);
    append(&log, before + 1, last).await.unwrap();
    tasks.shutdown().await;
    (start, used(disk, 1))
}

#[tokio::test(flavor = "current_thread")]
async fn a_tail_torn_at_any_byte_is_cut_and_nothing_else() {
    let disk = MemoryDisk::new();
    let (start, end) = log_with_last_batch(&disk, 2, 3).await;
    let whole = disk.contents(&file(1)).unwrap();
    for cut in start..=end {
        let torn = disk.copy();
        torn.zero_from(&file(1), cut);
        let (wal, report, tasks) = open(&torn).await;
        assert_eq!(report.damage, None, "cut at {cut}");
        let left = held(&wal.group(GroupId(1))).await;
        assert!((2..=5).contains(&left.len()), "cut at {cut}: {report:?}");
        assert!(
            (1..).zip(&left).all(|(i, r)| *r == record(i)),
            "cut at {cut}"
        );
        let lost = torn.contents(&file(1)).unwrap() != whole;
        assert!(left.len() == 5 || lost, "cut at {cut}");
        // The log goes on where it was cut, and what is written then stays.
        let next = left.len() as u64 + 1;
        append(&wal.group(GroupId(1)), next, 4).await.unwrap();
        tasks.shutdown().await;
        let (wal, report, tasks) = open(&torn).await;
        assert_eq!((report.damage, report.cut_bytes), (None, 0), "cut at {cut}");
        assert_eq!(
            held(&wal.group(GroupId(1))).await,
            records(1, next + 3),
            "cut at {cut}"
        );
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn of_a_torn_tail_a_later_part_may_be_there() {
    let disk = MemoryDisk::new();
    let (start, end) = log_with_last_batch(&disk, 2, 3).await;
    // The beginning of the batch never came to the disk, the rest did.
    for lost in (start + 8..end).step_by(8) {
        let torn = disk.copy();
        torn.change(&file(1), |bytes| bytes[start..lost].fill(0));
        let (wal, report, tasks) = open(&torn).await;
        assert_eq!(report.damage, None);
        assert!(report.cut_bytes > 0 || lost + 8 >= end, "{lost} of {end}");
        assert_eq!(held(&wal.group(GroupId(1))).await, records(1, 2));
        assert_eq!(used(&torn, 1), start, "the rest is gone");
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_flipped_bit_below_a_mark_is_damage() {
    let disk = MemoryDisk::new();
    let (start, end) = log_with_last_batch(&disk, 19, 1).await;
    let (mut damaged, mut cut) = (0, 0);
    for offset in (0..end).step_by(3) {
        let bad = disk.copy();
        bad.flip(&file(1), offset);
        let found = bad.contents(&file(1));
        let (wal, report, tasks) = open(&bad).await;
        let left = held(&wal.group(GroupId(1))).await;
        assert_eq!(left, records(1, left.len() as u64), "offset {offset}");
        if report.damage.is_some() {
            damaged += 1;
            assert_eq!(
                bad.contents(&file(1)),
                found,
                "the evidence stays as it was found"
            );
        } else {
            // A flip in padding is nothing; one in the last batch looks like a torn tail.
            assert!(
                left.len() == 20 || (offset >= start && left.len() == 19),
                "offset {offset}"
            );
            cut += u32::from(left.len() == 19);
        }
        tasks.shutdown().await;
    }
    assert!(damaged > 100 && cut > 0, "{damaged} damaged, {cut} cut");
}

#[tokio::test(flavor = "current_thread")]
async fn whole_sectors_of_zeros_below_a_mark_are_damage() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    for i in 0..300 {
        append(&log, 5 * i, 5).await.unwrap();
    }
    tasks.shutdown().await;
    assert!(disk.paths().len() >= 2);
    let last = used(&disk, 1);
    for at in (512..last).step_by(512) {
        let bad = disk.copy();
        bad.change(&file(1), |bytes| bytes[at..(at + 512).min(last)].fill(0));
        let (_, report, _) = open(&bad).await;
        assert!(
            report.damage.is_some(),
            "a segment in use follows: sector at {at}"
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_segment_missing_anywhere_is_damage() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    for i in 0..600 {
        append(&log, 5 * i, 5).await.unwrap();
    }
    tasks.shutdown().await;
    let inner = disk.paths().len() as u64;
    let (_, report, _) = open(&disk.copy()).await;
    assert_eq!(report.damage, None);
    for missing in 1..=inner {
        let bad = disk.copy();
        codraft_proto::disk::Disk::remove(&bad, &file(missing))
            .await
            .unwrap();
        let unused = used(&disk, missing) == 64;
        let (_, report, tasks) = open(&bad).await;
        assert_eq!(report.damage.is_none(), unused, "segment {missing}");
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_votes_after_damage() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let logs = [wal.group(GroupId(1)), wal.group(GroupId(2))];
    logs[0].save_vote(Bytes::from_static(b"old")).await.unwrap();
    append(&logs[1], 1, 3).await.unwrap();
    append(&logs[1], 4, 3).await.unwrap();
    tasks.shutdown().await;
    disk.flip(&file(1), 64 + 40 + 8);
    let before = disk.contents(&file(1));
    for _ in 0..2 {
        let (wal, report, tasks) = open(&disk).await;
        assert_eq!(report.damage, wal.damage());
        // Whose the unreadable record was, nobody knows: also a group never seen here.
        for group in [1, 2, 3] {
            let log = wal.group(GroupId(group));
            assert!(log.quarantined());
            let refused = soon(log.save_vote(Bytes::from_static(b"new")))
                .await
                .unwrap_err();
            assert!(refused.to_string().contains("quarantined"), "{refused}");
            assert_eq!(log.vote(), None);
            assert!(
                append(&log, log.last_index().map_or(0, |i| i + 1), 1)
                    .await
                    .is_err()
            );
            assert!(soon(log.truncate_from(0)).await.is_err());
            log.save_committed(Bytes::from_static(b"x"));
        }
        tasks.shutdown().await;
        assert_eq!(
            disk.contents(&file(1)),
            before,
            "and it is found again next time"
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn another_format_is_refused_by_name() {
    let disk = MemoryDisk::new();
    let (_, _, tasks) = open(&disk).await;
    tasks.shutdown().await;
    disk.change(&file(1), |bytes| {
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    });
    let unfinished = file(2).with_extension("new");
    codraft_proto::disk::Disk::open(&disk, &unfinished, true)
        .await
        .unwrap();
    let found = |disk: &MemoryDisk| (disk.paths(), disk.contents(&file(1)));
    let before = found(&disk);
    let refused = open_with(&disk, options()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            WalError::Format {
                segment: 1,
                format: 9
            }
        ),
        "{refused}"
    );
    let both = refused.to_string();
    assert!(
        both.contains("format 9") && both.contains("format 4"),
        "{both}"
    );
    assert!(found(&disk) == before, "nothing on the disk changed");
}

#[tokio::test(flavor = "current_thread")]
async fn a_log_that_is_gone_is_not_made_anew() {
    let disk = MemoryDisk::new();
    let options = WalOptions {
        must_exist: true,
        ..options()
    };
    let refused = open_with(&disk, options.clone()).await.err().unwrap();
    assert!(matches!(refused, WalError::Missing), "{refused}");
    assert!(disk.paths().is_empty());
    open(&disk).await.2.shutdown().await;
    open_with(&disk, options).await.unwrap().2.shutdown().await;
}
