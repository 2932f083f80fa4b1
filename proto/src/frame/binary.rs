//! `codraft.v1.bin`: what our SDK speaks.
//!
//! A WebSocket message (binary) holds one frame or more. A frame is
//!
//! ```text
//! head    1 byte: kind in the low 6 bits; 0x80 set on the last frame of a message
//! length  varint, bytes of the body; only when 0x80 is not set (else: to the message's end)
//! body
//! ```
//!
//! Varints carry seven bits a byte, the lowest first, 0x80 on all but the last byte.
//!
//! Server to client:
//!
//! | kind | frame | body |
//! |---|---|---|
//! | 1 | welcome | varint n, n bytes of JSON (as in the JSON encoding, without `doc`), then the document's Delta, or nothing with a resume |
//! | 2 | who | JSON |
//! | 3 | op | varint slot, varint ms since the event before it, the Delta |
//! | 4 | event | varint slot, varint ms since the event before it, JSON `{kind, user?, role?, title?}` |
//! | 5 | skip | varint ms since the event before it |
//! | 6 | already | varint seq, varint rev |
//! | 7 | reject | JSON |
//! | 8 | rebase | varint seq, varint base, varint floor, varint head |
//! | 9 | mark | varint rev, 32 bytes chain hash |
//! | 10 | presence | varint slot, JSON `{rev, cursor?, selection?, data?, last_seen}` or nothing (gone) |
//! | 11 | role | 1 byte: 1 viewer, 2 commenter, 3 editor, 4 owner |
//! | 12 | resync | JSON |
//! | 13 | pong | nothing |
//! | 14 | bye | JSON |
//! | 15 | saving | 1 byte: 1 on, 0 off |
//! | 16 | restores | varint version: the op that follows is a restore of it |
//! | 17 | here | nothing |
//!
//! An op, event or skip takes the next revision; the first one after a welcome takes
//! `welcome.rev + 1`, and its time counts from `welcome.ts`. So one batch of events is the same
//! bytes for every socket that reads a document, the author's included: its own slot makes it
//! the acknowledgement of what it has in flight. What a restore is of stands before its op, so that
//! a client that knows nothing of it misses no event.
//!
//! Client to server:
//!
//! | kind | frame | body |
//! |---|---|---|
//! | 32 | hello | JSON |
//! | 33 | op | varint seq, varint base, the Delta |
//! | 34 | presence | varint rev, JSON `{cursor?, selection?, data?}` or nothing (gone) |
//! | 35 | check | varint rev, 32 bytes digest |
//! | 36 | auth | the token, UTF-8 |
//! | 37 | ping | nothing |
//! | 38 | here | nothing |
//!
//! JSON bodies are frames as the JSON encoding has them, `type` included; the order of their
//! fields means nothing. Where a body ends is said by its frame, so a Delta has no length of its
//! own. Varints have at most nine bytes (63 bits). Examples of every frame:
//! `tests/vectors/frames.json`.
//!
//! A Delta is in `ot`'s binary form (`ot/src/codec.rs`).

use bytes::Bytes;
use codraft_ot::varint;
use serde_json::Value;

use super::{
    At, BATCH_MAX, ClientFrame, FrameError, OpEvent, OtherEvent, Presence, ServerFrame,
    json::{self, parse_json},
};
use crate::ids::{Revision, Role, Seq};

const LAST: u8 = 0x80;
const KIND: u8 = 0x3f;

mod kind {
    pub const WELCOME: u8 = 1;
    pub const WHO: u8 = 2;
    pub const OP: u8 = 3;
    pub const EVENT: u8 = 4;
    pub const SKIP: u8 = 5;
    pub const ALREADY: u8 = 6;
    pub const REJECT: u8 = 7;
    pub const REBASE: u8 = 8;
    pub const MARK: u8 = 9;
    pub const PRESENCE: u8 = 10;
    pub const ROLE: u8 = 11;
    pub const RESYNC: u8 = 12;
    pub const PONG: u8 = 13;
    pub const BYE: u8 = 14;
    pub const SAVING: u8 = 15;
    pub const RESTORES: u8 = 16;
    pub const HERE: u8 = 17;
    pub const HELLO: u8 = 32;
    pub const CLIENT_OP: u8 = 33;
    pub const CLIENT_PRESENCE: u8 = 34;
    pub const CHECK: u8 = 35;
    pub const AUTH: u8 = 36;
    pub const PING: u8 = 37;
    pub const CLIENT_HERE: u8 = 38;
}

