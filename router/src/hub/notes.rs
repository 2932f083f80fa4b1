//! What clients are told of titles, comments and named versions.

use codraft_proto::event::{self, Commented};
use serde_json::{Value, json};

/// What it is now or what was done; none for other kinds.
pub fn told(kind: u32, body: &[u8]) -> Option<Value> {
    match kind {
        event::TITLE => event::read_title(body).map(Value::from),
        event::COMMENT => event::read_comment(body).map(|commented| comment(&commented)),
        event::VERSION => event::read_version(body).map(
            |named| json!({"id": named.id.to_string(), "rev": named.version.0, "name": named.name}),
        ),
        _ => None,
    }
}

fn comment(commented: &Commented<'_>) -> Value {
    let mut told = json!({
        "what": commented.name(),
        "thread": commented.thread().to_string(),
    });
    match *commented {
        Commented::Opened {
            at,
            start,
            end,
            text,
            ..
        } => {
            told["rev"] = json!(at.0);
            told["start"] = json!(start);
            told["end"] = json!(end);
            told["text"] = json!(text);
        }
        Commented::Replied { comment, text, .. } => {
            told["comment"] = json!(comment.to_string());
            told["text"] = json!(text);
        }
        Commented::Deleted { comment, .. } => told["comment"] = json!(comment.to_string()),
        Commented::Resolved { .. } | Commented::Reopened { .. } => {}
    }
    told
}
