//! The link between two processes: two gRPC streams of batches over one connection.
//!
//! Whoever has something to say puts it into the link's [`Outbox`]; the body of the HTTP/2
//! stream takes whatever waits there as one batch, so batches form by themselves under
//! load and a lone message goes at once. One reader task a lane hands what arrives to an
//! [`Inbound`]. When either lane ends, the whole link does.

mod ask;
mod dial;
mod handshake;
mod lanes;
mod outbox;
mod serve;

use std::{sync::Arc, time::Duration};

pub use ask::ask;
pub use dial::{LinkHandle, dial};
pub use handshake::Refusals;
pub use outbox::Outbox;
pub use serve::serve;

use crate::{
    transport::Remote,
    v1::{Hello, Message},
};

#[cfg(test)]
mod tests;

/// The versions of this protocol that this build speaks.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 4..=4;

/// The largest batch that is taken in, in bytes. A batch is cut at
/// [`LinkOptions::batch_bytes`], but one message may be larger than that.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// What a node sends of one document's feed on one link before the router gives credit
/// back, in bytes as [`credit_cost`] counts them.
pub const CREDIT_WINDOW: u64 = 1 << 20;

/// The longest address of a router that a hello names, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// How many routers' addresses a node tells of.
pub const ADDRESSES_MAX: usize = 256;

/// What events cost of a feed's credit: their bodies, and a flat price for the rest. Both
/// sides count with this, and a router gives back what it has delivered or dropped.
pub fn credit_cost(events: &[crate::v1::Event]) -> u64 {
    events
        .iter()
        .map(|event| event_cost(event.body.len()))
        .sum()
}

/// What one event with a body of so many bytes takes of the credit.
pub fn event_cost(body_bytes: usize) -> u64 {
    const REST: u64 = 64;
    REST + body_bytes as u64
}

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

/// The accepting side: judges the peer's hello, which is what it says of itself, beside what the
/// transport knows of it, and returns who listens to it.
pub trait Accept: Send + Sync + 'static {
    fn accept(
        &self,
        peer: &Hello,
        remote: &Remote,
        outbox: Outbox,
    ) -> Result<Arc<dyn Inbound>, LinkError>;
}

/// The dialling side. The link is redialled for ever, at once after it broke, then with
/// growing, jittered pauses.
pub trait Dialled: Send + Sync + 'static {
    /// Judges who answered and returns who listens to it.
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError>;
    /// An attempt failed.
    fn down(&self, error: &LinkError);
}

/// Bounds and times of a link; the same on both sides.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Bytes that may wait in a lane of the outbox. A message larger than this still goes
    /// when nothing else waits.
    pub queue_bytes: usize,
    /// Messages that may wait in a lane of the outbox.
    pub queue_messages: usize,
    /// A batch is cut when it holds this many bytes.
    pub batch_bytes: usize,
    /// A batch is cut when it holds this many messages.
    pub batch_messages: usize,
    /// From the connection to both sides' hello on both lanes.
    pub handshake: Duration,
    /// An idle connection is asked for a sign of life this often: a peer that vanished
    /// without a word (power, network) is otherwise never noticed by TCP.
    pub keepalive_interval: Duration,
    /// And is given up when there is none for so long.
    pub keepalive_timeout: Duration,
    /// The first pause between two attempts to dial; doubled up to `redial_max`.
    pub redial_min: Duration,
    pub redial_max: Duration,
    /// Connections that a listener holds at once, with those that have not said hello.
    pub connections: usize,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            queue_messages: 65_536,
            batch_bytes: 256 << 10,
            batch_messages: 1_024,
            handshake: Duration::from_secs(3),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(3),
            redial_min: Duration::from_millis(20),
            redial_max: Duration::from_secs(1),
            connections: 1_024,
        }
    }
}
