//! Where people are in a document, told by several routers.

use codraft_proto::{
    ids::{ClientId, NodeId},
    v1::{self, call, message::Body, reply},
};

use crate::rig::{Cluster, DOC, Router, create};

fn person(n: u8, cursor: Option<u32>) -> v1::Person {
    v1::Person {
        client: ClientId([n; 16]).to_bytes(),
        user: "alice".into(),
        name: "Alice".into(),
        standing: cursor.map(|cursor| v1::Standing {
            rev: 1,
            cursor: Some(cursor),
            age_ms: 1_000,
            ..v1::Standing::default()
        }),
    }
}

async fn say(router: &Router, node: NodeId, people: Vec<v1::Person>, whole: bool) {
    let doc = DOC.to_bytes();
    let said = v1::Presence { doc, people, whole };
    router.send(node, Body::Presence(said)).await;
}

/// Until a router hears this of somebody; how many people are in that message.
async fn hears(router: &Router, of: v1::Person, whole: bool) -> usize {
    let cursor = |person: &v1::Person| person.standing.as_ref().map(|is| is.cursor);
    let is_it = |person: &v1::Person| person.client == of.client && cursor(person) == cursor(&of);
    let told = |body: &Body| match body {
        Body::Presences(told) if told.whole == whole && told.people.iter().any(is_it) => {
            Some(told.people.len())
        }
        _ => None,
    };
    router.hear("somebody", told).await
}

async fn here(router: &Router, node: NodeId, id: u64, user: &str) -> reply::Body {
    let question = call::Body::Presence(v1::Describe {});
    router.call(node, id, DOC, user, question).await
}

#[tokio::test]
async fn routers_agree_and_one_that_is_gone_takes_its_own_people() {
    let mut cluster = Cluster::start("presence", 1).await;
    let (one, other) = (
        Router::start(cluster.topology.clone()),
        Router::start(cluster.topology.clone()),
    );
    let leader = one.leader(&DOC, None).await;
    one.call(leader, 1, DOC, "alice", create("text")).await;
    say(&one, leader, vec![person(1, Some(5))], true).await;
    assert_eq!(hears(&one, person(1, Some(5)), true).await, 1);
    say(
        &other,
        leader,
        vec![person(2, Some(6)), person(3, Some(7))],
        true,
    )
    .await;
    assert_eq!(hears(&other, person(1, Some(5)), true).await, 3);
    assert_eq!(hears(&one, person(3, Some(7)), false).await, 2);
    say(&one, leader, vec![person(1, Some(8))], false).await;
    hears(&other, person(1, Some(8)), false).await;

    // A socket that moved to another router: what the first one says of its end is an old story.
    say(&one, leader, vec![person(3, Some(9))], false).await;
    hears(&other, person(3, Some(9)), false).await;
    say(
        &other,
        leader,
        vec![person(3, None), person(2, Some(10))],
        false,
    )
    .await;
    hears(&one, person(2, Some(10)), false).await;
    match here(&one, leader, 2, "alice").await {
        reply::Body::Presence(here) => {
            assert_eq!(here.people.len(), 3);
            assert!(
                here.people
                    .iter()
                    .all(|p| p.standing.as_ref().unwrap().last_seen_ms > 0)
            );
        }
        other => panic!("{other:?}"),
    }
    match here(&one, leader, 3, "nobody").await {
        reply::Body::Problem(_) => {}
        other => panic!("{other:?}"),
    }

    other.stop().await;
    hears(&one, person(2, None), false).await;
    // Another leader knows of nobody, until it is told.
    cluster.stop_node(leader).await;
    let next = one.leader(&DOC, Some(leader)).await;
    let empty = reply::Body::Presence(v1::Presences {
        doc: DOC.to_bytes(),
        people: Vec::new(),
        whole: true,
    });
    assert_eq!(here(&one, next, 4, "alice").await, empty);
    say(&one, next, vec![person(1, Some(8))], true).await;
    assert_eq!(hears(&one, person(1, Some(8)), true).await, 1);
    for (_, node) in std::mem::take(&mut cluster.nodes) {
        node.shutdown().await;
    }
}
