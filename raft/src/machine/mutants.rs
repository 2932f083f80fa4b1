//! Planted bugs that take more than a line, and a fault that tests ask for.

use codraft_ot::{Delta, Limits};

/// An operation that inserts this letter makes whoever applies it panic, which no input does by
/// itself; only in tests and in the simulation.
#[cfg(any(test, codraft_mutants))]
pub(super) const POISON: &str = "\u{f8ff}";
/// The same, amid a change of more than one field.
#[cfg(test)]
pub(super) const POISON_AMID: &str = "\u{f8fe}";

#[cfg(any(test, codraft_mutants))]
pub(super) fn panic_on(poison: &str, ops: &[u8]) {
    let mut windows = ops.windows(poison.len());
    assert!(!windows.any(|bytes| bytes == poison.as_bytes()), "poisoned");
}

/// What is passed one by one, as one operation: another way around in rare cases.
pub(super) fn composed<'a>(operations: impl Iterator<Item = &'a [u8]>) -> Delta {
    operations.fold(Delta::new(), |all, next| {
        all.compose(&read(next)).unwrap_or(all)
    })
}

/// Past one after the other, each time a whole new operation.
pub(super) fn copied<'a>(late: Delta, operations: impl Iterator<Item = &'a [u8]>) -> Delta {
    operations.fold(late, |late, next| read(next).transform(&late, true))
}

fn read(operation: &[u8]) -> Delta {
    Delta::decode(operation, &Limits::default().of_document()).unwrap_or_default()
}
