//! Real sockets before nodes that are not: typing, and a leader that goes away.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use codraft_proto::{
    frame::{At, ClientFrame, Encoding, ServerFrame},
    ids::{Revision, Role, Seq},
    limits::EdgeLimits,
    reject::Code,
};
use fake::{
    Scene,
    client::{Client, insert},
    hash_at, http,
};
use tokio::time::timeout;

const BOTH: [(&str, u32); 2] = [("ana", 4), ("bo", 3)];

#[tokio::test]
async fn two_type_in_two_encodings_and_each_sees_all() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, welcome) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    assert_eq!(
        (welcome.role, welcome.rev, welcome.acked),
        (Role::Owner, Revision(0), None)
    );
    let own = welcome.who.iter().find(|who| who.slot == welcome.you);
    assert_eq!(own.map(|who| who.client), Some(ana.id), "its own slot");
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    for (n, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let author = if n % 2 == 0 { &mut ana } else { &mut bo };
        author.op(text).await;
        let expected = (n as u64 + 1, insert(text));
        assert_eq!(ana.edit().await, expected);
        assert_eq!(bo.edit().await, expected);
    }
    // A third comes later, a fourth resumes.
    let (mut third, welcome) = Client::open(&at, doc, "bo", 3, Encoding::Binary).await;
    assert!(!welcome.resumed());
    // The document may be a bit older, and what came since follows.
    while third.rev < 4 {
        third.edit().await;
    }
    let mut late = Client::silent(&at, doc, "bo", 4, Encoding::Binary).await;
    let welcome = late
        .hello(Some(At {
            rev: Revision(2),
            hash: hash_at(2),
        }))
        .await;
    assert_eq!((welcome.rev, welcome.resumed()), (Revision(2), true));
    assert_eq!(late.edit().await, (3, insert("c")));
    assert_eq!(late.edit().await, (4, insert("d")));
    ana.op("e").await;
    assert_eq!(late.edit().await, (5, insert("e")));
    // The same client id again: the newer socket has it.
    let (_, welcome) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    assert_eq!(welcome.acked, Some((Seq(3), Revision(5))));
    assert_eq!(ana.closed().await, Code::Replaced.close_code());
    scene.end().await;
}

/// Sequence and base, as their authors sent them.
#[tokio::test]
async fn a_json_op_says_its_vector_clock() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    for _ in 0..2 {
        ana.op("a").await;
        ana.edit().await;
    }
    bo.op("late").await;
    let mut clocks = Vec::new();
    while clocks.len() < 3 {
        if let ServerFrame::Op(op) = bo.next().await {
            clocks.push((op.rev.0, op.seq.0, op.base.0));
        }
    }
    assert_eq!(clocks, [(1, 1, 0), (2, 2, 1), (3, 1, 0)]);
    scene.end().await;
}

#[tokio::test]
async fn who_takes_the_client_id_of_another_is_somebody_else() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, hers) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut bo, his) = Client::open(&at, doc, "bo", 1, Encoding::Json).await;
    assert_ne!(hers.you, his.you);
    for (rev, is_ana) in [(1, true), (2, false), (3, true), (4, false)] {
        let author = if is_ana { &mut ana } else { &mut bo };
        author.op("x").await;
        for client in [&mut ana, &mut bo] {
            let event = loop {
                if let ServerFrame::Op(op) = client.next().await {
                    break op;
                }
            };
            let slot = if is_ana { hers.you } else { his.you };
            assert_eq!((event.rev, event.slot), (Revision(rev), slot));
        }
    }
    // What is refused is told to who sent it.
    scene.with_world(|w| w.refuse = Some(Code::Forbidden));
    bo.op("y").await;
    assert!(matches!(bo.next().await, ServerFrame::Reject { .. }));
    scene.with_world(|w| w.refuse = None);
    ana.op("z").await;
    assert_eq!(ana.edit().await.0, 5, "and to nobody else");
    scene.end().await;
}

#[tokio::test]
async fn sockets_outlive_the_leader_and_what_it_swallowed_is_sent_again() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    ana.op("before").await;
    assert_eq!(bo.edit().await.0, 1);
    assert_eq!(ana.edit().await.0, 1);
    scene.with_world(|w| w.swallow = true);
    ana.op("during").await;
    while scene.with_world(|w| w.submits) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.kill(1).await;
    scene.with_world(|w| w.swallow = false);
    // Typed while nobody leads.
    bo.op("while nobody led").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.lead(2);
    for client in [&mut ana, &mut bo] {
        let texts = [client.edit().await.1, client.edit().await.1];
        assert_eq!(
            texts,
            [insert("during"), insert("while nobody led")],
            "in their order"
        );
    }
    ana.op("after").await;
    assert_eq!(bo.edit().await, (4, insert("after")));
    assert_eq!(scene.rev(doc), 4, "nothing twice");
    let metrics = http::get(&at, "/metrics", "").await.body;
    assert!(
        metrics.contains("codraft_router_failover_seconds_count 1"),
        "{metrics}"
    );
    scene.end().await;
}

