//! What it takes to open large documents.

use std::time::Duration;

use bytes::Bytes;
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::v1::{self, message::Body, reply};
use tokio::time::timeout;

use crate::rig::{Cluster, DOC, Router, create, op};

/// As a router does that comes back with many sockets: more than a link's queue takes at once.
#[tokio::test]
async fn many_open_a_large_document_at_once() {
    const OPENS: u64 = 40;
    let cluster = Cluster::start("large", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    let large = "0123456789abcdef".repeat(3 << 16);
    let made = router.call(leader, 1, DOC, "alice", create(&large)).await;
    assert_eq!(made, reply::Body::Rev(1));
    for tag in 1..=OPENS {
        let open = v1::Open {
            tag,
            doc: DOC.to_bytes(),
            client: Bytes::copy_from_slice(&[tag as u8; 16]),
            user: "alice".into(),
            bring: true,
            ..v1::Open::default()
        };
        router.send(leader, Body::Open(open)).await;
    }
    let mut held = None;
    for tag in 1..=OPENS {
        let opened = |body: &Body| match body {
            Body::Opened(opened) if opened.tag == tag => Some(opened.clone()),
            _ => None,
        };
        let opened = router.hear("opened", opened).await;
        assert_eq!(
            (opened.problem, opened.state.len() >> 20),
            (None, 3),
            "{tag}"
        );
        let (rev, hash) = (opened.rev, opened.hash);
        held = Some(v1::Resume { rev, hash });
    }
    // Where a router has it already it is not sent again, and not without being asked for.
    let wrong = held.clone().map(|at| v1::Resume { rev: 0, ..at });
    for (held, start) in [
        (&held, v1::OpenedFrom::Held),
        (&wrong, v1::OpenedFrom::Nothing),
        (&None, v1::OpenedFrom::Nothing),
    ] {
        assert_eq!(router.starts(leader, 7, held).await, (start, 0));
    }
    // It will do with what came since, unless that is much or the reader's own.
    router.submit(leader, DOC, &op(8, "alice", 1, 1, "x")).await;
    router.events(1).await;
    for (client, start) in [
        (7, (v1::OpenedFrom::Held, 1)),
        (8, (v1::OpenedFrom::Nothing, 0)),
    ] {
        assert_eq!(router.starts(leader, client, &held).await, start);
    }
    let much = op(8, "alice", 2, 2, &"y".repeat(64 << 10));
    router.submit(leader, DOC, &much).await;
    router.events(1).await;
    let anew = (v1::OpenedFrom::Nothing, 0);
    assert_eq!(router.starts(leader, 7, &held).await, anew);
}

/// A document that is spelled while others type is told with what they typed meanwhile.
#[tokio::test]
async fn a_large_document_is_opened_as_it_is_while_others_type() {
    const AT_ONCE: u8 = 20;
    let cluster = Cluster::start("typed", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    let large = "0123456789abcdef".repeat(1 << 16);
    let made = router.call(leader, 1, DOC, "alice", create(&large)).await;
    assert_eq!(made, reply::Body::Rev(1));
    let (mut head, mut behind) = (1, false);
    for round in 1..=200 {
        let open = v1::Open {
            tag: round,
            doc: DOC.to_bytes(),
            user: "alice".into(),
            bring: true,
            ..v1::Open::default()
        };
        router.send(leader, Body::Open(open)).await;
        for client in 1..=AT_ONCE {
            let typed = op(client, "alice", round, head, "x");
            router.submit(leader, DOC, &typed).await;
        }
        let opened = |body: &Body| match body {
            Body::Opened(opened) if opened.tag == round => Some(opened.clone()),
            _ => None,
        };
        let opened = router.hear("opened", opened).await;
        assert_eq!(opened.from(), v1::OpenedFrom::State);
        let at = opened.state_at.clone().unwrap();
        let limits = Limits::default();
        let delta = Delta::decode(&opened.state, &limits).unwrap();
        let mut content = Content::from_delta(Kind::Text, &delta, &limits).unwrap();
        for (event, rev) in opened.events.iter().zip(at.rev + 1..) {
            assert_eq!((event.rev, event.kind), (rev, 0));
            let delta = Delta::decode(&event.body, &limits).unwrap();
            content.apply(&delta, &limits).unwrap();
        }
        assert_eq!(at.rev + opened.events.len() as u64, opened.rev);
        let typed = content.units() as usize - large.len();
        assert_eq!(typed as u64, opened.rev - 1, "a letter each");
        head = opened.rev;
        behind |= at.rev < head;
        if behind {
            break;
        }
    }
    assert!(behind, "nobody ever typed while it was spelled");
    // It is not kept for ever.
    let free = || {
        let metrics = cluster.nodes[&leader].metrics();
        metrics.contains("codraft_node_spelled_bytes 0")
    };
    let freed = async {
        while !free() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}
