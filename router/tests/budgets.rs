//! What one user may take, from both sides, and that nobody else notices.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame},
    ids::{ClientId, DocId},
    limits::EdgeLimits,
    reject::Code,
};
use fake::{
    ORIGIN, Scene,
    client::{Client, connect},
    http,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

const USERS: [(&str, u32); 2] = [("ana", 4), ("bo", 3)];

async fn scene_of(limits: EdgeLimits) -> (Scene, DocId, String) {
    let scene = Scene::with(limits).await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    (scene, doc, at)
}

#[tokio::test]
async fn operations_of_all_sockets_of_a_user_are_one_budget() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        ops_per_second: 2,
        ..EdgeLimits::default()
    })
    .await;
    let other = scene.document(2, &USERS);
    let (mut here, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut there, _) = Client::open(&at, other, "ana", 2, Encoding::Binary).await;
    let (mut bo, _) = Client::open(&at, other, "bo", 3, Encoding::Binary).await;
    here.op("x").await;
    here.edit().await;
    there.op("x").await;
    there.edit().await;
    there.op("y").await;
    match there.next().await {
        ServerFrame::Reject {
            last: false,
            code: Code::Rate,
            retry_after_ms,
            ..
        } => assert!((1..=500).contains(&retry_after_ms), "{retry_after_ms}"),
        other => panic!("{other:?}"),
    }
    // It is late, not lost.
    there.seq -= 1;
    tokio::time::sleep(Duration::from_millis(500)).await;
    there.op("y").await;
    there.edit().await;
    bo.op("z").await;
    for _ in 0..3 {
        bo.edit().await;
    }
    scene.end().await;
}

/// It is transformed past all that came since, on every replica.
#[tokio::test]
async fn an_operation_that_is_late_costs_more() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        ops_per_second: 5,
        ..EdgeLimits::default()
    })
    .await;
    for n in 0..64 {
        scene.grant(doc, &format!("user {n}"), 1);
    }
    let (mut late, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (mut here, _) = Client::open(&at, doc, "bo", 2, Encoding::Binary).await;
    let head = late.rev;
    late.rev = 0;
    late.op("from long ago").await;
    late.rev = head;
    late.edit().await;
    late.op("at once").await;
    assert!(matches!(
        late.next().await,
        ServerFrame::Reject {
            code: Code::Rate,
            last: false,
            ..
        }
    ));
    here.edit().await;
    for _ in 0..5 {
        here.op("in time").await;
        here.edit().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn requests_and_tickets_have_a_rate_and_say_when_to_come_again() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        requests_per_second: 3,
        tickets_per_second: 1,
        ..EdgeLimits::default()
    })
    .await;
    let ticket = format!("/v1/collab/{doc}/ticket");
    let ask = async |user: &str| http::send(&at, "POST", &ticket, &http::bearer(user), "").await;
    for _ in 0..10 {
        assert_eq!(ask("ana").await.status, 201);
    }
    let refused = ask("ana").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate"));
    assert!(
        refused.head.contains("\r\nretry-after: 1"),
        "{}",
        refused.head
    );
    assert_eq!(ask("bo").await.status, 201, "nobody else's");
    let read = format!("/v1/docs/{doc}");
    let get = async |user: &str| http::get(&at, &read, &http::bearer(user)).await.status;
    let mut served = 0;
    while get("ana").await == 200 {
        served += 1;
        assert!(served < 60, "no limit");
    }
    assert!(served >= 19, "{served} of 30, with those of the tickets");
    assert_eq!(get("bo").await, 200);
    scene.end().await;
}

#[tokio::test]
async fn bodies_are_of_the_same_bytes_as_operations() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        bytes_per_second: 10_000,
        frame_bytes: 10_000,
        ..EdgeLimits::default()
    })
    .await;
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let new = json!({"title": "T", "initial": "x".repeat(9_000)});
    let create = async |user: &str| http::json(&at, "POST", "/v1/docs", user, &new).await;
    assert_eq!(create("ana").await.status, 201);
    assert_eq!(create("ana").await.code(), "rate");
    assert_eq!(create("bo").await.status, 201);
    ana.op(&"y".repeat(9_000)).await;
    assert!(matches!(
        ana.next().await,
        ServerFrame::Reject {
            code: Code::Rate,
            last: false,
            ..
        }
    ));
    scene.end().await;
}

