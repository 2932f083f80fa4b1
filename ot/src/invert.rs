//! What undoes an operation.

use crate::{Component, Delta, OpError, attributes, cursor::Cursor};

impl Delta {
    /// What undoes `self` on the document `base` (inserts only) that it was made for.
    ///
    /// # Errors
    /// `LengthMismatch` where `self` reaches beyond `base`, `SplitSurrogate` where it cuts a pair.
    pub fn invert(&self, base: &Delta) -> Result<Delta, OpError> {
        let mut old = Cursor::new(base.components());
        let mut out = Delta::with_capacity(self.components().len());
        let mut at: u32 = 0;
        for component in self.components() {
            match component {
                Component::Insert { .. } | Component::Embed { .. } => {
                    out.delete(component.units());
                    continue;
                }
                Component::Retain {
                    units,
                    attributes: None,
                } => {
                    out.retain(*units);
                    walk(&mut old, *units, &mut at, |_| {})?;
                }
                Component::Retain {
                    units,
                    attributes: Some(set),
                } => {
                    walk(&mut old, *units, &mut at, |piece| {
                        let attributes = attributes::invert(set, piece.attributes());
                        out.push(Component::Retain {
                            units: piece.units(),
                            attributes,
                        });
                    })?;
                }
                Component::Delete { units } => {
                    walk(&mut old, *units, &mut at, |piece| {
                        out.push(piece);
                    })?;
                }
            }
        }
        Ok(out.chop())
    }
}

fn walk(
    old: &mut Cursor<'_>,
    units: u32,
    at: &mut u32,
    mut each: impl FnMut(Component),
) -> Result<(), OpError> {
    let mut left = units;
    while left > 0 {
        let split = |_| OpError::SplitSurrogate { position: *at };
        let Some(piece) = old.next(left).map_err(split)? else {
            let operation = u64::from(*at) + u64::from(left);
            return Err(OpError::LengthMismatch {
                document: *at,
                operation,
            });
        };
        left -= piece.units();
        *at += piece.units();
        each(piece);
    }
    Ok(())
}
