//! The binary form of an operation: on sockets, in the log, in the chain of hashes.
//!
//! A component is a varint `n << 2 | type`, least significant seven bits first, in the fewest
//! bytes: type 0 retains `n` units, 1 deletes `n` units, 2 inserts the `n` bytes of UTF-8 that
//! follow, 3 is one of (`n` says which): 0 retain with attributes (`units`, attributes),
//! 1 insert with attributes (`bytes`, UTF-8, attributes), 2 embed (value, attributes).
//! Attributes are a varint count, then `bytes`, UTF-8 name and value each, names rising; those
//! of an insert or embed have no null.
//! A value is a byte: 0 null, 1 false, 2 true, 3 number (8 bytes, IEEE 754, little-endian),
//! 4 string (`bytes`, UTF-8), 5 array (count, values), 6 object (as attributes).

use codraft_mutant::cost::{Work, spend};

use crate::{
    AttributeMap, Attrs, Component, Delta, Embed, Limits, OpError,
    attributes::{self, Builder},
    op::{UNITS_SUM_MAX, units_of},
    packed::{
        ARRAY, FALSE, NO_ATTRIBUTES, NULL, NUMBER, OBJECT, STRING, TRUE, put_number, put_string,
        put_varint, take, take_varint,
    },
};

pub(crate) const RETAIN: u64 = 0;
pub(crate) const DELETE: u64 = 1;
pub(crate) const INSERT: u64 = 2;
const OTHER: u64 = 3;
pub(crate) const RETAIN_WITH: u64 = 0;
pub(crate) const INSERT_WITH: u64 = 1;
pub(crate) const EMBED: u64 = 2;

impl Delta {
    /// Appends the binary form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let before = out.len();
        for component in self.components() {
            match component {
                Component::Retain { units, attributes } => match attributes {
                    None => put_varint(out, u64::from(*units) << 2 | RETAIN),
                    Some(set) => {
                        put_varint(out, RETAIN_WITH << 2 | OTHER);
                        put_varint(out, u64::from(*units));
                        out.extend_from_slice(set.bytes());
                    }
                },
                Component::Delete { units } => put_varint(out, u64::from(*units) << 2 | DELETE),
                Component::Insert {
                    text, attributes, ..
                } => {
                    let attributes = attributes::bytes_of(attributes);
                    let follow = put_insert_head(out, text.len(), attributes);
                    out.extend_from_slice(text.as_bytes());
                    if follow {
                        out.extend_from_slice(attributes);
                    }
                }
                Component::Embed { value, attributes } => {
                    put_embed(out, value.bytes(), attributes::bytes_of(attributes));
                }
            }
        }
        spend(Work::Spelled, self.components().len());
        spend(Work::Bytes, out.len() - before);
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
        let mut input = Input {
            bytes,
            limits,
            recent: Recent::default(),
        };
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
        spend(Work::Decoded, count);
        spend(Work::Bytes, bytes.len());
        Ok(delta.chop())
    }
}

/// Appends an insert up to its `length` bytes of text. Returns whether the attributes, which are
/// encoded, are to follow them.
pub(crate) fn put_insert_head(out: &mut Vec<u8>, length: usize, attributes: &[u8]) -> bool {
    if attributes == NO_ATTRIBUTES {
        put_varint(out, (length as u64) << 2 | INSERT);
        return false;
    }
    put_varint(out, INSERT_WITH << 2 | OTHER);
    put_varint(out, length as u64);
    true
}

/// Appends an embed with encoded value and attributes.
pub(crate) fn put_embed(out: &mut Vec<u8>, value: &[u8], attributes: &[u8]) {
    put_varint(out, EMBED << 2 | OTHER);
    out.extend_from_slice(value);
    out.extend_from_slice(attributes);
}

/// The attributes that were read last: a real document has few maps, and shares them.
#[derive(Default)]
pub(crate) struct Recent {
    maps: [Attrs; 8],
    oldest: usize,
}

impl Recent {
    pub(crate) fn share(&mut self, bytes: &[u8]) -> Attrs {
        let mut known = self.maps.iter().flatten();
        if let Some(map) = known.find(|map| map.bytes() == bytes) {
            return Some(map.clone());
        }
        let new = AttributeMap::from_canonical(bytes);
        if new.is_some() {
            self.maps[self.oldest] = new.clone();
            self.oldest = (self.oldest + 1) % self.maps.len();
        }
        new
    }

    /// The one that `bytes` begin with. No map's form begins another's, so it is what reading them
    /// would give.
    fn at_head(&self, bytes: &[u8]) -> Option<&AttributeMap> {
        let mut known = self.maps.iter().flatten();
        known.find(|map| bytes.starts_with(map.bytes()))
    }
}

