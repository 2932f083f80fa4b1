//! Groups of three replicas whose events go on to archives.
#![allow(dead_code)] // each test crate uses a part of it

#[path = "../../../raft/tests/common/mod.rs"]
pub mod common;

use std::{path::PathBuf, sync::Arc, time::Duration};

use codraft_archive::{Archivist, CheckpointOptions};
use codraft_proto::{
    disk::Disk,
    ids::{GroupId, Revision},
};
use codraft_raft::{
    archive::ArchiveMark,
    command::Command,
    group::Origin,
    machine::Outcome,
    manifest::{Manifest, Manifests},
};
use codraft_tiers::snapshots::Folder;
use common::{Cluster, Node, edit};

pub const G: GroupId = GroupId(0);

pub async fn folder(disk: Arc<dyn Disk>) -> Archivist {
    let folder = Folder::open(disk, "/data/archive".into()).await;
    Archivist::new(Arc::new(folder.unwrap()), CheckpointOptions::default())
}

/// Submits at whoever leads until there is an outcome.
pub async fn commit(cluster: &Cluster, command: Command) -> Outcome {
    let whole = async {
        loop {
            let leader = cluster.leader(G).await;
            let mut answers = leader.answers(1);
            let group = leader.groups.group(G).unwrap();
            let origin = Origin { link: 1, tag: 1 };
            if group.submit(command.clone(), origin).is_ok() {
                let answer = tokio::time::timeout(Duration::from_secs(5), answers.recv()).await;
                if let Ok(Some((_, Ok(outcome)))) = answer {
                    return outcome;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), whole)
        .await
        .expect("no outcome")
}

pub async fn write(cluster: &Cluster, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let outcome = commit(cluster, edit(1, 1, seq, seq)).await;
        let rev = Revision(seq + 1);
        assert_eq!(outcome, Outcome::Applied { rev });
    }
}

pub fn mark(node: &Node) -> ArchiveMark {
    node.groups.group(G).unwrap().archived()
}

pub async fn until(what: &str, done: impl Fn() -> bool) {
    let whole = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let whole = tokio::time::timeout(Duration::from_secs(20), whole).await;
    assert!(whole.is_ok(), "it never comes to pass: {what}");
}

/// The manifest that lies on a disk.
pub async fn manifest(disk: Arc<dyn Disk>) -> Manifest {
    let manifests = Manifests::open(disk, PathBuf::from("/data/manifests")).await;
    manifests.unwrap().load(G).await.unwrap().unwrap()
}
