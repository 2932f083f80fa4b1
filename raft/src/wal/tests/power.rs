//! Whatever is done is still there after the power came back, whenever it went.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

/// What a group was told, against what it finds.
#[derive(Default)]
struct Model {
    /// As it stands when everything asked for is written.
    asked: BTreeMap<u64, Bytes>,
    purged: u64,
    /// All before this index is durable, as callbacks said.
    confirmed: Arc<AtomicU64>,
    vote: Option<Bytes>,
    vote_confirmed: bool,
}

impl Model {
    fn next(&self) -> u64 {
        self.asked
            .keys()
            .next_back()
            .map_or(self.purged, |last| last + 1)
    }

    /// Compares a log that was read back, and goes on from what is there.
    async fn check(&mut self, log: &GroupWal, what: &str) {
        assert!(!log.quarantined(), "{what}");
        let (first, found) = (log.first_index(), held(log).await);
        assert!(
            found.is_empty() || first >= self.purged,
            "{what}: purged entries are back"
        );
        let confirmed = self.confirmed.load(Ordering::Relaxed);
        let end = first + found.len() as u64;
        assert!(
            end >= confirmed,
            "{what}: {end} is less than {confirmed}, which was done"
        );
        for (index, record) in (first..).zip(&found) {
            if index < confirmed {
                assert_eq!(
                    Some(record),
                    self.asked.get(&index),
                    "{what}: index {index}"
                );
            }
        }
        if self.vote_confirmed {
            assert_eq!(log.vote(), self.vote, "{what}");
        }
        let purged = self.purged.checked_sub(1).map(id);
        assert_eq!(log.purged(), purged, "{what}");
        self.vote = log.vote();
        self.vote_confirmed = self.vote.is_some();
        self.asked = (first..).zip(found).collect();
        self.confirmed = Arc::new(AtomicU64::new(end));
    }

    async fn step(&mut self, log: &GroupWal, rng: &mut StdRng, salt: u64) {
        match rng.random_range(0..20) {
            0 => {
                let vote = Bytes::from(format!("vote {salt}"));
                log.save_vote(vote.clone()).await.unwrap();
                (self.vote, self.vote_confirmed) = (Some(vote), true);
            }
            1 => {
                // Never what is confirmed: a Raft does not take that back.
                let keep = rng.random_range(self.confirmed.load(Ordering::Relaxed)..=self.next());
                self.asked.split_off(&keep);
                log.truncate_from(keep).await.unwrap();
                // All that was asked for before is done, and what was cut says nothing more.
                self.confirmed = Arc::new(AtomicU64::new(self.next()));
            }
            2 => {
                let confirmed = self.confirmed.load(Ordering::Relaxed);
                let up_to = confirmed.saturating_sub(rng.random_range(1..100));
                if up_to > self.purged {
                    self.asked = self.asked.split_off(&(up_to + 1));
                    self.purged = up_to + 1;
                    log.purge_up_to(up_to, id(up_to)).await.unwrap();
                }
            }
            3 => log.save_committed(Bytes::from(format!("committed {salt}"))),
            choice => {
                let (first, count) = (self.next(), rng.random_range(1..12));
                let make = |i| {
                    let filler = "z".repeat((salt % 700) as usize);
                    Bytes::from(format!("{salt} {i} {filler}"))
                };
                let new: Vec<_> = (first..first + count).map(make).collect();
                self.asked.extend((first..).zip(new.clone()));
                let (confirmed, end) = (self.confirmed.clone(), first + count);
                let (told, saved) = oneshot::channel();
                let done = move |result: io::Result<()>| {
                    if result.is_ok() {
                        confirmed.fetch_max(end, Ordering::Relaxed);
                    }
                    let _ = told.send(());
                };
                log.append(first, new, Box::new(done));
                if choice < 8 {
                    saved.await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_done_survives() {
    let (mut torn, mut rolled) = (0, 0);
    for seed in 0..150 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = MemoryDisk::new();
        let mut models = [Model::default(), Model::default(), Model::default()];
        for life in 0..4 {
            let what = format!("seed {seed}, life {life}");
            let (wal, report, tasks) = open(&disk).await;
            assert_eq!(report.damage, None, "{what}");
            torn += u32::from(report.cut_bytes > 0);
            rolled += u32::from(report.segments > 2);
            let logs = [1, 2, 3].map(|group| wal.group(GroupId(group)));
            for (model, log) in models.iter_mut().zip(&logs) {
                model.check(log, &what).await;
            }
            for salt in 0..rng.random_range(0..120) {
                let group = rng.random_range(0..3);
                models[group].step(&logs[group], &mut rng, salt).await;
            }
            // Anywhere: also between a write and its sync.
            for _ in 0..rng.random_range(0..6) {
                tokio::task::yield_now().await;
            }
            tasks.shutdown().await;
            if rng.random_bool(0.8) {
                disk.lose_power(seed * 10 + life);
            }
        }
    }
    assert!(
        torn > 10 && rolled > 5,
        "{torn} torn tails, {rolled} logs of several segments"
    );
}

/// The same seed twice leaves the same bytes.
#[tokio::test(flavor = "current_thread")]
async fn a_seed_decides_what_is_lost() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let disk = MemoryDisk::new();
        let (wal, _, tasks) = open(&disk).await;
        let log = wal.group(GroupId(1));
        append(&log, 0, 5).await.unwrap();
        start(&log, 5, records(5, 500));
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        tasks.shutdown().await;
        disk.lose_power(77);
        runs.push(disk.contents(&file(1)).unwrap());
    }
    assert!(runs[0] == runs[1]);
}

/// Killed, not powered off: what was read back from memory must be on the disk before anybody
/// builds on it.
#[tokio::test(flavor = "current_thread")]
async fn what_is_read_back_after_a_kill_is_made_durable_first() {
    let mut kept = 0;
    for turns in 0..6 {
        let disk = MemoryDisk::new();
        let (wal, _, tasks) = open(&disk).await;
        start(&wal.group(GroupId(1)), 0, records(0, 40));
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        tasks.shutdown().await;
        let (wal, _, tasks) = open(&disk).await;
        let found = held(&wal.group(GroupId(1))).await;
        kept += found.len();
        tasks.shutdown().await;
        for seed in 0..4 {
            disk.lose_power(seed);
            let (wal, _, tasks) = open(&disk).await;
            assert_eq!(
                held(&wal.group(GroupId(1))).await,
                found,
                "{turns} turns, seed {seed}"
            );
            tasks.shutdown().await;
        }
    }
    assert!(kept > 0);
}

/// Found by the simulation (seed 114): openraft trusts the position, and a node that had one
/// without the entries did not start again.
#[tokio::test]
async fn no_committed_position_without_its_entries() {
    let disk = MemoryDisk::new();
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    // Together more than one batch takes.
    let large = |n: u64| vec![Bytes::from(vec![b'x'; 1 << 10]); n as usize];
    let first = start(&log, 0, large(12));
    let second = start(&log, 12, large(12));
    log.save_committed(Bytes::from_static(b"up to the 24th"));
    first.await.unwrap().unwrap();
    disk.lose_power(1);
    drop((log, wal, second));
    tasks.shutdown().await;
    let (wal, _, tasks) = open(&disk).await;
    let log = wal.group(GroupId(1));
    if log.committed().is_some() {
        assert_eq!(held(&log).await.len(), 24);
    }
    tasks.shutdown().await;
}
