//! What a group and those who serve it say to each other.

use std::time::Duration;

use codraft_proto::{
    ids::{GroupId, NodeId, Term},
    link::Outbox,
    transport::BoxFuture,
    v1,
};

use crate::machine::{Applied, Outcome, Shard};
pub use crate::types::LogId;

/// Who waits for the outcome of a command; chosen by whoever submits, returned untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub link: u64,
    pub tag: u64,
}

impl Origin {
    /// For what is proposed on nobody's behalf.
    pub const NOBODY: Origin = Origin {
        link: u64::MAX,
        tag: u64::MAX,
    };
}

/// Who leads a group in which term; `node` is none while nobody is known to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    pub group: GroupId,
    pub term: Term,
    pub node: Option<NodeId>,
}

/// The outcome of a command, or why there is none to be had here.
pub type ProposeResult = Result<Outcome, ProposeError>;

/// Told of all that a group applies. Called with the group's lock held: it must not block,
/// and must not call back into the group.
pub trait AppliedSink: Send + 'static {
    /// One log entry's worth, in the order of the log, on every replica. `log_id` is the entry's.
    fn applied(&mut self, shard: &Shard, log_id: LogId, applied: &[Applied]);
    /// How long it took from when an entry was handed to the group, committed, until it was applied.
    fn took(&mut self, _time: Duration) {}
    /// Who leads, as seen from here, changed.
    fn leadership_changed(&mut self, lead: Leadership);
}

/// The one sink that also answers those who submit.
pub trait GroupEvents: AppliedSink {
    /// What became of a command that was submitted here.
    fn answered(&mut self, origin: Origin, answer: ProposeResult);
}

/// All who are told what a group does, fixed at its start.
pub struct Sinks {
    first: Box<dyn GroupEvents>,
    others: Vec<Box<dyn AppliedSink>>,
}

impl Sinks {
    pub fn new(first: Box<dyn GroupEvents>) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }

    /// Another one, told after those before it.
    pub fn with(mut self, sink: Box<dyn AppliedSink>) -> Self {
        self.others.push(sink);
        self
    }

    pub(crate) fn applied(&mut self, shard: &Shard, log_id: LogId, applied: &[Applied]) {
        self.first.applied(shard, log_id, applied);
        for sink in &mut self.others {
            sink.applied(shard, log_id, applied);
        }
    }

    pub(crate) fn took(&mut self, time: Duration) {
        self.first.took(time);
        for sink in &mut self.others {
            sink.took(time);
        }
    }

    pub(crate) fn answered(&mut self, origin: Origin, answer: ProposeResult) {
        self.first.answered(origin, answer);
    }

    pub(crate) fn leadership_changed(&mut self, lead: Leadership) {
        self.first.leadership_changed(lead);
        for sink in &mut self.others {
            sink.leadership_changed(lead);
        }
    }
}

/// The links that this node has dialled.
pub trait Peers: Send + Sync + 'static {
    /// None while there is no link.
    fn outbox(&self, node: NodeId) -> Option<Outbox>;
    /// All nodes that there is a link to.
    fn linked(&self) -> Vec<Outbox>;
    /// The highest level of the log that a node reads, while there is a link.
    fn level(&self, node: NodeId) -> Option<u32>;
    /// A connection of its own for what is large; none to what is no peer.
    fn bulk(&self, node: NodeId) -> Option<Box<dyn BulkLink>>;
}

/// A connection to another node for what is large; it ends with this value.
pub trait BulkLink: Send + Sync {
    /// # Errors
    /// Why no answer came.
    fn fetch(&self, request: v1::Fetch) -> BoxFuture<'_, Result<v1::Fetched, String>>;
}

/// Why a command was not proposed, or its outcome is not known here. In both cases it may
/// be submitted again, here or elsewhere: the client's record tells a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this node does not lead the group")]
    NotLeader(Option<Leadership>),
    #[error("too much waits for a majority")]
    Busy,
    #[error("the disk of the group's leader is full")]
    DiskFull,
    /// The documents of the group take all the memory that they may. What only takes text away is
    /// proposed all the same: it makes room.
    #[error("the group's documents are at their limit of memory")]
    GroupFull,
    /// Too much waits for the archive of the group's leader.
    #[error("too many events of the group's leader are not archived yet")]
    Unarchived,
    #[error("the group is shutting down")]
    Shutdown,
    /// The command is larger than an entry may be.
    #[error("the command is too large")]
    TooLarge,
    #[error("the group stopped because its state cannot be proven")]
    Unproven,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("this node does not lead the group")]
    NotLeader(Option<Leadership>),
    #[error("no majority answered in time")]
    Timeout,
    #[error("too many reads wait")]
    Busy,
    #[error("the group is shutting down")]
    Shutdown,
    #[error("the group stopped because its state cannot be proven")]
    Unproven,
}

impl From<ProposeError> for ReadError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader(lead) => ReadError::NotLeader(lead),
            ProposeError::Busy
            | ProposeError::GroupFull
            | ProposeError::TooLarge
            | ProposeError::DiskFull
            | ProposeError::Unarchived => ReadError::Busy,
            ProposeError::Shutdown => ReadError::Shutdown,
            ProposeError::Unproven => ReadError::Unproven,
        }
    }
}

/// Why a node's groups could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("bad raft configuration: {0}")]
    Config(String),
    #[error("group {group} could not be opened: {reason}")]
    Open { group: GroupId, reason: String },
    #[error("{0}")]
    Quarantined(crate::wal::Damage),
    #[error("group {group}: {error}")]
    Kept {
        group: GroupId,
        error: crate::manifest::ManifestError,
    },
}
