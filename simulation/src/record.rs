//! What happened, as it was seen: by clients, and by nodes. The oracles read nothing else.
//!
//! Two records that share nothing: clients note what they did and were told, nodes what they
//! put on disk, committed and applied. Plain types; an operation is [`Edit`], not `ot`'s.

use std::time::Duration;

use serde::Serialize;

/// A document, or an author: a user's client id, which others may use too.
pub type Id = [u8; 16];

/// Who writes under a client id.
pub fn author(user: &str, client: &Id) -> Id {
    let mut hasher = blake3::Hasher::new();
    hasher.update(client);
    hasher.update(user.as_bytes());
    let mut id = Id::default();
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}
pub type Hash = [u8; 32];
/// A revision, and a position there.
pub type Place = (u64, u32);

/// A component in UTF-16 units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Edit {
    Retain(u64, Attributes),
    Delete(u64),
    /// Text.
    Insert(String, Attributes),
    /// An embed, as its JSON; one unit.
    Embed(String, Attributes),
}

/// From the first unit to the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

/// Key to JSON value, sorted by key; "null" takes the attribute away.
pub type Attributes = Vec<(String, String)>;

#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Since the start of the simulation.
    pub at: Duration,
    pub seen: Seen,
}

#[derive(Debug, Clone, Serialize)]
pub enum Seen {
    Client(ClientSeen),
    Node(NodeSeen),
    /// What the driver did: for people, and for oracles that ask when faults were off.
    Driver(DriverSeen),
}

/// `client`: the client id; `doc`: the document.
#[derive(Debug, Clone, Serialize)]
pub enum ClientSeen {
    /// Before the bytes of an operation are first sent. `sent` is exactly what goes out.
    Invoke {
        client: Id,
        user: u32,
        doc: Id,
        seq: u64,
        base: u64,
        sent: Vec<Edit>,
        bytes: Hash,
    },
    /// The same sequence went out once more.
    Resent {
        client: Id,
        doc: Id,
        seq: u64,
        base: u64,
        bytes: Hash,
    },
    /// Told that it was applied (its own event, or `already`).
    Acked {
        client: Id,
        doc: Id,
        seq: u64,
        rev: u64,
    },
    /// Told that it never will be.
    Refused {
        client: Id,
        doc: Id,
        seq: u64,
        code: String,
    },
    /// Told to try again, or to rebase.
    NotNow {
        client: Id,
        doc: Id,
        seq: u64,
        code: String,
    },
    /// Told that its base is too old.
    Rebase {
        client: Id,
        doc: Id,
        seq: u64,
        floor: u64,
        head: u64,
    },
    /// Unsent or unacknowledged work was handed back to the user as a conflict copy.
    HandedBack {
        client: Id,
        doc: Id,
        seq: u64,
        text: String,
    },
    /// Asks to come in: with the revision that it resumes from, if it has one.
    Hello {
        client: Id,
        doc: Id,
        resume: Option<u64>,
        unsent: bool,
    },
    /// A welcome. `resumed`: from what it had, no document came with it; else the document at
    /// `rev` with its text. What came after that, up to `head`, is in the same message: nobody sees
    /// the document without it. `acked`: what the server says was answered last.
    Opened {
        client: Id,
        user: u32,
        doc: Id,
        resumed: bool,
        rev: u64,
        head: u64,
        chain: Hash,
        acked: Option<(u64, u64)>,
        text: Option<String>,
    },
    /// An event of the feed. `author` and `edit` where it is an edit; none for what carries no text.
    Received {
        client: Id,
        doc: Id,
        rev: u64,
        author: Option<Id>,
        edit: Option<Vec<Edit>>,
    },
    /// What the client has confirmed at `rev`: the text (embeds as U+FFFC) and a hash of the
    /// whole content (spans with attributes, spelled by the naive model's rule).
    View {
        client: Id,
        doc: Id,
        rev: u64,
        text: String,
        digest: Hash,
    },
    /// The server told the chain hash at a revision.
    Marked {
        client: Id,
        doc: Id,
        rev: u64,
        chain: Hash,
    },
    /// The server cut the feed; the client opens anew.
    Resynced { client: Id, doc: Id, reason: String },
    /// It holds another text from now on, by no mistake of the servers'.
    CameApart { client: Id, doc: Id },
    /// Says where it is.
    Said {
        client: Id,
        doc: Id,
        rev: u64,
        cursor: u32,
    },
    /// Is told where another is.
    Shown {
        client: Id,
        doc: Id,
        of: Id,
        rev: u64,
        cursor: u32,
    },
    /// Was told its role now; none: may not read any more.
    RoleTold {
        client: Id,
        user: u32,
        doc: Id,
        role: Option<String>,
    },
    /// Asks, once, for a change of grants.
    GrantAsked {
        by: u32,
        user: u32,
        doc: Id,
        role: Option<String>,
    },
    /// What the document was at a revision, and who wrote it, run by run.
    Told {
        user: u32,
        doc: Id,
        version: u64,
        text: String,
        digest: Hash,
        authors: Vec<(u64, String)>,
        /// When it was asked for, since the start.
        asked: Duration,
    },
    /// A revision is older than history is kept: it begins with `oldest`.
    Erased {
        user: u32,
        doc: Id,
        version: u64,
        oldest: u64,
    },
    /// Asks for the documents of its user.
    ListAsked { ask: u64 },
    /// All that the answers had.
    Listed { ask: u64, user: u32, docs: Vec<Id> },
    /// A thread was opened, and answered with its revision. `range`: in the revision `at`.
    Commented {
        user: u32,
        doc: Id,
        thread: String,
        at: u64,
        range: Range,
        rev: u64,
    },
    /// Asks to have the first comment of a thread deleted.
    Uncommented { doc: Id, thread: String },
    /// All threads, where they are at `rev`.
    Threads {
        user: u32,
        doc: Id,
        rev: u64,
        threads: Vec<(String, Range)>,
    },
    /// A restore was answered with its revision.
    Restored {
        user: u32,
        doc: Id,
        version: u64,
        rev: u64,
    },
    /// A change of grants was answered with its revision.
    Granted {
        by: u32,
        user: u32,
        doc: Id,
        role: Option<String>,
        rev: u64,
    },
    /// The socket ended, with what was said.
    Closed { client: Id, doc: Id, why: String },
    /// At the end: nothing pending, nothing under way.
    Settled {
        client: Id,
        doc: Id,
        rev: u64,
        text: String,
        digest: Hash,
    },
}

