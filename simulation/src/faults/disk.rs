//! Disks, spoilt by faults.

use std::{collections::BTreeSet, ops::Range, path::PathBuf, time::Duration};

use codraft_raft::{oplog::EVENTS, pages::PAGES};
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
/// Of a file of pages, before its first page; and of a page, before what it holds.
const PAGE_FILE_HEAD: usize = 24;
const PAGE_HEAD: usize = 40;

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
            FaultKind::DiskFull { node, archive, .. } => {
                let disk = self.cluster.disk(*node as usize - 1);
                self.on.insert(i);
                if *archive {
                    disk.fill_archive(i);
                    return self.later(now + lasts, Step::End(i));
                }
                disk.fill(i, false);
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
            FaultKind::StateDamage { node, .. } => self.damage_state(sim, i, *node, lasts),
            FaultKind::PageDamage { node } => self.damage_pages(sim, i, *node as usize - 1),
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
                FaultKind::DiskFull { node, archive, .. } if here(node) => match archive {
                    true => disk.fill_archive(i),
                    false => disk.fill(i, false),
                },
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

    /// A bit flips in about every other page of a document.
    fn damage_pages(&mut self, sim: &mut Sim<'_>, i: usize, place: usize) {
        let mut rng = StdRng::seed_from_u64(self.faults[i].seed);
        let disk = self.cluster.disk(place);
        let mut struck = false;
        for (path, page) in pages(&disk, PAGES, true) {
            let at = rng.random_range(page.clone());
            if rng.random_bool(0.5) {
                struck |= self.pages.flip(place, &disk, path, page, at);
            }
        }
        match struck {
            true => self.struck.one(i),
            false => self.later(sim.elapsed() + AGAIN, Step::Begin(i)),
        }
    }

    /// A bit flips in about every other manifest, list of documents or page of events, and in one at
    /// least.
    fn damage_state(&mut self, sim: &mut Sim<'_>, i: usize, node: u32, lasts: Duration) {
        let place = node as usize - 1;
        if self.kept.contains_key(&place) || self.damaged.contains(&place) {
            return;
        }
        let disk = self.cluster.disk(place);
        let mut rng = StdRng::seed_from_u64(self.faults[i].seed);
        let mut hit = match rng.random_range(0..3) {
            0 => pages(&disk, PAGES, false),
            1 => pages(&disk, EVENTS, false),
            _ => manifests(&disk),
        };
        let one = hit.len().checked_sub(1);
        let one = one.map(|last| hit.swap_remove(rng.random_range(0..=last)));
        if one.is_none() || !self.crash(sim, i, Host::Node(node), false, lasts) {
            return self.later(sim.elapsed() + AGAIN, Step::Begin(i));
        }
        hit.retain(|_| rng.random_bool(0.5));
        for (path, part) in hit.into_iter().chain(one) {
            disk.memory.flip(&path, rng.random_range(part));
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

/// Pages in which a bit flipped.
#[derive(Default)]
pub(super) struct DamagedPages {
    places: BTreeSet<usize>,
    flipped: Vec<Flipped>,
}

/// On the disk that a place had then: in a file, in what a page holds, one bit.
struct Flipped {
    disk: SlowDisk,
    path: PathBuf,
    page: Range<usize>,
    at: usize,
}

impl DamagedPages {
    /// Whether it did: of one page only once.
    fn flip(
        &mut self,
        place: usize,
        disk: &SlowDisk,
        path: PathBuf,
        page: Range<usize>,
        at: usize,
    ) -> bool {
        let known = |f: &Flipped| f.path == path && f.page == page;
        if self.flipped.iter().any(known) {
            return false;
        }
        disk.memory.flip(&path, at);
        self.places.insert(place);
        let disk = disk.clone();
        self.flipped.push(Flipped {
            disk,
            path,
            page,
            at,
        });
        true
    }

    pub fn are_damaged(&self, place: usize) -> bool {
        self.places.contains(&place)
    }

    pub fn are_whole_again(&self) -> bool {
        self.flipped.is_empty()
    }

    pub fn flip_back(&mut self) {
        for Flipped { disk, path, at, .. } in self.flipped.drain(..) {
            disk.memory.flip(&path, at);
        }
    }
}

/// The manifests of groups, each to its end.
fn manifests(disk: &SlowDisk) -> Vec<(PathBuf, Range<usize>)> {
    let paths = disk.memory.paths().into_iter();
    let of_group = paths.filter(|path| path.extension().is_some_and(|end| end == "manifest"));
    let whole = of_group.map(|path| {
        let length = disk.memory.contents(&path).unwrap_or_default().len();
        (path, 0..length)
    });
    whole.filter(|(_, whole)| !whole.is_empty()).collect()
}

/// The pages in a folder, those of documents or the others: in which file, and where in it what they hold.
fn pages(disk: &SlowDisk, folder: &str, of_documents: bool) -> Vec<(PathBuf, Range<usize>)> {
    let mut pages = Vec::new();
    let is_page_file = |path: &PathBuf| path.parent().is_some_and(|dir| dir.ends_with(folder));
    for path in disk.memory.paths().into_iter().filter(is_page_file) {
        let bytes = disk.memory.contents(&path).unwrap_or_default();
        let mut at = PAGE_FILE_HEAD;
        while let Some(head) = bytes.get(at..at + PAGE_HEAD) {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let page = at + PAGE_HEAD..at + PAGE_HEAD + length;
            // Lists of documents and pages of events have no document's id.
            let is_document = head[16..32] != [0; 16];
            at = page.end.next_multiple_of(8);
            if is_document == of_documents && length > 0 && page.end <= bytes.len() {
                pages.push((path.clone(), page));
            }
        }
    }
    pages
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
