//! What a command becomes when it is applied: one event, one revision.

use bytes::Bytes;
use codraft_ot::{Chain, Kind, varint};
use codraft_proto::{
    event,
    ids::{ClientId, DocId, Revision, Seq, UserId},
};

use super::stored::StateError;
use crate::command::{Algebra, Input, put_blob, put_varint};

/// An applied change of one document, as every observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub doc: DocId,
    /// 1 for the create event, then one more each.
    pub rev: Revision,
    /// Whose operation; none for what is not an edit.
    pub client: Option<ClientId>,
    pub user: UserId,
    /// The client's count; 0 without a client.
    pub seq: Seq,
    /// The revision that an edit's author had seen; of any other event the one before it. With
    /// `seq` it is the vector clock of the operation under one sequencer, so it outlives `apply`.
    pub base: Revision,
    /// Milliseconds since 1970, never less than the event's before it.
    pub ts_ms: u64,
    /// One of `codraft_proto::event`.
    pub kind: u8,
    /// Of an edit: the Delta as applied, in `ot`'s binary form. Of a restore: version (varint),
    /// authors (varint length, bytes), then the Delta. Of a grant or a title: as `codraft_proto::event` has it.
    /// Of a create: kind and algebra (a byte each), title (varint length, UTF-8), then the inserts
    /// that made it.
    pub body: Bytes,
    /// The chain hash at this revision.
    pub hash: Chain,
}

impl Event {
    /// The bytes that the chain hash covers:
    ///
    /// ```text
    /// kind u8 · client (0 | 1 · 16 bytes) · user blob · seq varint · base varint · ts_ms varint
    /// · body to the end
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
        put_varint(out, self.seq.0);
        put_varint(out, self.base.0);
        put_varint(out, self.ts_ms);
        out.extend_from_slice(&self.body);
    }

    /// The event at `rev` of what `canonical` spelled; `hash` is the chain hash there.
    pub(crate) fn from_canonical(
        canonical: &Bytes,
        doc: DocId,
        rev: Revision,
        hash: Chain,
    ) -> Result<Self, StateError> {
        let mut input = Input::new(canonical);
        let kind = input.byte("kind")?;
        let client = match input.flag("client")? {
            true => Some(ClientId(input.array("client")?)),
            false => None,
        };
        let user = input.text("user")?.into();
        let (seq, base) = (input.varint("seq")?, input.varint("base")?);
        let ts_ms = input.varint("ts_ms")?;
        // A copy: a slice would keep all of what it was read from in memory.
        let body = Bytes::copy_from_slice(&input.bytes(input.left(), "body")?);
        Ok(Self {
            doc,
            rev,
            client,
            user,
            seq: Seq(seq),
            base: Revision(base),
            ts_ms,
            kind,
            body,
            hash,
        })
    }

    /// What it did to the text, in `ot`'s binary form; none for what leaves it alone.
    pub fn operation(&self) -> Option<&[u8]> {
        match u32::from(self.kind) {
            event::EDIT => Some(&self.body),
            event::RESTORE => Some(self.restored()?.ops),
            _ => None,
        }
    }

    /// Of a restore.
    pub fn restored(&self) -> Option<Restored<'_>> {
        let mut rest = &self.body[..];
        let version = varint::take(&mut rest).ok()?;
        let authors = varint::take(&mut rest).ok()?;
        let (authors, ops) = rest.split_at_checked(usize::try_from(authors).ok()?)?;
        let restored = Restored {
            version: Revision(version),
            authors,
            ops,
        };
        (u32::from(self.kind) == event::RESTORE).then_some(restored)
    }

    /// Of a create.
    pub fn created(&self) -> Option<Created<'_>> {
        let created = event::read_create(&self.body)?;
        let created = Created {
            kind: Kind::from_number(created.kind.into())?,
            algebra: Algebra::from_number(created.algebra.into())?,
            title: created.title,
            initial: created.initial,
        };
        (u32::from(self.kind) == event::CREATE).then_some(created)
    }

    /// Of an event that gave another title.
    pub fn titled(&self) -> Option<&str> {
        event::read_title(&self.body).filter(|_| u32::from(self.kind) == event::TITLE)
    }

    /// What the event takes in memory and so counts for in the window, in bytes: its body, and for
    /// all else a figure that is the same in every build, since replicas judge by it.
    pub(crate) fn window_bytes(&self) -> usize {
        const REST: usize = 224;
        const ALLOCATION: usize = 24;
        REST + ALLOCATION + self.body.len()
    }
}

/// What a restore brought back.
#[derive(Debug, Clone, Copy)]
pub struct Restored<'a> {
    pub version: Revision,
    /// As in the command.
    pub authors: &'a [u8],
    /// In `ot`'s binary form.
    pub ops: &'a [u8],
}

/// What a document began as.
#[derive(Debug, Clone, Copy)]
pub struct Created<'a> {
    pub kind: Kind,
    pub algebra: Algebra,
    pub title: &'a str,
    /// The inserts that made it, in `ot`'s binary form; nothing: it is the empty one of its kind.
    pub initial: &'a [u8],
}

pub(super) fn restore_body(version: Revision, authors: &[u8], ops: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(20 + authors.len() + ops.len());
    put_varint(&mut out, version.0);
    put_blob(&mut out, authors);
    out.extend_from_slice(ops);
    out.into()
}

/// `kind u8 · algebra u8 · title blob · the inserts that make the document to the end`
/// (nothing: it is the empty one of its kind). The owner is the event's user.
pub(super) fn create_body(kind: Kind, algebra: Algebra, title: &str, initial: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(12 + title.len() + initial.len());
    out.push(kind as u8);
    out.push(algebra as u8);
    put_blob(&mut out, title.as_bytes());
    out.extend_from_slice(initial);
    out.into()
}
