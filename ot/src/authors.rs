//! Who wrote which part of a document: runs of authors, moved along by the same operations.

use crate::{
    AttributeMap, Attributes, Component, Delta, Kind, Limits, OpError, Value, ValueRef,
    attributes::pack, runs::Runs,
};

/// The attribute that an author's number stands in.
const AUTHOR: &str = "a";

/// The authors of a document by numbers that the caller gives them. Clones share what neither
/// changes, and an operation costs as little as in the document itself.
#[derive(Debug, Clone)]
pub struct Authors(Runs);

impl Authors {
    /// Of an empty document of a kind: the line break of a rich one is the author's with number 0.
    pub fn new(kind: Kind) -> Authors {
        match kind {
            Kind::Text => Authors(Runs::default()),
            Kind::Rich => Authors(Runs::of_line_break()),
        }
    }

    /// Of a document from its beginning: units (UTF-16) and author, run by run.
    pub fn of(runs: impl IntoIterator<Item = (u32, u32)>) -> Authors {
        let mut inserts = Delta::new();
        for (units, author) in runs {
            inserts.push(written_by(units, author));
        }
        Authors(Runs::default()).with(&inserts)
    }

    /// The authors after an operation that fitted the document. `inserted`: units and author of what
    /// it inserts, in the order of the document; the last of them wrote all that is left.
    ///
    /// # Errors
    /// `LengthMismatch` where they are not the authors of the document that it was made for.
    pub fn after(
        &self,
        delta: &Delta,
        inserted: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<Authors, OpError> {
        let (document, operation) = (self.units(), delta.base_units());
        if operation > u64::from(document) {
            return Err(OpError::LengthMismatch {
                document,
                operation,
            });
        }
        let mut inserted = inserted.into_iter();
        let (mut left, mut author) = (0, 0);
        let mut moved = Delta::new();
        for component in delta.components() {
            match component {
                Component::Retain { units, .. } => moved.retain(*units),
                Component::Delete { units } => moved.delete(*units),
                Component::Insert { .. } | Component::Embed { .. } => {
                    let mut units = component.units();
                    while units > 0 {
                        if left == 0 {
                            let next = inserted.next();
                            (left, author) = next.unwrap_or((u32::MAX, author));
                        }
                        let here = units.min(left);
                        moved.push(written_by(here, author));
                        left -= here;
                        units -= here;
                    }
                    &mut moved
                }
            };
        }
        Ok(self.with(&moved.chop()))
    }

    fn with(&self, moved: &Delta) -> Authors {
        let limits = Limits {
            rich_bytes: usize::MAX,
            ..Limits::default()
        };
        // One attribute a run, and no bound on what they count for.
        let after = self.0.after(moved, &limits);
        Authors(after.unwrap_or_else(|_| self.0.clone()))
    }

    fn units(&self) -> u32 {
        self.0.units()
    }

    /// Units and author, run by run.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|piece| {
            let author = AttributeMap::from_canonical(&piece.style.attributes).and_then(|map| {
                match map.iter().next() {
                    Some((_, ValueRef::Number(number))) => Some(number as u32),
                    _ => None,
                }
            });
            (piece.units, author.unwrap_or(0))
        })
    }

    /// The runs of a part of the document, cut to it.
    pub fn part(&self, from: u32, units: u32) -> Vec<(u32, u32)> {
        let (mut at, end, mut part) = (0, from.saturating_add(units), Vec::new());
        for (run, author) in self.iter() {
            let (start, stop) = (at.max(from), (at + run).min(end));
            if start < stop {
                part.push((stop - start, author));
            }
            at += run;
            if at >= end {
                break;
            }
        }
        part
    }

    /// What they take in memory, in bytes.
    pub fn heap_bytes(&self) -> u64 {
        self.0.heap_bytes()
    }
}

/// Its text is nobody's concern: runs know lengths and attributes alone.
fn written_by(units: u32, author: u32) -> Component {
    let number = || (AUTHOR.into(), Value::Number(author.into()));
    // The first author is no attribute, so that what a rich document starts with is that one's.
    let attributes: Attributes = (author > 0).then(number).into_iter().collect();
    Component::Insert {
        text: String::new(),
        units,
        attributes: pack(&attributes),
    }
}
