//! `codraft.v1`: JSON text, for any language and for debugging.
//!
//! A message is a frame object or an array of them. A frame has its name in `type`. Operations
//! are arrays of Delta components: `{"retain": 3}`, `{"insert": "text" | {…}}`, `{"delete": 2}`,
//! with `attributes` where there are any.

mod spell;
mod welcome;

use std::collections::BTreeMap;

use bytes::Bytes;
use codraft_mutant::{
    cost::{Work, spend},
    mutant,
};
use codraft_ot::{Attributes, Delta, Limits, OpError, Value as Field};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{At, BATCH_MAX, ClientFrame, FrameError, OpEvent, OtherEvent, ServerFrame, Who};
use crate::{
    ids::{ClientId, Revision, Role, Seq, UserId},
    reject::Code,
};

pub use spell::Spelling;
use spell::{ClientOpText, ComponentText, OpText, OpsText, WelcomeText, trusted};
use welcome::{welcome_of, welcome_value};

/// Decodes a message from a client.
///
/// # Errors
/// `Malformed`, `UnknownFrame`, or what an operation breaks of `limits`.
pub fn decode_client(text: &[u8], limits: &Limits) -> Result<Vec<ClientFrame>, FrameError> {
    let value = parse_json(text)?;
    let decode = |value: &Value| match client_of(value)? {
        ClientFrame::Op { seq, base, .. } => {
            let delta = delta_of(&value["ops"], limits).map_err(|e| op_error(&e))?;
            Ok(ClientFrame::Op {
                seq,
                base,
                ops: delta.to_bytes().into(),
            })
        }
        other => Ok(other),
    };
    match &value {
        Value::Array(items) if items.len() > BATCH_MAX => Err(FrameError::malformed(format!(
            "more than {BATCH_MAX} frames in a message"
        ))),
        Value::Array(items) if items.is_empty() => Err(FrameError::malformed("an empty message")),
        Value::Array(items) => items.iter().map(decode).collect(),
        one => Ok(vec![decode(one)?]),
    }
}

/// Encodes frames into one message.
///
/// # Errors
/// An operation among them cannot be read: it must not become another one.
pub fn encode_server(frames: &[ServerFrame]) -> Result<String, FrameError> {
    if let [one] = frames {
        return server_text(one, true);
    }
    let mut out = String::from("[");
    for (i, frame) in frames.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&server_text(frame, true)?);
    }
    out.push(']');
    Ok(out)
}

/// A message that begins with a welcome, in two parts: up to its document and from there on.
///
/// # Errors
/// An operation among the frames cannot be read.
pub fn around_document(frames: &[ServerFrame]) -> Result<(String, String), FrameError> {
    let (mut start, mut end) = (String::new(), String::new());
    for (i, frame) in frames.iter().enumerate() {
        let text = server_text(frame, i > 0)?;
        if i > 0 {
            end.push(',');
            end.push_str(&text);
            continue;
        }
        if frames.len() > 1 {
            start.push('[');
        }
        // Its last brace follows the document.
        start.push_str(text.strip_suffix('}').unwrap_or(&text));
        start.push_str(",\"doc\":");
        end.push('}');
    }
    if frames.len() > 1 {
        end.push(']');
    }
    Ok((start, end))
}

/// Decodes a message from a server.
///
/// # Errors
/// `Malformed` or `UnknownFrame`.
pub fn decode_server(text: &[u8]) -> Result<Vec<ServerFrame>, FrameError> {
    match parse_json(text)? {
        Value::Array(items) => items.iter().map(server_of).collect(),
        one => Ok(vec![server_of(&one)?]),
    }
}

/// Encodes one client frame as a message of its own.
pub fn encode_client(frame: &ClientFrame) -> String {
    client_text(frame)
}

// ---- Frames ------------------------------------------------------------------------------

pub(super) fn parse_json(text: &[u8]) -> Result<Value, FrameError> {
    serde_json::from_slice(text).map_err(|e| FrameError::malformed(format!("not JSON: {e}")))
}