#[tokio::test]
async fn sockets_are_opened_at_a_rate() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        opens_per_second: 1,
        ..EdgeLimits::default()
    })
    .await;
    let open = async |user: &str| {
        let headers = [
            ("authorization", format!("Bearer {}", http::token(user, 60))),
            ("sec-websocket-protocol", "codraft.v1".to_owned()),
        ];
        connect(&at, &doc.to_string(), &headers).await.err()
    };
    for _ in 0..10 {
        assert_eq!(open("ana").await, None);
    }
    assert_eq!(open("ana").await, Some((429, "rate".to_owned())));
    assert_eq!(open("bo").await, None);
    scene.end().await;
}

#[tokio::test]
async fn sockets_of_a_user_are_counted_over_all_documents() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        sockets_per_user: 2,
        sockets_per_user_and_document: 2,
        ..EdgeLimits::default()
    })
    .await;
    let mut held = Vec::new();
    for id in 2..4 {
        let doc = scene.document(id, &USERS);
        held.push(Client::open(&at, doc, "ana", id, Encoding::Json).await);
    }
    let hello = |id| ClientFrame::Hello {
        client: ClientId([id; 16]),
        resume: None,
        unsent: false,
    };
    let mut third = Client::silent(&at, doc, "ana", 9, Encoding::Json).await;
    third.send(&hello(9)).await;
    assert_eq!(third.closed().await, Code::TooManySockets.close_code());
    Client::open(&at, doc, "bo", 8, Encoding::Json).await;
    // One that comes back has its place.
    let again = scene.document(2, &USERS);
    let mut again = Client::silent(&at, again, "ana", 2, Encoding::Json).await;
    again.hello(None).await;
    scene.end().await;
}

fn part(text: &[u8], kind: Data, last: bool) -> Message {
    Message::Frame(Frame::message(text.to_vec(), OpCode::Data(kind), last))
}

#[tokio::test]
async fn a_message_that_began_has_its_time() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        frame_ms: 500,
        ..EdgeLimits::default()
    })
    .await;
    let (mut slow, _) = Client::open(&at, doc, "ana", 1, Encoding::Json).await;
    let (mut stuck, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    // Idle ones have all the time, and a pong is no beginning.
    stuck.raw(Message::Pong("x".into())).await;
    for client in [&mut slow, &mut stuck] {
        client.raw(part(b"{\"type\":", Data::Text, false)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stuck.raw(Message::Pong("still here".into())).await;
    slow.raw(part(b"\"ping\"}", Data::Continue, true)).await;
    assert_eq!(slow.next().await, ServerFrame::Pong);
    assert_eq!(stuck.closed().await, Code::Unfinished.close_code());
    slow.send(&ClientFrame::Ping).await;
    assert_eq!(slow.next().await, ServerFrame::Pong);
    scene.end().await;
}

#[tokio::test]
async fn unfinished_messages_of_a_user_are_bounded() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        frame_bytes: 20_000,
        ..EdgeLimits::default()
    })
    .await;
    let half = || part(&[b' '; 19_000], Data::Text, false);
    let mut all = Vec::new();
    for id in 1..=4 {
        let (mut client, _) = Client::open(&at, doc, "ana", id, Encoding::Json).await;
        client.raw(half()).await;
        all.push(client);
    }
    let (mut one_more, _) = Client::open(&at, doc, "ana", 5, Encoding::Json).await;
    one_more.raw(half()).await;
    assert_eq!(one_more.closed().await, Code::Rate.close_code());
    let (mut bo, _) = Client::open(&at, doc, "bo", 6, Encoding::Json).await;
    bo.raw(half()).await;
    for client in all.iter_mut().chain([&mut bo]) {
        client
            .raw(part(b"{\"type\":\"ping\"}", Data::Continue, true))
            .await;
        assert_eq!(client.next().await, ServerFrame::Pong);
    }
    scene.end().await;
}

