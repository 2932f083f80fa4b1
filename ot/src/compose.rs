//! Two operations, one after the other, as one.

use crate::{Component, Delta, OpError, attributes, cursor::Cursor};

impl Delta {
    /// `self`, then `next`, as one operation.
    ///
    /// # Errors
    /// `SplitSurrogate` where `next` cuts a pair that `self` inserts.
    pub fn compose(&self, next: &Delta) -> Result<Delta, OpError> {
        let mut this = Cursor::new(self.components());
        let mut that = Cursor::new(next.components());
        let mut out = Delta::with_capacity(self.components().len() + next.components().len());
        let mut walked: u32 = 0;
        while this.has_next() || that.has_next() {
            if that.at_insert() {
                if let Some(insert) = that.peek() {
                    out.push(insert.clone());
                }
                that.skip(that.left());
                continue;
            }
            if let Some(Component::Delete { .. }) = this.peek() {
                out.delete(this.left());
                this.skip(this.left());
                continue;
            }
            let units = this.left().min(that.left());
            let split = |_| OpError::SplitSurrogate { position: walked };
            let mine = this.next(units).map_err(split)?;
            let theirs = that.next(units).map_err(split)?;
            walked = walked.saturating_add(units);
            match (mine, theirs) {
                // `next` is over: what is left of `self` stands.
                (Some(mine), None) => {
                    out.push(mine);
                }
                (
                    mine,
                    Some(Component::Retain {
                        attributes: theirs, ..
                    }),
                ) => {
                    let new = match mine {
                        None => Component::Retain {
                            units,
                            attributes: theirs,
                        },
                        Some(Component::Retain { attributes, .. }) => {
                            let attributes = attributes::compose(&attributes, &theirs, true);
                            Component::Retain { units, attributes }
                        }
                        Some(Component::Insert {
                            text, attributes, ..
                        }) => {
                            let attributes = attributes::compose(&attributes, &theirs, false);
                            Component::Insert {
                                text,
                                units,
                                attributes,
                            }
                        }
                        Some(Component::Embed { value, attributes }) => {
                            let attributes = attributes::compose(&attributes, &theirs, false);
                            Component::Embed { value, attributes }
                        }
                        Some(delete) => delete,
                    };
                    out.push(new);
                }
                (None | Some(Component::Retain { .. }), Some(Component::Delete { .. })) => {
                    out.delete(units);
                }
                // What `self` inserted and `next` deletes was never there.
                (_, _) => {}
            }
        }
        Ok(out.chop())
    }
}
