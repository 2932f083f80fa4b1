//! What of the pages on a node's disk is still needed, so that files go when nothing in them is, and
//! what is left in others moves away when it is little.

use std::{collections::BTreeMap, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::ids::{GroupId, Slot};
use parking_lot::Mutex;

use crate::{machine::InSlot, manifest::Bucket, pages::PagePlace, tail::Tail};

/// A file of which less than one part in so many is needed is emptied.
const SPARSE: u64 = 2;

/// Bytes that are needed, by file.
pub type Uses = BTreeMap<u32, u64>;

/// What a list of documents needs: itself and the pages on it.
pub fn uses_of(bucket: &Bucket, documents: &InSlot) -> Uses {
    let mut uses = Uses::new();
    let pages = documents.iter().filter_map(|(_, held)| held.page());
    let places = pages.map(|page| page.place).chain([bucket.place]);
    for PagePlace { file, length, .. } in places {
        *uses.entry(file).or_default() += u64::from(length);
    }
    uses
}

/// What the manifest of a group needs, slot by slot.
#[derive(Default)]
pub struct GroupUses {
    slots: BTreeMap<Slot, Uses>,
    all: Uses,
}

impl GroupUses {
    /// What a slot needs now.
    pub fn replace(&mut self, slot: Slot, uses: Uses) {
        for (file, bytes) in &uses {
            *self.all.entry(*file).or_default() += bytes;
        }
        for (file, bytes) in self.slots.insert(slot, uses).into_iter().flatten() {
            if let Some(all) = self.all.get_mut(&file) {
                *all = all.saturating_sub(bytes);
            }
        }
        self.all.retain(|_, bytes| *bytes > 0);
    }

    /// In bytes.
    #[cfg(test)]
    pub fn needed(&self) -> u64 {
        self.all.values().sum()
    }

    /// Whether any of it lies in a file.
    pub fn has(&self, file: u32) -> bool {
        self.all.contains_key(&file)
    }

    /// Whether a slot has anything in a file.
    pub fn is_in(&self, slot: Slot, file: u32) -> bool {
        let uses = self.slots.get(&slot);
        uses.is_some_and(|uses| uses.contains_key(&file))
    }
}

/// What all groups of a node need. Clones are the same.
#[derive(Clone, Default)]
pub struct Space {
    groups: Arc<Mutex<BTreeMap<GroupId, Needs>>>,
}

struct Needs {
    uses: Uses,
    /// Pages that no manifest lists yet lie in no earlier file; none while none is being made.
    since: Option<u32>,
    tail: Arc<Tail>,
}

impl Space {
    /// What a group needs. All must have come before files are judged.
    pub fn join(&self, group: GroupId, uses: &GroupUses, tail: Arc<Tail>) {
        let (uses, since) = (uses.all.clone(), None);
        let needs = Needs { uses, since, tail };
        self.groups.lock().insert(group, needs);
    }

    /// A group begins to write pages, the first of them in this file.
    pub fn begin(&self, group: GroupId, file: u32) {
        if let Some(needs) = self.groups.lock().get_mut(&group) {
            needs.since = Some(file);
        }
    }

    /// A group's manifest is in its place.
    pub fn end(&self, group: GroupId, uses: &GroupUses) {
        if let Some(needs) = self.groups.lock().get_mut(&group) {
            (needs.uses, needs.since) = (uses.all.clone(), None);
        }
    }

    /// Of these files, with their bytes, those that nobody needs, and the first of which little is
    /// needed. Groups that have something in that are told.
    pub fn judge(&self, files: &BTreeMap<u32, u64>, current: u32) -> (Vec<u32>, Option<u32>) {
        let groups = self.groups.lock();
        let since = groups.values().filter_map(|needs| needs.since);
        let before = since.min().unwrap_or(current).min(current);
        let (mut unused, mut sparse) = (Vec::new(), None);
        for (file, bytes) in files.range(..before) {
            let needed = groups.values().filter_map(|needs| needs.uses.get(file));
            match needed.sum::<u64>() {
                0 => unused.push(*file),
                needed if needed * SPARSE < *bytes => {
                    if mutant!("sparse_file_removed_with_its_pages") {
                        unused.push(*file);
                    }
                    sparse.get_or_insert(*file);
                }
                _ => {}
            }
        }
        for needs in groups.values() {
            if sparse.is_some_and(|file| needs.uses.contains_key(&file)) {
                needs.tail.tidy();
            }
        }
        (unused, sparse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::KeepOptions;

    fn needs(space: &Space, group: u32, uses: &[(u32, u64)]) -> Arc<Tail> {
        let tail = Arc::new(Tail::new(KeepOptions::default()));
        let uses = GroupUses {
            all: uses.iter().copied().collect(),
            ..GroupUses::default()
        };
        space.join(GroupId(group), &uses, tail.clone());
        tail
    }

    #[test]
    fn a_file_goes_when_no_group_needs_it_and_none_is_writing() {
        let space = Space::default();
        let busy = needs(&space, 1, &[(2, 900), (3, 10)]);
        let idle = needs(&space, 2, &[(3, 10)]);
        let files = BTreeMap::from([(1, 1_000), (2, 1_000), (3, 1_000), (4, 1_000)]);
        let (unused, sparse) = space.judge(&files, 4);
        assert_eq!((unused, sparse), (vec![1], Some(3)));
        assert!(busy.is_due() && idle.is_due(), "both have something in 3");
        space.begin(GroupId(2), 1);
        assert!(
            space.judge(&files, 4).0.is_empty(),
            "one of its pages may be in 1"
        );
        space.end(GroupId(2), &GroupUses::default());
        assert_eq!(space.judge(&files, 4).0, [1]);
        assert!(space.judge(&files, 1).0.is_empty(), "it is written to");
    }
}
