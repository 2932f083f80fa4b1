//! Where people are: an object with what there is to say, and with none of it somebody who is gone.

use serde_json::{Value, json};

use crate::{
    frame::{FrameError, PRESENCE_BYTES_MAX, Presence, Selection, ServerFrame},
    ids::Revision,
    reject::Code,
};

/// The fields of a frame, both ways. `data` is named where nothing else is: gone.
pub(super) fn presence_value(presence: Option<&Presence>) -> Value {
    let Some(presence) = presence else {
        return json!({"data": null});
    };
    let mut value = json!({});
    if let Some(cursor) = presence.cursor {
        value["cursor"] = json!(cursor);
    }
    if let Some(Selection { anchor, head }) = presence.selection {
        value["selection"] = json!({"anchor": anchor, "head": head});
    }
    let data = presence.data.as_deref();
    if let Some(data) = data.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        value["data"] = data;
    }
    value
}

/// The same as text; nothing: gone.
pub(in crate::frame) fn presence_text(presence: Option<&Presence>) -> String {
    presence.map_or_else(String::new, |_| presence_value(presence).to_string())
}

pub(super) fn shown_value(rev: Revision, last_seen_ms: u64, presence: Option<&Presence>) -> Value {
    let mut value = presence_value(presence);
    if presence.is_some() {
        value["rev"] = json!(rev.0);
        value["last_seen"] = json!(last_seen_ms);
    }
    value
}

/// The same as text; nothing: gone.
pub(in crate::frame) fn shown_text(
    rev: Revision,
    last_seen_ms: u64,
    presence: Option<&Presence>,
) -> String {
    presence.map_or_else(String::new, |_| {
        shown_value(rev, last_seen_ms, presence).to_string()
    })
}

/// What a client says of itself reaches other clients.
///
/// # Errors
/// `Malformed` where it is not what they would take, `FrameTooLarge` beyond
/// [`PRESENCE_BYTES_MAX`].
pub(in crate::frame) fn presence_of(value: &Value) -> Result<Option<Presence>, FrameError> {
    let presence = Presence {
        cursor: position(&value["cursor"], "cursor")?,
        selection: selection(&value["selection"])?,
        data: match &value["data"] {
            Value::Null => None,
            data @ Value::Object(_) => Some(data.to_string()),
            _ => {
                return Err(FrameError::malformed(
                    "presence: data must be an object or null",
                ));
            }
        },
    };
    if presence.data.as_ref().map_or(0, String::len) > PRESENCE_BYTES_MAX {
        return Err(FrameError {
            code: Code::FrameTooLarge,
            message: format!("presence: data of more than {PRESENCE_BYTES_MAX} bytes"),
        });
    }
    Ok((presence != Presence::default()).then_some(presence))
}

fn selection(value: &Value) -> Result<Option<Selection>, FrameError> {
    let anchor = position(&value["anchor"], "selection")?;
    let head = position(&value["head"], "selection")?;
    match (value, anchor, head) {
        (Value::Null, ..) => Ok(None),
        (_, Some(anchor), Some(head)) => Ok(Some(Selection { anchor, head })),
        _ => Err(FrameError::malformed(
            "presence: a selection has an anchor and a head",
        )),
    }
}

fn position(value: &Value, name: &str) -> Result<Option<u32>, FrameError> {
    if value.is_null() {
        return Ok(None);
    }
    let units = value.as_u64().and_then(|units| u32::try_from(units).ok());
    let wrong = || FrameError::malformed(format!("presence: {name} is no position"));
    units.map(Some).ok_or_else(wrong)
}

pub(in crate::frame) fn shown_of(slot: u32, value: &Value) -> Result<ServerFrame, FrameError> {
    let presence = presence_of(value)?;
    let number = |name: &str| value[name].as_u64().filter(|_| presence.is_some());
    Ok(ServerFrame::Presence {
        slot,
        rev: Revision(number("rev").unwrap_or(0)),
        last_seen_ms: number("last_seen").unwrap_or(0),
        presence,
    })
}