#[tokio::test]
async fn sockets_of_a_router_are_counted_over_all_users() {
    let (scene, doc, at) = scene_of(EdgeLimits {
        sockets: 2,
        sockets_per_user: 2,
        sockets_per_user_and_document: 2,
        ..EdgeLimits::default()
    })
    .await;
    let upgrade = async |user: &str| {
        let headers = [
            ("authorization", format!("Bearer {}", http::token(user, 60))),
            ("sec-websocket-protocol", "codraft.v1".to_owned()),
        ];
        connect(&at, &doc.to_string(), &headers).await
    };
    let first = upgrade("ana").await.unwrap();
    let _second = upgrade("bo").await.unwrap();
    assert_eq!(
        upgrade("ana").await.err(),
        Some((429, "too_many_sockets".to_owned())),
        "the third"
    );
    drop(first);
    // It is noticed in a moment that one has gone.
    let mut asked = 0;
    while let Err(refused) = upgrade("bo").await {
        assert_eq!(refused.1, "too_many_sockets");
        asked += 1;
        assert!(asked < 100, "its place is free for nobody");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_message_is_as_large_as_its_limit_and_no_larger() {
    const MOST: usize = 2_000;
    let (scene, doc, at) = scene_of(EdgeLimits {
        frame_bytes: MOST as u32,
        ..EdgeLimits::default()
    })
    .await;
    let ping = |bytes: usize| format!("{:bytes$}", r#"{"type":"ping"}"#);
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Json).await;
    ana.raw(Message::text(ping(MOST))).await;
    assert_eq!(ana.next().await, ServerFrame::Pong);
    // Also in parts.
    let halves = |bytes: usize| {
        let text = ping(bytes);
        let (first, rest) = text.split_at(MOST / 2);
        let last = part(rest.as_bytes(), Data::Continue, true);
        [part(first.as_bytes(), Data::Text, false), last]
    };
    for half in halves(MOST) {
        ana.raw(half).await;
    }
    assert_eq!(ana.next().await, ServerFrame::Pong);
    ana.raw(Message::text(ping(MOST + 1))).await;
    assert_eq!(ana.closed().await, Code::FrameTooLarge.close_code());
    let (mut bo, _) = Client::open(&at, doc, "bo", 2, Encoding::Json).await;
    for half in halves(MOST + 1) {
        bo.raw(half).await;
    }
    assert_eq!(bo.closed().await, Code::FrameTooLarge.close_code());
    scene.end().await;
}

#[tokio::test]
async fn the_first_message_is_as_large_as_a_hello_may_be_and_no_larger() {
    const MOST: usize = 65_536;
    let (scene, doc, at) = scene_of(EdgeLimits::default()).await;
    let hello = |bytes: usize| {
        let client = "01".repeat(16);
        let hello = format!(r#"{{"type":"hello","client":"{client}","unsent":false}}"#);
        let spaces = " ".repeat(bytes - hello.len());
        Message::text(hello + &spaces)
    };
    let mut ana = Client::silent(&at, doc, "ana", 1, Encoding::Json).await;
    ana.raw(hello(MOST)).await;
    assert!(matches!(ana.next().await, ServerFrame::Welcome(_)));
    let mut bo = Client::silent(&at, doc, "bo", 1, Encoding::Json).await;
    bo.raw(hello(MOST + 1)).await;
    assert_eq!(bo.closed().await, Code::FrameTooLarge.close_code());
    scene.end().await;
}

#[tokio::test]
async fn a_shorter_token_ends_its_socket_earlier() {
    let (scene, doc, at) = scene_of(EdgeLimits::default()).await;
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let token = http::token("ana", 1);
    ana.send(&ClientFrame::Auth { token }).await;
    assert_eq!(ana.closed().await, Code::TokenExpired.close_code());
    scene.end().await;
}

#[tokio::test]
async fn a_hello_says_whether_something_is_unsent() {
    let (scene, doc, at) = scene_of(EdgeLimits::default()).await;
    let client = "00000000000000000000000000000001";
    for unsent in [
        "",
        r#","unsent":"yes""#,
        r#","unsent":null"#,
        r#","unsent":1"#,
    ] {
        let hello = format!(r#"{{"type":"hello","client":"{client}"{unsent}}}"#);
        let mut text = Client::silent(&at, doc, "ana", 1, Encoding::Json).await;
        text.raw(Message::text(hello.clone())).await;
        assert_eq!(text.closed().await, Code::Malformed.close_code(), "{hello}");
        let mut binary = Client::silent(&at, doc, "ana", 1, Encoding::Binary).await;
        let frame = [&[0x80 | 32], hello.as_bytes()].concat();
        binary.raw(Message::binary(frame)).await;
        assert_eq!(
            binary.closed().await,
            Code::Malformed.close_code(),
            "{hello}"
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn http_1_0_has_no_upgrade() {
    let (scene, doc, at) = scene_of(EdgeLimits::default()).await;
    for (version, status) in [("1.0", "400"), ("1.1", "101")] {
        let mut stream = TcpStream::connect(&at).await.unwrap();
        let request = format!(
            "GET /v1/collab/{doc} HTTP/{version}\r\nhost: {at}\r\n{}origin: {ORIGIN}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: codraft.v1\r\n\r\n",
            http::bearer("ana")
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(&line[9..], status.as_bytes(), "{version}");
    }
    scene.end().await;
}
