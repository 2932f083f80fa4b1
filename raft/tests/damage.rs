//! Groups of three replicas, of which one or more find their state damaged.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)] // its tests wait

mod common;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use codraft_proto::{
    disk::memory::MemoryDisk,
    ids::{Revision, Seq},
};
use codraft_raft::{
    group::{Origin, ProposeError, ReadError},
    machine::Outcome,
};
use common::{Cluster, G, Node, commit, create, damage_pages, doc, edit, flip_pages, text, until};

/// What of a node's disk is damaged while it is down.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Lists,
    Manifest,
    Events,
}

/// Flips a bit of each, of all groups.
fn hurt(disk: &MemoryDisk, what: Damage) {
    let damaged = match what {
        Damage::Lists => flip_pages(disk, "/data/pages", false),
        Damage::Events => flip_pages(disk, "/data/events", false),
        Damage::Manifest => {
            let paths = disk.paths().into_iter();
            let manifests = paths.filter(|path| path.starts_with("/data/manifests"));
            manifests.map(|path| disk.flip(&path, 50)).count()
        }
    };
    assert!(damaged > 0, "{what:?}");
}

/// A cluster that has let go of the beginning of its logs, stopped; the edits were so many.
async fn purged(groups: u32) -> (Vec<Arc<MemoryDisk>>, u64) {
    let cluster = Cluster::start(groups, true).await;
    commit(&cluster, 1, create(1)).await;
    let mut edits = 0;
    let is_purged = || {
        let mut nodes = cluster.nodes.iter();
        nodes.all(|node| node.wal.group(G).first_index() > 1)
    };
    while !is_purged() {
        edits += 1;
        commit(&cluster, 1, edit(1, 1, edits, edits)).await;
    }
    cluster.equal(G).await;
    cluster.stop().await;
    (cluster.disks, edits)
}

