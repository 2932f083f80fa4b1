//! The binary form of an operation: on sockets, in the log, in the chain of hashes.
//!
//! A component is a varint `n << 2 | type`, least significant seven bits first, in the fewest
//! bytes: type 0 retains `n` units, 1 deletes `n` units, 2 inserts the `n` bytes of UTF-8 that
//! follow, 3 is one of (`n` says which): 0 retain with attributes (`units`, attributes),
//! 1 insert with attributes (`bytes`, UTF-8, attributes), 2 embed (value, attributes).
//! Attributes are a varint count, then `bytes`, UTF-8 name and value each, names rising.
//! A value is a byte: 0 null, 1 false, 2 true, 3 number (8 bytes, IEEE 754, little-endian),
//! 4 string (`bytes`, UTF-8), 5 array (count, values), 6 object (as attributes).

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Attributes, Attrs, Component, Delta, Limits, OpError, Value,
    op::{UNITS_SUM_MAX, units_of},
};

const RETAIN: u64 = 0;
const DELETE: u64 = 1;
const INSERT: u64 = 2;
const OTHER: u64 = 3;
const RETAIN_WITH: u64 = 0;
const INSERT_WITH: u64 = 1;
const EMBED: u64 = 2;

impl Delta {
    /// Appends the binary form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for component in self.components() {
            match component {
                Component::Retain {
                    units,
                    attributes: None,
                } => {
                    varint(out, u64::from(*units) << 2 | RETAIN);
                }
                Component::Delete { units } => varint(out, u64::from(*units) << 2 | DELETE),
                Component::Insert {
                    text,
                    attributes: None,
                    ..
                } => {
                    varint(out, (text.len() as u64) << 2 | INSERT);
                    out.extend_from_slice(text.as_bytes());
                }
                Component::Retain {
                    units,
                    attributes: Some(set),
                } => {
                    varint(out, RETAIN_WITH << 2 | OTHER);
                    varint(out, u64::from(*units));
                    map(out, set);
                }
                Component::Insert {
                    text,
                    attributes: Some(set),
                    ..
                } => {
                    varint(out, INSERT_WITH << 2 | OTHER);
                    string(out, text);
                    map(out, set);
                }
                Component::Embed {
                    value: object,
                    attributes,
                } => {
                    varint(out, EMBED << 2 | OTHER);
                    value(out, object);
                    match attributes {
                        Some(set) => map(out, set),
                        None => out.push(0),
                    }
                }
            }
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        self.encode(&mut out);
        out
    }

    /// Reads a whole operation.
    ///
    /// # Errors
    /// Whatever of `limits` it breaks, zero counts, lengths that overflow, or `Malformed`. Never
    /// allocates by a length that the bytes only declare.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Delta, OpError> {
        let mut input = Input { bytes, limits };
        let mut delta = Delta::with_capacity(3.min(bytes.len()));
        let (mut count, mut total) = (0, 0u64);
        while !input.bytes.is_empty() {
            count += 1;
            if count > limits.components {
                return Err(OpError::TooManyComponents {
                    most: limits.components,
                });
            }
            let component = input.component()?;
            // Before the push: neighbours are merged there, wherever they stand.
            total += u64::from(component.units());
            if total > UNITS_SUM_MAX {
                return Err(OpError::Overflow);
            }
            delta.push(component);
        }
        Ok(delta.chop())
    }
}

/// Encoded bytes of attributes and of an embed's value.
pub(crate) fn size(attributes: Option<&Attributes>, embed: Option<&Value>) -> usize {
    let mut out = Vec::new();
    if let Some(object) = embed {
        value(&mut out, object);
    }
    if let Some(set) = attributes {
        map(&mut out, set);
    }
    out.len()
}

struct Input<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
}

/// The largest count of one component, so that sums of many fit.
const UNITS_MAX: u64 = 1 << 30;

impl<'a> Input<'a> {
    fn component(&mut self) -> Result<Component, OpError> {
        let head = self.varint()?;
        let n = head >> 2;
        match head & 3 {
            RETAIN => Ok(Component::Retain {
                units: units(n)?,
                attributes: None,
            }),
            DELETE => Ok(Component::Delete { units: units(n)? }),
            INSERT => self.insert(n, None),
            _ => match n {
                RETAIN_WITH => {
                    let n = self.varint()?;
                    let units = units(n)?;
                    Ok(Component::Retain {
                        units,
                        attributes: self.attributes()?,
                    })
                }
                INSERT_WITH => {
                    let n = self.varint()?;
                    let text = self.take(n)?;
                    let attributes = self.attributes()?;
                    insert(text, attributes)
                }
                EMBED => {
                    let before = self.bytes.len();
                    let value = self.value(0)?;
                    if before - self.bytes.len() > self.limits.embed_bytes {
                        return Err(OpError::EmbedTooLarge {
                            most_bytes: self.limits.embed_bytes,
                        });
                    }
                    if !matches!(value, Value::Object(_)) {
                        return Err(OpError::Malformed);
                    }
                    Ok(Component::Embed {
                        value: Arc::new(value),
                        attributes: self.attributes()?,
                    })
                }
                _ => Err(OpError::Malformed),
            },
        }
    }

