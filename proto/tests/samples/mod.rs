//! One message or more of every frame, for the vectors and to be mutated.
#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use codraft_ot::{Attributes, Delta, Value};
use codraft_proto::{
    frame::{
        At, ClientFrame, OpEvent, OtherEvent, Presence, Selection, ServerFrame, Snapshot, Welcome,
        Who,
    },
    ids::{ClientId, Revision, Role, Seq},
    reject::Code,
};

/// The time of the first event in a server message.
const TS: u64 = 1_764_000_000_150;

fn client(n: u8) -> ClientId {
    ClientId(std::array::from_fn(|i| n + i as u8))
}

fn hash() -> [u8; 32] {
    std::array::from_fn(|i| 0xa0 ^ i as u8)
}

fn keystroke() -> Bytes {
    Delta::new().retain(5_000).insert("x").to_bytes().into()
}

/// All sorts of components, attributes and values.
fn rich() -> Bytes {
    let bold = |value| Attributes::from([("bold".into(), value)]);
    let picture = Value::Object(Attributes::from([
        (
            "image".into(),
            Value::String("https://example.com/a.png".into()),
        ),
        (
            "sizes".into(),
            Value::Array(vec![Value::Number(1.5), Value::Number(300.0), Value::Null]),
        ),
    ]));
    let mut delta = Delta::new();
    delta
        .retain(1)
        .insert_with("héllo 🦀", bold(Value::Bool(true)));
    delta.retain_with(3, bold(Value::Null)).delete(2).retain(1);
    delta.embed(
        picture,
        Attributes::from([("alt".into(), Value::String("A".into()))]),
    );
    delta.to_bytes().into()
}

fn op(rev: u64, slot: u32, ts_ms: u64, ops: Bytes) -> ServerFrame {
    ServerFrame::Op(OpEvent {
        rev: Revision(rev),
        slot,
        seq: Seq(9),
        base: Revision(rev - 2),
        ts_ms,
        restores: None,
        ops,
    })
}

fn restore(rev: u64, version: u64) -> ServerFrame {
    match op(rev, 3, TS, keystroke()) {
        ServerFrame::Op(op) => ServerFrame::Op(OpEvent {
            restores: Some(Revision(version)),
            ..op
        }),
        other => other,
    }
}

fn grant(role: Option<Role>) -> ServerFrame {
    ServerFrame::Event(OtherEvent {
        rev: Revision(42),
        slot: 0,
        ts_ms: TS,
        kind: "grant".into(),
        user: Some("bob".into()),
        role,
        note: None,
    })
}

fn noted(kind: &str, note: serde_json::Value) -> ServerFrame {
    ServerFrame::Event(OtherEvent {
        rev: Revision(42),
        slot: 0,
        ts_ms: TS,
        kind: kind.into(),
        user: None,
        role: None,
        note: Some(note),
    })
}

fn welcome(doc: Option<Bytes>, acked: Option<(Seq, Revision)>) -> ServerFrame {
    welcome_with(doc, acked, None)
}

fn welcome_with(
    doc: Option<Bytes>,
    acked: Option<(Seq, Revision)>,
    snapshot: Option<Snapshot>,
) -> ServerFrame {
    ServerFrame::Welcome(Box::new(Welcome {
        client: client(1),
        user: "alice".into(),
        you: 0,
        role: Role::Editor,
        kind: "rich".into(),
        algebra: "delta-1".into(),
        title: "Notes \"2026\"".into(),
        rev: Revision(41),
        hash: hash(),
        ts_ms: TS - 150,
        acked,
        who: vec![Who {
            slot: 0,
            client: client(1),
            user: "alice".into(),
            name: None,
        }],
        doc,
        snapshot,
        frame_bytes: 262_144,
        incarnation: u64::MAX,
    }))
}

fn standing() -> Presence {
    Presence {
        cursor: Some(7),
        selection: Some(Selection { anchor: 3, head: 7 }),
        data: None,
    }
}

fn says(data: &str) -> Presence {
    Presence {
        data: Some(data.into()),
        ..Presence::default()
    }
}

