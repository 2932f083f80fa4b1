//! From the product's operations to the record's.

use codraft_ot::{AttributeMap, Component, Content, Delta};
use codraft_proto::frame::json;

use crate::record::{self, Edit, Hash};

pub fn edits(delta: &Delta) -> Vec<Edit> {
    delta.components().iter().map(edit).collect()
}

fn edit(component: &Component) -> Edit {
    let attributes = component
        .attributes()
        .as_ref()
        .map(attributes)
        .unwrap_or_default();
    match component {
        Component::Retain { units, .. } => Edit::Retain(u64::from(*units), attributes),
        Component::Delete { units } => Edit::Delete(u64::from(*units)),
        Component::Insert { text, .. } => Edit::Insert(text.to_string(), attributes),
        Component::Embed { .. } => Edit::Embed(embed(component), attributes),
    }
}

fn attributes(map: &AttributeMap) -> record::Attributes {
    // By way of the JSON form, which spells values.
    let mut delta = Delta::new();
    delta.retain_with(1, map.iter().to_map());
    let value = json::delta_value(&delta);
    let spelled = value[0]["attributes"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    spelled
        .into_iter()
        .map(|(key, value)| (key, value.to_string()))
        .collect()
}

fn embed(component: &Component) -> String {
    let mut delta = Delta::new();
    delta.push(component.clone());
    json::delta_value(&delta)[0]["insert"].to_string()
}

/// All that a delta inserts.
pub fn inserted(delta: &Delta) -> String {
    let mut text = String::new();
    for component in delta.components() {
        match component {
            Component::Insert { text: inserted, .. } => text.push_str(inserted),
            Component::Embed { .. } => text.push('\u{fffc}'),
            _ => {}
        }
    }
    text
}

/// A content's text, embeds as U+FFFC, and the hash of all of it.
pub fn view(content: &Content) -> (String, Hash) {
    (content.text(), digest(&edits(&content.to_delta())))
}

/// Of a document as the inserts that make it, in canonical form: neighbours of the same
/// attributes are one.
fn digest(spans: &[Edit]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    for span in spans {
        let (kind, content, attributes) = match span {
            Edit::Insert(text, attributes) => ('t', text, attributes),
            Edit::Embed(value, attributes) => ('e', value, attributes),
            Edit::Retain(..) | Edit::Delete(_) => continue,
        };
        hasher.update(format!("{kind}{}:", content.len()).as_bytes());
        hasher.update(content.as_bytes());
        let fields = attributes
            .iter()
            .map(|(key, value)| format!("{}:{value}", quoted(key)));
        let fields: Vec<String> = fields.collect();
        hasher.update(format!("{{{}}}", fields.join(",")).as_bytes());
    }
    *hasher.finalize().as_bytes()
}
