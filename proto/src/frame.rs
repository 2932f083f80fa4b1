//! What a client and a router say to each other on a WebSocket: one meaning, two encodings.
//!
//! An operation is carried as `ot`'s binary form in both directions; only the JSON encoding
//! spells it out.

pub mod binary;
pub mod json;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    ids::{ClientId, Revision, Role, Seq, UserId},
    reject::Code,
};

/// The subprotocol of an encoding, as the WebSocket handshake names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    Json,
    Binary,
}

impl Encoding {
    pub fn subprotocol(self) -> &'static str {
        match self {
            Encoding::Json => "codraft.v1",
            Encoding::Binary => "codraft.v1.bin",
        }
    }

    pub fn from_subprotocol(name: &str) -> Option<Encoding> {
        [Encoding::Json, Encoding::Binary]
            .into_iter()
            .find(|e| e.subprotocol() == name)
    }
}

/// A revision and the chain hash there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub rev: Revision,
    pub hash: [u8; 32],
}

#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    /// The first frame.
    Hello {
        client: ClientId,
        resume: Option<At>,
        unsent: bool,
    },
    /// One in flight a document; sent again with the same bytes until answered.
    Op {
        seq: Seq,
        base: Revision,
        ops: Bytes,
    },
    /// Where the client is at `rev`; none: gone.
    Presence {
        rev: Revision,
        presence: Option<Presence>,
    },
    /// The digest of an idle client's document.
    Check {
        rev: Revision,
        digest: [u8; 32],
    },
    /// A new token on the open socket.
    Auth {
        token: String,
    },
    Ping,
    /// The answer to the router's: the page runs.
    Here,
}

/// Where somebody is in a document, in UTF-16 units, and what they say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    pub cursor: Option<u32>,
    pub selection: Option<Selection>,
    /// A JSON object, as text.
    pub data: Option<String>,
}

/// From where it was begun to where it ends, which may be before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    pub anchor: u32,
    pub head: u32,
}

/// Who a slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub slot: u32,
    pub client: ClientId,
    pub user: UserId,
    /// For people to read, where it is known.
    pub name: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    pub client: ClientId,
    pub user: UserId,
    /// The client's own slot, by which it knows its operations.
    pub you: u32,
    pub role: Role,
    /// "text" or "rich".
    pub kind: String,
    pub algebra: String,
    pub title: String,
    /// The head, its chain hash, and the time of its event; events after it follow. With a
    /// resume, `rev` is the revision resumed from, and the missing events follow.
    pub rev: Revision,
    pub hash: [u8; 32],
    pub ts_ms: u64,
    /// What of this client's was answered last: sequence number and revision.
    pub acked: Option<(Seq, Revision)>,
    pub who: Vec<Who>,
    /// The document at `rev` as a Delta; none with a resume.
    pub doc: Option<Bytes>,
    /// Of a large document: where the archive has it whole.
    pub snapshot: Option<Snapshot>,
    /// The largest frame a client may send, in bytes.
    pub frame_bytes: u32,
    /// Of the router's process: another one after a restart.
    pub incarnation: u64,
}

/// A revision that can be read apart from the socket, and kept by who read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub version: Revision,
    /// A path on the router.
    pub url: String,
}

/// An edit on a document's feed.
#[derive(Debug, Clone, PartialEq)]
pub struct OpEvent {
    pub rev: Revision,
    pub slot: u32,
    /// 0 in the binary encoding, which carries neither this nor `base`.
    pub seq: Seq,
    /// The revision that its author had seen.
    pub base: Revision,
    pub ts_ms: u64,
    /// Of a restore: the revision that it made of the document.
    pub restores: Option<Revision>,
    pub ops: Bytes,
}

/// Another event: a grant, a title…
#[derive(Debug, Clone, PartialEq)]
pub struct OtherEvent {
    pub rev: Revision,
    pub slot: u32,
    pub ts_ms: u64,
    /// `event::name`.
    pub kind: String,
    /// For a grant: whose, and what they have now.
    pub user: Option<UserId>,
    pub role: Option<Role>,
    /// Of a title, a comment or a named version: what it is now or what was done, under the name of the kind.
    pub note: Option<serde_json::Value>,
}

/// The reason of a resync after a check that differed.
pub const DIVERGED: &str = "diverged";

#[derive(Debug, Clone, PartialEq)]
pub enum ServerFrame {
    Welcome(Box<Welcome>),
    /// Before the first event of that slot.
    Who(Who),
    /// Every edit in revision order; the author's own one is its acknowledgement.
    Op(OpEvent),
    Event(OtherEvent),
    /// An event that this reader may not see.
    Skip {
        rev: Revision,
        ts_ms: u64,
    },
    /// A repeat of what was applied.
    Already {
        seq: Seq,
        rev: Revision,
    },
    /// `last`: the outcome is in the log. Else nothing was proposed: send again.
    Reject {
        seq: Seq,
        base: Revision,
        last: bool,
        code: Code,
        message: String,
        retry_after_ms: u32,
    },
    /// The base is too old.
    Rebase {
        seq: Seq,
        base: Revision,
        floor: Revision,
        head: Revision,
    },
    /// The chain hash at a revision.
    Mark(At),
    /// Where another is; none: gone, and then `rev` and `last_seen_ms` are 0.
    Presence {
        slot: u32,
        rev: Revision,
        /// When their page was last heard, on the leader's clock.
        last_seen_ms: u64,
        presence: Option<Presence>,
    },
    Role {
        role: Role,
    },
    /// Open again: what follows would have a gap, or, for [`DIVERGED`], what the client has is not
    /// the document, so that nothing can be resumed from it.
    Resync {
        reason: String,
    },
    /// The shard does not answer at the moment (`on`), or does again.
    Saving {
        on: bool,
    },
    Pong,
    /// Is there a page that runs? A browser answers pings for one that does not.
    Here,
    Bye {
        code: Code,
        reason: String,
        retry_after_ms: u32,
    },
}

/// A frame that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FrameError {
    pub code: Code,
    pub message: String,
}

impl FrameError {
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self {
            code: Code::Malformed,
            message: message.into(),
        }
    }
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self {
            code: Code::UnknownFrame,
            message: message.into(),
        }
    }
}

/// The JSON of a presence: a frame's fields but its revision.
pub const PRESENCE_BYTES_MAX: usize = 2 << 10;

/// Frames a client may put into one message.
pub const BATCH_MAX: usize = 64;
