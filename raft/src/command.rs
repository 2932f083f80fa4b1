//! All that may enter a group's log. What a command *means* is decided in `machine`; here
//! are only its shape and its stored form, which never changes once written.

mod stored;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use codraft_ot::Kind;
use codraft_proto::ids::{ClientId, DocId, NoteId, Revision, Role, Seq, UserId};

pub(crate) use codraft_ot::varint::put as put_varint;
pub use stored::{DecodeError, FORMAT, LEVEL};
pub(crate) use stored::{Input, put_blob};

/// What one log entry holds: the commands that waited when it was proposed, in the order
/// they are applied in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Wall time of the proposing leader, in milliseconds since 1970. Data, not a clock:
    /// `apply` makes it monotone in each document.
    pub ts_ms: u64,
    pub commands: Vec<Command>,
}

/// A change of a group's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Edit(Edit),
    Create(Create),
    Grant(Grant),
    Trim(Trim),
    Expire(Expire),
    Level(Level),
    Quarantine(Quarantine),
    Restore(Restore),
    Checkpoint(Checkpoint),
    Comment(Comment),
    Version(Version),
    Title(Title),
    Anchored(Anchored),
    Delete(Deletion),
    Undelete(Deletion),
}

/// One operation as its author submitted it; it is transformed when it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub doc: DocId,
    pub client: ClientId,
    pub user: UserId,
    /// The client's own count of its operations.
    pub seq: Seq,
    /// The revision that the author had seen.
    pub base: Revision,
    /// A Delta in `ot`'s binary form, not yet judged.
    pub ops: Bytes,
}

/// An operation that makes of the head what the document was at a version. It is applied to the head that
/// it was made for, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    pub edit: Edit,
    pub version: Revision,
    /// Who wrote what it brings back, as whoever reads history spells it.
    pub authors: Bytes,
}

/// An operation that is moved past what came since its base, like any other, unless something of that
/// touched what it is anchored at: then it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    pub edit: Edit,
    /// Of the document at the edit's base.
    pub anchors: Vec<Anchor>,
}

/// A part of a document, in UTF-16 units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    pub start: u32,
    pub units: u32,
}

/// Has the archive keep the document as it is, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub doc: DocId,
    /// Who asks for it.
    pub by: UserId,
}

/// Something is done in a document's threads of comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub doc: DocId,
    pub by: UserId,
    /// A thread is called as its first comment is.
    pub thread: NoteId,
    pub what: Commenting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commenting {
    /// About the units `start..end` of the revision `at`.
    Open {
        at: Revision,
        start: u32,
        end: u32,
        text: Box<str>,
    },
    Reply {
        comment: NoteId,
        text: Box<str>,
    },
    Resolve(bool),
    Delete {
        comment: NoteId,
    },
}

/// Gives a name to a revision; none: to the head that it meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub doc: DocId,
    pub by: UserId,
    pub id: NoteId,
    pub version: Option<Revision>,
    pub name: Box<str>,
}

/// Gives the document another title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    pub doc: DocId,
    /// Who asks for it.
    pub by: UserId,
    pub title: Box<str>,
}

/// Deletes a document, or brings it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub doc: DocId,
    pub by: UserId,
}

/// A new document; it takes revision 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    pub doc: DocId,
    pub kind: Kind,
    pub algebra: Algebra,
    pub title: Box<str>,
    pub owner: UserId,
    /// The document to start with, none for the empty one of its kind: the inserts that
    /// make it, a Delta in `ot`'s binary form, not yet judged.
    pub initial: Option<Bytes>,
}

/// Gives `user` a role, or takes it away (`None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub doc: DocId,
    /// Who asks for the change.
    pub by: UserId,
    pub user: UserId,
    pub role: Option<Role>,
}

/// Forgets the events up to `floor` of a quiet document, which its own operations no
/// longer trim (`group/trim.rs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    pub doc: DocId,
    pub floor: Revision,
}

/// No operation on a base below `below` is taken any more, so that the records of clients whose
/// last word was older can go. The window stays, for those who resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expire {
    pub doc: DocId,
    pub below: Revision,
}

/// The barrier of an upgrade: from this entry on the log may hold what `level` brought.
/// Proposed only when every replica can read it; one that cannot stops here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    pub level: u32,
}

/// Sets a document apart, or lets it go on: an operator's word, or what lifts a quarantine that a
/// fault has brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub doc: DocId,
    pub on: bool,
}

/// How a document's operations are transformed. Part of the log's format: a document keeps
/// the algebra that it was created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Algebra {
    /// As npm `quill-delta` 5.1, in canonical form.
    Delta1 = 1,
}

impl Algebra {
    pub const ALL: [Algebra; 1] = [Algebra::Delta1];

    pub fn from_number(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|a| *a as u32 == n)
    }
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Algebra::Delta1 => "delta-1",
        }
    }
}

impl Command {
    /// Whether the documents may take more memory afterwards. What only takes text away makes
    /// room in the end, and roles have a limit of their own.
    pub fn grows(&self) -> bool {
        match self {
            Command::Edit(edit) => !codraft_ot::only_deletes(&edit.ops),
            Command::Restore(restore) => !codraft_ot::only_deletes(&restore.edit.ops),
            Command::Anchored(anchored) => !codraft_ot::only_deletes(&anchored.edit.ops),
            Command::Create(_) | Command::Version(_) | Command::Title(_) => true,
            Command::Comment(comment) => matches!(
                comment.what,
                Commenting::Open { .. } | Commenting::Reply { .. }
            ),
            Command::Grant(_)
            | Command::Delete(_)
            | Command::Undelete(_)
            | Command::Trim(_)
            | Command::Expire(_)
            | Command::Level(_)
            | Command::Quarantine(_)
            | Command::Checkpoint(_) => false,
        }
    }

    /// The document it changes; none for what concerns the whole group.
    pub fn doc(&self) -> Option<DocId> {
        match self {
            Command::Edit(edit) => Some(edit.doc),
            Command::Create(create) => Some(create.doc),
            Command::Grant(grant) => Some(grant.doc),
            Command::Trim(trim) => Some(trim.doc),
            Command::Expire(expire) => Some(expire.doc),
            Command::Quarantine(quarantine) => Some(quarantine.doc),
            Command::Restore(restore) => Some(restore.edit.doc),
            Command::Anchored(anchored) => Some(anchored.edit.doc),
            Command::Checkpoint(checkpoint) => Some(checkpoint.doc),
            Command::Comment(comment) => Some(comment.doc),
            Command::Version(version) => Some(version.doc),
            Command::Title(title) => Some(title.doc),
            Command::Delete(deletion) | Command::Undelete(deletion) => Some(deletion.doc),
            Command::Level(_) => None,
        }
    }
}