    fn insert(&mut self, n: u64, attributes: Attrs) -> Result<Component, OpError> {
        let text = self.take(n)?;
        insert(text, attributes)
    }

    fn attributes(&mut self) -> Result<Attrs, OpError> {
        let count = self.varint()?;
        if count > self.limits.attributes as u64 {
            return Err(OpError::TooManyAttributes {
                most: self.limits.attributes,
            });
        }
        let mut set = Attributes::new();
        for _ in 0..count {
            let before = self.bytes.len();
            self.entry(&mut set, 1)?;
            if before - self.bytes.len() > self.limits.attribute_bytes {
                return Err(OpError::AttributeTooLarge {
                    most_bytes: self.limits.attribute_bytes,
                });
            }
        }
        Ok(crate::attributes::pack(set))
    }

    fn entry(&mut self, into: &mut BTreeMap<Box<str>, Value>, depth: usize) -> Result<(), OpError> {
        let name = self.string()?;
        if into
            .last_key_value()
            .is_some_and(|(last, _)| **last >= *name)
        {
            return Err(OpError::Malformed);
        }
        let value = self.value(depth)?;
        into.insert(name.into(), value);
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, OpError> {
        if depth > self.limits.depth {
            return Err(OpError::TooDeep {
                most: self.limits.depth,
            });
        }
        let (kind, rest) = self.bytes.split_first().ok_or(OpError::Malformed)?;
        self.bytes = rest;
        Ok(match kind {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => {
                let raw = self.take(8)?;
                let number = f64::from_le_bytes(raw.try_into().map_err(|_| OpError::Malformed)?);
                if !number.is_finite() {
                    return Err(OpError::Malformed);
                }
                Value::Number(number)
            }
            4 => Value::String(self.string()?.into()),
            5 => {
                let count = self.varint()?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            6 => {
                let count = self.varint()?;
                let mut fields = BTreeMap::new();
                for _ in 0..count {
                    self.entry(&mut fields, depth + 1)?;
                }
                Value::Object(fields)
            }
            _ => return Err(OpError::Malformed),
        })
    }

    fn string(&mut self) -> Result<&'a str, OpError> {
        let n = self.varint()?;
        std::str::from_utf8(self.take(n)?).map_err(|_| OpError::Malformed)
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], OpError> {
        let n = usize::try_from(n).map_err(|_| OpError::Malformed)?;
        if n > self.bytes.len() {
            return Err(OpError::Malformed);
        }
        let (taken, rest) = self.bytes.split_at(n);
        self.bytes = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, OpError> {
        let mut value = 0u64;
        for (i, byte) in self.bytes.iter().take(9).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                // The fewest bytes: no other form of one number.
                if *byte == 0 && i > 0 {
                    return Err(OpError::Malformed);
                }
                self.bytes = &self.bytes[i + 1..];
                return Ok(value);
            }
        }
        Err(OpError::Malformed)
    }
}

fn units(n: u64) -> Result<u32, OpError> {
    match n {
        0 => Err(OpError::ZeroCount),
        n if n > UNITS_MAX => Err(OpError::Overflow),
        n => Ok(n as u32),
    }
}

fn insert(text: &[u8], attributes: Attrs) -> Result<Component, OpError> {
    if text.is_empty() {
        return Err(OpError::ZeroCount);
    }
    let text = std::str::from_utf8(text).map_err(|_| OpError::Malformed)?;
    Ok(Component::Insert {
        text: text.into(),
        units: units_of(text),
        attributes,
    })
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn string(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn map(out: &mut Vec<u8>, fields: &BTreeMap<Box<str>, Value>) {
    varint(out, fields.len() as u64);
    for (name, field) in fields {
        string(out, name);
        value(out, field);
    }
}

fn value(out: &mut Vec<u8>, value_: &Value) {
    match value_ {
        Value::Null => out.push(0),
        Value::Bool(false) => out.push(1),
        Value::Bool(true) => out.push(2),
        Value::Number(n) => {
            out.push(3);
            // One zero, as JSON has it.
            let n = if *n == 0.0 { 0.0 } else { *n };
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::String(text) => {
            out.push(4);
            string(out, text);
        }
        Value::Array(items) => {
            out.push(5);
            varint(out, items.len() as u64);
            items.iter().for_each(|item| value(out, item));
        }
        Value::Object(fields) => {
            out.push(6);
            map(out, fields);
        }
    }
}
