//! The commands, a file each.

pub mod plan;
pub mod replay;
pub mod run;