/// The components of an operation's binary form, read one by one. They are what was written: of
/// neighbours nothing is merged, and sums are not judged.
pub struct Components<'a>(Input<'a>);

impl<'a> Components<'a> {
    pub fn new(bytes: &'a [u8], limits: &'a Limits) -> Self {
        let recent = Recent::default();
        Self(Input {
            bytes,
            limits,
            recent,
        })
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0.bytes
    }
}

impl Iterator for Components<'_> {
    type Item = Result<Component, OpError>;

    /// Nothing follows what cannot be read.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.bytes.is_empty() {
            return None;
        }
        let component = self.0.component();
        if component.is_err() {
            self.0.bytes = &[];
        }
        Some(component)
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    recent: Recent,
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
                        attributes: self.attributes(true)?,
                    })
                }
                INSERT_WITH => {
                    let n = self.varint()?;
                    let text = self.take(n)?;
                    let attributes = self.attributes(false)?;
                    insert(text, attributes)
                }
                EMBED => {
                    let before = self.bytes.len();
                    let mut value = Vec::new();
                    self.value(0, &mut value)?;
                    if before - self.bytes.len() > self.limits.embed_bytes {
                        return Err(OpError::EmbedTooLarge {
                            most_bytes: self.limits.embed_bytes,
                        });
                    }
                    if value.first() != Some(&OBJECT) {
                        return Err(OpError::Malformed);
                    }
                    Ok(Component::Embed {
                        value: Embed::from_canonical(&value),
                        attributes: self.attributes(false)?,
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

    /// `keep_null`: of a retain, where it takes an attribute away. What is inserted has nothing
    /// to take away, and its canonical form does not say so.
    fn attributes(&mut self, keep_null: bool) -> Result<Attrs, OpError> {
        if let Some(known) = self.recent.at_head(self.bytes)
            && (keep_null || !attributes::has_null(known.bytes()))
        {
            self.bytes = &self.bytes[known.bytes().len()..];
            return Ok(Some(known.clone()));
        }
        let count = self.varint()?;
        if count > self.limits.attributes as u64 {
            return Err(OpError::TooManyAttributes {
                most: self.limits.attributes,
            });
        }
        let mut set = Builder::default();
        let mut last = None;
        let mut field = Vec::new();
        for _ in 0..count {
            let before = self.bytes.len();
            field.clear();
            let name = self.name(last)?;
            put_string(&mut field, name);
            let value_at = field.len();
            self.value(1, &mut field)?;
            if before - self.bytes.len() > self.limits.attribute_bytes {
                return Err(OpError::AttributeTooLarge {
                    most_bytes: self.limits.attribute_bytes,
                });
            }
            if attributes::is_reserved(name) {
                return Err(OpError::ReservedAttribute);
            }
            if keep_null || field[value_at..] != [NULL] {
                set.push_bytes(&field);
            }
            last = Some(name);
        }
        Ok(self.recent.share(&set.into_bytes()))
    }

    /// Names rise.
    fn name(&mut self, last: Option<&str>) -> Result<&'a str, OpError> {
        let name = self.string()?;
        if last.is_some_and(|last| last >= name) {
            return Err(OpError::Malformed);
        }
        Ok(name)
    }

    /// Reads a value and appends its canonical form to `out`.
    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), OpError> {
        if depth > self.limits.depth {
            return Err(OpError::TooDeep {
                most: self.limits.depth,
            });
        }
        let (kind, rest) = self.bytes.split_first().ok_or(OpError::Malformed)?;
        self.bytes = rest;
        if *kind == NUMBER {
            let raw = self.take(8)?;
            let number = f64::from_le_bytes(raw.try_into().map_err(|_| OpError::Malformed)?);
            if !number.is_finite() {
                return Err(OpError::Malformed);
            }
            put_number(out, number);
            return Ok(());
        }
        out.push(*kind);
        match *kind {
            NULL | FALSE | TRUE => {}
            STRING => put_string(out, self.string()?),
            ARRAY => {
                let count = self.varint()?;
                put_varint(out, count);
                for _ in 0..count {
                    self.value(depth + 1, out)?;
                }
            }
            OBJECT => {
                let count = self.varint()?;
                put_varint(out, count);
                let mut last = None;
                for _ in 0..count {
                    let name = self.name(last)?;
                    put_string(out, name);
                    self.value(depth + 1, out)?;
                    last = Some(name);
                }
            }
            _ => return Err(OpError::Malformed),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<&'a str, OpError> {
        let n = self.varint()?;
        std::str::from_utf8(self.take(n)?).map_err(|_| OpError::Malformed)
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], OpError> {
        take(&mut self.bytes, n).ok_or(OpError::Malformed)
    }

    fn varint(&mut self) -> Result<u64, OpError> {
        take_varint(&mut self.bytes).ok_or(OpError::Malformed)
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
