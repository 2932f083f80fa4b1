//! Values of attributes and embeds: what JSON can say.
//!
//! Operations and documents hold them in their binary form, packed and shared. [`Value`] is for
//! building them, [`ValueRef`] for reading, without a tree of either.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::packed::{
    ARRAY, FALSE, NULL, NUMBER, OBJECT, STRING, TRUE, put_value, take_byte, take_text, take_value,
    take_varint,
};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As JavaScript has it: a double; never NaN or infinite.
    Number(f64),
    String(Box<str>),
    Array(Vec<Value>),
    Object(BTreeMap<Box<str>, Value>),
}

/// An embed's value, packed. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Embed(Arc<[u8]>);

impl Embed {
    pub fn new(value: &Value) -> Embed {
        let mut out = Vec::new();
        put_value(&mut out, value);
        Embed(out.into())
    }

    /// Of bytes that the codec wrote or checked.
    pub(crate) fn from_canonical(bytes: &[u8]) -> Embed {
        Embed(bytes.into())
    }

    pub fn value(&self) -> ValueRef<'_> {
        ValueRef::of(&self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Embed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().to_owned().fmt(f)
    }
}

/// A packed value, read where it lies.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    Number(f64),
    String(&'a str),
    Array(Items<'a>),
    Object(Fields<'a>),
}

impl<'a> ValueRef<'a> {
    /// Of canonical bytes; whatever is none is null.
    pub(crate) fn of(bytes: &'a [u8]) -> ValueRef<'a> {
        Self::read(bytes).unwrap_or(ValueRef::Null)
    }

    fn read(mut bytes: &'a [u8]) -> Option<ValueRef<'a>> {
        Some(match take_byte(&mut bytes)? {
            FALSE => ValueRef::Bool(false),
            TRUE => ValueRef::Bool(true),
            NUMBER => ValueRef::Number(f64::from_le_bytes(bytes.try_into().ok()?)),
            STRING => ValueRef::String(take_text(&mut bytes)?),
            ARRAY => ValueRef::Array(Items {
                left: take_varint(&mut bytes)?,
                bytes,
            }),
            OBJECT => ValueRef::Object(Fields::of(bytes)),
            _ => ValueRef::Null,
        })
    }

    pub fn to_owned(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(b) => Value::Bool(b),
            ValueRef::Number(n) => Value::Number(n),
            ValueRef::String(text) => Value::String(text.into()),
            ValueRef::Array(items) => Value::Array(items.map(ValueRef::to_owned).collect()),
            ValueRef::Object(fields) => Value::Object(fields.to_map()),
        }
    }
}

/// The items of a packed array.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    left: u64,
    bytes: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(ValueRef::of(take_value(&mut self.bytes)?))
    }
}

/// The fields of a packed object, or the attributes of a component, by rising name.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    left: u64,
    bytes: &'a [u8],
}

/// One field, as it stands.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    /// Canonical bytes.
    pub(crate) value: &'a [u8],
    /// Name and value.
    pub(crate) bytes: &'a [u8],
}

impl Field<'_> {
    pub(crate) fn is_null(&self) -> bool {
        self.value == [NULL]
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn of(mut bytes: &'a [u8]) -> Fields<'a> {
        Fields {
            left: take_varint(&mut bytes).unwrap_or(0),
            bytes,
        }
    }

    /// How many are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn next_field(&mut self) -> Option<Field<'a>> {
        self.left = self.left.checked_sub(1)?;
        let all = self.bytes;
        let name = take_text(&mut self.bytes)?;
        let value = take_value(&mut self.bytes)?;
        Some(Field {
            name,
            value,
            bytes: &all[..all.len() - self.bytes.len()],
        })
    }

    pub fn to_map(self) -> BTreeMap<Box<str>, Value> {
        self.map(|(name, value)| (name.into(), value.to_owned()))
            .collect()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.next_field()?;
        Some((field.name, ValueRef::of(field.value)))
    }
}
