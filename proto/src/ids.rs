//! Names of things, as types: a document is not a client, a slot is not a group.

use std::{fmt, str::FromStr, sync::Arc};

pub use codraft_ot::{Revision, Seq};

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// `None` unless there are exactly 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Some(Self(bytes.try_into().ok()?))
            }
            pub fn to_bytes(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            /// 32 lower-case hex digits, nothing else.
            fn from_str(s: &str) -> Result<Self, BadId> {
                let digits = s.as_bytes();
                if digits.len() != 32 {
                    return Err(BadId);
                }
                let nibble = |b: u8| match b {
                    b'0'..=b'9' => Ok(b - b'0'),
                    b'a'..=b'f' => Ok(b - b'a' + 10),
                    _ => Err(BadId),
                };
                let mut out = [0; 16];
                for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
                }
                Ok(Self(out))
            }
        }
    };
}

id128!(
    /// A document: 128 random bits, written as 32 hex digits.
    DocId
);
id128!(
    /// A comment, or a name of a version: what whoever makes it calls it, so that to ask again makes no
    /// second one. A thread is called as its first comment is.
    NoteId
);
id128!(
    /// One tab of one user: 128 random bits that the tab mints.
    ClientId
);
id128!(
    /// The identity of a node's disk; a node id whose disk changed is refused.
    DiskId
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hex digits")]
pub struct BadId;

/// A user, as the token's `sub` names them: 1 to 128 bytes.
pub type UserId = Arc<str>;

/// The longest user id, in bytes.
pub const USER_BYTES_MAX: usize = 128;

/// What is wrong with a user's name, in words; `None`: nothing.
pub fn user_fault(user: &str) -> Option<&'static str> {
    if user.is_empty() || user.len() > USER_BYTES_MAX {
        return Some("a user has 1 to 128 bytes");
    }
    if user.chars().any(char::is_control) {
        return Some("a user has no control characters");
    }
    // Encoded or not: no address could name them.
    let folded = user == "." || user == "..";
    folded.then_some("a user is not . or .., which clients take out of addresses")
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

number!(
    /// A node of the cluster. Never used again for another disk.
    NodeId(u64)
);
number!(
    /// Of a group: each has at most one leader.
    Term(u64)
);
number!(
    /// A Raft group: a shard of the documents.
    GroupId(u32)
);
number!(
    /// One of the 4,096 slots between a document and its group.
    Slot(u16)
);

/// What a user may do with a document; greater includes lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    Viewer = 1,
    Commenter = 2,
    Editor = 3,
    Owner = 4,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Commenter, Role::Editor, Role::Owner];

    /// 0 and everything unknown: no role.
    pub fn from_number(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u32 == n)
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Commenter => "commenter",
            Role::Editor => "editor",
            Role::Owner => "owner",
        }
    }
    pub fn can_comment(self) -> bool {
        self >= Role::Commenter
    }
    pub fn can_edit(self) -> bool {
        self >= Role::Editor
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|r| r.as_str() == s).ok_or(())
    }
}
