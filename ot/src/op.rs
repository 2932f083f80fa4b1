//! The operation: a list of components in quill-delta's canonical order.

use crate::{Attributes, Attrs, Embed, Value};

/// One step through the document. Counts are UTF-16 code units and at least 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Component {
    Retain {
        units: u32,
        attributes: Attrs,
    },
    Insert {
        text: String,
        units: u32,
        attributes: Attrs,
    },
    /// An object in the text: one unit long.
    Embed {
        value: Embed,
        attributes: Attrs,
    },
    Delete {
        units: u32,
    },
}

impl Component {
    /// Units of the document before (retain, delete) or after (insert, embed).
    pub fn units(&self) -> u32 {
        match self {
            Self::Retain { units, .. } | Self::Insert { units, .. } | Self::Delete { units } => {
                *units
            }
            Self::Embed { .. } => 1,
        }
    }

    /// Bytes of the text that it carries.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Insert { text, .. } => text.len(),
            _ => 0,
        }
    }

    pub fn is_insert(&self) -> bool {
        matches!(self, Self::Insert { .. } | Self::Embed { .. })
    }

    pub fn attributes(&self) -> &Attrs {
        match self {
            Self::Retain { attributes, .. }
            | Self::Insert { attributes, .. }
            | Self::Embed { attributes, .. } => attributes,
            Self::Delete { .. } => &None,
        }
    }
}

/// An operation, or a whole document as the inserts that make it.
///
/// Canonical: neighbours of one sort are one component, an insert stands before a delete at the
/// same place, and no plain retain stands last.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    components: Vec<Component>,
}

impl Delta {
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_capacity(components: usize) -> Self {
        Self {
            components: Vec::with_capacity(components),
        }
    }

    pub fn components(&self) -> &[Component] {
        &self.components
    }

    pub(crate) fn into_components(self) -> Vec<Component> {
        self.components
    }

    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    pub fn retain(&mut self, units: u32) -> &mut Self {
        self.push(Component::Retain {
            units,
            attributes: None,
        })
    }

    pub fn retain_with(&mut self, units: u32, attributes: Attributes) -> &mut Self {
        self.push(Component::Retain {
            units,
            attributes: crate::attributes::pack(&attributes),
        })
    }

    pub fn insert(&mut self, text: &str) -> &mut Self {
        self.insert_with(text, Attributes::new())
    }

    pub fn insert_with(&mut self, text: &str, attributes: Attributes) -> &mut Self {
        let attributes = crate::attributes::pack(&attributes);
        self.push(Component::Insert {
            text: text.into(),
            units: units_of(text),
            attributes,
        })
    }

    pub fn embed(&mut self, value: Value, attributes: Attributes) -> &mut Self {
        let attributes = crate::attributes::pack(&attributes);
        self.push(Component::Embed {
            value: Embed::new(&value),
            attributes,
        })
    }

    pub fn delete(&mut self, units: u32) -> &mut Self {
        self.push(Component::Delete { units })
    }

    /// Adds a component at the end, keeping the canonical order; a count of 0 is nothing.
    pub fn push(&mut self, new: Component) -> &mut Self {
        if new.units() == 0 {
            return self;
        }
        let mut at = self.components.len();
        if new.is_insert() && matches!(self.components.last(), Some(Component::Delete { .. })) {
            at -= 1;
        }
        let merged = match at.checked_sub(1).map(|i| &mut self.components[i]) {
            Some(last) => merge(last, &new),
            None => false,
        };
        if !merged {
            self.components.insert(at, new);
        }
        self
    }

    /// Drops a plain retain at the end.
    pub fn chop(mut self) -> Self {
        if let Some(Component::Retain {
            attributes: None, ..
        }) = self.components.last()
        {
            self.components.pop();
        }
        self
    }

    /// Units of the document that it walks over: it fits any document at least that long.
    pub fn base_units(&self) -> u64 {
        self.components
            .iter()
            .filter(|c| !c.is_insert())
            .map(|c| u64::from(c.units()))
            .sum()
    }

    /// By how much it makes the document longer (or, negative, shorter).
    pub fn growth(&self) -> i64 {
        let sign = |c: &Component| match c {
            Component::Insert { .. } | Component::Embed { .. } => i64::from(c.units()),
            Component::Delete { units } => -i64::from(*units),
            Component::Retain { .. } => 0,
        };
        self.components.iter().map(sign).sum()
    }

    /// Whether it has neither attributes nor embeds.
    pub fn is_plain(&self) -> bool {
        let plain =
            |c: &Component| c.attributes().is_none() && !matches!(c, Component::Embed { .. });
        self.components.iter().all(plain)
    }
}

/// The most that all lengths of an operation may be together: 32 bits hold whatever is computed
/// of them.
pub(crate) const UNITS_SUM_MAX: u64 = (u32::MAX / 2) as u64;

/// Merges `new` into `last` where they are one component.
pub(crate) fn merge(last: &mut Component, new: &Component) -> bool {
    match (last, new) {
        // Counts stop at the top instead of wrapping: no document is that long, `apply` refuses.
        (Component::Delete { units }, Component::Delete { units: more }) => {
            *units = units.saturating_add(*more);
        }
        (
            Component::Retain { units, attributes },
            Component::Retain {
                units: more,
                attributes: other,
            },
        ) if attributes == other => *units = units.saturating_add(*more),
        (
            Component::Insert {
                text,
                units,
                attributes,
            },
            Component::Insert {
                text: tail,
                units: more,
                attributes: other,
            },
        ) if attributes == other => {
            text.push_str(tail);
            *units = units.saturating_add(*more);
        }
        _ => return false,
    }
    true
}

/// The length of a text in UTF-16 code units.
pub(crate) fn units_of(text: &str) -> u32 {
    units_of_bytes(text.as_bytes())
}

/// As `units_of`, of bytes that are known to be UTF-8.
pub(crate) fn units_of_bytes(text: &[u8]) -> u32 {
    if text.len() == 1 {
        return 1;
    }
    // One unit for the first byte of each character, one more for those of four bytes.
    text.iter()
        .map(|&b| u32::from((b as i8) >= -0x40) + u32::from(b >= 0xf0))
        .sum()
}