/// Has one of them lead, which tells what it has.
async fn lead(cluster: &Cluster, node: &Arc<Node>) -> String {
    while cluster.leader(G).await.id != node.id {
        let leader = cluster.leader(G).await;
        let group = leader.groups.group(G).unwrap();
        group.transfer_leadership().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let group = node.groups.group(G).unwrap();
    while group.read().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    group.bring(doc(1)).await.unwrap();
    text(node)
}

#[tokio::test]
async fn group_whose_state_is_damaged_on_one_disk_takes_that_of_the_others_and_may_lead() {
    for what in [Damage::Lists, Damage::Manifest, Damage::Events] {
        let (disks, edits) = purged(1).await;
        hurt(&disks[1], what);
        let cluster = Cluster::on(disks, 1, true, 2, None).await;
        let hurt = &cluster.nodes[1];
        let group = hurt.groups.group(G).unwrap();
        // The others need not wait for it.
        let outcome = commit(&cluster, 1, edit(1, 1, edits + 1, edits + 1)).await;
        let rev = Revision(edits + 2);
        assert_eq!(outcome, Outcome::Applied { rev });
        until("it has a state", || group.lacks().is_none()).await;
        cluster.equal(G).await;
        assert_eq!(group.installs(), 1, "{what:?}");
        let mended = cluster
            .nodes
            .iter()
            .map(|node| node.groups.group(G).unwrap().mended());
        assert_eq!(mended.sum::<u64>(), 1, "{what:?}");
        let length = edits as usize + 1;
        assert_eq!(lead(&cluster, hurt).await.len(), length, "{what:?}");
        let outcome = commit(&cluster, 2, edit(1, 1, edits + 1, edits + 1)).await;
        let seq = Seq(edits + 1);
        assert_eq!(outcome, Outcome::Already { seq, rev }, "{what:?}");
        // What it took is its own.
        let cluster = cluster.restart(true).await;
        assert_eq!(cluster.nodes[1].groups.group(G).unwrap().lacks(), None);
        cluster.equal(G).await;
        assert_eq!(lead(&cluster, &cluster.nodes[1]).await.len(), length);
        cluster.stop().await;
    }
}

/// Without a state a replica has no voice: it neither serves nor lets anybody lead.
#[tokio::test]
async fn group_without_a_state_serves_nothing_until_somebody_has_one() {
    let (disks, edits) = purged(1).await;
    hurt(&disks[1], Damage::Manifest);
    hurt(&disks[2], Damage::Lists);
    let cluster = Cluster::on(disks, 1, true, 2, None).await;
    let [whole, one, other] = [0, 1, 2].map(|place| cluster.nodes[place].clone());
    cluster.part(&whole);
    for node in [&one, &other] {
        *node.links.silent.lock() = Some(whole.id);
    }
    let group = |node: &Node| node.groups.group(G).unwrap().clone();
    let asked = |node: &Node| node.links.unanswered.load(Ordering::Relaxed) > 0;
    until("both ask the one that has it", || {
        asked(&one) && asked(&other)
    })
    .await;
    for node in [&one, &other] {
        let origin = Origin { link: 1, tag: 1 };
        let refused = group(node).submit(edit(1, 1, 1, 1), origin);
        assert!(
            matches!(refused, Err(ProposeError::NotLeader(None))),
            "{refused:?}"
        );
        assert_eq!(group(node).read().await, Err(ReadError::NotLeader(None)));
        assert_eq!(
            (text(node), group(node).with(|shard| shard.applied())),
            (String::new(), 0)
        );
        assert!(group(node).lacks().is_some() && group(node).stopped().is_none());
    }
    cluster.kill(&one, false);
    cluster.kill(&other, false);
    for node in [&whole, &one, &other] {
        node.tasks.shutdown().await;
    }
    // One whole replica is enough for both.
    let cluster = Cluster::on(cluster.disks.clone(), 1, true, 3, None).await;
    let seq = edits + 1;
    commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    cluster.equal(G).await;
    for node in &cluster.nodes[1..] {
        assert_eq!(lead(&cluster, node).await.len(), seq as usize);
    }
}

#[tokio::test]
async fn group_stops_with_the_words_for_a_state_that_nobody_has() {
    let (disks, _) = purged(1).await;
    disks.iter().for_each(|disk| hurt(disk, Damage::Manifest));
    let cluster = Cluster::on(disks, 1, true, 2, None).await;
    for node in &cluster.nodes {
        let why = || node.groups.group(G).unwrap().stopped();
        until("it stops", || why().is_some()).await;
        let why = why().unwrap();
        for part in [
            ".manifest does not read back",
            "does not have it",
            "codraft node replace",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(node.tasks.failed().await, "a group stopped");
    }
}

/// Its documents have other pages everywhere else by now: it takes the state that has those.
#[tokio::test]
async fn group_goes_on_from_another_state_where_nobody_has_a_page_like_that() {
    let (disks, edits) = purged(1).await;
    let cluster = Cluster::on(disks, 1, true, 2, None).await;
    let leader = cluster.leader(G).await;
    let place = (0..3).find(|i| cluster.nodes[*i].id != leader.id).unwrap();
    let hurt = &cluster.nodes[place];
    assert!(damage_pages(&cluster.disks[place]) > 0);
    hurt.links.alone.store(true, Ordering::Relaxed);
    let mut seq = edits;
    let past = |node: &Node, before: u64| node.wal.group(G).first_index() > before + 1;
    for _ in 0..2 {
        // Two manifests later none of them has the page, nor the log to make it of.
        let before = leader.wal.group(G).last_index().unwrap();
        let is_past = |node: &&Arc<Node>| node.id == hurt.id || past(node, before);
        while !cluster.nodes.iter().all(|node| is_past(&node)) {
            seq += 1;
            commit(&cluster, 1, edit(1, 1, seq, seq)).await;
        }
    }
    let group = hurt.groups.group(G).unwrap();
    let applied = group.with(|shard| shard.applied());
    hurt.links.alone.store(false, Ordering::Relaxed);
    let goes_on = || group.with(|shard| shard.applied()) > applied && group.lacks().is_none();
    until("it takes another state", goes_on).await;
    assert_eq!(group.installs(), 1);
    seq += 1;
    commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    cluster.equal(G).await;
    assert_eq!(lead(&cluster, hurt).await.len(), seq as usize);
}
