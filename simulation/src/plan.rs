//! A run, spelled out: the world, who writes what when, what breaks when. Made from a seed,
//! saved as JSON, cut down while it still fails, played again.
//!
//! A plan says everything that is a choice. What it leaves to its `seed` (latencies, keys, where
//! in a text an edit falls) is drawn from streams that belong to one host, client or act, so
//! that leaving one of them out does not move the others.

mod check;
mod seed;

use codraft_raft::machine::MachineLimits;
use serde::{Deserialize, Serialize};

pub use seed::stream;

/// What makes a replica panic that applies it (`raft/src/machine/mutants.rs`).
pub const POISON: char = '\u{f8ff}';

/// Raised when a plan of an older version would mean another run.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub version: u32,
    pub seed: u64,
    /// The pinned scenario that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The planted bug that is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    pub world: World,
    pub documents: Vec<Document>,
    pub clients: Vec<Client>,
    /// In the order of their times.
    pub faults: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// 3 to 5; ids 1..=n, hosts `node-1`…
    pub nodes: u32,
    /// 1 or 2; hosts `router-1`…
    pub routers: u32,
    /// 1 to 8.
    pub groups: u32,
    /// Hosts take turns of so long, in ms: short ones interleave finely, long ones play fast.
    #[serde(default = "finest")]
    pub tick_ms: u64,
    /// Least and most one way, in ms.
    pub latency_ms: (u64, u64),
    /// Least and most of a sync, in µs.
    pub sync_us: (u64, u64),
    /// Of the window of history; small ones make `rebase` happen.
    pub window_events: u32,
    /// Client records that live by a refusal alone.
    pub refusal_records: u32,
    /// A node keeps a group's state after so many commands.
    #[serde(default = "rarely")]
    pub tail_commands: u32,
    /// A round of the archive ends with so many bytes of events.
    #[serde(default = "large")]
    pub round_bytes: u32,
    /// A document in which nothing happens for so long keeps no window of history.
    #[serde(default = "an_hour")]
    pub quiet_ms: u64,
    /// What a group's documents may take in memory, in KiB.
    #[serde(default = "spacious")]
    pub memory_kib: u32,
    /// What may wait for the archive before new documents are refused, in KiB.
    #[serde(default = "plenty")]
    pub unarchived_kib: u32,
    /// History is kept for so long; 0 for ever.
    #[serde(default)]
    pub retention_ms: u64,
    /// What may wait at a router for a socket that reads slowly.
    #[serde(default = "roomy")]
    pub socket_queue_bytes: u32,
    /// How long clients act and faults strike, from the moment all documents are there; then
    /// all faults are off and everything must heal.
    pub safety_ms: u64,
}

impl World {
    /// What its nodes apply by.
    pub fn machine_limits(&self) -> MachineLimits {
        MachineLimits {
            window_events: self.window_events as usize,
            refusal_records: self.refusal_records as usize,
            ..MachineLimits::default()
        }
    }
}

fn finest() -> u64 {
    1
}

/// As in production.
fn rarely() -> u32 {
    codraft_raft::group::KeepOptions::default().tail_commands as u32
}

/// As in production.
fn large() -> u32 {
    codraft_raft::archive::RoundOptions::default().bytes as u32
}

/// As in production.
fn an_hour() -> u64 {
    codraft_raft::group::GroupLimits::default().quiet_ms
}

/// As in production.
fn spacious() -> u32 {
    (codraft_raft::group::KeepOptions::default().memory_bytes >> 10) as u32
}

/// As in production.
fn plenty() -> u32 {
    (codraft_proto::limits::UNARCHIVED_BYTES >> 10) as u32
}

/// As in production.
fn roomy() -> u32 {
    codraft_proto::limits::EdgeLimits::default().socket_queue_bytes
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub rich: bool,
    /// Number of the user that makes it.
    pub owner: u32,
    /// Units of text that it starts with.
    pub initial: u32,
    /// Before anybody writes.
    pub grants: Vec<(u32, Role)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Owner,
    Editor,
    Commenter,
    Viewer,
}

