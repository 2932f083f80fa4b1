//! The Rust half of `tests/quill/differential.mjs`: reads a batch of cases a line (JSON), writes
//! what this crate makes of them, a line each. Only for tests.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};

use codraft_ot::{Attributes, Component, Content, Delta, Fields, Kind, Limits, Value, ValueRef};
use serde_json::{Map, Value as Json, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let cases: Vec<Json> = serde_json::from_str(&line?)?;
        let answers: Vec<Json> = cases
            .iter()
            .map(|case| answer(case).unwrap_or_else(|error| json!({"error": error.to_string()})))
            .collect();
        serde_json::to_writer(&mut out, &answers)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

/// A document, two operations made for it, one made for what the first makes of it, a position.
fn answer(case: &Json) -> Result<Json, Failure> {
    let limits = Limits::default();
    let delta = |name: &str| delta_of(&case[name]);
    let (document, a, b, c) = (delta("document")?, delta("a")?, delta("b")?, delta("c")?);
    let position = units_of(&case["position"])?;
    for one in [&a, &b, &c] {
        let mut chopped = Delta::new();
        one.components().iter().for_each(|component| {
            chopped.push(canonical(component));
        });
        if Delta::decode(&one.to_bytes(), &limits)? != chopped.chop() {
            return Err("the binary form does not come back".into());
        }
    }
    let kind = if case["rich"] == true {
        Kind::Rich
    } else {
        Kind::Text
    };
    let mut content = Content::from_delta(kind, &document, &limits)?;
    content.apply(&a, &limits)?;
    content.apply(&c, &limits)?;
    Ok(json!({
        "pushed": json_of(&a),
        "first": json_of(&a.transform(&b, true)),
        "second": json_of(&a.transform(&b, false)),
        "composed": json_of(&a.compose(&c)?),
        "inverted": json_of(&a.invert(&document)?),
        "applied": json_of(&content.to_delta()),
        "stays": a.transform_position(position, true),
        "moves": a.transform_position(position, false),
    }))
}

/// As it is sent: what is inserted takes no attribute away.
fn canonical(component: &Component) -> Component {
    let mut one = Delta::new();
    let Some(attributes) = component.attributes() else {
        return component.clone();
    };
    let mut set = attributes.iter().to_map();
    set.retain(|_, value| *value != Value::Null);
    match component {
        Component::Insert { text, .. } => one.insert_with(text, set),
        Component::Embed { value, .. } => one.embed(value.value().to_owned(), set),
        _ => return component.clone(),
    };
    one.components()[0].clone()
}

/// Builds an operation from components in any order, as quill-delta's `push` does.
fn delta_of(json: &Json) -> Result<Delta, Failure> {
    let mut delta = Delta::new();
    for item in json.as_array().ok_or("not an operation")? {
        let attributes = match &item["attributes"] {
            Json::Object(map) => fields_of(map)?,
            _ => Attributes::new(),
        };
        match (&item["insert"], &item["retain"], &item["delete"]) {
            (Json::String(text), _, _) => delta.insert_with(text, attributes),
            (Json::Object(map), _, _) => delta.embed(Value::Object(fields_of(map)?), attributes),
            (_, retain @ Json::Number(_), _) => delta.retain_with(units_of(retain)?, attributes),
            (_, _, delete) => delta.delete(units_of(delete)?),
        };
    }
    Ok(delta)
}

fn units_of(json: &Json) -> Result<u32, Failure> {
    Ok(json.as_u64().ok_or("not a count")?.try_into()?)
}

fn fields_of(map: &Map<String, Json>) -> Result<BTreeMap<Box<str>, Value>, Failure> {
    map.iter()
        .map(|(name, json)| Ok((name.as_str().into(), value_of(json)?)))
        .collect()
}

fn value_of(json: &Json) -> Result<Value, Failure> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Number(n.as_f64().ok_or("not a number")?),
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(items) => Value::Array(items.iter().map(value_of).collect::<Result<_, _>>()?),
        Json::Object(map) => Value::Object(fields_of(map)?),
    })
}

fn json_of(delta: &Delta) -> Json {
    delta.components().iter().map(component_json).collect()
}

fn component_json(component: &Component) -> Json {
    let mut json = match component {
        Component::Retain { units, .. } => json!({"retain": units}),
        Component::Delete { units } => json!({"delete": units}),
        Component::Insert { text, .. } => json!({"insert": text}),
        Component::Embed { value, .. } => json!({"insert": value_json(value.value())}),
    };
    if let Some(attributes) = component.attributes() {
        json["attributes"] = fields_json(attributes.iter());
    }
    json
}

fn fields_json(fields: Fields<'_>) -> Json {
    fields
        .map(|(name, value)| (name.to_owned(), value_json(value)))
        .collect()
}

fn value_json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Bool(b) => json!(b),
        ValueRef::Number(n) => json!(n),
        ValueRef::String(text) => json!(text),
        ValueRef::Array(items) => items.map(value_json).collect(),
        ValueRef::Object(fields) => fields_json(fields),
    }
}