pub fn client_messages() -> Vec<(&'static str, ClientFrame)> {
    let at = At {
        rev: Revision(41),
        hash: hash(),
    };
    vec![
        (
            "hello",
            ClientFrame::Hello {
                client: client(1),
                resume: None,
                unsent: false,
            },
        ),
        (
            "hello, resume",
            ClientFrame::Hello {
                client: client(1),
                resume: Some(at),
                unsent: true,
            },
        ),
        (
            "op, keystroke",
            ClientFrame::Op {
                seq: Seq(9),
                base: Revision(300),
                ops: keystroke(),
            },
        ),
        (
            "op, rich",
            ClientFrame::Op {
                seq: Seq(1),
                base: Revision(0),
                ops: rich(),
            },
        ),
        (
            "op, nothing",
            ClientFrame::Op {
                seq: Seq(128),
                base: Revision(1 << 40),
                ops: Bytes::new(),
            },
        ),
        (
            "presence",
            ClientFrame::Presence {
                rev: Revision(41),
                presence: Some(standing()),
            },
        ),
        (
            "presence, nowhere",
            ClientFrame::Presence {
                rev: Revision(41),
                presence: Some(says("{}")),
            },
        ),
        (
            "presence, data",
            ClientFrame::Presence {
                rev: Revision(41),
                presence: Some(Presence {
                    cursor: Some(0),
                    ..says(r##"{"colour":"#2a7"}"##)
                }),
            },
        ),
        (
            "presence, gone",
            ClientFrame::Presence {
                rev: Revision(41),
                presence: None,
            },
        ),
        (
            "check",
            ClientFrame::Check {
                rev: Revision(41),
                digest: hash(),
            },
        ),
        (
            "auth",
            ClientFrame::Auth {
                token: "header.payload.signature".into(),
            },
        ),
        ("ping", ClientFrame::Ping),
        ("here", ClientFrame::Here),
    ]
}

pub fn server_messages() -> Vec<(&'static str, Vec<ServerFrame>)> {
    let doc: Bytes = Delta::new().insert("héllo 🦀\n").to_bytes().into();
    let who = Who {
        slot: 200,
        client: client(100),
        user: "bob".into(),
        name: None,
    };
    let named = Who {
        name: Some("Bob Ü.".into()),
        ..who.clone()
    };
    let reject = |last, code, retry_after_ms| {
        let message = "not now".to_owned();
        ServerFrame::Reject {
            seq: Seq(9),
            base: Revision(300),
            last,
            code,
            message,
            retry_after_ms,
        }
    };
    let bye = |code, retry_after_ms| ServerFrame::Bye {
        code,
        reason: "see you".into(),
        retry_after_ms,
    };
    let presence = |presence| ServerFrame::Presence {
        slot: 200,
        rev: Revision(41),
        last_seen_ms: TS,
        presence: Some(presence),
    };
    let snapshot = Snapshot {
        version: Revision(40),
        url: "/v1/docs/44ed/history?version=40".into(),
    };
    vec![
        ("welcome", vec![welcome(Some(doc), None)]),
        (
            "welcome, empty text",
            vec![welcome(Some(Bytes::new()), None)],
        ),
        (
            "welcome, resumed",
            vec![welcome(None, Some((Seq(9), Revision(40))))],
        ),
        ("who", vec![ServerFrame::Who(who.clone())]),
        (
            "welcome, large",
            vec![welcome_with(Some(Bytes::new()), None, Some(snapshot))],
        ),
        ("op, restore", vec![restore(42, 40)]),
        (
            "ops, restore among them",
            vec![
                op(42, 3, TS, keystroke()),
                restore(43, 300),
                op(44, 3, TS, keystroke()),
            ],
        ),
        ("op, keystroke", vec![op(42, 3, TS, keystroke())]),
        ("op, rich", vec![op(42, 200, TS, rich())]),
        ("event, grant", vec![grant(Some(Role::Viewer))]),
        ("event, grant taken away", vec![grant(None)]),
        ("event, title", vec![noted("title", "Ünïcode 🦀".into())]),
        (
            "event, comment",
            vec![noted(
                "comment",
                serde_json::json!({"what": "opened", "thread": "20", "rev": 41, "start": 3, "end": 7, "text": "why?"}),
            )],
        ),
        (
            "event, named version",
            vec![noted(
                "version",
                serde_json::json!({"id": "60", "rev": 40, "name": "draft"}),
            )],
        ),
        (
            "skip",
            vec![ServerFrame::Skip {
                rev: Revision(42),
                ts_ms: TS,
            }],
        ),
        (
            "already",
            vec![ServerFrame::Already {
                seq: Seq(9),
                rev: Revision(40),
            }],
        ),
        ("reject, final", vec![reject(true, Code::LengthMismatch, 0)]),
        ("reject, try again", vec![reject(false, Code::Busy, 250)]),
        (
            "rebase",
            vec![ServerFrame::Rebase {
                seq: Seq(9),
                base: Revision(300),
                floor: Revision(4_000),
                head: Revision(9_000),
            }],
        ),
        (
            "mark",
            vec![ServerFrame::Mark(At {
                rev: Revision(41),
                hash: hash(),
            })],
        ),
        ("who, named", vec![ServerFrame::Who(named)]),
        ("presence", vec![presence(standing())]),
        ("presence, nowhere", vec![presence(says("{}"))]),
        (
            "presence, gone",
            vec![ServerFrame::Presence {
                slot: 200,
                rev: Revision(0),
                last_seen_ms: 0,
                presence: None,
            }],
        ),
        (
            "role",
            vec![ServerFrame::Role {
                role: Role::Commenter,
            }],
        ),
        (
            "resync",
            vec![ServerFrame::Resync {
                reason: "gap".into(),
            }],
        ),
        ("saving", vec![ServerFrame::Saving { on: true }]),
        ("saved", vec![ServerFrame::Saving { on: false }]),
        ("pong", vec![ServerFrame::Pong]),
        ("here", vec![ServerFrame::Here]),
        ("bye, for good", vec![bye(Code::Revoked, 0)]),
        ("bye, come again", vec![bye(Code::ShuttingDown, 1_500)]),
        (
            "batch",
            vec![
                ServerFrame::Who(who),
                op(42, 200, TS, keystroke()),
                op(43, 3, TS, keystroke()),
                ServerFrame::Skip {
                    rev: Revision(44),
                    ts_ms: TS + 300,
                },
                ServerFrame::Mark(At {
                    rev: Revision(44),
                    hash: hash(),
                }),
                op(45, 200, TS + 301, rich()),
            ],
        ),
    ]
}
