//! Replicated groups of documents.

mod applied;
pub mod archive;
pub mod audit;
pub mod budget;
mod clocks;
pub mod command;
mod core;
mod digests;
mod events;
mod flip;
pub mod group;
pub mod identity;
mod keeper;
mod limits;
pub mod machine;
pub mod manifest;
mod network;
pub mod oplog;
pub mod pages;
mod queue;
mod store;
pub mod suspect;
mod tail;
mod tap;
mod types;
pub mod users;
pub mod wal;
