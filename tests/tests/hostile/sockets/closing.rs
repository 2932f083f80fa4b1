//! What ends the socket.

use codraft_e2e::socket::fresh_client;
use codraft_proto::{
    frame::Encoding::{Binary, Json},
    reject::Code,
};
use serde_json::json;

use super::{Case, Ends, FRESH, Here, Scene, Sent, User, bytes, case, last, text};

pub fn cases(scene: &Scene) -> Vec<Case> {
    let editor = (User::Editor, Some(FRESH));
    let silent = (User::Editor, None);
    let mut cases = Vec::new();
    let mut add = |name: &str, code, encoding, who, sends: fn(&Here) -> Vec<Sent>| {
        cases.push(case(name, code, encoding, who, Ends::Closed, sends));
    };

    // Before a hello.
    add(
        "no first frame",
        Code::HelloTimeout,
        Binary,
        silent,
        |_| vec![],
    );
    add(
        "no first frame",
        Code::HelloTimeout,
        Json,
        silent,
        |_| vec![],
    );
    add("text before hello", Code::Malformed, Binary, silent, |_| {
        text("hi")
    });
    add("binary before hello", Code::Malformed, Json, silent, |_| {
        bytes(*b"hi")
    });
    add(
        "ping before hello",
        Code::UnknownFrame,
        Binary,
        silent,
        |_| bytes(last(37, b"")),
    );
    add(
        "an operation before hello",
        Code::UnknownFrame,
        Json,
        silent,
        |_| text(r#"{"type":"op","seq":1,"base":1,"ops":[{"insert":"x"}]}"#),
    );
    add("a huge hello", Code::FrameTooLarge, Json, silent, |_| {
        text(format!(
            r#"{{"type":"hello","client":"{}"}}"#,
            "0".repeat(100_000)
        ))
    });
    add(
        "a hello with half a client id",
        Code::Malformed,
        Json,
        silent,
        |_| text(r#"{"type":"hello","client":"0123"}"#),
    );

    // Not a frame.
    for (name, value) in [
        ("not JSON", "{\"type\":"),
        ("JSON that is no frame", "7"),
        ("a frame without a type", "{}"),
        ("a type as a number", r#"{"type":7}"#),
        ("an empty array", "[]"),
        (
            "a negative sequence",
            r#"{"type":"op","seq":-1,"base":1,"ops":[{"insert":"x"}]}"#,
        ),
        (
            "a base with a fraction",
            r#"{"type":"op","seq":1,"base":1.5,"ops":[{"insert":"x"}]}"#,
        ),
        (
            "an operation as a string",
            r#"{"type":"op","seq":1,"base":1,"ops":"x"}"#,
        ),
        (
            "a component of nothing",
            r#"{"type":"op","seq":1,"base":1,"ops":[{}]}"#,
        ),
        (
            "a count of zero",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"retain":0}]}"#,
        ),
        (
            "a count below zero",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"delete":-3}]}"#,
        ),
        // Half a pair is not JSON to begin with (RFC 8259, 8.2).
        (
            "half a surrogate pair",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"insert":"\ud83d"}]}"#,
        ),
        (
            "the other half",
            r#"{"type":"op","seq":1,"base":1,"ops":[{"insert":"\ude00"}]}"#,
        ),
    ] {
        let sends = move |_: &Here| text(value);
        cases.push(case(
            name,
            Code::Malformed,
            Json,
            editor,
            Ends::Closed,
            sends,
        ));
    }
    let mut add = |name: &str, code, encoding, who, sends: fn(&Here) -> Vec<Sent>| {
        cases.push(case(name, code, encoding, who, Ends::Closed, sends));
    };
    add("nested without end", Code::Malformed, Json, editor, |_| {
        text("[".repeat(100_000))
    });
    add("65 frames at once", Code::Malformed, Json, editor, |_| {
        text(format!("[{}]", vec![r#"{"type":"ping"}"#; 65].join(",")))
    });
    add(
        "text on a binary socket",
        Code::Malformed,
        Binary,
        editor,
        |_| text(r#"{"type":"ping"}"#),
    );
    add(
        "binary on a text socket",
        Code::Malformed,
        Json,
        editor,
        |_| bytes(last(37, b"")),
    );
    add("an empty message", Code::Malformed, Binary, editor, |_| {
        bytes(*b"")
    });
    add(
        "a head of unknown bits",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes([0x40, 0]),
    );
    add(
        "a length beyond the end",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes([33, 0x7f, 1]),
    );
    add(
        "a number without an end",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(33, &[0xff; 3])),
    );
    add(
        "a number of ten bytes",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(33, &[0xff; 16])),
    );
    add(
        "a token that is not UTF-8",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(36, &[0xff])),
    );
    add(
        "a digest that is short",
        Code::Malformed,
        Binary,
        editor,
        |_| bytes(last(35, &[1, 2, 3])),
    );
    add("65 frames at once", Code::Malformed, Binary, editor, |_| {
        bytes([37, 0].repeat(65))
    });
    add(
        "bytes that are no WebSocket",
        Code::Malformed,
        Binary,
        editor,
        |_| vec![Sent::Raw(vec![0xff; 64])],
    );
    add(
        "a frame without a mask",
        Code::Malformed,
        Binary,
        editor,
        |_| vec![Sent::Raw(vec![0x82, 1, 0xa5])],
    );
    add(
        "text that is not UTF-8",
        Code::Malformed,
        Json,
        editor,
        |_| vec![Sent::Raw(vec![0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff])],
    );

    // Not a frame of ours.
    add(
        "a type that is none",
        Code::UnknownFrame,
        Json,
        editor,
        |_| text(r#"{"type":"sudo"}"#),
    );
    add(
        "a kind that is none",
        Code::UnknownFrame,
        Binary,
        editor,
        |_| bytes(last(63, b"x")),
    );
    add(
        "a server's frame",
        Code::UnknownFrame,
        Binary,
        editor,
        |_| bytes(last(13, b"")),
    );
    add("a server's frame", Code::UnknownFrame, Json, editor, |_| {
        text(r#"{"type":"pong"}"#)
    });
    add("a second hello", Code::UnknownFrame, Json, editor, |_| {
        text(format!(
            r#"{{"type":"hello","client":"{}","unsent":false}}"#,
            fresh_client()
        ))
    });

    // Too much.
    add(
        "a frame above the limit",
        Code::FrameTooLarge,
        Binary,
        editor,
        |_| bytes(vec![0x80; 300 << 10]),
    );
    add(
        "a frame above the limit",
        Code::FrameTooLarge,
        Json,
        editor,
        |_| text(" ".repeat(300 << 10)),
    );
    add(
        "a frame of four megabytes",
        Code::FrameTooLarge,
        Binary,
        editor,
        |_| bytes(vec![0x80; 4 << 20]),
    );
    add(
        "a frame that claims an exabyte",
        Code::FrameTooLarge,
        Binary,
        editor,
        |_| {
            vec![Sent::Raw(vec![
                0x82, 0xff, 0x0f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
            ])]
        },
    );
    add(
        "20,000 components",
        Code::TooManyComponents,
        Json,
        editor,
        |here| {
            let ops = vec![r#"{"insert":"x"},{"retain":1}"#; 6_000].join(",");
            text(format!(
                r#"{{"type":"op","seq":1,"base":{},"ops":[{ops}]}}"#,
                here.base
            ))
        },
    );

    // Not this user's.
    add(
        "a stranger",
        Code::NotFound,
        Binary,
        (User::Stranger, Some(FRESH)),
        |_| vec![],
    );
    add(
        "another user's token",
        Code::TokenInvalid,
        Json,
        editor,
        |here| text(json!({"type": "auth", "token": here.viewer}).to_string()),
    );
    for (name, token, code) in scene.bad_tokens() {
        let sends = move |_: &Here| text(json!({"type": "auth", "token": token}).to_string());
        cases.push(case(
            &format!("renewing, {name}"),
            code,
            Json,
            editor,
            Ends::Closed,
            sends,
        ));
    }
    let token = json!({"type": "auth", "token": scene.editor}).to_string();
    let tokens = move |_: &Here| text(format!("[{}]", vec![&*token; 64].join(",")));
    let name = "tokens without end";
    cases.push(case(name, Code::Rate, Json, editor, Ends::Closed, tokens));
    let pinger = (User::Pinger, Some(FRESH));
    let pings = |_: &Here| (0..400).flat_map(|_| bytes([37, 0].repeat(64))).collect();
    let name = "pings without end";
    cases.push(case(name, Code::Rate, Binary, pinger, Ends::Closed, pings));
    cases
}
