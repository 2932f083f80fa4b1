//! The steps of an encoded operation, read where they lie: no text is copied or checked again.

use crate::{
    codec::{DELETE, EMBED, INSERT, INSERT_WITH, RETAIN, RETAIN_WITH},
    op::units_of_bytes,
    packed::{NO_ATTRIBUTES, take, take_map, take_value, take_varint},
};

/// Whether an encoded operation does nothing but take text away.
pub fn only_deletes(operation: &[u8]) -> bool {
    let mut steps = Steps::new(operation);
    while let Some(step) = steps.step() {
        match step {
            Step::Delete | Step::Retain(NO_ATTRIBUTES) => steps.skip(steps.left()),
            Step::Insert | Step::Retain(_) => return false,
        }
    }
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Attributes in binary form.
    Retain(&'a [u8]),
    Insert,
    Delete,
}

/// A walk over an operation that `Delta::encode` wrote. Past the end everything is retained,
/// for ever.
pub(crate) struct Steps<'a> {
    bytes: &'a [u8],
    step: Option<Step<'a>>,
    /// Units left of the current step.
    left: u32,
    /// Steps read so far.
    pub(crate) count: u64,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut steps = Self {
            bytes,
            step: None,
            left: 0,
            count: 0,
        };
        steps.advance();
        steps
    }

    pub(crate) fn step(&self) -> Option<Step<'a>> {
        self.step
    }

    pub(crate) fn at_insert(&self) -> bool {
        self.step == Some(Step::Insert)
    }

    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Steps over at most `units` of the current step.
    pub(crate) fn skip(&mut self, units: u32) {
        match self.left.checked_sub(units) {
            None | Some(0) => self.advance(),
            Some(left) if self.step.is_some() => self.left = left,
            Some(_) => {}
        }
    }

    fn advance(&mut self) {
        match self.read() {
            Some((step, units)) => {
                self.count += 1;
                (self.step, self.left) = (Some(step), units);
            }
            None => (self.step, self.left) = (None, u32::MAX),
        }
    }

    fn read(&mut self) -> Option<(Step<'a>, u32)> {
        let bytes = &mut self.bytes;
        let head = take_varint(bytes)?;
        let n = head >> 2;
        let (step, units) = match (head & 3, n) {
            (RETAIN, _) => (Step::Retain(NO_ATTRIBUTES), n),
            (DELETE, _) => (Step::Delete, n),
            (INSERT, _) => (Step::Insert, units_of_bytes(take(bytes, n)?).into()),
            (_, RETAIN_WITH) => {
                let units = take_varint(bytes)?;
                (Step::Retain(take_map(bytes)?), units)
            }
            (_, INSERT_WITH) => {
                let length = take_varint(bytes)?;
                let text = take(bytes, length)?;
                take_map(bytes)?;
                (Step::Insert, units_of_bytes(text).into())
            }
            (_, EMBED) => {
                take_value(bytes)?;
                take_map(bytes)?;
                (Step::Insert, 1)
            }
            _ => return None,
        };
        Some((step, u32::try_from(units).ok()?))
    }
}
