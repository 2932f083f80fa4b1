//! Attributes of a component, with the rules of quill-delta's `AttributeMap`.

use std::{cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};

use crate::{
    Value,
    packed::{ARRAY, NO_ATTRIBUTES, OBJECT, put_map, put_value, put_varint},
    value::{Field, Fields},
};

/// Name to value, to build attributes of; `Null` takes an attribute away.
pub type Attributes = BTreeMap<Box<str>, Value>;

/// The attributes of a component; `None` and never an empty map.
pub type Attrs = Option<AttributeMap>;

/// Attributes in their binary form, a map of the codec. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct AttributeMap(Arc<[u8]>);

impl AttributeMap {
    /// Of bytes that the codec wrote or checked; none for an empty map.
    pub(crate) fn from_canonical(bytes: &[u8]) -> Attrs {
        (Fields::of(bytes).left() > 0).then(|| AttributeMap(bytes.into()))
    }

    pub fn iter(&self) -> Fields<'_> {
        Fields::of(&self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AttributeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().to_map().fmt(f)
    }
}

pub(crate) fn pack(map: &Attributes) -> Attrs {
    if map.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    put_map(&mut out, map);
    Some(AttributeMap(out.into()))
}

/// What every object of JavaScript has: quill-delta takes such a name for one that is set and
/// drops the attribute when it composes, so that clients and server would hold different
/// documents.
const RESERVED: [&str; 12] = [
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// Whether no attribute may have this name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The binary form of attributes, none included.
pub(crate) fn bytes_of(attributes: &Attrs) -> &[u8] {
    attributes
        .as_ref()
        .map_or(NO_ATTRIBUTES, AttributeMap::bytes)
}

/// A map in the making, by rising name.
#[derive(Default)]
pub(crate) struct Builder {
    count: u64,
    fields: Vec<u8>,
}

impl Builder {
    pub(crate) fn push(&mut self, field: Field<'_>) {
        self.push_bytes(field.bytes);
    }

    /// Takes it away from where it stands.
    fn remove(&mut self, field: Field<'_>) {
        let mut removal = field.bytes[..field.bytes.len() - field.value.len()].to_vec();
        put_value(&mut removal, &Value::Null);
        self.push_bytes(&removal);
    }

    /// Name and value.
    pub(crate) fn push_bytes(&mut self, field: &[u8]) {
        self.count += 1;
        self.fields.extend_from_slice(field);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.fields.len());
        put_varint(&mut out, self.count);
        out.extend_from_slice(&self.fields);
        out
    }

    fn finish(self) -> Attrs {
        AttributeMap::from_canonical(&self.into_bytes())
    }
}

/// Both maps by rising name, field beside field of the same name.
fn each<'a>(a: &'a [u8], b: &'a [u8], mut with: impl FnMut(Option<Field<'a>>, Option<Field<'a>>)) {
    let (mut a, mut b) = (Fields::of(a), Fields::of(b));
    let (mut left, mut right) = (a.next_field(), b.next_field());
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.name.cmp(right.name),
        };
        with(
            left.filter(|_| order.is_le()),
            right.filter(|_| order.is_ge()),
        );
        if order.is_le() {
            left = a.next_field();
        }
        if order.is_ge() {
            right = b.next_field();
        }
    }
}

/// `b` after `a`, as bytes. `keep_null`: the component stays a retain, so that a removal stays
/// one.
pub(crate) fn compose_bytes(a: &[u8], b: &[u8], keep_null: bool) -> Vec<u8> {
    let mut out = Builder::default();
    each(a, b, |a, b| {
        if let Some(field) = b.or(a)
            && (keep_null || b.is_none() || !field.is_null())
        {
            out.push(field);
        }
    });
    out.into_bytes()
}

/// `b` after `a`. `keep_null` as above.
pub(crate) fn compose(a: &Attrs, b: &Attrs, keep_null: bool) -> Attrs {
    let Some(new) = b else {
        return a.clone();
    };
    if a.is_none() && (keep_null || !has_null(new.bytes())) {
        return b.clone();
    }
    let out = compose_bytes(bytes_of(a), new.bytes(), keep_null);
    if out == bytes_of(a) {
        return a.clone();
    }
    AttributeMap::from_canonical(&out)
}

pub(crate) fn has_null(bytes: &[u8]) -> bool {
    let mut fields = Fields::of(bytes);
    std::iter::from_fn(|| fields.next_field()).any(|field| field.is_null())
}

/// `b` moved past `a`, in binary form; with `priority`, what `a` set stands.
pub(crate) fn transform(a: &[u8], b: &Attrs, priority: bool) -> Attrs {
    let Some(theirs) = b.as_ref().filter(|_| priority && a != NO_ATTRIBUTES) else {
        return b.clone();
    };
    let mut out = Builder::default();
    each(a, theirs.bytes(), |a, b| {
        if let (None, Some(field)) = (a, b) {
            out.push(field);
        }
    });
    if out.count == theirs.iter().left() {
        return b.clone();
    }
    out.finish()
}

/// What undoes `attributes` on something that had `base`.
pub(crate) fn invert(attributes: &AttributeMap, base: &Attrs) -> Attrs {
    let mut out = Builder::default();
    each(attributes.bytes(), bytes_of(base), |new, old| {
        match (new, old) {
            (Some(new), Some(old)) if !identical(old.value, new.value) => out.push(old),
            (Some(new), None) => out.remove(new),
            _ => {}
        }
    });
    out.finish()
}

/// What makes of one map the other.
pub(crate) fn change(from: &Attrs, to: &Attrs) -> Attrs {
    let mut out = Builder::default();
    each(bytes_of(from), bytes_of(to), |old, new| match (old, new) {
        (Some(old), None) => out.remove(old),
        (old, Some(new)) if old.as_ref().map(|old| old.value) != Some(new.value) => out.push(new),
        _ => {}
    });
    out.finish()
}

/// JavaScript's `===`: two objects or arrays from different places are never the same.
fn identical(a: &[u8], b: &[u8]) -> bool {
    a == b && !matches!(a.first(), Some(&(ARRAY | OBJECT)))
}
