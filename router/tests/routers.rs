//! One of several routers: where its tickets send sockets, and which it sends on.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame},
    ids::DocId,
    limits::EdgeLimits,
    placement,
    reject::Code,
};
use fake::{Scene, client::Client, http};
use serde_json::Value;

const HERE: &str = "http://here.test";
const THERE: &str = "https://there.test:8443";
const USERS: [(&str, u32); 1] = [("ana", 4)];

/// A document whose sockets are to meet at this one of the two.
fn document_of(scene: &Scene, router: &str) -> DocId {
    let is_of = |id: &u8| placement::routers(&DocId([*id; 16]), [HERE, THERE])[0] == router;
    scene.document((1..=u8::MAX).find(is_of).unwrap(), &USERS)
}

async fn ticket(scene: &Scene, doc: DocId, query: &str) -> Value {
    let path = format!("/v1/collab/{doc}/ticket{query}");
    let at = scene.router.address();
    let answer = http::send(at, "POST", &path, &http::bearer("ana"), "").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

/// Tells of both routers, and waits until that is known.
async fn tell_of_both(scene: &Scene, doc: DocId) {
    scene.with_world(|world| world.tell_routers(&[HERE, THERE]));
    for _ in 0..500 {
        if ticket(scene, doc, "").await["others"] != Value::Array(Vec::new()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not hear of the other router");
}

#[tokio::test]
async fn a_ticket_names_the_router_of_the_document_and_is_good_nowhere_else() {
    let scene = Scene::at(HERE, EdgeLimits::default()).await;
    let at = scene.router.address().to_owned();
    let (ours, theirs) = (document_of(&scene, HERE), document_of(&scene, THERE));
    let alone = ticket(&scene, theirs, "").await;
    assert_eq!(
        (&alone["url"], &alone["others"]),
        (&HERE.into(), &Value::Array(vec![]))
    );
    tell_of_both(&scene, ours).await;

    for (doc, url, other) in [(ours, HERE, THERE), (theirs, THERE, HERE)] {
        let named = ticket(&scene, doc, "").await;
        assert_eq!(
            (&named["url"], &named["others"][0]),
            (&url.into(), &other.into())
        );
        let shown = Client::with_ticket(&at, doc, named["ticket"].as_str().unwrap(), 1).await;
        let refused = shown.map(|_| ()).err();
        let wrong = (401, "token_invalid".to_owned());
        assert_eq!(refused, (url == THERE).then_some(wrong), "{doc}");
        // Who could not reach one of them, or neither.
        let next = ticket(&scene, doc, &format!("?not={url}")).await;
        assert_eq!(next["url"], other);
        let here = ticket(&scene, doc, &format!("?not={HERE},,{THERE}")).await;
        assert_eq!(here["url"], HERE);
        let ticket = here["ticket"].as_str().unwrap();
        assert!(Client::with_ticket(&at, doc, ticket, 1).await.is_ok());
    }
    // The page may ask there, too.
    let page = http::get(&at, "/", "").await;
    assert!(
        page.head
            .contains(&format!("connect-src 'self' ws: wss: {HERE} {THERE};")),
        "{}",
        page.head
    );
    scene.end().await;
}

#[tokio::test]
async fn without_an_address_nobody_is_sent_there_and_all_is_as_it_was() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let doc = scene.document(1, &USERS);
    let plain = ticket(&scene, doc, "").await;
    assert!(plain.get("url").is_none(), "{plain}");
    let shown = Client::with_ticket(&at, doc, plain["ticket"].as_str().unwrap(), 1).await;
    assert!(shown.is_ok());
    // It sends clients to those that have one.
    tell_of_both(&scene, doc).await;
    let elsewhere = ticket(&scene, doc, "").await;
    assert_eq!(elsewhere["url"], placement::routers(&doc, [HERE, THERE])[0]);
    let shown = Client::with_ticket(&at, doc, elsewhere["ticket"].as_str().unwrap(), 1).await;
    assert_eq!(
        shown.map(|_| ()).err(),
        Some((401, "token_invalid".to_owned()))
    );
    scene.end().await;
}

#[tokio::test]
async fn sockets_go_where_their_document_is_once_there_is_another_router() {
    let scene = Scene::at(HERE, EdgeLimits::default()).await;
    let at = scene.router.address().to_owned();
    let (stays, goes) = (document_of(&scene, HERE), document_of(&scene, THERE));
    let mut placed = Vec::new();
    for doc in [stays, goes] {
        let given = ticket(&scene, doc, "").await;
        let given = given["ticket"].as_str().unwrap();
        let mut client = Client::with_ticket(&at, doc, given, 1).await.unwrap();
        client.hello(None).await;
        placed.push(client);
    }
    // A program that came here by itself, with a header.
    let (mut program, _) = Client::open(&at, goes, "ana", 2, Encoding::Binary).await;
    tell_of_both(&scene, stays).await;
    loop {
        match placed[1].next().await {
            ServerFrame::Bye {
                code,
                retry_after_ms,
                ..
            } => {
                assert_eq!(code, Code::ShuttingDown);
                assert!(retry_after_ms > 0);
                break;
            }
            ServerFrame::Who(_) => {}
            other => panic!("{other:?}"),
        }
    }
    for client in [&mut placed[0], &mut program] {
        client.send(&ClientFrame::Ping).await;
        while !matches!(client.next().await, ServerFrame::Pong) {}
    }
    scene.end().await;
}
