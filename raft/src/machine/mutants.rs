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
    let limits = Limits::default().of_document();
    let read = operations.filter_map(|bytes| Delta::decode(bytes, &limits).ok());
    read.fold(Delta::new(), |all, next| all.compose(&next).unwrap_or(all))
}
