//! The events of a document, as they stand in its log: kinds and bodies.

use bytes::{BufMut, Bytes, BytesMut};
use codraft_ot::varint;

use crate::ids::{NoteId, Revision, Role};

pub const EDIT: u32 = 0;
pub const CREATE: u32 = 1;
pub const GRANT: u32 = 2;
/// The body is the title from now on, UTF-8 to its end.
pub const TITLE: u32 = 3;
pub const COMMENT: u32 = 4;
pub const VERSION: u32 = 5;
pub const RESTORE: u32 = 6;
pub const DELETE: u32 = 7;
/// Older bases are not taken any more. Nothing that a reader need know: clients get a `skip`.
pub const EXPIRE: u32 = 8;
/// The document as it is here is kept whole in the archive. Nothing that a reader need know.
pub const CHECKPOINT: u32 = 9;
pub const UNDELETE: u32 = 10;

/// Whether clients get a `skip` for it.
pub fn is_hidden(kind: u32) -> bool {
    matches!(kind, EXPIRE | CHECKPOINT)
}

/// What clients call it.
pub fn name(kind: u32) -> &'static str {
    match kind {
        EDIT => "edit",
        CREATE => "create",
        GRANT => "grant",
        TITLE => "title",
        COMMENT => "comment",
        VERSION => "version",
        RESTORE => "restore",
        DELETE => "delete",
        EXPIRE => "expire",
        CHECKPOINT => "checkpoint",
        UNDELETE => "undelete",
        _ => "unknown",
    }
}

/// What a document began as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created<'a> {
    /// Numbers of the kind and of the algebra.
    pub kind: u8,
    pub algebra: u8,
    pub title: &'a str,
    /// The inserts that made it, in `ot`'s binary form; nothing: it is the empty one of its kind.
    pub initial: &'a [u8],
}

/// The body of a create: kind and algebra (a byte each), title (varint length, UTF-8), then the
/// inserts. `None` for what is none.
pub fn read_create(body: &[u8]) -> Option<Created<'_>> {
    let (&[kind, algebra], mut rest) = body.split_first_chunk()?;
    let title = varint::take(&mut rest).ok()?;
    let (title, initial) = rest.split_at_checked(usize::try_from(title).ok()?)?;
    Some(Created {
        kind,
        algebra,
        title: std::str::from_utf8(title).ok()?,
        initial,
    })
}

/// The title that an event gave; `None` for what is no title's body.
pub fn read_title(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok()
}

/// The body of a grant: the role's number (0: none any more), then the user.
pub fn grant_body(user: &str, role: Option<Role>) -> Bytes {
    let mut body = BytesMut::with_capacity(1 + user.len());
    body.put_u8(role.map_or(0, |r| r as u8));
    body.put_slice(user.as_bytes());
    body.freeze()
}

/// Whose grant it is and what they have now; `None` for what is not a grant's body.
pub fn read_grant(body: &[u8]) -> Option<(&str, Option<Role>)> {
    let (role, user) = body.split_first()?;
    Some((
        std::str::from_utf8(user).ok()?,
        Role::from_number(u32::from(*role)),
    ))
}

/// What was done in a document's threads of comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commented<'a> {
    /// A thread about the units `start..end` of the revision `at`; its first comment.
    Opened {
        thread: NoteId,
        at: Revision,
        start: u32,
        end: u32,
        text: &'a str,
    },
    Replied {
        thread: NoteId,
        comment: NoteId,
        text: &'a str,
    },
    Resolved {
        thread: NoteId,
    },
    Reopened {
        thread: NoteId,
    },
    Deleted {
        thread: NoteId,
        comment: NoteId,
    },
}

impl Commented<'_> {
    pub fn thread(&self) -> NoteId {
        match *self {
            Self::Opened { thread, .. }
            | Self::Replied { thread, .. }
            | Self::Resolved { thread }
            | Self::Reopened { thread }
            | Self::Deleted { thread, .. } => thread,
        }
    }

    /// What clients call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Replied { .. } => "replied",
            Self::Resolved { .. } => "resolved",
            Self::Reopened { .. } => "reopened",
            Self::Deleted { .. } => "deleted",
        }
    }
}