pub(super) fn client_of(value: &Value) -> Result<ClientFrame, FrameError> {
    let frame = Fields::new(value)?;
    Ok(match frame.name {
        "hello" => ClientFrame::Hello {
            client: frame.client("client")?,
            resume: match &value["resume"] {
                Value::Null => None,
                at => Some(at_of(&Fields {
                    value: at,
                    name: "resume",
                })?),
            },
            unsent: value["unsent"]
                .as_bool()
                .ok_or_else(|| FrameError::malformed("unsent is true or false"))?,
        },
        // The operation itself is read by `decode_client`, which has the limits.
        "op" => ClientFrame::Op {
            seq: Seq(frame.number("seq")?),
            base: Revision(frame.number("base")?),
            ops: Bytes::new(),
        },
        "presence" => ClientFrame::Presence {
            rev: Revision(value["rev"].as_u64().unwrap_or(0)),
            data: presence_of(&value["data"])?,
        },
        "check" => ClientFrame::Check {
            rev: Revision(frame.number("rev")?),
            digest: frame.hash("digest")?,
        },
        "auth" => ClientFrame::Auth {
            token: frame.text("token")?.to_owned(),
        },
        "ping" => ClientFrame::Ping,
        other => return Err(unknown(other)),
    })
}

pub(super) fn client_text(frame: &ClientFrame) -> String {
    if let ClientFrame::Op { seq, base, ops } = frame {
        let text = ClientOpText {
            base: base.0,
            ops: OpsText(ops),
            seq: seq.0,
            r#type: "op",
        };
        // What is no operation is no message either: the server says so.
        return serde_json::to_string(&text).unwrap_or_default();
    }
    match frame {
        ClientFrame::Hello {
            client,
            resume,
            unsent,
        } => {
            let mut value =
                json!({"type": "hello", "client": client.to_string(), "unsent": unsent});
            if let Some(at) = resume {
                value["resume"] = json!({"rev": at.rev.0, "hash": hex(&at.hash)});
            }
            value
        }
        ClientFrame::Op { .. } => Value::Null,
        ClientFrame::Presence { rev, data } => {
            json!({"type": "presence", "rev": rev.0, "data": embedded(data)})
        }
        ClientFrame::Check { rev, digest } => {
            json!({"type": "check", "rev": rev.0, "digest": hex(digest)})
        }
        ClientFrame::Auth { token } => json!({"type": "auth", "token": token}),
        ClientFrame::Ping => json!({"type": "ping"}),
    }
    .to_string()
}

fn text(value: &impl Serialize) -> Result<String, FrameError> {
    serde_json::to_string(value).map_err(|e| FrameError::malformed(e.to_string()))
}

/// `with_doc`: a welcome spells its document out.
///
/// # Errors
/// An operation or document that cannot be read.
pub(super) fn server_text(frame: &ServerFrame, with_doc: bool) -> Result<String, FrameError> {
    match frame {
        ServerFrame::Op(op) => text(&OpText {
            base: op.base.0,
            ops: OpsText(&op.ops),
            restores: op.restores.map(|version| version.0),
            rev: op.rev.0,
            seq: op.seq.0,
            slot: op.slot,
            ts: op.ts_ms,
            r#type: "op",
        }),
        ServerFrame::Welcome(welcome) => text(&WelcomeText {
            doc: welcome
                .doc
                .as_ref()
                .filter(|_| with_doc)
                .map(|doc| OpsText(doc)),
            rest: welcome_value(welcome),
        }),
        other => text(&server_value(other)),
    }
}

