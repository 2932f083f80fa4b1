//! Documents that are opened without being brought into memory.

use std::time::Duration;

use bytes::Bytes;
use codraft_node::Node;
use codraft_proto::{
    ids::NodeId,
    reject::Code,
    v1::{self, OpenedFrom, message::Body},
};

use crate::rig::{Cluster, DOC, Router, code, create, op, text_of};

/// An end in order writes all of it, so that nothing of the log is applied at the next start.
async fn restart(cluster: &mut Cluster, rev: u64) {
    let ids: Vec<_> = cluster.nodes.keys().copied().collect();
    let is_there = |node: &Node| node.summary(&DOC).is_some_and(|known| known.rev.0 == rev);
    while !cluster.nodes.values().all(is_there) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for id in &ids {
        cluster.stop_node(*id).await;
    }
    for id in &ids {
        cluster.start_node(*id).await;
    }
}

/// Opens it at who leads by now, and stays the leader.
async fn open(router: &Router) -> (NodeId, v1::Opened) {
    loop {
        let leader = router.leader(&DOC, None).await;
        let opened = router.open(leader, DOC, "alice", None).await;
        if opened.problem.is_none() {
            return (leader, opened);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_cold_document_is_opened_from_its_page_and_stays_cold() {
    let mut cluster = Cluster::start("cold", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    router.call(leader, 1, DOC, "alice", create("text")).await;
    let before = router.open(leader, DOC, "alice", None).await;
    let typed = op(9, "alice", 1, 1, "my ");
    router.submit(leader, DOC, &typed).await;
    router.events(1).await;
    restart(&mut cluster, 2).await;

    let router = Router::start(cluster.topology.clone());
    let (leader, opened) = open(&router).await;
    let node = &cluster.nodes[&leader];
    let is_cold = || node.with_document(&DOC, |_| ()).is_none() && node.summary(&DOC).is_some();
    assert!(is_cold());
    assert_eq!((text_of(&opened), opened.rev), ("my text".into(), 2));
    assert_eq!(opened.title, "A title");
    let acked = v1::Acked { seq: 1, rev: 2 };
    assert_eq!(opened.acked, Some(acked), "its page knows its clients");
    let at = |opened: &v1::Opened| v1::Resume {
        rev: opened.rev,
        hash: opened.hash.clone(),
    };
    let head = Some(at(&opened));
    assert_eq!(opened.state_at, head);

    // Who is at its head has missed nothing, and a stranger learns nothing.
    let resumed = router.open(leader, DOC, "alice", head.clone()).await;
    assert_eq!(
        (resumed.from(), resumed.acked),
        (OpenedFrom::Resume, Some(acked))
    );
    for (held, from) in [(&head, OpenedFrom::Held), (&None, OpenedFrom::Nothing)] {
        assert_eq!(router.starts(leader, 7, held).await, (from, 0));
    }
    for after in [head.clone(), None] {
        let is_head = after.is_some();
        let follow = v1::Follow {
            doc: DOC.to_bytes(),
            after,
        };
        router.send(leader, Body::Follow(follow)).await;
        let resumed = |body: &Body| match body {
            Body::Followed(followed) => Some((followed.rev, followed.resumed)),
            _ => None,
        };
        assert_eq!(router.hear("followed", resumed).await, (2, is_head));
    }
    let stranger = router.open(leader, DOC, "eve", None).await;
    assert_eq!(code(&stranger.problem), Some(Code::NotFound));
    assert!(is_cold(), "nobody needed its window");

    // Who is behind is told what the window holds.
    let missed = router.open(leader, DOC, "alice", Some(at(&before))).await;
    assert_eq!(
        (missed.from(), missed.events.len()),
        (OpenedFrom::Resume, 1)
    );
    assert!(!is_cold());
}

#[tokio::test]
async fn what_is_typed_into_a_cold_document_reaches_who_opened_it() {
    let mut cluster = Cluster::start("cold-feed", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    router.call(leader, 1, DOC, "alice", create("text")).await;
    restart(&mut cluster, 1).await;
    let router = Router::start(cluster.topology.clone());
    let (leader, opened) = open(&router).await;
    assert_eq!(text_of(&opened), "text");
    let typed = op(9, "alice", 1, opened.rev, "my ");
    router.submit(leader, DOC, &typed).await;
    let (events, _) = router.events(1).await;
    let (rev, client) = (events[0].rev, events[0].client.clone());
    assert_eq!((rev, client), (2, Bytes::copy_from_slice(&typed.client.0)));
    let again = router.open(leader, DOC, "alice", None).await;
    assert_eq!(text_of(&again), "my text");
}
