//! Planted bugs that take more than a line.

use codraft_ot::{Delta, Limits};

/// What is passed one by one, as one operation: another way around in rare cases.
pub(super) fn composed<'a>(operations: impl Iterator<Item = &'a [u8]>) -> Delta {
    let limits = Limits::default().of_document();
    let read = operations.filter_map(|bytes| Delta::decode(bytes, &limits).ok());
    read.fold(Delta::new(), |all, next| all.compose(&next).unwrap_or(all))
}