/// Of frames without an operation.
fn server_value(frame: &ServerFrame) -> Value {
    match frame {
        ServerFrame::Welcome(_) | ServerFrame::Op(_) => Value::Null,
        ServerFrame::Who(who) => {
            let mut value = who_value(who);
            value["type"] = json!("who");
            value
        }
        ServerFrame::Event(event) => {
            let mut value = other_event_value(event);
            value["type"] = json!("event");
            value["rev"] = json!(event.rev.0);
            value["slot"] = json!(event.slot);
            value["ts"] = json!(event.ts_ms);
            value
        }
        ServerFrame::Skip { rev, ts_ms } => json!({"type": "skip", "rev": rev.0, "ts": ts_ms}),
        ServerFrame::Already { seq, rev } => json!({"type": "already", "seq": seq.0, "rev": rev.0}),
        ServerFrame::Reject {
            seq,
            base,
            last,
            code,
            message,
            retry_after_ms,
        } => {
            let mut value = json!({"type": "reject", "seq": seq.0, "base": base.0, "final": last,
                "code": code.as_str(), "message": message});
            if *retry_after_ms > 0 {
                value["retry_after_ms"] = json!(retry_after_ms);
            }
            value
        }
        ServerFrame::Rebase {
            seq,
            base,
            floor,
            head,
        } => {
            json!({"type": "rebase", "seq": seq.0, "base": base.0, "floor": floor.0, "head": head.0})
        }
        ServerFrame::Mark(at) => json!({"type": "mark", "rev": at.rev.0, "hash": hex(&at.hash)}),
        ServerFrame::Presence { slot, data } => {
            json!({"type": "presence", "slot": slot, "data": embedded(data)})
        }
        ServerFrame::Role { role } => json!({"type": "role", "role": role.as_str()}),
        ServerFrame::Resync { reason } => json!({"type": "resync", "reason": reason}),
        ServerFrame::Saving { on } => json!({"type": "saving", "on": on}),
        ServerFrame::Pong => json!({"type": "pong"}),
        ServerFrame::Bye {
            code,
            reason,
            retry_after_ms,
        } => json!({"type": "bye",
            "code": code.as_str(), "reason": reason, "retry_after_ms": retry_after_ms}),
    }
}

pub(super) fn server_of(value: &Value) -> Result<ServerFrame, FrameError> {
    let frame = Fields::new(value)?;
    Ok(match frame.name {
        "welcome" => ServerFrame::Welcome(Box::new(welcome_of(&frame)?)),
        "who" => ServerFrame::Who(who_of(&frame)?),
        "op" => ServerFrame::Op(op_event_of(&frame)?),
        "event" => {
            let (kind, user, role, title) = other_event_of(value)?;
            let (rev, slot, ts_ms) = (frame.number("rev")?, frame.slot()?, frame.number("ts")?);
            ServerFrame::Event(OtherEvent {
                rev: Revision(rev),
                slot,
                ts_ms,
                kind,
                user,
                role,
                title,
            })
        }
        "skip" => ServerFrame::Skip {
            rev: Revision(frame.number("rev")?),
            ts_ms: frame.number("ts")?,
        },
        "already" => ServerFrame::Already {
            seq: Seq(frame.number("seq")?),
            rev: Revision(frame.number("rev")?),
        },
        "reject" => ServerFrame::Reject {
            seq: Seq(frame.number("seq")?),
            base: Revision(frame.number("base")?),
            last: value["final"].as_bool().unwrap_or(false),
            code: frame.code()?,
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            retry_after_ms: frame.retry_after(),
        },
        "rebase" => ServerFrame::Rebase {
            seq: Seq(frame.number("seq")?),
            base: Revision(frame.number("base")?),
            floor: Revision(frame.number("floor")?),
            head: Revision(frame.number("head")?),
        },
        "mark" => ServerFrame::Mark(at_of(&frame)?),
        "presence" => ServerFrame::Presence {
            slot: frame.slot()?,
            data: presence_of(&value["data"])?,
        },
        "role" => ServerFrame::Role {
            role: frame.role("role")?,
        },
        "resync" => ServerFrame::Resync {
            reason: frame.text("reason")?.to_owned(),
        },
        "saving" => ServerFrame::Saving {
            on: value["on"].as_bool().unwrap_or(false),
        },
        "pong" => ServerFrame::Pong,
        "bye" => ServerFrame::Bye {
            code: frame.code()?,
            reason: value["reason"].as_str().unwrap_or_default().to_owned(),
            retry_after_ms: frame.retry_after(),
        },
        other => return Err(unknown(other)),
    })
}

fn op_event_of(frame: &Fields<'_>) -> Result<OpEvent, FrameError> {
    Ok(OpEvent {
        rev: Revision(frame.number("rev")?),
        slot: frame.slot()?,
        seq: Seq(frame.number("seq")?),
        base: Revision(frame.number("base")?),
        ts_ms: frame.number("ts")?,
        restores: frame.value["restores"].as_u64().map(Revision),
        ops: ops_of(&frame.value["ops"])?,
    })
}

fn who_value(who: &Who) -> Value {
    json!({"slot": who.slot, "client": who.client.to_string(), "user": &*who.user})
}

fn who_of(frame: &Fields<'_>) -> Result<Who, FrameError> {
    let (client, user) = (frame.client("client")?, frame.text("user")?.into());
    Ok(Who {
        slot: frame.slot()?,
        client,
        user,
    })
}

