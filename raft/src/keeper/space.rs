//! What of the pages on a node's disk is still needed, so that files go when nothing in them is, and
//! what is left in others moves away when it is little.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codraft_mutant::mutant;
use codraft_proto::ids::{GroupId, Slot};
use parking_lot::Mutex;

use crate::{
    machine::{InSlot, Slots},
    manifest::{Bucket, Manifest},
    pages::{PagePlace, Uses},
    tail::Tail,
};

/// A file of which less than one part in so many is needed is emptied.
const SPARSE: u64 = 2;
/// Of sparse files so many bytes are moved at once; of one alone it may be more.
const MOVED: u64 = 1 << 20;

/// What a list of documents needs: itself and the pages on it.
pub fn uses_of(bucket: &Bucket, documents: &InSlot) -> Uses {
    let pages = documents.iter().filter_map(|(_, held)| held.page());
    uses_of_places(pages.map(|page| page.place).chain([bucket.place]))
}

/// What the lists of users' documents need.
pub fn uses_of_users(manifest: &Manifest) -> Uses {
    uses_of_places(manifest.users.iter().flatten().map(|page| page.place))
}

fn uses_of_places(places: impl Iterator<Item = PagePlace>) -> Uses {
    let mut uses = Uses::new();
    for PagePlace { file, length, .. } in places {
        *uses.entry(file).or_default() += u64::from(length);
    }
    uses
}

/// What the manifest of a group needs, slot by slot, and for users' documents.
#[derive(Default)]
pub struct GroupUses {
    parts: BTreeMap<Option<Slot>, Uses>,
    all: Uses,
}

impl GroupUses {
    /// What a manifest needs, whose documents these are.
    pub fn of(manifest: &Manifest, documents: &Slots) -> Self {
        let mut needed = Self::default();
        for (slot, of) in documents.slots() {
            if let Some(bucket) = manifest.buckets.get(&slot) {
                needed.replace(Some(slot), uses_of(bucket, of));
            }
        }
        needed.replace(None, uses_of_users(manifest));
        needed
    }

    /// What a slot needs now; none: the lists of users' documents.
    pub fn replace(&mut self, part: Option<Slot>, uses: Uses) {
        for (file, bytes) in &uses {
            *self.all.entry(*file).or_default() += bytes;
        }
        for (file, bytes) in self.parts.insert(part, uses).into_iter().flatten() {
            if let Some(all) = self.all.get_mut(&file) {
                *all = all.saturating_sub(bytes);
            }
        }
        self.all.retain(|_, bytes| *bytes > 0);
    }

    /// Over all of it.
    pub fn all(&self) -> &Uses {
        &self.all
    }

    /// In bytes.
    #[cfg(test)]
    pub fn needed(&self) -> u64 {
        self.all.values().sum()
    }

    /// Whether any of it lies in one of these files.
    pub fn has(&self, files: &BTreeSet<u32>) -> bool {
        files.iter().any(|file| self.all.contains_key(file))
    }

    /// Whether a slot has anything in one of these files.
    pub fn is_in(&self, slot: Slot, files: &BTreeSet<u32>) -> bool {
        let uses = self.parts.get(&Some(slot)).into_iter().flatten();
        uses.map(|(file, _)| file).any(|file| files.contains(file))
    }
}

/// What all groups of a node need. Clones are the same.
#[derive(Clone, Default)]
pub struct Space {
    groups: Arc<Mutex<BTreeMap<GroupId, Needs>>>,
}

struct Needs {
    uses: Uses,
    /// Pages that no manifest lists yet lie in no earlier file than the first of these: one each for
    /// who is writing some.
    since: Vec<u32>,
    /// What somebody reads who was told of an earlier manifest.
    pinned: Vec<Uses>,
    tail: Arc<Tail>,
}

/// Pages are being written that no manifest lists yet; they stay as long as this is held.
pub struct Writing {
    space: Space,
    group: GroupId,
    since: u32,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.space.change(self.group, |needs| {
            let mut all = needs.since.iter();
            if let Some(place) = all.position(|file| *file == self.since) {
                needs.since.swap_remove(place);
            }
        });
    }
}

/// A manifest is being read: what it needs stays as long as this is held.
pub struct Pin {
    space: Space,
    group: GroupId,
    uses: Uses,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.space.change(self.group, |needs| {
            let mut all = needs.pinned.iter();
            if let Some(place) = all.position(|uses| *uses == self.uses) {
                needs.pinned.swap_remove(place);
            }
        });
    }
}

impl Space {
    /// What a group needs. All must have come before files are judged.
    pub fn join(&self, group: GroupId, uses: &Uses, tail: Arc<Tail>) {
        let needs = Needs {
            uses: uses.clone(),
            since: Vec::new(),
            pinned: Vec::new(),
            tail,
        };
        self.groups.lock().insert(group, needs);
    }

    /// A group begins to write pages, the first of them in this file.
    pub fn writing(&self, group: GroupId, since: u32) -> Writing {
        self.change(group, |needs| needs.since.push(since));
        let space = self.clone();
        Writing {
            space,
            group,
            since,
        }
    }

