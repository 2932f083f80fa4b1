//! The one walker over an operation: takes components in pieces of a chosen length.

use crate::Component;

/// Past the end everything is retained, for ever.
pub(crate) const ENDLESS: u32 = u32::MAX;

pub(crate) struct Cursor<'a> {
    components: &'a [Component],
    index: usize,
    /// Units of `components[index]` that are taken already.
    taken: u32,
    /// Where those end in its text, so that many pieces of a long text cost one walk through it.
    byte: usize,
}

/// A piece of a component. `None` where the operation is over.
pub(crate) type Piece = Option<Component>;

impl<'a> Cursor<'a> {
    pub(crate) fn new(components: &'a [Component]) -> Self {
        Self {
            components,
            index: 0,
            taken: 0,
            byte: 0,
        }
    }

    pub(crate) fn peek(&self) -> Option<&'a Component> {
        self.components.get(self.index)
    }

    pub(crate) fn has_next(&self) -> bool {
        self.index < self.components.len()
    }

    pub(crate) fn at_insert(&self) -> bool {
        self.peek().is_some_and(Component::is_insert)
    }

    /// Units left of the current component.
    pub(crate) fn left(&self) -> u32 {
        self.peek().map_or(ENDLESS, |c| c.units() - self.taken)
    }

    /// Steps over at most `units` of the current component without making a piece of it; over
    /// an insert only as a whole.
    pub(crate) fn skip(&mut self, units: u32) {
        if self.has_next() {
            let left = self.left();
            if units >= left {
                self.index += 1;
                self.taken = 0;
                self.byte = 0;
            } else {
                self.taken += units;
            }
        }
    }

    /// The next at most `units` of the current component.
    ///
    /// `Err` where a text is cut inside a surrogate pair.
    pub(crate) fn next(&mut self, units: u32) -> Result<Piece, SplitPair> {
        let Some(current) = self.peek() else {
            return Ok(None);
        };
        let take = units.min(self.left());
        let piece = if self.taken == 0 && take == current.units() {
            current.clone()
        } else {
            match current {
                Component::Retain { attributes, .. } => Component::Retain {
                    units: take,
                    attributes: attributes.clone(),
                },
                Component::Delete { .. } => Component::Delete { units: take },
                Component::Embed { .. } => current.clone(),
                Component::Insert {
                    text, attributes, ..
                } => {
                    let rest = &text[self.byte..];
                    let end = byte_of(rest, take).ok_or(SplitPair)?;
                    self.byte += end;
                    Component::Insert {
                        text: rest[..end].into(),
                        units: take,
                        attributes: attributes.clone(),
                    }
                }
            }
        };
        self.skip(take);
        Ok(Some(piece))
    }
}

/// A text would be cut between the halves of a surrogate pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SplitPair;

/// Where the first `units` UTF-16 units of a text end; `None` where that splits a pair.
pub(crate) fn byte_of(text: &str, units: u32) -> Option<usize> {
    let all = units as usize;
    if text.as_bytes().get(..all).is_some_and(<[u8]>::is_ascii) {
        return Some(all);
    }
    let mut seen = 0;
    for (byte, c) in text.char_indices() {
        if seen >= units {
            return (seen == units).then_some(byte);
        }
        seen += c.len_utf16() as u32;
    }
    (seen == units).then_some(text.len())
}
