//! What nodes that run say of their documents. It proves nothing by itself: it is compared with what
//! their files make, and with what the others say.

use std::{collections::BTreeMap, path::PathBuf};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId, Revision},
    placement::slot_of,
    transport::BoxFuture,
};
use codraft_raft::machine::Slots;

use crate::report::{Lie, Report};

/// Asks nodes.
pub trait Nodes: Sync {
    /// What each node that answers has, and in words who does not answer.
    fn told(&self) -> BoxFuture<'_, (Vec<Live>, Vec<String>)>;
}

/// All that a node has.
#[derive(Debug, Clone)]
pub struct Live {
    pub node: NodeId,
    pub pages: Vec<Told>,
}

/// Some documents of a group as they were at one moment.
#[derive(Debug, Clone)]
pub struct Told {
    pub group: GroupId,
    /// The last entry that was applied then.
    pub index: u64,
    pub documents: Vec<ToldDocument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldDocument {
    pub doc: DocId,
    /// The entry that changed it last.
    pub touched: u64,
    pub rev: Revision,
    /// The chain hash at `rev`.
    pub hash: [u8; 32],
    /// BLAKE3 of its stored form.
    pub digest: [u8; 32],
}

impl Live {
    pub fn of(&self, group: GroupId) -> impl Iterator<Item = &Told> {
        self.pages.iter().filter(move |told| told.group == group)
    }

    pub fn lie(&self, group: GroupId, what: String) -> Lie {
        let named = PathBuf::from(format!("node {}, as it runs", self.node));
        Lie::new(named, what).of_group(group)
    }

    /// Compares some documents with what files make at the same entry, or at a later one: then with
    /// those that were not changed in between.
    pub fn compare(&self, told: &Told, made: &Slots, is_later: bool, report: &mut Report) {
        for one in &told.documents {
            report.counts.told += 1;
            let lie = |what: &str| {
                self.lie(told.group, what.into())
                    .of(Some(one.doc), Some(one.rev))
            };
            match made.get(slot_of(&one.doc), &one.doc) {
                None => report.lie(lie("its files hold no such document")),
                Some(held) if held.touched() == one.touched => {
                    let summary = held.summary();
                    let is_same = (summary.rev, summary.hash.0, held.digest())
                        == (one.rev, one.hash, one.digest);
                    if !is_same {
                        report.lie(lie("it is not what its files make of it"));
                    }
                }
                Some(_) if is_later => {}
                Some(_) => report.lie(lie("its files have it as another entry left it")),
            }
        }
    }
}

/// Two nodes that have a document as the same entry left it have the same.
pub fn compare_nodes(all: &[Live], report: &mut Report) {
    let mut known: BTreeMap<(DocId, u64), (NodeId, ToldDocument)> = BTreeMap::new();
    for live in all {
        for told in &live.pages {
            for one in &told.documents {
                let before = known.insert((one.doc, one.touched), (live.node, *one));
                let Some((other, theirs)) = before.filter(|(_, theirs)| theirs != one) else {
                    continue;
                };
                let rev = theirs.rev.min(one.rev);
                let lie = live.lie(told.group, format!("node {other} has something else"));
                report.lie(lie.of(Some(one.doc), Some(rev)));
            }
        }
    }
}
