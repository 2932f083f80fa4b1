//! How much came since a group's state was last kept, and whether it takes too much memory.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use codraft_proto::limits::{BULK_BYTES_PER_SECOND, GROUP_MEMORY_BYTES, SNAPSHOT_COMMANDS};
use tokio::sync::Notify;

use crate::oplog::WRITE_BYTES;

/// When a group's state is kept, and how much of it stays in memory.
#[derive(Debug, Clone)]
pub struct KeepOptions {
    /// A manifest is due once so many commands came after the last one.
    pub tail_commands: u64,
    /// Or commands of so many bytes.
    pub tail_bytes: u64,
    /// What the documents of a group take in memory; above it those used least recently leave it.
    pub memory_bytes: u64,
    /// Documents leave memory that nobody used for so long.
    pub idle: Duration,
    /// How fast a node gives pages to others that lack them.
    pub bulk_bytes_per_second: u64,
}

impl Default for KeepOptions {
    fn default() -> Self {
        Self {
            tail_commands: SNAPSHOT_COMMANDS,
            tail_bytes: 32 << 20,
            memory_bytes: GROUP_MEMORY_BYTES,
            idle: Duration::from_secs(30),
            bulk_bytes_per_second: BULK_BYTES_PER_SECOND,
        }
    }
}

/// What came since the last manifest; of one group.
pub struct Tail {
    options: KeepOptions,
    commands: AtomicU64,
    bytes: AtomicU64,
    /// The documents take more memory than they may.
    crowded: AtomicBool,
    /// Enough events are not in the op log yet.
    unwritten: AtomicBool,
    /// Some of its pages lie where there is little else, or its log is why old files stay.
    untidy: AtomicBool,
    due: Notify,
}

/// What an entry brought, and how things stand after it.
pub struct Came {
    pub commands: usize,
    /// Of the entry as it is stored.
    pub bytes: usize,
    /// What the documents in memory take.
    pub warm_bytes: u64,
    /// What the events take that are not in the op log yet.
    pub events_bytes: usize,
}

impl Tail {
    pub fn new(options: KeepOptions) -> Self {
        Self {
            options,
            commands: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
            unwritten: AtomicBool::new(false),
            untidy: AtomicBool::new(false),
            due: Notify::new(),
        }
    }

    /// A document came into memory, where all of them take so much now.
    pub fn warmed(&self, warm_bytes: u64) {
        if warm_bytes > self.options.memory_bytes {
            self.crowded.store(true, Relaxed);
            self.due.notify_one();
        }
    }

    /// An entry was applied.
    pub fn applied(&self, came: Came) {
        self.commands.fetch_add(came.commands as u64, Relaxed);
        self.bytes.fetch_add(came.bytes as u64, Relaxed);
        let crowded = came.warm_bytes > self.options.memory_bytes;
        self.crowded.store(crowded, Relaxed);
        let unwritten = came.events_bytes >= WRITE_BYTES;
        self.unwritten.store(unwritten, Relaxed);
        if self.is_due() {
            self.due.notify_one();
        }
    }

    /// Some of its pages are to be written elsewhere, or its log is to be purged.
    pub fn tidy(&self) {
        self.untidy.store(true, Relaxed);
        self.due.notify_one();
    }

    pub fn is_due(&self) -> bool {
        self.crowded.load(Relaxed) || self.are_events_due() || self.is_manifest_due()
    }

    /// Whether events are to be written.
    pub fn are_events_due(&self) -> bool {
        self.unwritten.load(Relaxed)
    }

    /// Events are being written.
    pub fn begin_events(&self) {
        self.unwritten.store(false, Relaxed);
    }

    /// Whether a manifest is due whatever memory there is.
    pub fn is_manifest_due(&self) -> bool {
        self.untidy.load(Relaxed)
            || self.commands.load(Relaxed) >= self.options.tail_commands
            || self.bytes.load(Relaxed) >= self.options.tail_bytes
    }

    /// A manifest is being taken.
    pub fn begin_anew(&self) {
        self.commands.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.untidy.store(false, Relaxed);
    }

    /// Resolves once something is due.
    pub async fn due(&self) {
        while !self.is_due() {
            self.due.notified().await;
        }
    }

    /// Documents that nobody used for so long are idle.
    pub fn idle(&self) -> Duration {
        self.options.idle
    }

    /// What documents may take in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.options.memory_bytes
    }

    /// What could leave memory has. Where that was not enough, the next command brings it up again.
    pub fn relieved(&self) {
        self.crowded.store(false, Relaxed);
    }
}
