//! The frames against `tests/vectors/frames.json`, which the TypeScript tests read too.
//!
//! After an intended change: `CODRAFT_WRITE_VECTORS=1 cargo test -p codraft-proto --test frames`,
//! then look at the difference; a changed vector is a changed protocol.
#![allow(clippy::unwrap_used)]

mod samples;

use bytes::Bytes;
use codraft_proto::{
    frame::{
        ClientFrame, OpEvent, ServerFrame,
        binary::{self, Clock},
        json,
    },
    ids::{Revision, Seq},
};
use samples::{client_messages, server_messages};
use serde_json::{Value, json};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/frames.json");

/// The event before the message, which the binary form counts revisions and times from.
const BEFORE: Clock = Clock {
    rev: Revision(41),
    ts_ms: 1_764_000_000_000,
};

fn limits() -> codraft_ot::Limits {
    codraft_ot::Limits::default()
}

fn server_binary(frames: &[ServerFrame]) -> Vec<u8> {
    let mut out = Vec::new();
    binary::encode_server(&mut out, &mut BEFORE.clone(), frames);
    out
}

fn client_binary(frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    binary::encode_client(&mut out, frame);
    out
}

/// The binary op names no sequence number: its author knows what is in flight.
fn without_seq(frames: &[ServerFrame]) -> Vec<ServerFrame> {
    let strip = |frame: &ServerFrame| match frame {
        ServerFrame::Op(op) => ServerFrame::Op(OpEvent {
            seq: Seq(0),
            base: Revision(0),
            ..op.clone()
        }),
        other => other.clone(),
    };
    frames.iter().map(strip).collect()
}

fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn vectors() -> Value {
    let client = client_messages().into_iter().map(|(name, frame)| {
        json!({"name": name, "direction": "client", "json": as_json(&json::encode_client(&frame)),
            "binary_hex": json::hex(&client_binary(&frame))})
    });
    let server = server_messages().into_iter().map(|(name, frames)| {
        json!({"name": name, "direction": "server",
            "before": {"rev": BEFORE.rev.0, "ts": BEFORE.ts_ms},
            "json": as_json(&json::encode_server(&frames).unwrap()),
            "binary_hex": json::hex(&server_binary(&frames))})
    });
    client.chain(server).collect()
}

#[test]
fn both_encodings_are_as_pinned() {
    let vectors = vectors();
    if std::env::var_os("CODRAFT_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
        #[allow(clippy::disallowed_methods)] // the writer of the vectors
        std::fs::write(PATH, text).unwrap();
    }
    let pinned = as_json(&std::fs::read_to_string(PATH).unwrap());
    let (pinned, now) = (pinned.as_array().unwrap(), vectors.as_array().unwrap());
    for (pinned, now) in pinned.iter().zip(now) {
        assert_eq!(pinned, now);
    }
    assert_eq!(pinned.len(), now.len());
}

#[test]
fn what_was_encoded_is_decoded() {
    for (name, frame) in client_messages() {
        let message = Bytes::from(client_binary(&frame));
        assert_eq!(
            binary::decode_client(&message),
            Ok(vec![frame.clone()]),
            "{name}"
        );
        let text = json::encode_client(&frame);
        assert_eq!(
            json::decode_client(text.as_bytes(), &limits()),
            Ok(vec![frame]),
            "{name}"
        );
    }
    for (name, frames) in server_messages() {
        let message = Bytes::from(server_binary(&frames));
        let decoded = binary::decode_server(&message, &mut BEFORE.clone());
        assert_eq!(decoded, Ok(without_seq(&frames)), "{name}");
        let text = json::encode_server(&frames).unwrap();
        assert_eq!(json::decode_server(text.as_bytes()), Ok(frames), "{name}");
    }
}

#[test]
fn every_kind_has_a_vector() {
    let heads = |hex: Vec<u8>| hex[0] & 0x3f;
    let mut kinds: Vec<u8> = client_messages()
        .iter()
        .map(|(_, f)| heads(client_binary(f)))
        .collect();
    kinds.extend(
        server_messages()
            .iter()
            .map(|(_, f)| heads(server_binary(f))),
    );
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (1..=17).chain(32..=38).collect::<Vec<u8>>());
}

/// The forms worked out by hand from the description, so that a mistake shared by encoder and
/// decoder is seen.
#[test]
fn a_keystroke_is_as_described_and_small() {
    let op = |ts_ms| {
        let mut delta = codraft_ot::Delta::new();
        delta.retain(5_000).insert("x");
        let ops = delta.to_bytes().into();
        ServerFrame::Op(OpEvent {
            rev: Revision(42),
            slot: 3,
            seq: Seq(9),
            base: Revision(41),
            ts_ms,
            restores: None,
            ops,
        })
    };
    let delta = [0xa0, 0x9c, 0x01, 0x06, b'x'];
    // Last: kind 3 with 0x80, slot 3, 150 ms, the Delta to the end.
    let alone = server_binary(&[op(BEFORE.ts_ms + 150)]);
    assert_eq!(alone, [&[0x83, 3, 0x96, 0x01][..], &delta].concat());
    // With the two bytes that the WebSocket puts before a short message.
    assert_eq!(alone.len() + 2, 11);
    // Not last: the same with its length.
    let two = server_binary(&[op(BEFORE.ts_ms + 150), ServerFrame::Pong]);
    assert_eq!(
        two,
        [&[0x03, 8, 3, 0x96, 0x01][..], &delta, &[0x8d]].concat()
    );
    // The author's side.
    let sent = ClientFrame::Op {
        seq: Seq(9),
        base: Revision(300),
        ops: Bytes::copy_from_slice(&delta),
    };
    assert_eq!(
        client_binary(&sent),
        [&[0xa1, 9, 0xac, 0x02][..], &delta].concat()
    );
}