#[tokio::test]
async fn what_the_dead_leader_had_applied_is_acknowledged_once() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    scene.with_world(|w| w.mute = true);
    ana.op("applied, and nobody heard").await;
    while scene.rev(doc) < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.kill(1).await;
    scene.with_world(|w| w.mute = false);
    scene.lead(2);
    assert_eq!(ana.edit().await.0, 1);
    ana.op("next").await;
    assert_eq!(ana.edit().await.0, 2);
    assert_eq!(scene.rev(doc), 2);
    scene.end().await;
}

#[tokio::test]
async fn a_leader_that_steps_down_names_the_next() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    for leader in [2, 1, 2] {
        scene.lead_quietly(leader);
        ana.op("x").await;
        ana.edit().await;
    }
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    while bo.rev < 3 {
        bo.edit().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_leader_that_steps_down_cuts_all_documents_at_once() {
    let scene = Scene::new().await;
    let docs = [scene.document(1, &BOTH), scene.document(2, &BOTH)];
    let at = scene.router.address().to_owned();
    let mut readers = Vec::new();
    for doc in docs {
        readers.push(Client::open(&at, doc, "bo", 2, Encoding::Json).await.0);
    }
    scene.step_down(2);
    // They are followed at the next one, though nothing was asked that could have told who that is.
    let followed = async {
        while !docs.iter().all(|doc| scene.is_followed(*doc)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), followed).await.unwrap();
    for (doc, reader) in docs.iter().zip(&mut readers) {
        let (mut ana, _) = Client::open(&at, *doc, "ana", 1, Encoding::Binary).await;
        ana.op("x").await;
        assert_eq!(reader.edit().await, (1, insert("x")));
    }
    scene.end().await;
}

#[tokio::test]
async fn a_silent_leader_is_told_of_and_forgotten_when_it_speaks() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    scene.with_world(|w| w.silent = true);
    assert_eq!(ana.next().await, ServerFrame::Saving { on: true });
    scene.with_world(|w| w.silent = false);
    assert_eq!(ana.next().await, ServerFrame::Saving { on: false });
    scene.end().await;
}

#[tokio::test]
async fn grants_change_open_sockets_before_anything_later() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Json).await;
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Binary).await;
    scene.grant(doc, "bo", Role::Viewer as u32);
    let mut bo_heard = Vec::new();
    while bo_heard.last() != Some(&ServerFrame::Role { role: Role::Viewer }) {
        bo_heard.push(bo.next().await);
    }
    scene.grant(doc, "bo", 0);
    ana.op("not for bo").await;
    assert_eq!(ana.edit().await.0, 3);
    assert_eq!(bo.closed().await, Code::Revoked.close_code());
    assert_eq!(bo.rev, 1, "and nothing of what came after was read before");
    scene.end().await;
}

#[tokio::test]
async fn a_feed_that_cannot_go_on_is_opened_again_on_the_same_socket() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    scene.with_world(|w| w.mute = true);
    scene.grant(doc, "cy", Role::Viewer as u32);
    scene.trim(doc);
    scene.with_world(|w| w.mute = false);
    scene.lead(2);
    assert!(matches!(ana.next().await, ServerFrame::Resync { .. }));
    let welcome = ana.hello(None).await;
    assert_eq!(welcome.rev, Revision(1));
    ana.op("x").await;
    assert_eq!(ana.edit().await.0, 2);
    scene.end().await;
}

#[tokio::test]
async fn a_gap_in_a_feed_is_mended_and_nobody_notices() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    scene.with_world(|w| w.mute = true);
    scene.grant(doc, "cy", Role::Viewer as u32);
    scene.grant(doc, "cy", Role::Editor as u32);
    scene.with_world(|w| w.mute = false);
    ana.op("x").await;
    assert_eq!(ana.edit().await.0, 3);
    scene.end().await;
}

