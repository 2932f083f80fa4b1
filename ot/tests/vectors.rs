//! The pinned bytes of operations and digests of documents: `tests/vectors/ot.json`.
#![allow(clippy::unwrap_used)]

use codraft_ot::{Attributes, Content, Delta, Kind, Limits, Value};
use serde_json::Value as Json;

#[test]
fn pinned_operations_and_digests() {
    let vectors: Json = serde_json::from_str(include_str!("../../tests/vectors/ot.json")).unwrap();
    let operations = vectors["operations"].as_array().unwrap();
    assert!(operations.len() >= 8);
    for row in operations {
        let delta = delta_of(&row["ops"]);
        let bytes = delta.to_bytes();
        assert_eq!(hex(&bytes), row["hex"], "{}", row["name"]);
        assert_eq!(Delta::decode(&bytes, &Limits::default()).unwrap(), delta);
    }
    for row in vectors["documents"].as_array().unwrap() {
        let kind = if row["kind"] == "rich" {
            Kind::Rich
        } else {
            Kind::Text
        };
        let content = Content::from_delta(kind, &delta_of(&row["ops"]), &Limits::default());
        assert_eq!(
            hex(&content.unwrap().digest()),
            row["digest"],
            "{}",
            row["name"]
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn delta_of(ops: &Json) -> Delta {
    let mut delta = Delta::new();
    for op in ops.as_array().unwrap() {
        let attributes = match value(&op["attributes"]) {
            Value::Object(map) => map,
            _ => Attributes::new(),
        };
        let count = |n: &Json| u32::try_from(n.as_u64().unwrap()).unwrap();
        match (&op["insert"], &op["retain"]) {
            (Json::String(text), _) => delta.insert_with(text, attributes),
            (Json::Null, Json::Null) => delta.delete(count(&op["delete"])),
            (Json::Null, retain) => delta.retain_with(count(retain), attributes),
            (embed, _) => delta.embed(value(embed), attributes),
        };
    }
    delta
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Number(n.as_f64().unwrap()),
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(map) => Value::Object(
            map.iter()
                .map(|(k, v)| (k.as_str().into(), value(v)))
                .collect(),
        ),
    }
}
