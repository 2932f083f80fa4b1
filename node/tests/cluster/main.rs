//! Three nodes in one process, on one thread, over real sockets and real disks, and a
//! router's side of their links.
#![allow(clippy::unwrap_used)]

mod cold;
mod opens;
mod presence;
mod rig;
mod routers;

use std::time::Duration;

use bytes::Bytes;
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::{
    event,
    ids::{DocId, NodeId, Role},
    reject::Code,
    topology::Topology,
    v1::{self, answer::Verdict, call, message::Body, reply},
};

use rig::{Cluster, DOC, Router, code, create, grant, op, text_of};
#[tokio::test]
async fn a_document_lives_through_the_death_of_its_leader() {
    let mut cluster = Cluster::start("lives", 2).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;

    let made = router.call(leader, 1, DOC, "alice", create("hi")).await;
    assert_eq!(made, reply::Body::Rev(1));
    let again = router.call(leader, 2, DOC, "alice", create("hi")).await;
    assert_eq!(again, reply::Body::Rev(1), "a repeat");
    let granted = router
        .call(leader, 3, DOC, "alice", grant("bob", Some(Role::Editor)))
        .await;
    assert_eq!(granted, reply::Body::Rev(2));

    let opened = router.open(leader, DOC, "alice", None).await;
    assert_eq!(
        (opened.rev, opened.role, text_of(&opened)),
        (2, Role::Owner as u32, "hi".into())
    );
    assert_eq!(opened.title, "A title");

    // Two authors at once; what they get is one order.
    let (a, b) = (op(1, "alice", 1, 2, "A"), op(2, "bob", 1, 2, "B"));
    router.submit(leader, DOC, &a).await;
    router.submit(leader, DOC, &b).await;
    let (events, hash) = router.events(2).await;
    assert_eq!(events.iter().map(|e| e.rev).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(events[0].client, a.client.0.as_slice());
    assert_eq!(events[1].user, "bob");
    assert!(events.iter().all(|e| e.kind == event::EDIT));

    // A repeat is told its revision; a stranger and a wrong length are refused for good.
    router.submit(leader, DOC, &a).await;
    assert_eq!(router.answer(&a).await, Verdict::Already(3));
    let stranger = op(7, "eve", 1, 4, "x");
    router.submit(leader, DOC, &stranger).await;
    assert!(matches!(
        router.answer(&stranger).await,
        Verdict::Refused(_)
    ));

    // Another node says who leads, to operations and to opens.
    let other = cluster
        .topology
        .nodes()
        .iter()
        .map(|n| n.0)
        .find(|n| *n != leader)
        .unwrap();
    let elsewhere = op(1, "alice", 2, 4, "x");
    router.submit(other, DOC, &elsewhere).await;
    let Verdict::Retry(problem) = router.answer(&elsewhere).await else {
        panic!("not a retry")
    };
    assert_eq!(problem.code, Code::NotLeader as u32);
    assert_eq!(problem.leader.unwrap().node, leader.0);
    let opened = router.open(other, DOC, "alice", None).await;
    assert_eq!(code(&opened.problem), Some(Code::NotLeader));

    // Missing and forbidden look alike.
    let forbidden = router.open(leader, DOC, "eve", None).await.problem;
    let twin =
        |n: &u8| router.topology.group_of(&DocId([*n; 16])) == router.topology.group_of(&DOC);
    let missing = DocId([(4..).find(twin).unwrap(); 16]);
    let missing = router.open(leader, missing, "eve", None).await.problem;
    assert_eq!(code(&forbidden), Some(Code::NotFound));
    assert_eq!(forbidden, missing);

    // The leader goes; the feed goes on where it was.
    let resume = v1::Resume { rev: 4, hash };
    cluster.stop_node(leader).await;
    let next = router.leader(&DOC, Some(leader)).await;
    router.heard.state().data.clear();
    let follow = v1::Follow {
        doc: DOC.to_bytes(),
        after: Some(resume.clone()),
    };
    router.send(next, Body::Follow(follow)).await;
    let followed = |body: &Body| match body {
        Body::Followed(followed) => Some(followed.clone()),
        _ => None,
    };
    let followed = router.hear("followed", followed).await;
    assert_eq!(followed.problem, None);
    assert!(
        followed.resumed && followed.events.is_empty(),
        "{followed:?}"
    );
    assert_eq!((followed.rev, &followed.hash), (4, &resume.hash));
    router.submit(next, DOC, &b).await;
    assert_eq!(
        router.answer(&b).await,
        Verdict::Already(4),
        "known to the next leader too"
    );
    let more = op(2, "bob", 2, 4, "C");
    router.submit(next, DOC, &more).await;
    assert_eq!(router.events(1).await.0[0].rev, 5);

    // And back: it catches up, and may lead again.
    cluster.start_node(leader).await;
    cluster.stop_node(next).await;
    let last = router.leader(&DOC, Some(next)).await;
    let opened = router.open(last, DOC, "bob", Some(resume)).await;
    assert_eq!(opened.from(), v1::OpenedFrom::Resume, "{opened:?}");
    assert_eq!(opened.events.len(), 1);
    assert_eq!(opened.acked, None, "of another client");
    let opened = router.open(last, DOC, "bob", None).await;
    assert_eq!(text_of(&opened).len(), 5);
    for (_, node) in std::mem::take(&mut cluster.nodes) {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_reader_sees_no_history_from_before_the_grant() {
    let mut cluster = Cluster::start("reader", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    router.call(leader, 1, DOC, "alice", create("")).await;
    let opened = router.open(leader, DOC, "alice", None).await;
    let before = v1::Resume {
        rev: 1,
        hash: opened.hash,
    };
    router
        .submit(leader, DOC, &op(1, "alice", 1, 1, "secret"))
        .await;
    router.events(1).await;
    router
        .call(leader, 2, DOC, "alice", grant("vera", Some(Role::Viewer)))
        .await;
    let (events, hash) = router.events(1).await;
    assert_eq!(
        event::read_grant(&events[0].body),
        Some(("vera", Some(Role::Viewer)))
    );
    let since = v1::Resume { rev: 3, hash };

    let opened = router.open(leader, DOC, "vera", Some(before.clone())).await;
    assert!(opened.from() == v1::OpenedFrom::State && opened.events.is_empty());
    assert_eq!(
        text_of(&opened),
        "secret",
        "the state is hers, the history is not"
    );
    let opened = router.open(leader, DOC, "vera", Some(since)).await;
    assert_eq!(opened.from(), v1::OpenedFrom::Resume);
    let opened = router
        .open(leader, DOC, "alice", Some(before.clone()))
        .await;
    assert_eq!(
        (opened.from(), opened.events.len()),
        (v1::OpenedFrom::Resume, 2)
    );
    let lie = v1::Resume {
        hash: Bytes::from_static(&[1; 32]),
        ..before
    };
    let opened = router.open(leader, DOC, "alice", Some(lie)).await;
    assert_eq!(opened.from(), v1::OpenedFrom::State);

    let describe = call::Body::Describe(v1::Describe {});
    let description = router.call(leader, 4, DOC, "vera", describe.clone()).await;
    let reply::Body::Description(description) = description else {
        panic!("{description:?}")
    };
    assert_eq!(
        (description.rev, description.role),
        (3, Role::Viewer as u32)
    );
    assert_eq!(description.permissions.len(), 2);
    let unknown = router.call(leader, 5, DOC, "eve", describe).await;
    assert!(matches!(unknown, reply::Body::Problem(p) if p.code == Code::NotFound as u32));

    // Leaders say that they lead, again and again.
    let beats = router.heard.state().beats;
    router
        .heard
        .until("beats", |state| (state.beats >= beats + 3).then_some(()))
        .await;
    let metrics = cluster.nodes[&leader].metrics();
    assert!(
        metrics.contains("codraft_node_submits_total 1"),
        "{metrics}"
    );
    let value = |name: &str| -> u64 {
        let line = format!("codraft_node_{name}{{group=\"0\"}} ");
        let value = metrics.lines().find_map(|of| of.strip_prefix(&line));
        value.unwrap().parse().unwrap()
    };
    let (timed, entries) = (value("apply_seconds_count"), value("log_entries"));
    // Its members, a document and an edit at least.
    assert!(timed >= 3 && timed <= entries, "{metrics}");
    let state = value("state_bytes");
    let own =
        cluster.nodes[&leader].with_document(&DOC, codraft_raft::machine::Document::heap_bytes);
    assert!(own.is_some_and(|own| own > 0 && state >= own), "{metrics}");
    for (_, node) in std::mem::take(&mut cluster.nodes) {
        node.shutdown().await;
    }
}

/// What a router compares with what clients have: of the head alone, from whoever has it.
#[tokio::test]
async fn the_text_of_a_revision_has_one_digest_on_every_node() {
    let cluster = Cluster::start("checked", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    let text = "0123456789abcdef".repeat(64 << 10);
    let made = router.call(leader, 1, DOC, "alice", create(&text)).await;
    assert_eq!(made, reply::Body::Rev(1));
    let digest = {
        let delta = Delta::new().insert(&text).clone();
        Content::from_delta(Kind::Text, &delta, &Limits::default())
            .unwrap()
            .digest()
    };
    let asked = async |node: NodeId, rev: u64| {
        let doc = DOC.to_bytes();
        router.send(node, Body::Check(v1::Check { doc, rev })).await;
        let checked = |body: &Body| match body {
            Body::Checked(checked) => Some(checked.clone()),
            _ => None,
        };
        let checked = router.hear("an answer", checked).await;
        assert_eq!((&checked.doc[..], checked.rev), (&DOC.0[..], rev));
        checked.digest
    };
    for node in (1..=3).map(NodeId) {
        // A follower hears of a commit with the next entries or the next heartbeat.
        while asked(node, 1).await != digest.as_slice() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(asked(node, 2).await.is_empty(), "nobody has it yet");
    }
    router.submit(leader, DOC, &op(8, "alice", 1, 1, "x")).await;
    // Nobody follows the document here.
    while !asked(leader, 1).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked(leader, 2).await.len(), 32);
}