/// `node`: its id; `life`: how many times it was started.
#[derive(Debug, Clone, Serialize)]
pub enum NodeSeen {
    /// It answered for a vote, or took one: the vote as it is on disk.
    Voted {
        node: u64,
        life: u64,
        group: u32,
        term: u64,
        candidate: u64,
        committed: bool,
    },
    /// An entry is in the log of this node (not yet synced), and nothing is behind it.
    Appended {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
        term: u64,
        /// Who led when it was proposed: more than one may lead in a term, one after the other.
        leader: u64,
        hash: Hash,
        /// Of an entry that is a membership: its voters, two sets while it changes.
        voters: Vec<Vec<u64>>,
    },
    /// All up to `index` of the group is synced here.
    Synced {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
    },
    /// All that came of this life so far was read from the disk.
    /// `cut`: bytes of a torn tail that were.
    Recovered {
        node: u64,
        life: u64,
        damaged: bool,
        cut: u64,
    },
    /// The log was cut to below `index`.
    Truncated {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
    },
    Leads {
        node: u64,
        life: u64,
        group: u32,
        term: u64,
    },
    /// It told another node that it holds `about` for dead. `evidence`: it has some of its own.
    Suspects {
        node: u64,
        life: u64,
        about: u64,
        evidence: bool,
    },
    /// It begins to take a group over from a leader that it holds for dead.
    TakesOver {
        node: u64,
        life: u64,
        group: u32,
        from: u64,
    },
    /// It leads, and lets go of the window of a document in which nothing happens.
    Trims { doc: Id, floor: u64 },
    /// It leads, and is about to make a node a voter.
    Promotes { node: u64, group: u32, voter: u64 },
    Committed {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
    },
    /// An event came of applying the entry at `index`. `body` is an edit's components as
    /// applied; `user` its author's name; `kind` as `codraft_proto::event::name`.
    Applied {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
        doc: Id,
        rev: u64,
        kind: String,
        user: String,
        client: Option<Id>,
        seq: u64,
        /// Wall time, as its leader stamped it.
        ts_ms: u64,
        edit: Option<Vec<Edit>>,
        /// The version that a restore made of the document.
        restores: Option<u64>,
        grant: Option<(String, Option<String>)>,
        chain: Hash,
    },
    /// What came of a command that made no event.
    Outcome {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
        doc: Id,
        client: Option<Id>,
        seq: u64,
        outcome: String,
    },
    /// The state after the entry at `index` is on the node's disk; `hash` is its manifest's.
    Kept {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
        hash: Hash,
        /// The head of the archive that goes before its events; zeros for none.
        archived: Hash,
        /// Where the pages of its events lie.
        events: Vec<(u32, u32)>,
    },
    /// A replica goes on with the state that another one kept; as with what was kept.
    Installed {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
        hash: Hash,
        archived: Hash,
        events: Vec<(u32, u32)>,
    },
    /// The events up to the entry at `index` are in the node's archive, the last round of them `runs`.
    Archived {
        node: u64,
        group: u32,
        rounds: u64,
        index: u64,
        before: Hash,
        head: Hash,
        runs: Vec<Run>,
    },
    /// The node took another one's archive up to this head.
    Adopted { node: u64, group: u32, head: Hash },
    /// A page of events is on its way to the disk.
    Logged {
        node: u64,
        place: (u32, u32),
        runs: Vec<Run>,
    },
    /// A sync of the log failed.
    SyncFailed { node: u64, life: u64 },
    /// The log up to `index` went.
    Purged {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
    },
    /// A replica begins with the state that was kept at `index`.
    Restored {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
    },
    /// A replica's state does not read back: from now on it lacks one.
    Lacks { node: u64, life: u64, group: u32 },
    /// It has another one's, of an entry.
    Recovers {
        node: u64,
        life: u64,
        group: u32,
        index: u64,
    },
    /// A damaged page was had from another node.
    Mended { node: u64 },
    /// Documents left memory.
    Cooled { node: u64, documents: u64 },
    /// Documents are read before an entry needs them.
    Prefetched { node: u64, documents: u64 },
    /// Hash of the replica's whole state at an index.
    State {
        node: u64,
        group: u32,
        index: u64,
        digest: Hash,
    },
    /// A document's state at the end: revision, chain, text, digest by the naive model's rule.
    Document {
        node: u64,
        group: u32,
        doc: Id,
        rev: u64,
        chain: Hash,
        text: String,
        digest: Hash,
    },
    /// Largest fill of a bounded queue or table, and its bound.
    Filled {
        node: u64,
        what: String,
        most: u64,
        bound: u64,
    },
}

