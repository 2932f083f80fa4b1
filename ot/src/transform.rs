//! Moving an operation, and a position, past another operation.

use codraft_mutant::cost::{Work, spend};

use crate::{Component, Delta, attributes, cursor::Cursor};

impl Delta {
    /// `other`, made against the same document as `self`, moved past `self`.
    ///
    /// `priority`: where both insert at one place, `self` goes first; where both set one
    /// attribute, `self`'s value stands. Linear in the components of both.
    pub fn transform(&self, other: &Delta, priority: bool) -> Delta {
        let mut this = Cursor::new(self.components());
        let mut that = Cursor::new(other.components());
        let mut out = Delta::with_capacity(other.components().len() + 1);
        let components = self.components().len() + other.components().len();
        spend(Work::Transformed, components);
        // When `other` is over, the rest could only retain.
        while that.has_next() {
            if this.at_insert() && (priority || !that.at_insert()) {
                let units = this.left();
                out.retain(units);
                this.skip(units);
                continue;
            }
            if that.at_insert() {
                // Inserts are never cut here: they are taken whole.
                if let Some(insert) = that.peek() {
                    spend(Work::Bytes, insert.text_bytes());
                    out.push(insert.clone());
                }
                that.skip(that.left());
                continue;
            }
            let units = this.left().min(that.left());
            match (this.peek(), that.peek()) {
                (Some(Component::Delete { .. }), _) => {}
                (_, Some(Component::Delete { .. })) => {
                    out.delete(units);
                }
                (mine, Some(theirs)) => {
                    let mine = mine.map_or(&None, Component::attributes);
                    let mine = attributes::bytes_of(mine);
                    let attributes = attributes::transform(mine, theirs.attributes(), priority);
                    out.push(Component::Retain { units, attributes });
                }
                (_, None) => {}
            }
            this.skip(units);
            that.skip(units);
        }
        out.chop()
    }

    /// Where a position in the document before `self` stands after it. `stay`: an insert at
    /// the very position leaves it where it is (quill-delta's `priority`).
    pub fn transform_position(&self, position: u32, stay: bool) -> u32 {
        let (mut position, mut offset) = (u64::from(position), 0u64);
        for component in self.components() {
            if offset > position {
                break;
            }
            let units = u64::from(component.units());
            match component {
                Component::Delete { .. } => {
                    position -= units.min(position - offset);
                    continue;
                }
                Component::Insert { .. } | Component::Embed { .. }
                    if offset < position || !stay =>
                {
                    position += units;
                }
                _ => {}
            }
            offset += units;
        }
        u32::try_from(position).unwrap_or(u32::MAX)
    }

    /// The same for many positions, which rise and do so afterwards. Linear in the components and the
    /// positions together.
    pub fn transform_positions(&self, positions: &mut [u32], stay: bool) {
        // Of the document before: how far it is walked, and where the last delete ended, which is
        // where a position within it counts as being from then on.
        let (mut walked, mut deleted) = (0u64, 0u64);
        let mut shift = 0i64;
        let mut rest = positions.iter_mut().peekable();
        for component in self.components() {
            let units = u64::from(component.units());
            let is_over = |place: u64| match component {
                Component::Insert { .. } | Component::Embed { .. } => stay && place == walked,
                Component::Delete { .. } => false,
                Component::Retain { .. } => place < walked + units,
            };
            while let Some(position) =
                rest.next_if(|position| is_over(u64::from(**position).max(deleted)))
            {
                *position = moved(u64::from(*position).max(deleted), shift);
            }
            match component {
                Component::Insert { .. } | Component::Embed { .. } => shift += units as i64,
                Component::Delete { .. } => {
                    walked += units;
                    deleted = walked;
                    shift -= units as i64;
                }
                Component::Retain { .. } => walked += units,
            }
        }
        for position in rest {
            *position = moved(u64::from(*position).max(deleted), shift);
        }
    }
}

fn moved(position: u64, shift: i64) -> u32 {
    u32::try_from(position.saturating_add_signed(shift)).unwrap_or(u32::MAX)
}
