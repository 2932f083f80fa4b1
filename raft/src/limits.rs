//! Bounds and times of groups.

use std::time::Duration;

/// Raft's timers. They are the backstop: a dead leader is mostly found by its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftTimes {
    pub heartbeat: Duration,
    /// A follower that hears nothing for a time between these two asks for votes.
    pub election_min: Duration,
    pub election_max: Duration,
}

impl Default for RaftTimes {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(300),
            election_min: Duration::from_millis(1_000),
            election_max: Duration::from_millis(1_200),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimits {
    /// Commands that may wait to be proposed, and their bytes.
    pub queue_commands: usize,
    pub queue_bytes: usize,
    /// What one log entry takes of them.
    pub batch_commands: usize,
    pub batch_bytes: usize,
    /// Entries proposed and not yet applied. With one, nothing is proposed while the disk
    /// writes; with many, entries get small and each costs its own round.
    pub batches_in_flight: usize,
    /// Reads that may wait for a majority.
    pub reads: usize,
    /// What the group's documents may take in memory, by their own account, in bytes.
    pub state_bytes: u64,
    /// A document in which nothing happened for so long keeps no window of history.
    pub quiet_ms: u64,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            queue_commands: 16_384,
            queue_bytes: 64 << 20,
            batch_commands: 1_024,
            batch_bytes: 1 << 20,
            batches_in_flight: 2,
            reads: 65_536,
            state_bytes: codraft_proto::limits::GROUP_STATE_BYTES,
            quiet_ms: 3_600_000,
        }
    }
}

/// A command larger than this is not proposed, in bytes.
pub const COMMAND_BYTES_MAX: usize = 8 << 20;
// A router lets nothing in that could never be proposed.
const _: () = assert!(COMMAND_BYTES_MAX >= 2 * codraft_proto::limits::FRAME_BYTES_MAX as usize);

/// How long a proposal or read is tried again while a fresh leader waits for its first
/// answers.
pub const FRESH_LEADER: Duration = Duration::from_secs(1);
/// The first pause between two tries; doubled up to the second.
pub const RETRY_MIN: Duration = Duration::from_millis(1);
pub const RETRY_MAX: Duration = Duration::from_millis(20);
/// How long a read waits for a majority.
pub const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the replicas that were not meant to lead first leave a new group alone.
pub const INITIALIZE_AFTER: Duration = Duration::from_secs(3);
/// A node becomes a voter when it lacks at most so many entries of the leader's log …
pub const PROMOTION_ENTRIES: u64 = 64;
/// … and has answered the leader within so long.
pub const PROMOTION_HEARD: Duration = Duration::from_secs(1);
/// Windows that are let go of at one look.
pub const TRIMS_MAX: usize = 256;
/// How long a leader leads on whose disk is full, or whose archive takes nothing, where nobody took over,
/// before it tries again.
pub const FULL_PAUSE: Duration = Duration::from_secs(60);
