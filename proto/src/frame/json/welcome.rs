//! The welcome, which has more fields than the rest.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Fields, hex, ops_of, who_of, who_value};
use crate::{
    frame::{FrameError, Snapshot, Welcome},
    ids::{Revision, Seq},
};

impl Welcome {
    /// Whether the events after the revision resumed from follow, instead of the document.
    pub fn resumed(&self) -> bool {
        self.doc.is_none()
    }
}

pub(super) fn welcome_value(welcome: &Welcome) -> Value {
    let mut value = json!({"type": "welcome", "client": welcome.client.to_string(),
        "user": &*welcome.user, "you": welcome.you, "role": welcome.role.as_str(), "kind": welcome.kind,
        "algebra": welcome.algebra, "title": welcome.title, "rev": welcome.rev.0,
        "hash": hex(&welcome.hash), "ts": welcome.ts_ms, "resumed": welcome.resumed(),
        "who": welcome.who.iter().map(who_value).collect::<Vec<_>>(),
        "limits": {"frame_bytes": welcome.frame_bytes},
        "incarnation": welcome.incarnation.to_string()});
    if let Some((seq, rev)) = welcome.acked {
        value["acked"] = json!({"seq": seq.0, "rev": rev.0});
    }
    if let Some(Snapshot { version, url }) = &welcome.snapshot {
        value["snapshot_version"] = json!(version.0);
        value["snapshot_url"] = json!(url);
    }
    value
}

pub(super) fn welcome_of(frame: &Fields<'_>) -> Result<Welcome, FrameError> {
    let value = frame.value;
    let acked = match &value["acked"] {
        Value::Null => None,
        at => {
            let at = Fields {
                value: at,
                name: "acked",
            };
            Some((Seq(at.number("seq")?), Revision(at.number("rev")?)))
        }
    };
    let who = value["who"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let incarnation = frame.text("incarnation")?.parse();
    Ok(Welcome {
        client: frame.client("client")?,
        user: frame.text("user")?.into(),
        you: frame.small("you")?,
        role: frame.role("role")?,
        kind: frame.text("kind")?.to_owned(),
        algebra: frame.text("algebra")?.to_owned(),
        title: value["title"].as_str().unwrap_or_default().to_owned(),
        rev: Revision(frame.number("rev")?),
        hash: frame.hash("hash")?,
        ts_ms: frame.number("ts")?,
        acked,
        who: who
            .iter()
            .map(|w| {
                who_of(&Fields {
                    value: w,
                    name: "who",
                })
            })
            .collect::<Result<_, _>>()?,
        doc: match (&value["doc"], value["resumed"].as_bool()) {
            (_, Some(true)) => None,
            (Value::Null, _) => Some(Bytes::new()),
            (doc, _) => Some(ops_of(doc)?),
        },
        snapshot: snapshot_of(value),
        frame_bytes: value["limits"]["frame_bytes"].as_u64().unwrap_or(0) as u32,
        incarnation: incarnation.map_err(|_| FrameError::malformed("incarnation: a number"))?,
    })
}

fn snapshot_of(value: &Value) -> Option<Snapshot> {
    Some(Snapshot {
        version: Revision(value["snapshot_version"].as_u64()?),
        url: value["snapshot_url"].as_str()?.to_owned(),
    })
}
