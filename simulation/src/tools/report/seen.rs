//! One entry of a record, read from its JSON: by the names of its fields, so that what is noted
//! anew is shown without a word here.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::tools::report::story::{Lanes, Mark};

/// An entry as it was told.
#[derive(Debug, Clone)]
pub struct Told {
    pub at_ms: f64,
    pub by: By,
    /// The variant's name, in snake case.
    pub kind: String,
    fields: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum By {
    Client,
    Node,
    Driver,
}

impl Told {
    /// A line of a record.
    pub fn parse(line: &str) -> Result<Self> {
        let entry: Value = serde_json::from_str(line)?;
        let time = |name: &str| entry["at"][name].as_u64().context("no time");
        let at_ms = time("secs")? as f64 * 1e3 + (time("nanos")? / 1_000) as f64 / 1e3;
        let (by, seen) = variant(&entry["seen"]).context("nothing seen")?;
        let by = match by.as_str() {
            "Client" => By::Client,
            "Node" => By::Node,
            "Driver" => By::Driver,
            other => bail!("seen by {other}"),
        };
        let (kind, fields) = variant(&seen).context("seen nothing")?;
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Ok(Self {
            at_ms,
            by,
            kind: snake(&kind),
            fields,
        })
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.fields.get(name).and_then(Value::as_bool) == Some(true)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// An id or a hash, as hex digits.
    pub fn id(&self, name: &str) -> Option<String> {
        hex(self.fields.get(name)?)
    }

    /// The operation that it tells of.
    pub fn operation(&self) -> Option<String> {
        let (client, seq) = (self.id("client")?, self.number("seq")?);
        Some(format!("{client}:{seq}"))
    }

    /// All of it in words; `client`, `doc` and `node` are told elsewhere.
    pub fn words(&self) -> String {
        let named = |(name, value): (&String, &Value)| match name.as_str() {
            "client" | "doc" | "node" | "life" | "bytes" => None,
            name => match (name, self.by) {
                ("sent" | "edit", _) => Some(edit(value)),
                ("text", _) => value.as_str().map(|text| format!("“{}”", short(text))),
                _ => Some(format!("{name} {}", plain(value)?)),
            },
        };
        // As JSON has them, sorted by name; the sequence and the revision say most.
        let first = ["seq", "rev", "group", "index", "term"];
        let (mut head, mut rest) = (Vec::new(), Vec::new());
        for name in first {
            head.extend(self.fields.get_key_value(name).and_then(named));
        }
        for field in self
            .fields
            .iter()
            .filter(|(name, _)| !first.contains(&name.as_str()))
        {
            rest.extend(named(field));
        }
        head.extend(rest);
        head.join(", ")
    }

    fn who(&self) -> String {
        match self.by {
            By::Client => self.id("client").map(|id| format!("client {}", &id[..8])),
            By::Node | By::Driver => self.number("node").map(|node| format!("node-{node}")),
        }
        .unwrap_or_default()
    }
}

/// An entry on one line, with who saw it.
pub fn line(told: &Told) -> String {
    let (at, who) = (told.at_ms / 1e3, told.who());
    format!("{at:>11.6} {who} {}: {}", told.kind, told.words())
}

/// None where it is a span.
pub fn mark(told: &Told, lanes: &mut Lanes) -> Option<Mark> {
    let (document, revision) = (told.id("doc"), told.number("rev"));
    let lane = match told.by {
        By::Client => told.id("client").and_then(|id| lanes.of_client(&id)),
        By::Node => told.number("node").and_then(|node| lanes.of_node(node)),
        By::Driver => match (told.number("node"), told.text("host")) {
            (Some(node), _) => lanes.of_node(node),
            (None, Some(host)) => lanes.named(host).first().copied(),
            (None, None) => None,
        },
    };
    let kind = match told.kind.as_str() {
        // A span; and no event of a moment.
        "fault" | "filled" => return None,
        "started" if told.text("refused").is_some() => "not_started",
        "error_line" if told.flag("expected") => "expected_error",
        kind => kind,
    };
    let mut operation = told.operation();
    if let (Some(document), Some(revision)) = (&document, revision) {
        if let ("applied", Some(operation)) = (kind, &operation) {
            lanes.applied(document, revision, operation);
        }
        if kind == "received" {
            operation = lanes.author(document, revision);
        }
    }
    Some(Mark {
        lane,
        at_ms: told.at_ms,
        kind: kind.to_owned(),
        operation,
        document,
        revision,
        group: told.number("group").and_then(|group| group.try_into().ok()),
        text: told.words(),
    })
}

/// The name of an enum's variant and what is in it.
fn variant(value: &Value) -> Option<(String, Value)> {
    match value {
        Value::String(name) => Some((name.clone(), Value::Null)),
        Value::Object(map) if map.len() == 1 => {
            let (name, inner) = map.iter().next()?;
            Some((name.clone(), inner.clone()))
        }
        _ => None,
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// 16 or 32 bytes.
fn hex(value: &Value) -> Option<String> {
    let list = value
        .as_array()
        .filter(|list| matches!(list.len(), 16 | 32))?;
    let bytes = list
        .iter()
        .map(|byte| byte.as_u64().filter(|byte| *byte < 256));
    bytes
        .map(|byte| byte.map(|byte| format!("{byte:02x}")))
        .collect()
}

fn plain(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::String(text) => cut(text, 240),
        other => match hex(other) {
            Some(hex) => hex[..8].to_owned(),
            None => cut(&other.to_string(), 240),
        },
    })
}

fn edit(components: &Value) -> String {
    let component = |part: &Value| {
        let (name, inner) = variant(part)?;
        let first = inner.get(0).unwrap_or(&inner);
        let attributes = inner
            .get(1)
            .filter(|list| list.as_array().is_some_and(|l| !l.is_empty()));
        let attributes = attributes
            .map(|list| format!(" {list}"))
            .unwrap_or_default();
        Some(match (name.as_str(), first) {
            ("Retain", n) => format!("→{n}{attributes}"),
            ("Delete", n) => format!("−{n}"),
            ("Insert", Value::String(text)) => format!("+“{}”{attributes}", short(text)),
            (_, Value::String(json)) => format!("+{}", short(json)),
            (name, other) => format!("{name} {other}"),
        })
    };
    let list = components.as_array().map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<_> = list.iter().filter_map(component).collect();
    parts.join(" ")
}

/// What is long: its beginning and its length.
fn short(text: &str) -> String {
    cut(text, 60)
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