#[tokio::test]
async fn answers_of_the_shard_reach_the_client() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    for (code, last) in [(Code::Forbidden, true), (Code::BaseAhead, false)] {
        scene.with_world(|w| w.refuse = Some(code));
        let seq = ana.op("x").await;
        match ana.next().await {
            ServerFrame::Reject {
                seq: s,
                base: Revision(0),
                last: l,
                code: c,
                ..
            } => {
                assert_eq!((s, l, c), (Seq(seq), last, code));
            }
            other => panic!("{other:?}"),
        }
    }
    // A full queue is the router's to wait for.
    scene.with_world(|w| w.refuse = Some(Code::Busy));
    ana.op("patience").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.with_world(|w| w.refuse = None);
    assert_eq!(ana.edit().await, (1, insert("patience")));
    // What was acknowledged already is said to be so.
    ana.send(&ClientFrame::Op {
        seq: Seq(ana.seq),
        base: Revision(0),
        ops: insert("patience"),
    })
    .await;
    assert_eq!(
        ana.next().await,
        ServerFrame::Already {
            seq: Seq(ana.seq),
            rev: Revision(1)
        }
    );
    scene.end().await;
}

#[tokio::test]
async fn who_does_not_read_is_let_go_and_slows_nobody() {
    let limits = EdgeLimits {
        bytes_per_second: 1 << 30,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (_stuck, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    let (mut bo, _) = Client::open(&at, doc, "bo", 3, Encoding::Binary).await;
    let text = "x".repeat(200_000);
    let let_go = "codraft_router_closes_total{code=\"slow_consumer\"} 1";
    // As much as the kernel buffers, then the queue, then a second to take it after all.
    for _ in 0..200 {
        ana.op(&text).await;
        ana.edit().await;
        bo.edit().await;
        if http::get(&at, "/metrics", "").await.body.contains(let_go) {
            scene.end().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the one that does not read is still there");
}

#[tokio::test]
async fn many_open_a_large_document_and_it_comes_once() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let large = insert(&"a \"large\" document\n".repeat(60_000));
    scene.set_state(doc, large.clone());
    let open = |id: u8| {
        let (at, encoding) = (
            at.clone(),
            [Encoding::Binary, Encoding::Json][id as usize % 2],
        );
        async move { Client::open(&at, doc, "bo", id, encoding).await }
    };
    let all = futures_util::future::join_all((1..=30).map(open)).await;
    for (_, welcome) in &all {
        assert_eq!(welcome.doc.as_ref(), Some(&large));
    }
    assert_eq!(scene.with_world(|w| w.states), 1);
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    ana.op("x").await;
    // Who comes now gets what is held, and what came since.
    let (mut late, welcome) = Client::open(&at, doc, "ana", 2, Encoding::Json).await;
    assert_eq!(welcome.doc.as_ref(), Some(&large));
    for mut client in all.into_iter().map(|(client, _)| client) {
        assert_eq!(client.edit().await.0, 1);
    }
    assert_eq!(late.edit().await.0, 1);
    scene.end().await;
}

#[tokio::test]
async fn an_operation_that_cannot_be_spelled_is_a_resync_and_never_another_one() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    scene.spoil(doc);
    assert!(matches!(bo.next().await, ServerFrame::Resync { .. }));
    assert_eq!(ana.edit().await.0, 1, "as it is, where nothing is spelled");
    bo.hello(None).await;
    ana.op("x").await;
    assert_eq!(bo.edit().await, (2, insert("x")));
    scene.end().await;
}

#[tokio::test]
async fn an_edit_that_is_a_restore_says_of_what() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &BOTH);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    ana.op("x").await;
    ana.edit().await;
    scene.restore(doc, 1, insert("y"));
    for client in [&mut ana, &mut bo] {
        let said = loop {
            if let ServerFrame::Op(op) = client.next().await
                && op.rev == Revision(2)
            {
                break (op.restores, op.ops);
            }
        };
        assert_eq!(said, (Some(Revision(1)), insert("y")));
    }
    scene.end().await;
}

#[tokio::test]
async fn who_starts_from_a_document_is_told_where_else_it_is() {
    let scene = Scene::new().await;
    let (doc, other) = (scene.document(1, &BOTH), scene.document(2, &BOTH));
    let at = scene.router.address().to_owned();
    scene.keep(doc, 7);
    // The second one starts from what the router holds, the third from what it has.
    for (id, encoding) in [(1, Encoding::Binary), (2, Encoding::Json)] {
        let (_, welcome) = Client::open(&at, doc, "bo", id, encoding).await;
        let snapshot = welcome.snapshot.unwrap();
        assert_eq!(snapshot.version, Revision(7));
        assert_eq!(snapshot.url, format!("/v1/docs/{doc}/history?version=7"));
    }
    let mut resumes = Client::silent(&at, doc, "bo", 3, Encoding::Binary).await;
    let resume = Some(At {
        rev: Revision(0),
        hash: hash_at(0),
    });
    assert_eq!(resumes.hello(resume).await.snapshot, None);
    let (_, welcome) = Client::open(&at, other, "bo", 1, Encoding::Binary).await;
    assert_eq!(welcome.snapshot, None, "it is nowhere else");
    scene.end().await;
}
