//! The events of a document, as they stand in its log: kinds and bodies.

use bytes::{BufMut, Bytes, BytesMut};
use codraft_ot::varint;

use crate::ids::Role;

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
