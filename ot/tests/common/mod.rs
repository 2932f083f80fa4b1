//! Operations at random, and all small ones.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;

use codraft_ot::{Attributes, Component, Content, Delta, Kind, Limits, Value};
use proptest::prelude::*;

pub fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-c]{1,3}",
        1 => Just("\n".to_owned()),
        1 => Just("é".to_owned()),
        2 => Just("😀".to_owned()),
    ];
    prop::collection::vec(piece, 1..3).prop_map(|p| p.concat())
}

pub fn attributes(nulls: bool) -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![
        3 => Just(Value::Bool(true)),
        2 => (0..3i32).prop_map(|n| Value::Number(f64::from(n))),
        2 => "[x-z]".prop_map(|s| Value::String(s.into())),
        (if nulls { 2 } else { 0 }) => Just(Value::Null),
    ];
    let key = prop_oneof![Just("bold"), Just("color"), Just("link")];
    prop_oneof![
        2 => Just(BTreeMap::new()),
        1 => prop::collection::btree_map(key.prop_map(Box::from), value, 1..3),
    ]
}

/// A document as its inserts, of one kind.
pub fn document(kind: Kind) -> BoxedStrategy<Delta> {
    match kind {
        Kind::Text => prop::option::of(text())
            .prop_map(|text| {
                let mut delta = Delta::new();
                delta.insert(&text.unwrap_or_default());
                delta
            })
            .boxed(),
        Kind::Rich => prop::collection::vec((text(), attributes(false), any::<bool>()), 0..5)
            .prop_map(|pieces| {
                let mut delta = Delta::new();
                for (text, attributes, embed) in pieces {
                    if embed {
                        delta.embed(image(&text), attributes);
                    } else {
                        delta.insert_with(&text, attributes);
                    }
                }
                delta.insert("\n");
                delta
            })
            .boxed(),
    }
}

fn image(name: &str) -> Value {
    let fields = [("image".into(), Value::String(name.into()))];
    Value::Object(fields.into_iter().collect())
}

/// What an operation is made of: how far to go, then what to do there.
#[derive(Debug, Clone)]
pub enum Step {
    Insert(String, Attributes),
    Embed(String, Attributes),
    Delete(u32),
    Retain(u32),
    Format(u32, Attributes),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (text(), attributes(false)).prop_map(|(t, a)| Step::Insert(t, a)),
        1 => (text(), attributes(false)).prop_map(|(t, a)| Step::Embed(t, a)),
        3 => (1..4u32).prop_map(Step::Delete),
        3 => (1..4u32).prop_map(Step::Retain),
        2 => (1..4u32, attributes(true)).prop_map(|(n, a)| Step::Format(n, a)),
    ];
    prop::collection::vec(step, 0..7)
}

/// The steps as an operation that fits `content`.
pub fn fit(content: &Content, steps: &[Step]) -> Delta {
    let plain = content.kind() == Kind::Text;
    let units: Vec<u16> = content.text().encode_utf16().collect();
    // The last line break of a rich document stays.
    let end = if plain { units.len() } else { units.len() - 1 };
    let mut at = 0;
    let mut delta = Delta::new();
    let stop = |from: usize, wanted: u32| {
        let mut to = (from + wanted as usize).min(end);
        // Not between the halves of a pair.
        if to < units.len() && (0xDC00..0xE000).contains(&units[to]) {
            to += 1;
        }
        to.min(end)
    };
    for step in steps {
        match step {
            Step::Insert(text, _) if plain => {
                delta.insert(text);
            }
            Step::Insert(text, attributes) => {
                delta.insert_with(text, attributes.clone());
            }
            Step::Embed(text, _) if plain => {
                delta.insert(text);
            }
            Step::Embed(text, attributes) => {
                delta.embed(image(text), attributes.clone());
            }
            Step::Delete(n) => {
                let to = stop(at, *n);
                delta.delete((to - at) as u32);
                at = to;
            }
            Step::Retain(n) | Step::Format(n, _) => {
                let to = stop(at, *n);
                let attributes = match step {
                    Step::Format(_, attributes) if !plain => attributes.clone(),
                    _ => Attributes::new(),
                };
                delta.retain_with((to - at) as u32, attributes);
                at = to;
            }
        }
    }
    delta.chop()
}

pub fn content(kind: Kind, document: &Delta) -> Content {
    Content::from_delta(kind, document, &Limits::default()).unwrap()
}

pub fn applied(content: &Content, delta: &Delta) -> Content {
    let mut content = content.clone();
    content
        .apply(delta, &Limits::default())
        .unwrap_or_else(|e| panic!("{e}: {delta:?}"));
    content
}

/// Every document of up to `most` pieces out of a, b and one astral pair.
pub fn small_documents(most: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..most {
        last = last
            .iter()
            .flat_map(|d| ["a", "b", "😀"].map(|p| format!("{d}{p}")))
            .collect();
        all.extend(last.clone());
    }
    all.retain(|d| d.encode_utf16().count() <= most);
    all
}

/// Every operation on a document: each character kept or deleted, and at each gap nothing or
/// one insert of a, b or the pair, at most two inserts in all.
pub fn all_operations(document: &str) -> Vec<Delta> {
    fn go(rest: &[char], delta: &Delta, inserts: u32, out: &mut Vec<Delta>) {
        for insert in ["", "a", "b", "😀"] {
            if !insert.is_empty() && inserts == 2 {
                continue;
            }
            let mut here = delta.clone();
            here.insert(insert);
            let inserts = inserts + u32::from(!insert.is_empty());
            match rest.split_first() {
                None => out.push(here.chop()),
                Some((c, rest)) => {
                    let mut kept = here.clone();
                    kept.retain(c.len_utf16() as u32);
                    go(rest, &kept, inserts, out);
                    here.delete(c.len_utf16() as u32);
                    go(rest, &here, inserts, out);
                }
            }
        }
    }
    let chars: Vec<char> = document.chars().collect();
    let mut out = Vec::new();
    go(&chars, &Delta::new(), 0, &mut out);
    out
}

pub fn is_canonical(delta: &Delta) -> bool {
    let mut again = Delta::new();
    for component in delta.components() {
        again.push(component.clone());
    }
    let again = again.chop();
    again == *delta && delta.components().iter().all(|c: &Component| c.units() > 0)
}
