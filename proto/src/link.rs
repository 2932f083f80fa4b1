//! The link between two processes: two gRPC streams of batches over one connection.

use std::sync::Arc;

use crate::v1::{Hello, Message};

/// Which of a link's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Short and urgent: pulses, votes, heartbeats, leadership.
    Control,
    /// Operations, feeds, appends.
    Data,
}

/// What arrives on a link. Called from the link's own reader tasks, so it must not block
/// and must not wait; what takes time is handed to a task.
pub trait Inbound: Send + Sync + 'static {
    /// One batch, in the order it was sent on that lane.
    fn batch(&self, lane: Lane, messages: Vec<Message>);
    /// The link is gone, once and for good; nothing follows.
    fn closed(&self, reason: &LinkError);
}

/// The sending half of a link; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    _inner: Arc<()>,
}

impl Outbox {
    /// Queues a message for the lane's next batch; never waits.
    pub fn send(&self, _lane: Lane, _message: Message) -> Result<(), SendError> {
        todo!()
    }
    /// Bytes (estimated by encoded length) that wait in a lane.
    pub fn queued_bytes(&self, _lane: Lane) -> usize {
        todo!()
    }
    /// Ends the link; the peer sees it closed.
    pub fn close(&self) {
        todo!()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the link's queue is full")]
    Full,
    #[error("the link is closed")]
    Closed,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The peer's process is not there: the stream broke and nobody listens.
    #[error("connection refused by {address}")]
    Refused { address: String },
    #[error("link broke: {0}")]
    Broke(String),
    #[error("no answer within {0} ms")]
    Deadline(u64),
    #[error("peer is not who it should be: {0}")]
    WrongPeer(String),
}

/// The accepting side: judges the peer's hello and returns who listens to it.
pub trait Accept: Send + Sync + 'static {
    fn accept(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError>;
}

/// The dialling side. The link is redialled for ever, at once after it broke, then with
/// growing, jittered pauses.
pub trait Dialled: Send + Sync + 'static {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError>;
    /// An attempt failed.
    fn down(&self, error: &LinkError);
}
