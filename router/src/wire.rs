//! Frames as bytes for a socket: encoded once a batch and encoding, joined where several
//! wait for the same socket.

use std::collections::VecDeque;

use bytes::Bytes;
use codraft_proto::{
    frame::{
        Encoding, ServerFrame,
        binary::{self, Clock},
        json,
    },
    ids::{Revision, Seq},
};

use crate::session::Answer;

/// One frame that holds no operation, as a message: nothing in it can be unreadable.
pub fn frame(encoding: Encoding, frame: &ServerFrame) -> Bytes {
    frames(encoding, Clock::default(), std::slice::from_ref(frame)).unwrap_or_default()
}

/// Frames as one message; `clock` is the event before them. `None` if an operation among them
/// cannot be put into this encoding.
pub fn frames(encoding: Encoding, mut clock: Clock, frames: &[ServerFrame]) -> Option<Bytes> {
    Some(match encoding {
        Encoding::Binary => {
            let mut out = Vec::with_capacity(64);
            binary::encode_server(&mut out, &mut clock, frames);
            out.into()
        }
        Encoding::Json => json::encode_server(frames).ok()?.into(),
    })
}

/// A message that begins with a welcome: up to its document, which has so many bytes in binary
/// form, and from there on. `None` as above.
pub fn around_document(
    encoding: Encoding,
    frames: &[ServerFrame],
    document: usize,
) -> Option<(Bytes, Bytes)> {
    Some(match encoding {
        Encoding::Binary => {
            let (start, end) = binary::around_document(frames, document);
            (start.into(), end.into())
        }
        Encoding::Json => {
            let (start, end) = json::around_document(frames).ok()?;
            (start.into(), end.into())
        }
    })
}

/// What the shard answered, as the client is told.
pub fn answer(seq: Seq, base: Revision, answer: Answer) -> ServerFrame {
    match answer {
        Answer::Already { rev } => ServerFrame::Already { seq, rev },
        Answer::Rebase { floor, head } => ServerFrame::Rebase {
            seq,
            base,
            floor,
            head,
        },
        Answer::Refused { code, message } => ServerFrame::Reject {
            seq,
            base,
            last: true,
            code,
            message,
            retry_after_ms: 0,
        },
        Answer::Retry {
            code,
            message,
            retry_after_ms,
        } => ServerFrame::Reject {
            seq,
            base,
            last: false,
            code,
            message,
            retry_after_ms,
        },
    }
}

/// Several messages as one. A lone one is not copied.
pub fn join(encoding: Encoding, mut messages: VecDeque<Bytes>) -> Option<Bytes> {
    if messages.len() < 2 {
        return messages.pop_front();
    }
    let total: usize = messages.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(total + messages.len() * 4 + 2);
    match encoding {
        Encoding::Binary => {
            let last = messages.pop_back()?;
            for message in &messages {
                binary::put_not_last(&mut out, message);
            }
            out.extend_from_slice(&last);
        }
        Encoding::Json => {
            out.push(b'[');
            for (i, message) in messages.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                // A message is a frame or an array of frames, as `frames` wrote it.
                let inner = message
                    .strip_prefix(b"[")
                    .and_then(|m| m.strip_suffix(b"]"));
                out.extend_from_slice(inner.unwrap_or(message));
            }
            out.push(b']');
        }
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codraft_proto::frame::{At, OpEvent};

    use super::*;

    #[test]
    fn joined_messages_say_what_the_single_ones_said() {
        let op = |rev, length: usize| {
            let ops = Bytes::from(vec![b'x'; length]);
            ServerFrame::Op(OpEvent {
                rev,
                slot: 3,
                seq: Seq(0),
                base: Revision(0),
                ts_ms: rev.0 * 10,
                restores: None,
                ops,
            })
        };
        let mark = ServerFrame::Mark(At {
            rev: Revision(2),
            hash: [7; 32],
        });
        let all = [
            op(Revision(1), 3),
            op(Revision(2), 500),
            mark.clone(),
            op(Revision(3), 1),
            ServerFrame::Pong,
        ];
        let start = Clock {
            rev: Revision(0),
            ts_ms: 0,
        };
        let messages = [
            frames(Encoding::Binary, start, &all[..3]).unwrap(),
            frames(
                Encoding::Binary,
                Clock {
                    rev: Revision(2),
                    ts_ms: 20,
                },
                &all[3..4],
            )
            .unwrap(),
            frame(Encoding::Binary, &all[4]),
        ];
        let joined = join(Encoding::Binary, messages.into()).unwrap();
        let mut clock = start;
        assert_eq!(binary::decode_server(&joined, &mut clock).unwrap(), all);
    }

    #[test]
    fn joined_json_is_one_array() {
        let one = frame(Encoding::Json, &ServerFrame::Pong);
        let two = frames(
            Encoding::Json,
            Clock::default(),
            &[ServerFrame::Pong, ServerFrame::Pong],
        )
        .unwrap();
        assert_eq!(join(Encoding::Json, [one.clone()].into()).unwrap(), one);
        let joined = join(Encoding::Json, [one, two].into()).unwrap();
        let frames: Vec<serde_json::Value> = serde_json::from_slice(&joined).unwrap();
        assert_eq!(frames.len(), 3);
    }
}