/// One client id: a tab. Two of one user are two tabs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Unique and lasting through `shrink`; host `client-<number>`.
    pub number: u32,
    pub user: u32,
    /// Index of the router that it prefers; others are tried when it is not there.
    pub router: u32,
    /// Index of its document.
    pub document: u32,
    /// Speaks JSON rather than binary.
    pub json: bool,
    /// Types on though its role does not allow it. Refused, it takes the page for broken and
    /// opens it anew, every other time.
    #[serde(default)]
    pub stubborn: bool,
    /// When it comes, since the start of the safety phase.
    #[serde(default)]
    pub joins_ms: u64,
    /// In the order of their times.
    pub acts: Vec<Act>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Since the start of the safety phase.
    pub at_ms: u64,
    /// Of what the act leaves open.
    pub seed: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// Letters one after the other at a cursor.
    Type {
        letters: u32,
        gap_ms: u64,
    },
    Paste {
        units: u32,
    },
    /// A range, of at most so many units.
    Delete {
        units: u32,
    },
    /// Gives a range of a rich document an attribute, or takes it.
    Format {
        units: u32,
    },
    /// An embed in a rich document.
    Embed,
    /// Closes the socket, types on while it is closed, connects again.
    Offline {
        ms: u64,
        letters: u32,
    },
    /// The browser is reloaded: only what its store keeps (inflight, pending, position) is left.
    Reload,
    /// Closes the document and opens it anew, as somebody who never saw it.
    Reopen,
    /// Goes to another router.
    Move {
        router: u32,
    },
    /// By an owner: another user's role from now on; none takes it away.
    Grant {
        user: u32,
        role: Option<Role>,
    },
    /// Sends again what is under way, though nothing asked for it.
    Resend,
    /// What it sends, a letter at least, does not get out for so long, though it hears the others.
    Mute {
        ms: u64,
    },
    /// Reads nothing for so long, as a tab asleep: what comes for it waits.
    Doze {
        ms: u64,
    },
    /// A large text whose operation goes out only after so long, when its base is old.
    LatePaste {
        units: u32,
        ms: u64,
    },
    /// Letters of a rich document, each with attributes of a shape of its own.
    Shapes {
        letters: u32,
    },
    /// Opens the document so many times at once, in its own encoding, and closes it.
    Opens {
        times: u32,
    },
    /// Another user's client id, as the router tells everybody: comes in under it, and writes.
    Steal,
    /// The letter that nothing can apply: its document is set apart, until an operator lifts that.
    Poison,
    /// Asks what the document was at a revision, and who wrote it.
    LookBack,
    /// Has the document back as it was at a revision.
    Restore,
    /// Has the document kept whole in the archive.
    Snapshot,
    /// A comment on a range of what it sees, an answer to one, or its end; then asks where all of them are.
    Comment,
    /// A second socket with this client id, which sends the same operation under way, now or
    /// when it is long decided.
    Twin,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Since the start of the safety phase.
    pub at_ms: u64,
    pub seed: u64,
    pub kind: FaultKind,
}

/// Nodes are named by id (1…), routers by index (0…).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Processes die and come back. `power`: the machines do, what was not synced is lost, torn
    /// or kept at random, and nobody hears a connection end.
    Crash {
        nodes: Vec<u32>,
        power: bool,
        for_ms: u64,
    },
    RouterCrash {
        router: u32,
        for_ms: u64,
    },
    /// The next sync of a node's disk fails; the process comes back after `for_ms`.
    SyncError {
        node: u32,
        for_ms: u64,
    },
    /// A bit of the log at rest flips while the node is down. `tail`: behind all that was synced
    /// is garbage, as a torn write leaves it; else in what was synced.
    Corrupt {
        node: u32,
        tail: bool,
        for_ms: u64,
    },
    /// Bits of documents' pages at rest flip while the node runs. What no other replica has ends the
    /// process; it stays out until the end of the safety phase, when all bits are as they were.
    PageDamage {
        node: u32,
    },
    /// What a node keeps of its groups' states is damaged while it is down: a manifest, lists of
    /// documents, or events. It must take the others' in its place.
    StateDamage {
        node: u32,
        for_ms: u64,
    },
    /// `archive`: there is room for all but what is archived.
    DiskFull {
        node: u32,
        for_ms: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        archive: bool,
    },
    /// Syncs take so many times as long.
    DiskSlow {
        node: u32,
        times: u32,
        for_ms: u64,
    },
    /// The node comes back with an empty disk under its old id. It must not vote, and stays
    /// out until the end of the safety phase, when its own disk is put back.
    Wiped {
        node: u32,
    },
    /// The node comes back with a copy of its own disk that was made so long before. It must not
    /// vote, and stays out until the end of the safety phase, when its own disk is put back.
    FolderPutBack {
        node: u32,
        for_ms: u64,
    },
    /// A new node takes the place of this one, whose disk is `lost`, or which runs until then.
    Replace {
        node: u32,
        lost: bool,
    },
    /// Hosts of `a` and `b` do not hear each other; `one_way`: only `b` does not hear `a`.
    Partition {
        a: Vec<Host>,
        b: Vec<Host>,
        one_way: bool,
        for_ms: u64,
    },
    /// A partition that comes and goes every `period_ms`.
    Flap {
        a: Vec<Host>,
        b: Vec<Host>,
        period_ms: u64,
        for_ms: u64,
    },
    /// Every message between the two waits so much longer.
    Delay {
        a: Host,
        b: Host,
        ms: u64,
        for_ms: u64,
    },
    /// Messages between the two are lost at this rate in a thousand; streams break by it.
    Loss {
        a: Host,
        b: Host,
        per_mille: u32,
        for_ms: u64,
    },
    /// Everything to and from the host waits and then comes at once, as after SIGSTOP, and its
    /// disk and its tasks do nothing, but for those of libraries.
    Pause {
        host: Host,
        for_ms: u64,
    },
    /// The host's wall clock is wrong by so much.
    Clock {
        host: Host,
        ms: i64,
        for_ms: u64,
    },
    /// The node hands its leaderships over, ends in order, and comes back.
    Drain {
        node: u32,
        for_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    Node(u32),
    Router(u32),
    Client(u32),
}