/// Events of a document that lie together: its revisions, and the chain hash at the last.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    pub doc: Id,
    pub first: u64,
    pub last: u64,
    pub chain: Hash,
}

#[derive(Debug, Clone, Serialize)]
pub enum DriverSeen {
    /// A fault begins or ends; `what` is for people.
    Fault {
        what: String,
        begins: bool,
    },
    /// The safety phase ended: all faults are off.
    Healing,
    /// All files of the nodes were gone through.
    Proven,
    /// The end of the liveness phase: whether all that had to heal did, else what did not.
    Healed {
        missing: Vec<String>,
    },
    /// A node started, or refused to with this reason.
    Started {
        node: u64,
        life: u64,
        refused: Option<String>,
    },
    /// A disk of this node was replaced by an empty one or an older copy, or put back.
    Disk {
        node: u64,
        wiped: bool,
    },
    /// A log line at ERROR, and whether the faults of the moment explain it.
    ErrorLine {
        host: String,
        line: String,
        expected: bool,
    },
    Panic {
        host: String,
        line: String,
    },
    /// A host stands still for so long over what it has taken on; `serves`: it was up, and not on its way there.
    LongTurn {
        host: String,
        ms: u64,
        serves: bool,
    },
    /// Bytes that a process holds, and the most since this was told last; `done`: nothing is
    /// under way any more.
    Memory {
        host: String,
        live: u64,
        peak: u64,
        done: bool,
    },
}
