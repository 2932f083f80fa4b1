//! Disks, spoilt by faults.

use std::{path::PathBuf, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use turmoil::Sim;

use super::{AGAIN, Down, Faults, Step};
use crate::{
    outside::SlowDisk,
    plan::{FaultKind, Host},
    record::{DriverSeen, Seen},
};

/// A log with less in it than this is left alone until it has more.
const ENOUGH: usize = 1 << 8;
/// A log that syncs nothing for so long is idle.
const IDLE: Duration = Duration::from_millis(1_500);
/// Bytes by which a disk has changed that has more than marks of an idle log on it.
const GROWN: usize = 600;
/// Of a segment of the log, before its first record.
const HEADER: usize = 64;

impl Faults {
    pub(super) fn spoil_disk(&mut self, sim: &mut Sim<'_>, i: usize) {
        let faults = self.faults.clone();
        let (now, kind) = (sim.elapsed(), &faults[i].kind);
        let lasts = Duration::from_millis(kind.for_ms());
        match kind {
            FaultKind::SyncError { node, .. } => {
                self.cluster.disk(*node as usize - 1).fail(i);
                self.on.insert(i);
                self.later(now + IDLE, Step::End(i));
            }
            FaultKind::DiskFull { node, .. } => {
                self.cluster.disk(*node as usize - 1).fill(i, false);
                self.on.insert(i);
                self.later(now + lasts / 2, Step::FillUp(i));
            }
            FaultKind::DiskSlow { node, times, .. } => {
                self.cluster
                    .disk(*node as usize - 1)
                    .set_slow(Some((*times, i)));
                self.on.insert(i);
                self.later(now + lasts, Step::End(i));
            }
            FaultKind::Corrupt { node, tail, .. } => self.corrupt(sim, i, *node, *tail, lasts),
            FaultKind::Wiped { node } => self.wipe(sim, i, *node, lasts),
            FaultKind::FolderPutBack { node, .. } => {
                let disk = self.cluster.disk(*node as usize - 1);
                self.copies.insert(i, disk.copy(faults[i].seed));
                self.later(now + lasts, Step::PutIn(i));
            }
            _ => {}
        }
    }

    /// Nothing has found the disk full so far.
    pub(super) fn fill_up(&mut self, i: usize, now: Duration) {
        let FaultKind::DiskFull { node, .. } = self.faults[i].kind else {
            return;
        };
        if self.on.contains(&i) && !self.struck.has(i) {
            self.cluster.disk(node as usize - 1).fill(i, true);
            self.later(now + IDLE, Step::End(i));
        }
    }

    pub(super) fn mend_disk(&mut self, place: usize) {
        let disk = self.cluster.disk(place);
        disk.mend();
        disk.set_slow(None);
        // Others may be on still.
        for i in self.on.clone() {
            let here = |node: u32| node as usize - 1 == place;
            match self.faults[i].kind {
                FaultKind::SyncError { node, .. } if here(node) => disk.fail(i),
                FaultKind::DiskFull { node, .. } if here(node) => disk.fill(i, false),
                FaultKind::DiskSlow { node, times, .. } if here(node) => {
                    disk.set_slow(Some((times, i)));
                }
                _ => {}
            }
        }
    }

    fn corrupt(&mut self, sim: &mut Sim<'_>, i: usize, node: u32, tail: bool, lasts: Duration) {
        let place = node as usize - 1;
        // An empty disk is nobody's memory, and a damaged one says nothing more.
        if self.kept.contains_key(&place) || self.damaged.contains(&place) {
            return;
        }
        let disk = self.cluster.disk(place);
        let (torn, vouched) = (disk.end(), vouched(&disk));
        let places: usize = vouched.iter().map(|(_, places)| places.len()).sum();
        // A log that has just gone on in another file, or says little so far.
        if tail && torn.is_none() || !tail && places < ENOUGH {
            return self.later(sim.elapsed() + AGAIN, Step::Begin(i));
        }
        if !self.crash(sim, i, Host::Node(node), false, lasts) {
            return;
        }
        let mut rng = StdRng::seed_from_u64(self.faults[i].seed);
        if let Some((path, end)) = torn.filter(|_| tail) {
            let length = rng.random_range(1..600);
            // A batch that stands in a wrong place, or noise.
            let last = disk.vouched(&path) as usize;
            let batch = last..end.min(last + length);
            let noise = last == 0 || batch.is_empty() || rng.random_bool(0.5);
            disk.memory.change(&path, |bytes| {
                let to = bytes
                    .len()
                    .min(end + if noise { length } else { batch.len() });
                match noise {
                    true => rng.fill(&mut bytes[end..to]),
                    false => bytes.copy_within(batch.start..batch.start + (to - end), end),
                }
            });
        } else {
            let (path, places) = &vouched[rng.random_range(0..vouched.len())];
            disk.memory
                .flip(path, places[rng.random_range(0..places.len())]);
            self.damaged.insert(place);
        }
    }

    /// The node comes back with an empty disk; its own is kept.
    fn wipe(&mut self, sim: &mut Sim<'_>, i: usize, node: u32, after: Duration) {
        let place = node as usize - 1;
        if self.damaged.contains(&place) || self.kept.contains_key(&place) {
            return;
        }
        if !self.crash(sim, i, Host::Node(node), false, after) {
            return;
        }
        let empty = self.cluster.new_disk(place, self.faults[i].seed);
        self.shared.recorder.mark("disk wiped");
        self.take_out(i, place, empty);
    }

    /// The node comes back with the copy that was made of its disk, once the two differ by more
    /// than the marks of an idle log.
    pub(super) fn put_in(&mut self, sim: &mut Sim<'_>, i: usize) {
        let FaultKind::FolderPutBack { node, .. } = self.faults[i].kind else {
            return;
        };
        let place = node as usize - 1;
        if self.damaged.contains(&place) || self.kept.contains_key(&place) {
            return;
        }
        let grown = self.copies.get(&i).is_some_and(|copy| {
            let (before, now) = (copy.bytes(), self.cluster.disk(place).bytes());
            let changed = before.iter().zip(&now).map(|(a, b)| {
                let bytes = a.iter().zip(b.iter());
                bytes.filter(|(a, b)| a != b).count()
            });
            before.len() != now.len() || changed.sum::<usize>() > GROWN
        });
        if !grown || !self.crash(sim, i, Host::Node(node), false, AGAIN) {
            return self.later(sim.elapsed() + AGAIN, Step::PutIn(i));
        }
        if let Some(copy) = self.copies.remove(&i) {
            self.take_out(i, place, copy);
        }
    }

    /// Another disk takes the place of a node's own, which is kept.
    fn take_out(&mut self, i: usize, place: usize, other: SlowDisk) {
        let own = self.cluster.swap_disk(place, other);
        own.mend();
        own.set_slow(None);
        self.kept.insert(place, own);
        self.on.insert(i);
        let seen = DriverSeen::Disk {
            node: place as u64 + 1,
            wiped: true,
        };
        self.shared.recorder.note(Seen::Driver(seen));
    }

    /// A wiped node gets its own disk again.
    pub(super) fn put_back(&mut self, sim: &mut Sim<'_>, place: usize) {
        let Some(disk) = self.kept.remove(&place) else {
            return;
        };
        if !self.down.contains_key(&place) {
            self.cluster.kill(sim, place);
            self.down.insert(place, Down::Away { power: false });
            self.later(sim.elapsed(), Step::Return(place));
        }
        self.cluster.swap_disk(place, disk);
        let seen = DriverSeen::Disk {
            node: place as u64 + 1,
            wiped: false,
        };
        self.shared.recorder.note(Seen::Driver(seen));
    }
}

/// By file of a log, the bytes below where the log itself says that it is synced; zeros, which
/// may be padding, left out. Files without any are, too.
fn vouched(disk: &SlowDisk) -> Vec<(PathBuf, Vec<usize>)> {
    let paths = disk.memory.paths().into_iter();
    let files = paths.filter(|path| path.extension().is_some_and(|end| end == "wal"));
    let mut goes_on = false;
    let mut vouched = Vec::new();
    for path in files.collect::<Vec<_>>().into_iter().rev() {
        let bytes = disk.memory.contents(&path).unwrap_or_default();
        // Where the next file has a mark, all of this one was synced before.
        let to = match goes_on {
            true => bytes.len(),
            false => bytes.len().min(disk.vouched(&path) as usize),
        };
        goes_on |= to > 0;
        let places: Vec<usize> = (HEADER..to).filter(|at| bytes[*at] != 0).collect();
        if !places.is_empty() {
            vouched.push((path, places));
        }
    }
    vouched
}
