//! Documents come into memory before entries need them.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;

use codraft_proto::ids::Revision;
use codraft_raft::{group::Origin, machine::Outcome};
use common::{Cluster, G, NODES, commit, create, damage_pages, edit, until};

/// Its page is damaged and who has it does not answer: all others of the group go on meanwhile.
#[tokio::test]
async fn group_what_waits_for_its_document_holds_nobody_up() {
    let cluster = Cluster::start(1, false).await;
    commit(&cluster, 1, create(1)).await;
    cluster.equal(G).await;
    let cluster = cluster.restart(false).await;
    let leader = cluster.leader(G).await;
    let place = cluster.nodes.iter().position(|node| node.id == leader.id);
    assert!(damage_pages(&cluster.disks[place.unwrap()]) > 0);
    let first = NODES.into_iter().find(|id| *id != leader.id);
    *leader.links.silent.lock() = first;
    let group = leader.groups.group(G).unwrap();
    let mut answers = leader.answers(5);
    group
        .submit(edit(1, 1, 1, 1), Origin { link: 5, tag: 1 })
        .unwrap();
    let asked = || leader.links.unanswered.load(Ordering::Relaxed) > 0;
    until("it is asked for", asked).await;
    assert_eq!(
        commit(&cluster, 2, create(2)).await,
        Outcome::Applied { rev: Revision(1) }
    );
    assert!(answers.try_recv().is_err());
    // The node that stood still goes on.
    *leader.links.silent.lock() = None;
    let outcome = Ok(Outcome::Applied { rev: Revision(2) });
    let (_, answer) = answers.recv().await.unwrap();
    assert_eq!(answer, outcome);
    cluster.equal(G).await;
}
