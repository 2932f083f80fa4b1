//! Attribute maps, with the rules of quill-delta's `AttributeMap`.

use std::{collections::BTreeMap, sync::Arc};

use crate::Value;

/// Name to value; `Null` takes an attribute away.
pub type Attributes = BTreeMap<Box<str>, Value>;

/// The attributes of a component; `None` and never an empty map.
pub type Attrs = Option<Arc<Attributes>>;

pub(crate) fn pack(map: Attributes) -> Attrs {
    (!map.is_empty()).then(|| Arc::new(map))
}

/// `b` after `a`. `keep_null`: the component stays a retain, so that a removal stays one.
pub(crate) fn compose(a: &Attrs, b: &Attrs, keep_null: bool) -> Attrs {
    let Some(b) = b else {
        return a.clone();
    };
    let mut out = Attributes::clone(b);
    if !keep_null {
        out.retain(|_, value| *value != Value::Null);
    }
    if let Some(a) = a {
        for (key, value) in a.iter() {
            if !b.contains_key(key) {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    pack(out)
}

/// `b` moved past `a`; with `priority`, what `a` set stands.
pub(crate) fn transform(a: &Attrs, b: &Attrs, priority: bool) -> Attrs {
    match (a, b) {
        (Some(a), Some(b)) if priority => {
            let kept = b.iter().filter(|(key, _)| !a.contains_key(*key));
            pack(
                kept.map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            )
        }
        _ => b.clone(),
    }
}

/// What undoes `attributes` on something that had `base`.
pub(crate) fn invert(attributes: &Attributes, base: &Attrs) -> Attrs {
    static NONE: Attributes = Attributes::new();
    let base = base.as_deref().unwrap_or(&NONE);
    let mut out = Attributes::new();
    for (key, old) in base {
        if attributes.get(key).is_some_and(|new| !old.identical(new)) {
            out.insert(key.clone(), old.clone());
        }
    }
    for key in attributes.keys() {
        if !base.contains_key(key) {
            out.insert(key.clone(), Value::Null);
        }
    }
    pack(out)
}
