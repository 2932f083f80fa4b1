//! What goes into a feed and what comes out of it.

use bytes::Bytes;
use codraft_proto::{
    frame::{At, binary::Clock},
    ids::{ClientId, Revision, Role, Seq},
    reject::Code,
};

use crate::ids::{LinkId, OpenTag, ReaderId};

/// An event of the document, as its shard ordered it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedEvent {
    pub rev: Revision,
    /// `None`: it came by no tab.
    pub client: Option<ClientId>,
    pub user: String,
    pub seq: Seq,
    /// The revision that an edit's author had seen.
    pub base: Revision,
    pub ts_ms: u64,
    /// `codraft_proto::event`.
    pub kind: u32,
    pub body: Bytes,
    /// Of a restore: the revision that it made of the document.
    pub restores: Option<Revision>,
}

/// What has been delivered: the last revision, its chain hash, the time of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub rev: Revision,
    pub hash: [u8; 32],
    pub ts_ms: u64,
}

impl Position {
    pub fn clock(&self) -> Clock {
        Clock {
            rev: self.rev,
            ts_ms: self.ts_ms,
        }
    }
    pub fn at(&self) -> At {
        At {
            rev: self.rev,
            hash: self.hash,
        }
    }
}

/// What a client said it has when it opened the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello {
    pub resume: Option<At>,
    /// Whether it has work that was not sent.
    pub unsent: bool,
    /// It reads the events elsewhere and starts from nothing: the head is all that it is told.
    pub follows: bool,
}

/// The answer to an open: the document at its head, for one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub role: Role,
    pub kind: u32,
    pub algebra: String,
    pub title: String,
    pub head: Position,
    pub acked: Option<(Seq, Revision)>,
    pub start: Start,
    /// All after what the reader starts from, up to the head.
    pub events: Vec<FeedEvent>,
}

/// What a reader starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// What it said it has.
    Resume,
    /// The state that this router holds.
    Held,
    /// The document as it was then, in ot's binary form. `kept`: of a large one, the revision at
    /// which it can be had elsewhere.
    State {
        at: At,
        state: Bytes,
        kept: Option<Revision>,
    },
    /// None of these reaches, and the state was not asked for.
    Nothing,
}

/// The answer to a follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    pub rev: Revision,
    /// `None`: not a hash.
    pub hash: Option<[u8; 32]>,
    /// Whether `events` hold all after the revision that was asked for.
    pub resumed: bool,
    pub events: Vec<FeedEvent>,
}

#[derive(Debug)]
pub enum Event {
    /// A socket opens the document, for the first time or again after a resync.
    Joined {
        reader: ReaderId,
        hello: Hello,
        leader: Option<LinkId>,
    },
    Left {
        reader: ReaderId,
    },
    /// The leader is reached by this link, and is not silent.
    Leader {
        link: LinkId,
    },
    LinkLost {
        link: LinkId,
        leader: Option<LinkId>,
    },
    /// The leader has not been heard for long.
    LeaderSilent,
    Opened {
        link: LinkId,
        tag: OpenTag,
        answer: Result<Box<Opened>, Code>,
    },
    Followed {
        link: LinkId,
        answer: Result<Followed, Code>,
    },
    /// `hash` is the chain hash at the last event; `None`: not a hash.
    Events {
        link: LinkId,
        events: Vec<FeedEvent>,
        hash: Option<[u8; 32]>,
    },
    /// The node stopped feeding this document, or all of its group.
    Cut {
        link: LinkId,
        code: Code,
    },
    /// The link did not accept a message.
    NotSent(Message),
    /// An operation is to be tried again.
    OperationRetried,
    /// An operation went through.
    OperationApplied,
    /// What was delivered cannot be put into words for these readers.
    Unreadable {
        readers: Vec<ReaderId>,
    },
    /// What this reader has is not the document.
    Diverged {
        reader: ReaderId,
    },
    /// The time of a `WakeAt` may have come. `other`: a link to any node of the group.
    Timer {
        leader: Option<LinkId>,
        other: Option<LinkId>,
    },
    /// Once a second. `operations`: some were not answered for long.
    Unstick {
        operations: bool,
    },
    /// Nobody reads any more.
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        link: LinkId,
        message: Message,
    },
    /// This state is held for those who open the document next, instead of the one before.
    Hold {
        state: Bytes,
        kept: Option<Revision>,
    },
    Release,
    /// The document is open for this reader: the feed's frames are for it, too, from here on.
    /// It starts at `from`, with its resume or with the state that is held, and goes on to the
    /// head.
    Welcome {
        reader: ReaderId,
        from: At,
        opened: Box<Opened>,
    },
    /// Events that lead on from `before` without a gap, for all who listen.
    Deliver {
        before: Position,
        events: Vec<FeedEvent>,
    },
    /// The reader's operation that has no answer yet is to be sent.
    Submit {
        reader: ReaderId,
    },
    /// All readers' are, in the order in which they came.
    SubmitAll,
    /// What was sent will not be answered: its link is gone.
    Unsubmit,
    /// What this reader has cannot be continued: it opens again, and hears nothing until then.
    Resync {
        reader: ReaderId,
        reason: &'static str,
    },
    End {
        reader: ReaderId,
        code: Code,
    },
    EndAll {
        code: Code,
    },
    /// All who listen are told whether what they send is being saved.
    Saving {
        on: bool,
    },
    /// `Event::Timer` is due then.
    WakeAt {
        at_ms: u64,
    },
    /// For the metrics: readers wait for a feed that was lost.
    Lost,
    /// For the metrics: they no longer do. `gap_ms`: it came back after so long.
    Found {
        gap_ms: Option<u64>,
    },
    /// For the metrics: a feed had to be followed anew.
    Broke,
}

/// To the node at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Open {
        tag: OpenTag,
        reader: ReaderId,
        hello: Hello,
        /// Where the state that is held stands.
        held: Option<At>,
        /// The state is wanted if nothing else will do: one at a time is on its way.
        bring: bool,
    },
    Follow {
        after: At,
    },
    Unfollow,
    Credit {
        bytes: u64,
    },
}
