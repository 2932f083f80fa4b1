//! What a command becomes when it is applied: one event, one revision.

use bytes::Bytes;
use codraft_ot::{Chain, Kind};
use codraft_proto::ids::{ClientId, DocId, Role, UserId};

use crate::command::{Algebra, put_blob, put_varint};

/// Kinds of events, as on the wire; never used again for something else.
pub mod kind {
    pub const EDIT: u8 = 0;
    pub const CREATE: u8 = 1;
    pub const GRANT: u8 = 2;
    // 3 title, 4 comment, 5 named version, 6 restore, 7 delete: spoken for.
}

/// An applied change of one document, as every observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub doc: DocId,
    /// 1 for the create event, then one more each.
    pub rev: u64,
    /// Whose operation; none for what is not an edit.
    pub client: Option<ClientId>,
    pub user: UserId,
    /// The client's count; 0 without a client.
    pub seq: u64,
    /// Milliseconds since 1970, never less than the event's before it.
    pub ts_ms: u64,
    pub kind: u8,
    /// Of an edit: the Delta as applied, in `ot`'s binary form.
    pub body: Bytes,
    /// The chain hash at this revision.
    pub hash: Chain,
}

impl Event {
    /// The bytes that the chain hash covers:
    ///
    /// ```text
    /// kind u8 · client (0 | 1 · 16 bytes) · user blob · seq varint · ts_ms varint · body to the end
    /// ```
    ///
    /// The revision is the position in the chain, so it is not repeated.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(self.kind);
        match &self.client {
            None => out.push(0),
            Some(client) => {
                out.push(1);
                out.extend_from_slice(&client.0);
            }
        }
        put_blob(out, self.user.as_bytes());
        put_varint(out, self.seq);
        put_varint(out, self.ts_ms);
        out.extend_from_slice(&self.body);
    }

    /// What the event counts for in the window: its body and a flat price for the rest.
    pub(super) fn window_bytes(&self) -> usize {
        const REST: usize = 64;
        REST + self.body.len()
    }
}

/// `kind u8 · algebra u8 · title blob · the inserts that make the document to the end`
/// (nothing: it is the empty one of its kind). The owner is the event's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBody<'a> {
    pub kind: Kind,
    pub algebra: Algebra,
    pub title: &'a str,
    pub initial: &'a [u8],
}

impl CreateBody<'_> {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(12 + self.title.len() + self.initial.len());
        out.push(self.kind as u8);
        out.push(self.algebra as u8);
        put_blob(&mut out, self.title.as_bytes());
        out.extend_from_slice(self.initial);
        out.into()
    }
}

/// `role u8 (0: taken away) · user as UTF-8 to the end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantBody<'a> {
    pub user: &'a str,
    pub role: Option<Role>,
}

impl GrantBody<'_> {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(1 + self.user.len());
        out.push(self.role.map_or(0, |role| role as u8));
        out.extend_from_slice(self.user.as_bytes());
        out.into()
    }
}
