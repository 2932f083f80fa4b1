//! The stores beside the log. Each is a trait, with an embedded twin that needs nothing else
//! installed, and one suite that every implementor passes.

pub mod presence;
pub mod snapshots;
