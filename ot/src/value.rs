//! Values of attributes and embeds: what JSON can say.

use std::collections::BTreeMap;

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

impl Value {
    /// JavaScript's `===`: two objects or arrays from different places are never the same.
    pub(crate) fn identical(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Array(_) | Value::Object(_), _) => false,
            _ => self == other,
        }
    }
}
