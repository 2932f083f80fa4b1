//! What nobody sane sends: refused with a code, never a panic, never without bounds.
#![allow(clippy::unwrap_used)]

mod samples;

use bytes::Bytes;
use codraft_ot::{Delta, Limits, OpError};
use codraft_proto::{
    event,
    frame::{
        BATCH_MAX,
        binary::{self, Clock},
        json,
    },
    reject::Code,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use samples::{client_messages, server_messages};

fn json_code(text: &str) -> Code {
    json::decode_client(text.as_bytes(), &Limits::default())
        .unwrap_err()
        .code
}

fn binary_code(message: &[u8]) -> Code {
    binary::decode_client(&Bytes::copy_from_slice(message))
        .unwrap_err()
        .code
}

/// Everything that reads bytes from outside, for its not panicking. What was read is encoded
/// again: that must not panic either.
fn read(bytes: &[u8]) {
    let message = Bytes::copy_from_slice(bytes);
    let limits = Limits::default();
    for frames in [
        binary::decode_client(&message),
        json::decode_client(bytes, &limits),
    ] {
        for frame in frames.into_iter().flatten() {
            json::encode_client(&frame);
            binary::encode_client(&mut Vec::new(), &frame);
        }
    }
    let mut clock = Clock::default();
    for frames in [
        binary::decode_server(&message, &mut clock),
        json::decode_server(bytes),
    ] {
        let frames = frames.unwrap_or_default();
        let _ = json::encode_server(&frames);
        binary::encode_server(&mut Vec::new(), &mut Clock::default(), &frames);
    }
    let _ = Delta::decode(bytes, &limits);
    let _ = event::read_grant(bytes);
}

fn messages() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (_, frame) in client_messages() {
        let mut out = Vec::new();
        binary::encode_client(&mut out, &frame);
        all.extend([out, json::encode_client(&frame).into_bytes()]);
    }
    for (_, frames) in server_messages() {
        let mut out = Vec::new();
        binary::encode_server(&mut out, &mut Clock::default(), &frames);
        all.extend([
            out,
            json::encode_server(&frames)
                .unwrap_or_default()
                .into_bytes(),
        ]);
    }
    all
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_without_a_panic(
        which in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
        shorten in any::<bool>(),
    ) {
        let messages = messages();
        let mut message = which.get(&messages).clone();
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        if shorten {
            message.truncate(cut.index(message.len() + 1));
        }
        read(&message);
    }

    #[test]
    fn any_body_of_any_kind_is_read_without_a_panic(kind in 0u8..64, body in vec(any::<u8>(), 0..64)) {
        read(&[&[kind | 0x80][..], &body].concat());
    }

    /// The two encodings agree: an operation spelled out in JSON and back is the same bytes.
    #[test]
    fn an_operation_that_is_read_survives_json(bytes in vec(any::<u8>(), 0..64)) {
        let limits = Limits::default();
        if let Ok(delta) = Delta::decode(&bytes, &limits) {
            let again = json::delta_of(&json::delta_value(&delta), &limits);
            prop_assert_eq!(again.map(|d| d.to_bytes()), Ok(delta.to_bytes()));
        }
    }
}

