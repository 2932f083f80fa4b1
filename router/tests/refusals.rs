//! Bad input: each gets its code, is counted, and harms nobody else.
#![allow(clippy::unwrap_used)]

mod fake;

use std::sync::Arc;

use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame},
    ids::{ClientId, Revision, Seq},
    limits::EdgeLimits,
    reject::Code,
    topology::FileTopology,
};
use codraft_router::{Keys, Router, RouterConfig, TokenKey};
use fake::{
    AUDIENCE, ISSUER, ORIGIN, Scene, TOKEN_SECRET,
    client::{Client, connect, insert},
    http, outside,
};
use tokio_tungstenite::tungstenite::Message;

const USERS: [(&str, u32); 2] = [("ana", 4), ("bo", 3)];

fn hello(id: u8) -> ClientFrame {
    ClientFrame::Hello {
        client: ClientId([id; 16]),
        resume: None,
        unsent: false,
    }
}

#[tokio::test]
async fn handshakes_that_are_refused_before_the_upgrade() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS).to_string();
    let at = scene.router.address().to_owned();
    let bin = || ("sec-websocket-protocol", "codraft.v1.bin".to_owned());
    let bearer = |token: String| ("authorization", format!("Bearer {token}"));
    let good = || bearer(http::token("ana", 600));
    let origin = |o: &str| ("origin", o.to_owned());
    let ticket = http::ticket(&at, codraft_proto::ids::DocId([1; 16]), "ana").await;
    let both = |t: &str| {
        (
            "sec-websocket-protocol",
            format!("codraft.v1.bin, ticket.{t}"),
        )
    };
    let table = [
        (vec![bin()], 401, Code::TokenInvalid),
        (vec![bin(), origin(ORIGIN)], 401, Code::TokenInvalid),
        (vec![bin(), bearer("x.y.z".into())], 401, Code::TokenInvalid),
        (
            vec![bin(), ("authorization", "Basic YTpi".into())],
            401,
            Code::TokenInvalid,
        ),
        (
            vec![bin(), bearer(http::token("ana", -600))],
            401,
            Code::TokenExpired,
        ),
        (
            vec![bin(), bearer(http::token("", 600))],
            401,
            Code::TokenInvalid,
        ),
        (
            vec![bin(), good(), origin("http://evil.test")],
            403,
            Code::Origin,
        ),
        (
            vec![bin(), good(), origin("http://page.test.evil")],
            403,
            Code::Origin,
        ),
        (vec![bin(), good(), origin("null")], 403, Code::Origin),
        (vec![both(&ticket)], 403, Code::Origin),
        (
            vec![both("forged"), origin(ORIGIN)],
            401,
            Code::TokenInvalid,
        ),
        (vec![good()], 422, Code::Unsupported),
        (
            vec![good(), ("sec-websocket-protocol", "chat".into())],
            422,
            Code::Unsupported,
        ),
    ];
    for (headers, status, code) in table {
        let refused = connect(&at, &doc, &headers).await.err();
        assert_eq!(
            refused,
            Some((status, code.as_str().to_owned())),
            "{headers:?}"
        );
    }
    let not_an_id = connect(&at, "x", &[bin(), good()]).await.err();
    assert_eq!(not_an_id, Some((404, "not_found".to_owned())));
    let plain = http::get(&at, &format!("/v1/collab/{doc}"), &http::bearer("ana")).await;
    assert_eq!((plain.status, plain.code().as_str()), (400, "malformed"));
    // And what is in order: the header alone, the header from an allowed page, a ticket, once.
    connect(&at, &doc, &[bin(), good()]).await.unwrap();
    connect(&at, &doc, &[bin(), good(), origin(ORIGIN)])
        .await
        .unwrap();
    connect(&at, &doc, &[both(&ticket), origin(ORIGIN)])
        .await
        .unwrap();
    let again = connect(&at, &doc, &[both(&ticket), origin(ORIGIN)])
        .await
        .err();
    assert_eq!(again, Some((401, "token_invalid".to_owned())));
    scene.end().await;
}

