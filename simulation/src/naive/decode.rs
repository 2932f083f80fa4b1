//! The binary form of an operation, read by what `docs/protocol.md` says of it.

use crate::record::{Attributes, Edit};

/// How deep values may nest.
const DEPTH: usize = 32;

/// Why bytes are no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

type Read<T> = Result<T, Malformed>;

/// Reads a whole operation.
pub fn decode(mut bytes: &[u8]) -> Read<Vec<Edit>> {
    let from = &mut bytes;
    let mut edits = Vec::new();
    while !from.is_empty() {
        let head = varint(from)?;
        let n = head >> 2;
        edits.push(match head & 3 {
            0 => Edit::Retain(n, Vec::new()),
            1 => Edit::Delete(n),
            2 => Edit::Insert(text(from, n)?, Vec::new()),
            _ => match n {
                0 => {
                    let units = varint(from)?;
                    Edit::Retain(units, fields(from, 0)?)
                }
                1 => {
                    let bytes = varint(from)?;
                    let text = text(from, bytes)?;
                    Edit::Insert(text, fields(from, 0)?)
                }
                2 => {
                    let json = value(from, 0)?;
                    Edit::Embed(json, fields(from, 0)?)
                }
                _ => return Err(Malformed("type of a component")),
            },
        });
    }
    Ok(edits)
}

/// Seven bits a byte, the lowest first, the highest bit on all but the last.
pub fn varint(from: &mut &[u8]) -> Read<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let [byte] = take(from, 1)? else {
            return Err(Malformed("end"));
        };
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed("varint"))
}

fn take<'a>(from: &mut &'a [u8], n: u64) -> Read<&'a [u8]> {
    let n = usize::try_from(n).map_err(|_| Malformed("length"))?;
    let (taken, rest) = from.split_at_checked(n).ok_or(Malformed("end"))?;
    *from = rest;
    Ok(taken)
}

fn text(from: &mut &[u8], bytes: u64) -> Read<String> {
    let bytes = take(from, bytes)?.to_vec();
    String::from_utf8(bytes).map_err(|_| Malformed("UTF-8"))
}

fn fields(from: &mut &[u8], depth: usize) -> Read<Attributes> {
    let count = varint(from)?;
    let mut fields = Attributes::new();
    for _ in 0..count {
        let bytes = varint(from)?;
        let name = text(from, bytes)?;
        if fields.last().is_some_and(|(last, _)| *last >= name) {
            return Err(Malformed("order of names"));
        }
        fields.push((name, value(from, depth + 1)?));
    }
    Ok(fields)
}

/// A value as JSON, in one spelling.
fn value(from: &mut &[u8], depth: usize) -> Read<String> {
    if depth > DEPTH {
        return Err(Malformed("depth"));
    }
    let [kind] = take(from, 1)? else {
        return Err(Malformed("end"));
    };
    Ok(match kind {
        0 => "null".into(),
        1 => "false".into(),
        2 => "true".into(),
        3 => {
            let raw = take(from, 8)?.try_into().map_err(|_| Malformed("number"))?;
            let number = f64::from_le_bytes(raw);
            if !number.is_finite() {
                return Err(Malformed("number"));
            }
            // There is one zero.
            format!("{}", if number == 0.0 { 0.0 } else { number })
        }
        4 => {
            let bytes = varint(from)?;
            quoted(&text(from, bytes)?)
        }
        5 => {
            let count = varint(from)?;
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(value(from, depth + 1)?);
            }
            format!("[{}]", items.join(","))
        }
        6 => object(&fields(from, depth)?),
        _ => return Err(Malformed("type of a value")),
    })
}

pub fn object(fields: &Attributes) -> String {
    let field = |(name, value): &(String, String)| format!("{}:{value}", quoted(name));
    let fields: Vec<String> = fields.iter().map(field).collect();
    format!("{{{}}}", fields.join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
