//! Groups of three replicas whose events go on to archives.
#![allow(dead_code)] // each test crate uses a part of it

#[path = "../../../raft/tests/common/mod.rs"]
pub mod common;

use std::{path::PathBuf, sync::Arc};

use codraft_archive::{Archivist, CheckpointOptions};
use codraft_proto::{disk::Disk, ids::Revision};
use codraft_raft::{
    archive::ArchiveMark,
    machine::Outcome,
    manifest::{Manifest, Manifests},
};
use codraft_tiers::snapshots::Folder;
use common::{Cluster, G, Node, commit, edit};

pub async fn folder(disk: Arc<dyn Disk>) -> Archivist {
    let folder = Folder::open(disk, "/data/archive".into()).await;
    Archivist::new(Arc::new(folder.unwrap()), CheckpointOptions::default())
}

pub async fn write(cluster: &Cluster, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let outcome = commit(cluster, 1, edit(1, 1, seq, seq)).await;
        let rev = Revision(seq + 1);
        assert_eq!(outcome, Outcome::Applied { rev });
    }
}

pub fn mark(node: &Node) -> ArchiveMark {
    node.groups.group(G).unwrap().archived()
}

/// The manifest that lies on a disk.
pub async fn manifest(disk: Arc<dyn Disk>) -> Manifest {
    let manifests = Manifests::open(disk, PathBuf::from("/data/manifests")).await;
    manifests.unwrap().load(G).await.unwrap().unwrap()
}