#[test]
fn a_batch_encoded_in_parts_is_read_as_one_feed() {
    let ops = |rev: u64, ts_ms: u64| {
        let ops = codraft_ot::Delta::new().insert("y").to_bytes().into();
        ServerFrame::Op(OpEvent {
            rev: Revision(rev),
            slot: 1,
            seq: Seq(0),
            base: Revision(0),
            ts_ms,
            restores: None,
            ops,
        })
    };
    // A clock that stands still or runs back (a clamped stamp) leaves times in order.
    let stamps = [0, 7, 7, 400].map(|ms| BEFORE.ts_ms + ms);
    let frames: Vec<_> = stamps
        .iter()
        .zip(42..)
        .map(|(ts, rev)| ops(rev, *ts))
        .collect();
    let (mut writer, mut reader) = (BEFORE, BEFORE);
    let mut read = Vec::new();
    for part in frames.chunks(3) {
        let mut message = Vec::new();
        binary::encode_server(&mut message, &mut writer, part);
        read.extend(binary::decode_server(&message.into(), &mut reader).unwrap());
    }
    assert_eq!(read, frames);
    assert_eq!(
        (writer, reader),
        (
            reader,
            Clock {
                rev: Revision(45),
                ts_ms: BEFORE.ts_ms + 400
            }
        )
    );
}

/// A document, spelled in steps, is what it is when it is spelled at once.
#[test]
fn a_document_in_steps_is_the_same_text() {
    let long = "a \"quoted\" \u{1F980} line\n".repeat(40_000);
    let bold = codraft_ot::Attributes::from([("bold".into(), codraft_ot::Value::Bool(true))]);
    let mut many = codraft_ot::Delta::new();
    for n in 0..5_000 {
        many.insert_with(
            &n.to_string(),
            if n % 2 == 0 {
                bold.clone()
            } else {
                Default::default()
            },
        );
    }
    let mut texts = codraft_ot::Delta::new();
    texts.insert("short").insert_with(&long, bold).insert(&long);
    for delta in [codraft_ot::Delta::new(), texts, many] {
        let mut spelling = json::Spelling::new(delta.to_bytes().into());
        let mut steps = 1;
        while !spelling.step().unwrap() {
            steps += 1;
        }
        assert!(delta.is_empty() || steps > 3, "{steps}");
        let text = spelling.into_bytes();
        assert_eq!(
            as_json(std::str::from_utf8(&text).unwrap()),
            json::delta_value(&delta)
        );
    }
    assert!(
        json::Spelling::new(Bytes::from_static(&[0xff]))
            .step()
            .is_err()
    );
}

#[test]
fn an_operation_that_cannot_be_read_is_not_another_one() {
    let ops = Bytes::from_static(&[0xff]);
    let op = OpEvent {
        rev: Revision(1),
        slot: 0,
        seq: Seq(1),
        base: Revision(0),
        ts_ms: 1,
        restores: None,
        ops,
    };
    assert!(json::encode_server(&[ServerFrame::Pong, ServerFrame::Op(op)]).is_err());
}

/// A welcome whose document is shared is the same message as one that holds it, with other frames
/// behind it or alone.
#[test]
fn a_welcome_may_be_written_around_its_document() {
    let mut tried = 0;
    for (name, mut frames) in server_messages() {
        let Some(ServerFrame::Welcome(welcome)) = frames.first().cloned() else {
            continue;
        };
        let Some(doc) = welcome.doc.clone() else {
            continue;
        };
        frames.truncate(1);
        let op = OpEvent {
            rev: welcome.rev + 1,
            slot: 2,
            seq: Seq(3),
            base: welcome.rev,
            ts_ms: welcome.ts_ms + 5,
            restores: None,
            ops: codraft_ot::Delta::new().insert("é").to_bytes().into(),
        };
        for more in [None, Some(ServerFrame::Op(op)), Some(ServerFrame::Pong)] {
            frames.extend(more);
            tried += 1;
            let mut without = frames.clone();
            if let ServerFrame::Welcome(welcome) = &mut without[0] {
                welcome.doc = Some(Bytes::new());
            }
            let (start, end) = binary::around_document(&without, doc.len());
            let binary = [&start[..], &doc, &end].concat();
            assert_eq!(binary, server_binary(&frames), "{name}");
            let mut spelling = json::Spelling::new(doc.clone());
            while !spelling.step().unwrap() {}
            let text = String::from_utf8(spelling.into_bytes().into()).unwrap();
            let (start, end) = json::around_document(&without).unwrap();
            assert_eq!(
                as_json(&(start + &text + &end)),
                as_json(&json::encode_server(&frames).unwrap()),
                "{name}"
            );
        }
    }
    assert!(tried > 2);
}
