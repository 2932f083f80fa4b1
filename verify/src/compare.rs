//! One node's state beside another's: where they differ, the one that most do not have is the odd one.

use std::collections::{BTreeMap, BTreeSet};

use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_raft::{
    identity::WAL,
    machine::{Held, Slots},
};

use crate::{
    folder::{Kept, NodeFolder},
    report::{Lie, Report},
};

/// The first of those that most agree with, and all that do not.
fn odd_ones<T>(all: &[T], is_same: impl Fn(&T, &T) -> bool) -> Option<(&T, Vec<&T>)> {
    let first = all.first()?;
    if all.iter().all(|one| is_same(first, one)) {
        return None;
    }
    let agree = |one: &T| all.iter().filter(|other| is_same(one, other)).count();
    // Of equally many the first.
    let usual = all.iter().rev().max_by_key(|one| agree(one))?;
    let odd = all.iter().filter(|one| !is_same(usual, one));
    Some((usual, odd.collect()))
}

/// Manifests at one index are equal, and so are archives of equally many rounds.
pub fn manifests(folders: &[NodeFolder], group: GroupId, report: &mut Report) {
    let mut by_index: BTreeMap<u64, Vec<(&NodeFolder, &Kept)>> = BTreeMap::new();
    let mut by_rounds: BTreeMap<u64, Vec<(&NodeFolder, &Kept)>> = BTreeMap::new();
    for folder in folders {
        if let Some(kept) = folder.groups.get(&group) {
            let manifest = &kept.manifest;
            let here = (folder, kept);
            by_index.entry(manifest.index()).or_default().push(here);
            by_rounds
                .entry(manifest.archived.rounds)
                .or_default()
                .push(here);
        }
    }
    let lie = |(folder, kept): &(&NodeFolder, &Kept), what: String| {
        Lie::new(folder.manifest_file(&kept.manifest), what).of_group(group)
    };
    for (index, all) in by_index {
        report.counts.comparisons += all.len() as u64 - 1;
        let odd = odd_ones(&all, |a, b| a.1.manifest.hash() == b.1.manifest.hash());
        let Some((usual, odd)) = odd else { continue };
        for one in odd {
            let none = BTreeSet::new();
            let difference = first_difference(&usual.1.documents, &one.1.documents, &none);
            let (doc, rev) = difference.unzip();
            let what = format!(
                "it is another state than {} has at entry {index}",
                usual.0.name()
            );
            report.lie(lie(one, what).of(doc, rev));
        }
    }
    for (rounds, all) in by_rounds {
        report.counts.comparisons += all.len() as u64 - 1;
        let odd = odd_ones(&all, |a, b| a.1.manifest.archived == b.1.manifest.archived);
        let Some((usual, odd)) = odd else { continue };
        for one in odd {
            let what = format!(
                "its archive of {rounds} rounds is not that of {}",
                usual.0.name()
            );
            report.lie(lie(one, what));
        }
    }
}

/// What the logs make of all documents but some is the same at one entry.
pub fn states(
    all: &[(&NodeFolder, Slots)],
    left_out: &BTreeSet<DocId>,
    group: GroupId,
    index: u64,
    report: &mut Report,
) {
    report.counts.comparisons += (all.len() as u64).saturating_sub(1);
    let difference = |a: &Slots, b: &Slots| first_difference(a, b, left_out);
    let odd = odd_ones(all, |a, b| difference(&a.1, &b.1).is_none());
    let Some((usual, odd)) = odd else { return };
    for (folder, state) in odd {
        let (doc, rev) = difference(&usual.1, state).unzip();
        let name = usual.0.name();
        let what = format!("the log makes another state at entry {index} than that of {name}");
        let lie = Lie::new(folder.path.join(WAL), what);
        report.lie(lie.of_group(group).of(doc, rev));
    }
}

/// The first document that is not the same in both, of those that are not left out.
pub fn first_difference(
    one: &Slots,
    other: &Slots,
    left_out: &BTreeSet<DocId>,
) -> Option<(DocId, Revision)> {
    let is_same = |a: &Held, b: &Held| a.touched() == b.touched() && a.digest() == b.digest();
    let rev = |held: &Held| held.summary().rev;
    let counts = |doc: &DocId| !left_out.contains(doc);
    for (slot, doc, held) in one.iter().filter(|(_, doc, _)| counts(doc)) {
        match other.get(slot, doc) {
            Some(theirs) if is_same(held, theirs) => {}
            Some(theirs) => return Some((*doc, rev(held).min(rev(theirs)))),
            None => return Some((*doc, rev(held))),
        }
    }
    let mut strange = other.iter().filter(|(_, doc, _)| counts(doc));
    let strange = strange.find(|(slot, doc, _)| one.get(*slot, doc).is_none());
    strange.map(|(_, doc, held)| (*doc, rev(held)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_differs_from_most_is_the_odd_one() {
        let is_same = |a: &u8, b: &u8| a == b;
        assert_eq!(odd_ones(&[7, 7, 7], is_same), None);
        assert_eq!(odd_ones(&[1, 7, 7], is_same), Some((&7, vec![&1])));
        assert_eq!(odd_ones(&[7, 1, 7], is_same), Some((&7, vec![&1])));
        assert_eq!(odd_ones(&[7, 1], is_same), Some((&7, vec![&1])));
        assert_eq!(odd_ones::<u8>(&[], is_same), None);
    }
}