/// The time of the event before, which the next one counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    pub rev: Revision,
    pub ts_ms: u64,
}

/// Encodes frames into one message. `clock` is the event before them.
pub fn encode_server(out: &mut Vec<u8>, clock: &mut Clock, frames: &[ServerFrame]) {
    for (i, frame) in frames.iter().enumerate() {
        server_frame(out, clock, frame, i + 1 == frames.len());
    }
}

fn server_frame(out: &mut Vec<u8>, clock: &mut Clock, frame: &ServerFrame, last: bool) {
    match frame {
        // The hot one, without a buffer in between.
        ServerFrame::Op(op) => {
            let since = op.ts_ms.saturating_sub(clock.ts_ms);
            *clock = Clock {
                rev: op.rev,
                ts_ms: op.ts_ms.max(clock.ts_ms),
            };
            if let Some(version) = op.restores {
                head(out, kind::RESTORES, false, varint::len(version.0));
                varint::put(out, version.0);
            }
            let slot = u64::from(op.slot);
            let length = varint::len(slot) + varint::len(since) + op.ops.len();
            head(out, kind::OP, last, length);
            varint::put(out, slot);
            varint::put(out, since);
            out.extend_from_slice(&op.ops);
        }
        other => {
            let mut body = Vec::new();
            let kind = server_body(&mut body, clock, other);
            head(out, kind, last, body.len());
            out.extend_from_slice(&body);
        }
    }
}

fn server_body(body: &mut Vec<u8>, clock: &mut Clock, frame: &ServerFrame) -> u8 {
    let mut since = |body: &mut Vec<u8>, rev: Revision, ts_ms: u64| {
        varint::put(body, ts_ms.saturating_sub(clock.ts_ms));
        *clock = Clock {
            rev,
            ts_ms: ts_ms.max(clock.ts_ms),
        };
    };
    match frame {
        ServerFrame::Welcome(welcome) => {
            *clock = Clock {
                rev: welcome.rev,
                ts_ms: welcome.ts_ms,
            };
            welcome_text(body, frame);
            if let Some(doc) = &welcome.doc {
                body.extend_from_slice(doc);
            }
            kind::WELCOME
        }
        ServerFrame::Op(op) => {
            varint::put(body, u64::from(op.slot));
            since(body, op.rev, op.ts_ms);
            body.extend_from_slice(&op.ops);
            kind::OP
        }
        ServerFrame::Event(event) => {
            varint::put(body, u64::from(event.slot));
            since(body, event.rev, event.ts_ms);
            body.extend_from_slice(json::other_event_text(event).as_bytes());
            kind::EVENT
        }
        ServerFrame::Skip { rev, ts_ms } => {
            since(body, *rev, *ts_ms);
            kind::SKIP
        }
        ServerFrame::Already { seq, rev } => {
            varint::put(body, seq.0);
            varint::put(body, rev.0);
            kind::ALREADY
        }
        ServerFrame::Rebase {
            seq,
            base,
            floor,
            head,
        } => {
            [seq.0, base.0, floor.0, head.0]
                .into_iter()
                .for_each(|n| varint::put(body, n));
            kind::REBASE
        }
        ServerFrame::Mark(At { rev, hash }) => {
            varint::put(body, rev.0);
            body.extend_from_slice(hash);
            kind::MARK
        }
        ServerFrame::Presence {
            slot,
            rev,
            last_seen_ms,
            presence,
        } => {
            varint::put(body, u64::from(*slot));
            let text = json::shown_text(*rev, *last_seen_ms, presence.as_ref());
            body.extend_from_slice(text.as_bytes());
            kind::PRESENCE
        }
        ServerFrame::Role { role } => {
            body.push(*role as u8);
            kind::ROLE
        }
        ServerFrame::Saving { on } => {
            body.push(u8::from(*on));
            kind::SAVING
        }
        ServerFrame::Pong => kind::PONG,
        ServerFrame::Here => kind::HERE,
        ServerFrame::Who(_)
        | ServerFrame::Reject { .. }
        | ServerFrame::Resync { .. }
        | ServerFrame::Bye { .. } => {
            body.extend_from_slice(plain_text(frame).as_bytes());
            match frame {
                ServerFrame::Who(_) => kind::WHO,
                ServerFrame::Reject { .. } => kind::REJECT,
                ServerFrame::Resync { .. } => kind::RESYNC,
                _ => kind::BYE,
            }
        }
    }
}