#[test]
fn every_prefix_of_a_message_is_read_without_a_panic() {
    for message in messages() {
        (0..message.len()).for_each(|end| read(&message[..end]));
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused_before_they_overflow() {
    for part in [r#"{"retain":1073741824}"#, r#"{"delete":1073741824}"#] {
        let parts = [part; 5].join(",");
        let text = format!(r#"{{"type":"op","seq":1,"base":0,"ops":[{{"insert":"a"}},{parts}]}}"#);
        assert_eq!(json_code(&text), Code::Malformed);
    }
    // Insert "a", then five times retain (0) or delete (1) of 2^30.
    for kind in [0, 1] {
        let huge = [0x80 | kind, 0x80, 0x80, 0x80, 0x10];
        let ops = [&[1 << 2 | 2, b'a'][..], &huge.repeat(5)].concat();
        assert_eq!(
            Delta::decode(&ops, &Limits::default()),
            Err(OpError::Overflow)
        );
    }
}

#[test]
fn depth_count_and_size_are_bounded() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(json_code(&deep), Code::Malformed);
    let nested = format!("{}1{}", r#"{"a":"#.repeat(20), "}".repeat(20));
    let op = |ops: &str| format!(r#"{{"type":"op","seq":1,"base":0,"ops":[{ops}]}}"#);
    assert_eq!(
        json_code(&op(&format!(r#"{{"insert":{nested}}}"#))),
        Code::Attributes
    );

    let many = vec![r#"{"delete":1}"#; Limits::default().components + 1].join(",");
    assert_eq!(json_code(&op(&many)), Code::TooManyComponents);
    let embed = format!(r#"{{"insert":{{"a":"{}"}}}}"#, "x".repeat(40 << 10));
    assert_eq!(json_code(&op(&embed)), Code::Embed);

    // A batch of one too many, in both encodings; the largest one is read.
    let pings = |n: usize| format!("[{}]", vec![r#"{"type":"ping"}"#; n].join(","));
    assert_eq!(json_code(&pings(BATCH_MAX + 1)), Code::Malformed);
    let read = json::decode_client(pings(BATCH_MAX).as_bytes(), &Limits::default());
    assert_eq!(read.unwrap().len(), BATCH_MAX);
    assert_eq!(binary_code(&[37, 0].repeat(BATCH_MAX + 1)), Code::Malformed);
    let read = binary::decode_client(&[37, 0].repeat(BATCH_MAX).into());
    assert_eq!(read.unwrap().len(), BATCH_MAX);
}

#[test]
fn what_is_wrong_is_named() {
    for (text, code) in [
        ("", Code::Malformed),
        ("[]", Code::Malformed),
        ("7", Code::Malformed),
        (r#"{"seq":1}"#, Code::Malformed),
        (r#"{"type":"welcome"}"#, Code::UnknownFrame),
        (
            r#"{"type":"op","seq":-1,"base":0,"ops":[]}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"op","seq":1.5,"base":0,"ops":[]}"#,
            Code::Malformed,
        ),
        (r#"{"type":"op","seq":1,"base":0}"#, Code::Malformed),
        (
            r#"{"type":"op","seq":1,"base":0,"ops":[{"insert":""}]}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"op","seq":1,"base":0,"ops":[{"insert":"a","delete":1}]}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"op","seq":1,"base":0,"ops":[{"retain":0}]}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"op","seq":1,"base":0,"ops":[{"insert":"\ud800"}]}"#,
            Code::Malformed,
        ),
        (r#"{"type":"hello","client":"0102"}"#, Code::Malformed),
        (r#"{"type":"check","rev":1,"digest":"é"}"#, Code::Malformed),
        (
            r#"{"type":"presence","rev":1,"data":"not an object"}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"presence","rev":1,"cursor":-1}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"presence","rev":1,"cursor":4294967296}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"presence","rev":1,"selection":{"anchor":1}}"#,
            Code::Malformed,
        ),
        (
            r#"{"type":"presence","rev":1,"selection":[1,2]}"#,
            Code::Malformed,
        ),
    ] {
        assert_eq!(json_code(text), code, "{text}");
    }
    for (message, code) in [
        (&[][..], Code::Malformed),
        (&[0x85], Code::UnknownFrame),
        (&[0xbf], Code::UnknownFrame),
        // Unknown bits, a length beyond the message, a number without end, without its frame.
        (&[0xe5], Code::Malformed),
        (&[37, 9], Code::Malformed),
        (
            &[
                0xa1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            Code::Malformed,
        ),
        (&[37], Code::Malformed),
        // Presence that would break those who read it; a digest of the wrong size.
        (&[0xa2, 1, b'{'], Code::Malformed),
        (&[0xa2, 1, b'7'], Code::Malformed),
        (&[0xa3, 1, 2, 3], Code::Malformed),
    ] {
        assert_eq!(binary_code(message), code, "{message:02x?}");
    }
}
