//! Operations as JSON, written component by component from their binary form: no tree of values
//! stands in between, whatever the size.

use bytes::Bytes;
use codraft_mutant::cost::{Work, spend};
use codraft_ot::{Component, Components, Fields, Limits, ValueRef};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq},
};

use serde_json::Value;

use super::{FrameError, op_error};

/// What a shard accepted is read back whatever this process's own limits are.
pub(super) fn trusted() -> Limits {
    Limits {
        components: usize::MAX,
        document_units: u32::MAX,
        rich_bytes: usize::MAX,
        attributes: usize::MAX,
        attribute_bytes: usize::MAX,
        depth: 64,
        embed_bytes: usize::MAX,
    }
}

/// An operation in `ot`'s binary form. Serializing fails if it is not one.
pub(super) struct OpsText<'a>(pub &'a [u8]);

impl Serialize for OpsText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let limits = trusted();
        let mut items = serializer.serialize_seq(None)?;
        for component in Components::new(self.0, &limits) {
            let component = component.map_err(S::Error::custom)?;
            items.serialize_element(&ComponentText(&component))?;
        }
        items.end()
    }
}

#[derive(Serialize)]
pub(super) struct ClientOpText<'a> {
    pub base: u64,
    pub ops: OpsText<'a>,
    pub seq: u64,
    pub r#type: &'a str,
}

#[derive(Serialize)]
pub(super) struct OpText<'a> {
    pub base: u64,
    pub ops: OpsText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    pub rev: u64,
    pub seq: u64,
    pub slot: u32,
    pub ts: u64,
    pub r#type: &'a str,
}

/// A welcome's fields, with the document if it is to be spelled out.
#[derive(Serialize)]
pub(super) struct WelcomeText<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<OpsText<'a>>,
    #[serde(flatten)]
    pub rest: Value,
}

pub(super) struct ComponentText<'a>(pub &'a Component);

impl Serialize for ComponentText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        spend(Work::Json, 1);
        let mut map = serializer.serialize_map(None)?;
        if let Some(attributes) = self.0.attributes() {
            map.serialize_entry("attributes", &FieldsText(attributes.iter()))?;
        }
        match self.0 {
            Component::Retain { units, .. } => map.serialize_entry("retain", units)?,
            Component::Delete { units } => map.serialize_entry("delete", units)?,
            Component::Insert { text, .. } => map.serialize_entry("insert", &**text)?,
            Component::Embed { value, .. } => {
                map.serialize_entry("insert", &FieldText(value.value()))?
            }
        }
        map.end()
    }
}

struct FieldsText<'a>(Fields<'a>);

impl Serialize for FieldsText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0;
        serializer.collect_map(fields.map(|(name, value)| (name, FieldText(value))))
    }
}

struct FieldText<'a>(ValueRef<'a>);

impl Serialize for FieldText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            ValueRef::Null => serializer.serialize_unit(),
            ValueRef::Bool(b) => serializer.serialize_bool(b),
            // Whole numbers without a fraction, as JavaScript prints them.
            ValueRef::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => {
                serializer.serialize_i64(n as i64)
            }
            ValueRef::Number(n) => serializer.serialize_f64(n),
            ValueRef::String(text) => serializer.serialize_str(text),
            ValueRef::Array(items) => serializer.collect_seq(items.map(FieldText)),
            ValueRef::Object(fields) => FieldsText(fields).serialize(serializer),
        }
    }
}

/// So much is written in one step: some milliseconds of a thread at most.
const STEP_BYTES: usize = 128 << 10;
const STEP_COMPONENTS: usize = 1_024;

/// A document's JSON, spelled in steps so that other work goes on in between.
pub struct Spelling {
    state: Bytes,
    /// Bytes of it that were read.
    read: usize,
    text: Vec<u8>,
    /// A text that is longer than a step, and how much of it was written.
    long: Option<(String, usize)>,
}

impl Spelling {
    /// `state` is in `ot`'s binary form.
    pub fn new(state: Bytes) -> Self {
        let mut text = Vec::with_capacity(state.len() + state.len() / 8 + 2);
        text.push(b'[');
        Self {
            state,
            read: 0,
            text,
            long: None,
        }
    }

    /// Writes some more. Returns true once it is whole.
    ///
    /// # Errors
    /// What was given is not an operation.
    pub fn step(&mut self) -> Result<bool, FrameError> {
        let end = self.text.len() + STEP_BYTES;
        for _ in 0..STEP_COMPONENTS {
            if let Some((text, written)) = &mut self.long {
                let to = text.floor_char_boundary(*written + STEP_BYTES);
                escape(&mut self.text, &text[*written..to])?;
                *written = to;
                if to < text.len() {
                    return Ok(false);
                }
                self.long = None;
                self.text.extend_from_slice(b"\"}");
            } else if !self.component()? {
                self.text.push(b']');
                return Ok(true);
            }
            if self.text.len() >= end {
                break;
            }
        }
        Ok(false)
    }

    /// The next component, or the beginning of one with a long text. Returns false behind the last.
    fn component(&mut self) -> Result<bool, FrameError> {
        let limits = trusted();
        let rest = self.state.get(self.read..).unwrap_or_default();
        let mut components = Components::new(rest, &limits);
        let component = match components.next() {
            None => return Ok(false),
            Some(component) => component.map_err(|e| op_error(&e))?,
        };
        self.read = self.state.len() - components.rest().len();
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        match component {
            Component::Insert {
                text, attributes, ..
            } if text.len() > STEP_BYTES => {
                self.text.push(b'{');
                if let Some(attributes) = &attributes {
                    self.text.extend_from_slice(b"\"attributes\":");
                    write(&mut self.text, &FieldsText(attributes.iter()))?;
                    self.text.push(b',');
                }
                self.text.extend_from_slice(b"\"insert\":\"");
                self.long = Some((text, 0));
            }
            component => write(&mut self.text, &ComponentText(&component))?,
        }
        Ok(true)
    }

    pub fn into_bytes(self) -> Bytes {
        self.text.into()
    }
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), FrameError> {
    serde_json::to_writer(out, value).map_err(|e| FrameError::malformed(e.to_string()))
}

/// A part of a string, without the quotes around it.
fn escape(out: &mut Vec<u8>, part: &str) -> Result<(), FrameError> {
    let at = out.len();
    write(out, &part)?;
    out.remove(at);
    out.pop();
    Ok(())
}