/// A message that begins with a welcome, in two parts: up to its document, which has so many bytes
/// and is not in the frame, and from there on.
pub fn around_document(frames: &[ServerFrame], document: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut start, mut end) = (Vec::with_capacity(512), Vec::new());
    let mut clock = Clock::default();
    if let Some((welcome, others)) = frames.split_first() {
        let mut body = Vec::with_capacity(512);
        let kind = server_body(&mut body, &mut clock, welcome);
        head(&mut start, kind, others.is_empty(), body.len() + document);
        start.extend_from_slice(&body);
        encode_server(&mut end, &mut clock, others);
    }
    (start, end)
}

fn welcome_text(out: &mut Vec<u8>, frame: &ServerFrame) {
    let text = plain_text(frame);
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The JSON of a frame without an operation, in which nothing can be unreadable.
fn plain_text(frame: &ServerFrame) -> String {
    json::server_text(frame, false).unwrap_or_default()
}

/// Decodes a message from a server. `clock` is carried from message to message.
///
/// # Errors
/// `Malformed` or `UnknownFrame`.
pub fn decode_server(message: &Bytes, clock: &mut Clock) -> Result<Vec<ServerFrame>, FrameError> {
    let (mut frames, mut restores) = (Vec::new(), None);
    let mut rest = message.clone();
    while !rest.is_empty() {
        let (kind, mut body) = split(&mut rest)?;
        if kind == kind::RESTORES {
            restores = Some(Revision(take_varint(&mut body)?));
            continue;
        }
        let mut frame = server_of(kind, body, clock)?;
        if let ServerFrame::Op(op) = &mut frame {
            op.restores = restores.take();
        }
        frames.push(frame);
    }
    Ok(frames)
}

fn server_of(kind: u8, mut body: Bytes, clock: &mut Clock) -> Result<ServerFrame, FrameError> {
    let next = |body: &mut Bytes, clock: &mut Clock| -> Result<Clock, FrameError> {
        let since = take_varint(body)?;
        let rev = clock.rev.0.checked_add(1);
        let rev = rev.ok_or_else(|| FrameError::malformed("no revision left"))?;
        *clock = Clock {
            rev: Revision(rev),
            ts_ms: clock.ts_ms.saturating_add(since),
        };
        Ok(*clock)
    };
    Ok(match kind {
        kind::OP => {
            let slot = take_slot(&mut body)?;
            let at = next(&mut body, clock)?;
            ServerFrame::Op(OpEvent {
                rev: at.rev,
                slot,
                seq: Seq(0),
                base: Revision(0),
                ts_ms: at.ts_ms,
                restores: None,
                ops: body,
            })
        }
        kind::WELCOME => {
            let length = take_varint(&mut body)? as usize;
            if length > body.len() {
                return Err(FrameError::malformed("welcome: length beyond the frame"));
            }
            let text = body.split_to(length);
            let frame = json::server_of(&parse_json(&text)?)?;
            let ServerFrame::Welcome(mut welcome) = frame else {
                return Err(FrameError::malformed("welcome: another frame inside"));
            };
            *clock = Clock {
                rev: welcome.rev,
                ts_ms: welcome.ts_ms,
            };
            welcome.doc = (!welcome.resumed()).then_some(body);
            ServerFrame::Welcome(welcome)
        }
        kind::EVENT => {
            let slot = take_slot(&mut body)?;
            let at = next(&mut body, clock)?;
            ServerFrame::Event(OtherEvent {
                rev: at.rev,
                slot,
                ts_ms: at.ts_ms,
                ..json::other_event_of(&parse_json(&body)?)?
            })
        }
        kind::SKIP => {
            let at = next(&mut body, clock)?;
            ServerFrame::Skip {
                rev: at.rev,
                ts_ms: at.ts_ms,
            }
        }
        kind::ALREADY => ServerFrame::Already {
            seq: Seq(take_varint(&mut body)?),
            rev: Revision(take_varint(&mut body)?),
        },
        kind::REBASE => ServerFrame::Rebase {
            seq: Seq(take_varint(&mut body)?),
            base: Revision(take_varint(&mut body)?),
            floor: Revision(take_varint(&mut body)?),
            head: Revision(take_varint(&mut body)?),
        },
        kind::MARK => ServerFrame::Mark(At {
            rev: Revision(take_varint(&mut body)?),
            hash: take_hash(&body)?,
        }),
        kind::PRESENCE => {
            let slot = take_slot(&mut body)?;
            match body.is_empty() {
                true => json::shown_of(slot, &Value::Null)?,
                false => json::shown_of(slot, &object(&body)?)?,
            }
        }
        kind::ROLE => {
            let role = body.first().and_then(|n| Role::from_number(u32::from(*n)));
            ServerFrame::Role {
                role: role.ok_or_else(|| FrameError::malformed("role: unknown"))?,
            }
        }
        kind::SAVING => ServerFrame::Saving {
            on: body.first() == Some(&1),
        },
        kind::PONG => ServerFrame::Pong,
        kind::HERE => ServerFrame::Here,
        kind::WHO | kind::REJECT | kind::RESYNC | kind::BYE => {
            json::server_of(&parse_json(&body)?)?
        }
        other => {
            return Err(FrameError::unknown(format!(
                "there is no server frame {other}"
            )));
        }
    })
}

/// Encodes one client frame as a message of its own.
pub fn encode_client(out: &mut Vec<u8>, frame: &ClientFrame) {
    let mut body = Vec::new();
    let kind = match frame {
        ClientFrame::Hello { .. } => {
            body.extend_from_slice(json::client_text(frame).as_bytes());
            kind::HELLO
        }
        ClientFrame::Op { seq, base, ops } => {
            varint::put(&mut body, seq.0);
            varint::put(&mut body, base.0);
            body.extend_from_slice(ops);
            kind::CLIENT_OP
        }
        ClientFrame::Presence { rev, presence } => {
            varint::put(&mut body, rev.0);
            body.extend_from_slice(json::presence_text(presence.as_ref()).as_bytes());
            kind::CLIENT_PRESENCE
        }
        ClientFrame::Check { rev, digest } => {
            varint::put(&mut body, rev.0);
            body.extend_from_slice(digest);
            kind::CHECK
        }
        ClientFrame::Auth { token } => {
            body.extend_from_slice(token.as_bytes());
            kind::AUTH
        }
        ClientFrame::Ping => kind::PING,
        ClientFrame::Here => kind::CLIENT_HERE,
    };
    head(out, kind, true, body.len());
    out.extend_from_slice(&body);
}

/// Decodes a message from a client; operations are slices of it and not looked into.
///
/// # Errors
/// `Malformed` or `UnknownFrame`; never more than `BATCH_MAX` frames.
pub fn decode_client(message: &Bytes) -> Result<Vec<ClientFrame>, FrameError> {
    let mut frames = Vec::with_capacity(1);
    let mut rest = message.clone();
    if rest.is_empty() {
        return Err(FrameError::malformed("an empty message"));
    }
    while !rest.is_empty() {
        if frames.len() == BATCH_MAX {
            return Err(FrameError::malformed(format!(
                "more than {BATCH_MAX} frames in a message"
            )));
        }
        let (kind, body) = split(&mut rest)?;
        frames.push(client_of(kind, body)?);
    }
    Ok(frames)
}

fn client_of(kind: u8, mut body: Bytes) -> Result<ClientFrame, FrameError> {
    Ok(match kind {
        kind::CLIENT_OP => ClientFrame::Op {
            seq: Seq(take_varint(&mut body)?),
            base: Revision(take_varint(&mut body)?),
            ops: body,
        },
        kind::HELLO => match json::client_of(&parse_json(&body)?)? {
            hello @ ClientFrame::Hello { .. } => hello,
            _ => return Err(FrameError::malformed("hello: another frame inside")),
        },
        kind::CLIENT_PRESENCE => {
            let rev = take_varint(&mut body)?;
            ClientFrame::Presence {
                rev: Revision(rev),
                presence: take_presence(&body)?,
            }
        }
        kind::CHECK => ClientFrame::Check {
            rev: Revision(take_varint(&mut body)?),
            digest: take_hash(&body)?,
        },
        kind::AUTH => {
            let token = take_text(body)?.unwrap_or_default();
            ClientFrame::Auth { token }
        }
        kind::PING => ClientFrame::Ping,
        kind::CLIENT_HERE => ClientFrame::Here,
        other => {
            return Err(FrameError::unknown(format!(
                "there is no client frame {other}"
            )));
        }
    })
}

/// Appends a whole message that others follow in the same one: its last frame, which says no
/// length where it is, has to say it now.
pub fn put_not_last(out: &mut Vec<u8>, message: &[u8]) {
    let mut rest = message;
    while let Some((head, after)) = rest.split_first() {
        if head & LAST != 0 {
            out.extend_from_slice(&message[..message.len() - rest.len()]);
            out.push(head & !LAST);
            varint::put(out, after.len() as u64);
            out.extend_from_slice(after);
            return;
        }
        rest = after;
        // What `encode_server` wrote can be read.
        let length = varint::take(&mut rest).unwrap_or_default();
        rest = rest.get(length as usize..).unwrap_or_default();
    }
}

/// The next frame's kind and body.
fn split(rest: &mut Bytes) -> Result<(u8, Bytes), FrameError> {
    let head = rest.split_to(1)[0];
    if head & !(LAST | KIND) != 0 {
        return Err(FrameError::malformed("a frame's head has unknown bits"));
    }
    if head & LAST != 0 {
        return Ok((head & KIND, std::mem::take(rest)));
    }
    let length = take_varint(rest)? as usize;
    if length > rest.len() {
        return Err(FrameError::malformed("a frame is longer than its message"));
    }
    Ok((head & KIND, rest.split_to(length)))
}

fn head(out: &mut Vec<u8>, kind: u8, last: bool, length: usize) {
    if last {
        out.push(kind | LAST);
    } else {
        out.push(kind);
        varint::put(out, length as u64);
    }
}

/// In the fewest bytes or not, but at most nine.
fn take_varint(input: &mut Bytes) -> Result<u64, FrameError> {
    let mut value = 0u64;
    for i in 0..9 {
        let Some(byte) = input.get(i).copied() else {
            break;
        };
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let _ = input.split_to(i + 1);
            return Ok(value);
        }
    }
    Err(FrameError::malformed("a number that does not end"))
}

fn take_slot(input: &mut Bytes) -> Result<u32, FrameError> {
    u32::try_from(take_varint(input)?).map_err(|_| FrameError::malformed("slot: too large"))
}

fn take_hash(body: &Bytes) -> Result<[u8; 32], FrameError> {
    body[..]
        .try_into()
        .map_err(|_| FrameError::malformed("a hash has 32 bytes"))
}

/// Looked into although the router only relays it: it must not break those who read it.
fn take_presence(body: &Bytes) -> Result<Option<Presence>, FrameError> {
    if body.is_empty() {
        return Ok(None);
    }
    json::presence_of(&object(body)?)
}

fn object(body: &Bytes) -> Result<Value, FrameError> {
    let value = parse_json(body)?;
    let wrong = || FrameError::malformed("presence: an object or nothing");
    value.is_object().then_some(value).ok_or_else(wrong)
}

/// Empty: none.
fn take_text(body: Bytes) -> Result<Option<String>, FrameError> {
    let text = String::from_utf8(body.into()).map_err(|_| FrameError::malformed("not UTF-8"))?;
    Ok((!text.is_empty()).then_some(text))
}