/// The body of a comment's event:
///
/// ```text
/// what u8 · thread 16 · (1 opened: at varint · start varint · end varint · text to the end
///   | 2 replied: comment 16 · text to the end | 3 resolved | 4 reopened | 5 deleted: comment 16)
/// ```
pub fn comment_body(commented: &Commented<'_>) -> Bytes {
    let mut body = Vec::new();
    let mut begin = |what, thread: &NoteId| {
        body.push(what);
        body.extend_from_slice(&thread.0);
    };
    match commented {
        Commented::Opened {
            thread,
            at,
            start,
            end,
            text,
        } => {
            begin(1, thread);
            for number in [at.0, (*start).into(), (*end).into()] {
                varint::put(&mut body, number);
            }
            body.extend_from_slice(text.as_bytes());
        }
        Commented::Replied {
            thread,
            comment,
            text,
        } => {
            begin(2, thread);
            body.extend_from_slice(&comment.0);
            body.extend_from_slice(text.as_bytes());
        }
        Commented::Resolved { thread } => begin(3, thread),
        Commented::Reopened { thread } => begin(4, thread),
        Commented::Deleted { thread, comment } => {
            begin(5, thread);
            body.extend_from_slice(&comment.0);
        }
    }
    body.into()
}

/// `None` for what is not a comment's body.
pub fn read_comment(body: &[u8]) -> Option<Commented<'_>> {
    let (&what, rest) = body.split_first()?;
    let (thread, mut rest) = rest
        .split_first_chunk()
        .map(|(id, rest)| (NoteId(*id), rest))?;
    let with_comment = |rest: &'_ [u8]| -> Option<NoteId> { NoteId::from_slice(rest.get(..16)?) };
    Some(match what {
        1 => {
            let mut number = || varint::take(&mut rest).ok();
            let (at, start, end) = (number()?, number()?, number()?);
            Commented::Opened {
                thread,
                at: Revision(at),
                start: start.try_into().ok()?,
                end: end.try_into().ok()?,
                text: std::str::from_utf8(rest).ok()?,
            }
        }
        2 => Commented::Replied {
            thread,
            comment: with_comment(rest)?,
            text: std::str::from_utf8(&rest[16..]).ok()?,
        },
        3 if rest.is_empty() => Commented::Resolved { thread },
        4 if rest.is_empty() => Commented::Reopened { thread },
        5 if rest.len() == 16 => Commented::Deleted {
            thread,
            comment: with_comment(rest)?,
        },
        _ => return None,
    })
}

/// A name that somebody gave to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    pub id: NoteId,
    pub version: Revision,
    pub name: &'a str,
}

/// The body of a named version's event: its id (16 bytes), the version (varint), the name.
pub fn version_body(named: &Named<'_>) -> Bytes {
    let mut body = named.id.0.to_vec();
    varint::put(&mut body, named.version.0);
    body.extend_from_slice(named.name.as_bytes());
    body.into()
}

/// `None` for what is not a named version's body.
pub fn read_version(body: &[u8]) -> Option<Named<'_>> {
    let (id, mut rest) = body.split_first_chunk()?;
    let version = varint::take(&mut rest).ok()?;
    Some(Named {
        id: NoteId(*id),
        version: Revision(version),
        name: std::str::from_utf8(rest).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_and_nothing_else_does() {
        let (thread, comment) = (NoteId([1; 16]), NoteId([2; 16]));
        let all = [
            Commented::Opened {
                thread,
                at: Revision(300),
                start: 5,
                end: 1_000,
                text: "why?",
            },
            Commented::Replied {
                thread,
                comment,
                text: "",
            },
            Commented::Resolved { thread },
            Commented::Reopened { thread },
            Commented::Deleted { thread, comment },
        ];
        for commented in all {
            let body = comment_body(&commented);
            assert_eq!(read_comment(&body), Some(commented));
            for end in 0..body.len() {
                assert_ne!(read_comment(&body[..end]), Some(commented));
            }
        }
        for none in [&[][..], &[9; 40], &[1; 18], &[3; 18], &[5; 18]] {
            assert_eq!(read_comment(none), None);
        }
        let named = Named {
            id: comment,
            version: Revision(300),
            name: "draft",
        };
        assert_eq!(read_version(&version_body(&named)), Some(named));
        assert_eq!(read_version(&[0; 16]), None);
    }
}
