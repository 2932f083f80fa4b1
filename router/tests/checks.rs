//! What clients say their document is, beside what it is.
#![allow(clippy::unwrap_used)]

mod fake;

use codraft_proto::{
    frame::{ClientFrame, DIVERGED, Encoding, ServerFrame, Welcome},
    ids::{DocId, Revision},
};
use fake::{
    Scene,
    client::{Client, insert},
    http,
};

const USERS: [(&str, u32); 2] = [("ana", 4), ("bo", 3)];
const IS: [u8; 32] = [7; 32];
const IS_NOT: [u8; 32] = [8; 32];

/// A router that has said so much of checks in its metrics.
async fn counts(scene: &Scene, outcome: &str, times: u32) {
    let line = format!("codraft_router_checks_total{{outcome=\"{outcome}\"}} {times}\n");
    for _ in 0..1_000 {
        if metrics(scene).await.contains(&line) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("not {line}in {}", metrics(scene).await);
}

async fn metrics(scene: &Scene) -> String {
    http::get(scene.router.address(), "/metrics", "").await.body
}

async fn open(scene: &Scene, doc: DocId, id: u8) -> (Client, Welcome) {
    let encoding = [Encoding::Binary, Encoding::Json][id as usize % 2];
    Client::open(scene.router.address(), doc, "bo", id, encoding).await
}

async fn says(client: &mut Client, rev: u64, digest: [u8; 32]) {
    let rev = Revision(rev);
    client.send(&ClientFrame::Check { rev, digest }).await;
}

#[tokio::test]
async fn all_at_a_revision_are_compared_with_one_digest() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    scene.with_world(|w| w.digest = Some(IS));
    let mut clients = Vec::new();
    for id in 1..=10 {
        clients.push(open(&scene, doc, id).await.0);
    }
    for client in &mut clients {
        says(client, 0, IS).await;
    }
    counts(&scene, "same", 10).await;
    assert_eq!(scene.with_world(|w| w.checks), 1);
    assert!(
        metrics(&scene)
            .await
            .contains("codraft_router_divergences_total 0\n")
    );
    clients[0].op("x").await;
    assert_eq!(
        clients[9].edit().await,
        (1, insert("x")),
        "nobody heard of it"
    );
    scene.end().await;
}

#[tokio::test]
async fn whose_text_is_another_one_opens_again_and_is_counted() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    scene.with_world(|w| w.digest = Some(IS));
    let (mut ana, _) = open(&scene, doc, 1).await;
    let (mut bo, _) = open(&scene, doc, 2).await;
    says(&mut ana, 0, IS).await;
    says(&mut bo, 0, IS_NOT).await;
    let reason = DIVERGED.to_owned();
    assert_eq!(bo.next().await, ServerFrame::Resync { reason });
    counts(&scene, "differs", 1).await;
    counts(&scene, "same", 1).await;
    assert!(
        metrics(&scene)
            .await
            .contains("codraft_router_divergences_total 1\n")
    );
    ana.op("x").await;
    assert_eq!(ana.edit().await, (1, insert("x")));
    // It hears nothing of that, but starts behind it.
    let states = scene.with_world(|w| w.states);
    let welcome = bo.hello(None).await;
    assert_eq!((welcome.rev, welcome.resumed()), (Revision(1), false));
    assert_eq!(scene.with_world(|w| w.states), states + 1, "the leader's");
    ana.op("y").await;
    assert_eq!(bo.edit().await, (2, insert("y")));
    scene.end().await;
}

#[tokio::test]
async fn what_is_not_of_the_head_is_compared_with_nothing() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    scene.with_world(|w| w.digest = Some(IS));
    let (mut ana, _) = open(&scene, doc, 1).await;
    let (mut bo, _) = open(&scene, doc, 2).await;
    ana.op("x").await;
    bo.edit().await;
    says(&mut bo, 0, IS_NOT).await;
    counts(&scene, "stale", 1).await;
    // Its own operation is under way, and in what it says, or not.
    scene.with_world(|w| w.swallow = true);
    ana.edit().await;
    ana.op("y").await;
    says(&mut ana, 1, IS_NOT).await;
    counts(&scene, "stale", 2).await;
    assert_eq!(scene.with_world(|w| w.checks), 0, "no node was asked");
    scene.end().await;
}

#[tokio::test]
async fn a_digest_of_one_revision_says_nothing_of_the_next() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    scene.with_world(|w| w.digest = Some(IS));
    let (mut ana, _) = open(&scene, doc, 1).await;
    let (mut bo, _) = open(&scene, doc, 2).await;
    says(&mut ana, 0, IS).await;
    counts(&scene, "same", 1).await;
    scene.with_world(|w| w.digest = Some(IS_NOT));
    ana.op("x").await;
    bo.edit().await;
    // A document is asked for once a second at most.
    let mut asked = 3;
    while scene.with_world(|w| w.checks) < 2 {
        let (mut cy, _) = open(&scene, doc, asked).await;
        while cy.rev < 1 {
            cy.edit().await;
        }
        says(&mut cy, 1, IS_NOT).await;
        asked += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    counts(&scene, "same", 2).await;
    counts(&scene, "limited", u32::from(asked) - 4).await;
    scene.end().await;
}

#[tokio::test]
async fn who_asks_again_and_again_is_not_heard() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    let (mut ana, _) = open(&scene, doc, 1).await;
    for _ in 0..50 {
        says(&mut ana, 0, IS_NOT).await;
    }
    counts(&scene, "limited", 49).await;
    // Nobody could say what it is.
    counts(&scene, "stale", 1).await;
    assert_eq!(scene.with_world(|w| w.checks), 1);
    ana.op("x").await;
    assert_eq!(ana.edit().await.0, 1, "and goes on");
    scene.end().await;
}
