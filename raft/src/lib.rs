//! Replicated groups of documents.

pub mod command;
pub mod machine;
pub mod disk;
pub mod identity;
pub mod wal;
pub mod group;
mod applied;
mod network;
mod store;
mod types;
pub mod suspect;