fn other_event_value(event: &OtherEvent) -> Value {
    let mut value = json!({"kind": event.kind});
    if let Some(user) = &event.user {
        value["user"] = json!(&**user);
        value["role"] = json!(event.role.map(Role::as_str));
    }
    if let Some(title) = &event.title {
        value["title"] = json!(title);
    }
    value
}

pub(super) fn other_event_text(event: &OtherEvent) -> String {
    other_event_value(event).to_string()
}

type OtherFields = (String, Option<UserId>, Option<Role>, Option<String>);

pub(super) fn other_event_of(value: &Value) -> Result<OtherFields, FrameError> {
    let fields = Fields {
        value,
        name: "event",
    };
    let user = value["user"].as_str().map(UserId::from);
    let role = value["role"].as_str().and_then(|r| r.parse().ok());
    let title = value["title"].as_str().map(str::to_owned);
    Ok((fields.text("kind")?.to_owned(), user, role, title))
}

fn at_of(frame: &Fields<'_>) -> Result<At, FrameError> {
    Ok(At {
        rev: Revision(frame.number("rev")?),
        hash: frame.hash("hash")?,
    })
}

/// Presence data travels as JSON text.
fn embedded(data: &Option<String>) -> Value {
    data.as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

/// What a client says of itself reaches other clients: an object, or gone.
pub(super) fn presence_of(data: &Value) -> Result<Option<String>, FrameError> {
    match data {
        Value::Null => Ok(None),
        Value::Object(_) => Ok(Some(data.to_string())),
        _ => Err(FrameError::malformed(
            "presence: data must be an object or null",
        )),
    }
}

fn unknown(name: &str) -> FrameError {
    let short: String = name.chars().take(40).collect();
    FrameError::unknown(format!("there is no frame {short:?}"))
}

/// A frame's fields, with errors that name them.
struct Fields<'a> {
    value: &'a Value,
    name: &'a str,
}

impl<'a> Fields<'a> {
    fn new(value: &'a Value) -> Result<Self, FrameError> {
        match value["type"].as_str() {
            Some(name) => Ok(Self { value, name }),
            None => Err(FrameError::malformed("a frame is an object with a type")),
        }
    }

    fn wrong(&self, field: &str, what: &str) -> FrameError {
        FrameError::malformed(format!("{}: {field} must be {what}", self.name))
    }

    fn number(&self, field: &str) -> Result<u64, FrameError> {
        self.value[field]
            .as_u64()
            .ok_or_else(|| self.wrong(field, "a whole number"))
    }

    fn slot(&self) -> Result<u32, FrameError> {
        self.small("slot")
    }

    fn small(&self, field: &str) -> Result<u32, FrameError> {
        u32::try_from(self.number(field)?).map_err(|_| self.wrong(field, "smaller"))
    }

    fn text(&self, field: &str) -> Result<&'a str, FrameError> {
        self.value[field]
            .as_str()
            .ok_or_else(|| self.wrong(field, "a string"))
    }

    fn client(&self, field: &str) -> Result<ClientId, FrameError> {
        self.text(field)?
            .parse()
            .map_err(|_| self.wrong(field, "32 lower-case hex digits"))
    }

    fn role(&self, field: &str) -> Result<Role, FrameError> {
        self.text(field)?
            .parse()
            .map_err(|()| self.wrong(field, "a role"))
    }

    fn code(&self) -> Result<Code, FrameError> {
        Code::from_name(self.text("code")?).ok_or_else(|| self.wrong("code", "a known code"))
    }

    fn retry_after(&self) -> u32 {
        self.value["retry_after_ms"].as_u64().unwrap_or(0) as u32
    }

    fn hash(&self, field: &str) -> Result<[u8; 32], FrameError> {
        let wrong = || self.wrong(field, "64 lower-case hex digits");
        let text = self.text(field)?;
        let (high, low) = (
            text.get(..32).ok_or_else(wrong)?,
            text.get(32..).ok_or_else(wrong)?,
        );
        let half = |s: &str| s.parse::<ClientId>().map_err(|_| wrong());
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(&half(high)?.0);
        hash[16..].copy_from_slice(&half(low)?.0);
        Ok(hash)
    }
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

// ---- Operations ----------------------------------------------------------------------------

