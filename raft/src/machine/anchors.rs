//! What a program's edit names: nobody may have touched it since the edit's base.

use codraft_ot::{Component, Delta, Limits};
use codraft_proto::reject::Code;

use super::Refusal;
use crate::command::Anchor;

/// Of one edit.
const ANCHORS_MAX: usize = 64;

/// Follows the anchors through the operations that came after their base, in order.
///
/// # Errors
/// `touched` when one of these deletes or formats some of an anchor or writes inside of it, `malformed`
/// for too many anchors.
pub(super) fn untouched<'a>(
    anchors: &[Anchor],
    later: impl Iterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<(), Refusal> {
    if anchors.len() > ANCHORS_MAX {
        let text = format!("an edit has at most {ANCHORS_MAX} anchors");
        return Err(Refusal::new(Code::Malformed, text));
    }
    if anchors.is_empty() {
        return Ok(());
    }
    let mut parts: Vec<Part> = anchors.iter().copied().map(Part::of).collect();
    for operation in later {
        // What was applied once reads back.
        let Ok(operation) = Delta::decode(operation, limits) else {
            continue;
        };
        for part in &mut parts {
            let text = "the text was changed after the base";
            let moved = part.past(&operation);
            *part = moved.ok_or_else(|| Refusal::new(Code::Touched, text))?;
        }
    }
    Ok(())
}

/// An anchor on its way to the head.
#[derive(Clone, Copy)]
struct Part {
    start: u64,
    end: u64,
}

impl Part {
    fn of(Anchor { start, units }: Anchor) -> Part {
        let start = u64::from(start);
        Part {
            start,
            end: start + u64::from(units),
        }
    }

    /// Where it is after an operation; none where that touches it.
    fn past(self, operation: &Delta) -> Option<Part> {
        let Part { start, end } = self;
        let (mut at, mut added, mut gone) = (0, 0, 0);
        for component in operation.components() {
            if at >= end {
                break;
            }
            let units = u64::from(component.units());
            let meets = at < end && start < at + units;
            match component {
                Component::Insert { .. } | Component::Embed { .. } if at <= start => added += units,
                Component::Insert { .. } | Component::Embed { .. } => return None,
                Component::Delete { .. } if meets => return None,
                Component::Retain { attributes, .. } if meets && attributes.is_some() => {
                    return None;
                }
                Component::Delete { .. } => {
                    gone += units;
                    at += units;
                }
                Component::Retain { .. } => at += units,
            }
        }
        let moved = |place: u64| (place + added).saturating_sub(gone);
        Some(Part {
            start: moved(start),
            end: moved(end),
        })
    }
}
