//! Numbers, names and values as bytes: what the binary form of operations is made of.

use std::collections::BTreeMap;

use crate::{Value, varint};
pub(crate) use varint::put as put_varint;

// Kinds of values.
pub(crate) const NULL: u8 = 0;
pub(crate) const FALSE: u8 = 1;
pub(crate) const TRUE: u8 = 2;
pub(crate) const NUMBER: u8 = 3;
pub(crate) const STRING: u8 = 4;
pub(crate) const ARRAY: u8 = 5;
pub(crate) const OBJECT: u8 = 6;

/// An empty map.
pub(crate) const NO_ATTRIBUTES: &[u8] = &[0];

/// Takes `n` bytes off the front, if there are as many.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], n: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(n).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a number off the front; none where it is cut, or not in the fewest bytes.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    varint::take(bytes).ok()
}

pub(crate) fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

pub(crate) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = take_varint(bytes)?;
    std::str::from_utf8(take(bytes, length)?).ok()
}

/// Takes one value off the front: its bytes.
pub(crate) fn take_value<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let all = *bytes;
    skip_value(bytes)?;
    Some(&all[..all.len() - bytes.len()])
}

fn skip_value(bytes: &mut &[u8]) -> Option<()> {
    match take_byte(bytes)? {
        NUMBER => {
            take(bytes, 8)?;
        }
        STRING => {
            let length = take_varint(bytes)?;
            take(bytes, length)?;
        }
        ARRAY => {
            for _ in 0..take_varint(bytes)? {
                skip_value(bytes)?;
            }
        }
        OBJECT => skip_map(bytes)?,
        _ => {}
    }
    Some(())
}

/// Takes one map off the front: its bytes.
pub(crate) fn take_map<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let all = *bytes;
    skip_map(bytes)?;
    Some(&all[..all.len() - bytes.len()])
}

fn skip_map(bytes: &mut &[u8]) -> Option<()> {
    for _ in 0..take_varint(bytes)? {
        let length = take_varint(bytes)?;
        take(bytes, length)?;
        skip_value(bytes)?;
    }
    Some(())
}

pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_number(out: &mut Vec<u8>, number: f64) {
    out.push(NUMBER);
    // One zero, as JSON has it.
    let number = if number == 0.0 { 0.0 } else { number };
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_map(out: &mut Vec<u8>, fields: &BTreeMap<Box<str>, Value>) {
    put_varint(out, fields.len() as u64);
    for (name, field) in fields {
        put_string(out, name);
        put_value(out, field);
    }
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => put_number(out, *number),
        Value::String(text) => {
            out.push(STRING);
            put_string(out, text);
        }
        Value::Array(items) => {
            out.push(ARRAY);
            put_varint(out, items.len() as u64);
            items.iter().for_each(|item| put_value(out, item));
        }
        Value::Object(fields) => {
            out.push(OBJECT);
            put_map(out, fields);
        }
    }
}