#[tokio::test]
async fn bad_frames_close_their_own_socket_only() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    let (mut honest, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let text = |s: &str| Message::Text(s.to_owned().into());
    let binary = |b: &[u8]| Message::Binary(b.to_vec().into());
    let large = 300 << 10;
    let table = [
        (Encoding::Binary, binary(b""), Code::Malformed),
        (
            Encoding::Binary,
            binary(b"\x80\x01\x02"),
            Code::UnknownFrame,
        ),
        (
            Encoding::Binary,
            binary(b"\x21\xff\xff\xff\x7f"),
            Code::Malformed,
        ),
        (
            Encoding::Binary,
            binary(b"\xa1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Code::Malformed,
        ),
        (
            Encoding::Binary,
            text("{\"type\":\"ping\"}"),
            Code::Malformed,
        ),
        (
            Encoding::Binary,
            binary(&vec![0; large]),
            Code::FrameTooLarge,
        ),
        (Encoding::Json, text("{"), Code::Malformed),
        (Encoding::Json, text("[]]"), Code::Malformed),
        (Encoding::Json, text("7"), Code::Malformed),
        (
            Encoding::Json,
            text("{\"type\":\"dance\"}"),
            Code::UnknownFrame,
        ),
        (
            Encoding::Json,
            text(r#"{"type":"op","seq":1,"base":-1,"ops":[]}"#),
            Code::Malformed,
        ),
        (
            Encoding::Json,
            text(r#"{"type":"op","seq":1,"base":0,"ops":[{"retain":0}]}"#),
            Code::Malformed,
        ),
        (Encoding::Json, text(&"[".repeat(100_000)), Code::Malformed),
        (Encoding::Json, binary(b"\xa5"), Code::Malformed),
        (
            Encoding::Json,
            text(&"x".repeat(large)),
            Code::FrameTooLarge,
        ),
        (
            Encoding::Json,
            text(r#"{"type":"hello","client":"00000000000000000000000000000009","unsent":false}"#),
            Code::UnknownFrame,
        ),
    ];
    for (n, (encoding, message, code)) in table.into_iter().enumerate() {
        let (mut bad, _) = Client::open(&at, doc, "bo", 100 + n as u8, encoding).await;
        let shown = format!("{n}: {:.60}", format!("{message:?}"));
        bad.raw(message).await;
        assert_eq!(bad.closed().await, code.close_code(), "{shown}");
        // The honest one types on.
        honest.op("x").await;
        honest.edit().await;
    }
    let metrics = http::get(&at, "/metrics", "").await.body;
    assert!(
        !metrics.contains("codraft_router_closes_total{code=\"malformed\"} 0"),
        "{metrics}"
    );
    scene.end().await;
}

#[tokio::test]
async fn the_first_frame_is_a_small_hello_within_its_time() {
    let limits = EdgeLimits {
        hello_ms: 300,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    let mut late = Client::silent(&at, doc, "bo", 1, Encoding::Binary).await;
    assert_eq!(late.closed().await, Code::HelloTimeout.close_code());
    let mut rude = Client::silent(&at, doc, "bo", 1, Encoding::Binary).await;
    rude.send(&ClientFrame::Ping).await;
    assert_eq!(rude.closed().await, Code::UnknownFrame.close_code());
    let mut large = Client::silent(&at, doc, "bo", 1, Encoding::Json).await;
    large.raw(Message::Text(" ".repeat(70_000).into())).await;
    assert_eq!(large.closed().await, Code::FrameTooLarge.close_code());
    scene.end().await;
}

#[tokio::test]
async fn who_may_not_come_in() {
    let limits = EdgeLimits {
        sockets_per_user_and_document: 2,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    let mut stranger = Client::silent(&at, doc, "cy", 9, Encoding::Json).await;
    stranger.send(&hello(9)).await;
    assert_eq!(stranger.closed().await, Code::NotFound.close_code());
    let missing = codraft_proto::ids::DocId([99; 16]);
    let mut lost = Client::silent(&at, missing, "ana", 9, Encoding::Json).await;
    lost.send(&hello(9)).await;
    assert_eq!(
        lost.closed().await,
        Code::NotFound.close_code(),
        "looks the same"
    );
    let (_ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    let (_second, _) = Client::open(&at, doc, "ana", 2, Encoding::Binary).await;
    let mut third = Client::silent(&at, doc, "ana", 3, Encoding::Binary).await;
    third.send(&hello(3)).await;
    assert_eq!(third.closed().await, Code::TooManySockets.close_code());
    scene.end().await;
}

#[tokio::test]
async fn operations_out_of_order_are_not_proposed() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    scene.with_world(|w| w.swallow = true);
    ana.op("first").await;
    let op = |seq, text| ClientFrame::Op {
        seq,
        base: Revision(0),
        ops: insert(text),
    };
    for (frame, expected) in [
        (op(Seq(1), "other"), Code::SeqConflict),
        (op(Seq(2), "second"), Code::Busy),
    ] {
        ana.send(&frame).await;
        match ana.next().await {
            ServerFrame::Reject {
                last: false, code, ..
            } => assert_eq!(code, expected),
            other => panic!("{other:?}"),
        }
    }
    ana.send(&op(Seq(1), "first")).await; // a repeat: nothing
    ana.send(&ClientFrame::Ping).await;
    assert_eq!(ana.next().await, ServerFrame::Pong);
    assert_eq!(scene.with_world(|w| w.submits), 1);
    scene.end().await;
}

#[tokio::test]
async fn who_is_too_fast_is_told_when_to_send_again() {
    let limits = EdgeLimits {
        ops_per_second: 2,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    let (mut ana, _) = Client::open(&at, doc, "ana", 1, Encoding::Binary).await;
    for _ in 0..2 {
        ana.op("x").await;
        ana.edit().await;
    }
    ana.op("x").await;
    match ana.next().await {
        ServerFrame::Reject {
            last: false,
            code: Code::Rate,
            retry_after_ms,
            ..
        } => {
            assert!((1..=500).contains(&retry_after_ms), "{retry_after_ms}");
        }
        other => panic!("{other:?}"),
    }
    scene.end().await;
}

#[tokio::test]
async fn a_token_ends_its_socket_unless_it_is_renewed() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    let at = scene.router.address().to_owned();
    let open = async |token: &str, id| {
        let mut client = Client::with_token(&at, doc, token, id, Encoding::Binary).await;
        client.hello(None).await;
        client
    };
    let short = http::token("ana", 2);
    let (mut ends, mut renewed) = (open(&short, 1).await, open(&short, 2).await);
    let mut foreign = open(&short, 3).await;
    renewed
        .send(&ClientFrame::Auth {
            token: http::token("ana", 600),
        })
        .await;
    foreign
        .send(&ClientFrame::Auth {
            token: http::token("bo", 600),
        })
        .await;
    assert_eq!(foreign.closed().await, Code::TokenInvalid.close_code());
    assert_eq!(ends.closed().await, Code::TokenExpired.close_code());
    renewed.op("still here").await;
    assert_eq!(renewed.edit().await.0, 1);
    scene.end().await;
}

#[tokio::test]
async fn limits_that_contradict_each_other_start_no_router() {
    let text = "cluster = \"c\"\ngroups = 1\n[[node]]\nid = 1\naddress = \"127.0.0.1:1\"\n";
    let topology = FileTopology::parse(text).unwrap();
    let keys = Keys {
        tokens: vec![TokenKey::secret(TOKEN_SECRET, ISSUER, AUDIENCE)],
        ticket_secret: b"a secret for tests of tickets".into(),
    };
    let mut config = RouterConfig::new("127.0.0.1:0", Arc::new(topology), keys);
    config.limits.socket_queue_bytes = config.limits.frame_bytes;
    let Err(refused) = Router::start(config, outside()).await else {
        panic!("it started");
    };
    let said = refused.to_string();
    assert!(said.contains("socket_queue_bytes = 262144"), "{said}");
}
