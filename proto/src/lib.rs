//! What the processes and clients of Codraft say to each other, and who is where.

pub mod disk;
pub mod event;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod link;
pub mod outside;
pub mod placement;
pub mod receipt;
pub mod reject;
pub mod tasks;
pub mod topology;
pub mod transport;

/// The messages of the link, generated from `codraft/v1/link.proto`.
#[allow(clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("codraft.v1");
}