/// The most that all lengths of an operation may be together: neighbours are merged while it is
/// read, and no sum may leave 32 bits. `ot`'s decoder, which has the last word, holds the same.
const UNITS_SUM_MAX: u64 = (u32::MAX / 2) as u64;

/// Reads an operation from an array of components (or an object with `ops`).
///
/// # Errors
/// Shapes that are not a Delta are `Malformed`; the rest as `ot` says.
pub fn delta_of(value: &Value, limits: &Limits) -> Result<Delta, OpError> {
    let items = value
        .as_array()
        .or_else(|| value["ops"].as_array())
        .ok_or(OpError::Malformed)?;
    if items.len() > limits.components {
        return Err(OpError::TooManyComponents {
            most: limits.components,
        });
    }
    spend(Work::Json, items.len());
    let mut delta = Delta::new();
    let mut total = 0u64;
    // Before each push, where neighbours are merged: the sum must fit at every step.
    let mut count = |value: &Value| {
        let units = count(value)?;
        total += u64::from(units);
        if total > UNITS_SUM_MAX {
            Err(OpError::Overflow)
        } else {
            Ok(units)
        }
    };
    for item in items {
        let object = item.as_object().ok_or(OpError::Malformed)?;
        let mut attributes = match object.get("attributes") {
            None | Some(Value::Null) => Attributes::new(),
            Some(Value::Object(map)) => fields_of(map, 1, limits)?,
            Some(_) => return Err(OpError::Malformed),
        };
        if !attributes.is_empty() && mutant!("json_forgets_removed_attributes") {
            attributes.retain(|_, value| *value != Field::Null);
        }
        match (
            object.get("retain"),
            object.get("insert"),
            object.get("delete"),
        ) {
            (Some(n), None, None) => delta.retain_with(count(n)?, attributes),
            (None, Some(Value::String(text)), None) if text.is_empty() => {
                return Err(OpError::ZeroCount);
            }
            (None, Some(Value::String(text)), None) => delta.insert_with(text, attributes),
            (None, Some(Value::Object(map)), None) => {
                delta.embed(Field::Object(fields_of(map, 1, limits)?), attributes)
            }
            (None, None, Some(n)) => delta.delete(count(n)?),
            _ => return Err(OpError::Malformed),
        };
    }
    // The binary form's own checks are the ones that count: sizes, depths, sums.
    Delta::decode(&delta.to_bytes(), limits)
}

fn count(value: &Value) -> Result<u32, OpError> {
    match value.as_i64() {
        Some(n) if n <= 0 => Err(OpError::ZeroCount),
        Some(n) if n <= 1 << 30 => Ok(n as u32),
        Some(_) => Err(OpError::Overflow),
        None => Err(OpError::Malformed),
    }
}

fn fields_of(
    map: &Map<String, Value>,
    depth: usize,
    limits: &Limits,
) -> Result<BTreeMap<Box<str>, Field>, OpError> {
    let field = |(name, value): (&String, &Value)| {
        Ok((name.as_str().into(), field_of(value, depth, limits)?))
    };
    map.iter().map(field).collect()
}

fn field_of(value: &Value, depth: usize, limits: &Limits) -> Result<Field, OpError> {
    if depth > limits.depth {
        return Err(OpError::TooDeep { most: limits.depth });
    }
    Ok(match value {
        Value::Null => Field::Null,
        Value::Bool(b) => Field::Bool(*b),
        Value::Number(n) => Field::Number(n.as_f64().ok_or(OpError::Malformed)?),
        Value::String(text) => Field::String(text.as_str().into()),
        Value::Array(items) => {
            let items = items.iter().map(|item| field_of(item, depth + 1, limits));
            Field::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => Field::Object(fields_of(map, depth + 1, limits)?),
    })
}

/// The array of components of an operation.
pub fn delta_value(delta: &Delta) -> Value {
    let component = |component| serde_json::to_value(ComponentText(component)).unwrap_or_default();
    delta.components().iter().map(component).collect()
}

fn ops_of(value: &Value) -> Result<Bytes, FrameError> {
    let delta = delta_of(value, &trusted()).map_err(|e| op_error(&e))?;
    Ok(delta.to_bytes().into())
}

fn op_error(error: &OpError) -> FrameError {
    FrameError {
        code: error.into(),
        message: error.to_string(),
    }
}
