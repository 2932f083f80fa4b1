//! Replicated groups of documents.

mod applied;
mod clocks;
pub mod command;
mod digests;
pub mod disk;
mod events;
pub mod group;
pub mod identity;
mod limits;
pub mod machine;
mod network;
mod queue;
mod store;
pub mod suspect;
mod tap;
mod types;
pub mod wal;
