//! Replicated groups of documents.

mod applied;
pub mod command;
pub mod disk;
pub mod group;
pub mod identity;
pub mod machine;
mod network;
mod store;
pub mod suspect;
mod tap;
mod types;
pub mod wal;