    /// Somebody reads what a group's manifest needs, which may be replaced meanwhile.
    pub fn pin(&self, group: GroupId, uses: &Uses) -> Pin {
        self.change(group, |needs| needs.pinned.push(uses.clone()));
        let (space, uses) = (self.clone(), uses.clone());
        Pin { space, group, uses }
    }

    /// What a group needs from now on.
    pub fn placed(&self, group: GroupId, uses: &Uses) {
        self.change(group, |needs| needs.uses = uses.clone());
    }

    fn change(&self, group: GroupId, with: impl FnOnce(&mut Needs)) {
        if let Some(needs) = self.groups.lock().get_mut(&group) {
            with(needs);
        }
    }

    /// Of these files, with their bytes, those that nobody needs.
    pub fn unused(&self, files: &BTreeMap<u32, u64>, current: u32) -> Vec<u32> {
        let groups = self.groups.lock();
        let files = files.range(..first_unlisted(&groups, current));
        let unused = files.filter(|(file, _)| needed(&groups, **file) == 0);
        let unused = unused.filter(|(file, _)| !is_pinned(&groups, **file));
        unused.map(|(file, _)| *file).collect()
    }

    /// Of these files, with their bytes, those that nobody needs, and the first of those of which little
    /// is needed, or that are damaged. Groups that have something in these are told.
    pub fn judge(
        &self,
        files: &BTreeMap<u32, u64>,
        damaged: &BTreeSet<u32>,
        current: u32,
    ) -> (Vec<u32>, BTreeSet<u32>) {
        let mut unused = self.unused(files, current);
        let groups = self.groups.lock();
        let (mut sparse, mut moved) = (BTreeSet::new(), 0);
        for (file, bytes) in files.range(..first_unlisted(&groups, current)) {
            let needed = needed(&groups, *file);
            let is_sparse = needed * SPARSE < *bytes;
            if needed > 0 && (is_sparse || damaged.contains(file)) {
                if mutant!("sparse_file_removed_with_its_pages") {
                    unused.push(*file);
                }
                moved += needed;
                if sparse.is_empty() || moved <= MOVED {
                    sparse.insert(*file);
                }
            }
        }
        for needs in groups.values() {
            if sparse.iter().any(|file| needs.uses.contains_key(file)) {
                needs.tail.tidy();
            }
        }
        (unused, sparse)
    }
}

type Groups = BTreeMap<GroupId, Needs>;

/// Pages that no manifest lists lie in no earlier file.
fn first_unlisted(groups: &Groups, current: u32) -> u32 {
    let since = groups.values().flat_map(|needs| &needs.since).copied();
    since.min().unwrap_or(current).min(current)
}

fn needed(groups: &Groups, file: u32) -> u64 {
    let needed = groups.values().filter_map(|needs| needs.uses.get(&file));
    needed.sum()
}

fn is_pinned(groups: &Groups, file: u32) -> bool {
    let mut pinned = groups.values().flat_map(|needs| &needs.pinned);
    pinned.any(|uses| uses.contains_key(&file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::KeepOptions;

    fn needs(space: &Space, group: u32, uses: &[(u32, u64)]) -> Arc<Tail> {
        let tail = Arc::new(Tail::new(KeepOptions::default()));
        let uses = uses.iter().copied().collect();
        space.join(GroupId(group), &uses, tail.clone());
        tail
    }

    #[test]
    fn a_file_goes_when_no_group_needs_it_and_none_is_writing() {
        let space = Space::default();
        let busy = needs(&space, 1, &[(2, 900), (3, 10)]);
        let idle = needs(&space, 2, &[(3, 10)]);
        let files = BTreeMap::from([(1, 1_000), (2, 1_000), (3, 1_000), (4, 1_000)]);
        let whole = BTreeSet::new();
        let (unused, sparse) = space.judge(&files, &whole, 4);
        assert_eq!((unused, sparse), (vec![1], BTreeSet::from([3])));
        let damaged = BTreeSet::from([2]);
        let (unused, emptied) = space.judge(&files, &damaged, 4);
        assert_eq!((unused, emptied), (vec![1], BTreeSet::from([2, 3])));
        assert!(busy.is_due() && idle.is_due(), "both have something in 3");
        let writing = space.writing(GroupId(2), 1);
        let other = space.writing(GroupId(2), 3);
        let none = || space.judge(&files, &whole, 4).0.is_empty();
        assert!(none(), "one of its pages may be in 1");
        drop(writing);
        assert_eq!(space.judge(&files, &whole, 4).0, [1]);
        drop(other);
        let pin = space.pin(GroupId(2), &Uses::from([(1, 10)]));
        space.placed(GroupId(2), &Uses::new());
        assert!(none(), "somebody reads 1");
        drop(pin);
        assert_eq!(space.judge(&files, &whole, 4).0, [1]);
        assert!(
            space.judge(&files, &whole, 1).0.is_empty(),
            "it is written to"
        );
    }
}
