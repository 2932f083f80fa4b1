//! Replicated groups of documents.

pub mod command;
pub mod machine;
