//! The stored form of a document: one spelling of all that is replicated of it. What hashes a
//! state hashes these bytes, and what keeps a document keeps them, so the two cannot disagree.
//!
//! ```text
//! document = format u8 · section*                  each tag once, rising
//! section  = tag u8 · length u32, little-endian · body
//!   1 head     doc 16 · kind u8 · algebra u8 · title text · creator text · created as 32
//!              · created ms varint · updated ms varint · rev varint · hash 32 · expired varint
//!              · apart u8 (1 quarantined, 2 deleted, 3 both) · ms varint for each that it is
//!   2 content  the inserts that make it: a Delta in ot's binary form
//!   3 window   floor varint · hash at the floor 32 · count varint · (units before varint · event blob)*
//!   4 clients  count varint · record*              (client, user) rising
//!   5 grants   count varint · (user text · role u8 · rev varint)*   users rising
//!   6 comments count varint · (thread 16 · at varint · start varint · end varint · resolved (0 | 1)
//!              · count varint · comment*)*         threads rising
//!   7 versions count varint · (id 16 · version varint · name text · by text · rev varint
//!              · ms varint)*                       ids rising
//! comment  = id 16 · user text · rev varint · ms varint · touched varint · (0 | 1 · text)
//! event    = as `Event::canonical` spells it; its revision and hash follow from its place
//! record   = client 16 · user text · seq varint · payload 16
//!          · outcome (1 applied · rev varint | 2 refused · code varint)
//!          · took (0 | 1 · seq varint · rev varint) · skipped to (0 | 1 · seq varint) · at rev varint
//! ```
//!
//! Text, blob and varint are those of a command. What a later version adds to a document gets a
//! tag of its own. A tag that this build does not know is refused, not carried along: what it
//! holds takes part in what commands do, so a replica that cannot read it would diverge. `Level`
//! sees to it that nothing is written which a voter cannot read.

use bytes::Bytes;
use codraft_ot::OpError;

use crate::command::{DecodeError, Input, put_varint};

/// The first byte of every stored document.
pub const FORMAT: u8 = 2;

pub(super) const TAG_HEAD: u8 = 1;
pub(super) const TAG_CONTENT: u8 = 2;
pub(super) const TAG_WINDOW: u8 = 3;
pub(super) const TAG_CLIENTS: u8 = 4;
pub(super) const TAG_GRANTS: u8 = 5;
pub(super) const TAG_COMMENTS: u8 = 6;
pub(super) const TAG_VERSIONS: u8 = 7;

/// Why bytes are no document that this build can go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("document has format {0}, this build reads {FORMAT}")]
    Format(u8),
    #[error("section {found} instead of section {expected}")]
    Section { found: u8, expected: u8 },
    #[error("section {0} is of a later version")]
    LaterSection(u8),
    #[error("{0} bytes after the end of a section")]
    Trailing(usize),
    #[error(transparent)]
    Field(#[from] DecodeError),
    #[error("content or operation: {0}")]
    Content(OpError),
    /// No document can be like that.
    #[error("impossible {0}")]
    Invalid(&'static str),
}

const QUARANTINED: u32 = 1;
const DELETED: u32 = 2;

/// Since when a document is in quarantine and since when it is deleted, in milliseconds since 1970.
pub(super) fn put_apart(out: &mut Vec<u8>, quarantined_ms: Option<u64>, deleted_ms: Option<u64>) {
    let quarantined = quarantined_ms.map_or(0, |_| QUARANTINED);
    let deleted = deleted_ms.map_or(0, |_| DELETED);
    out.push((quarantined | deleted) as u8);
    for ms in quarantined_ms.into_iter().chain(deleted_ms) {
        put_varint(out, ms);
    }
}

/// As [`put_apart`] takes them.
pub(super) fn take_apart(input: &mut Input<'_>) -> Result<(Option<u64>, Option<u64>), DecodeError> {
    let possible = |bits| (bits <= QUARANTINED | DELETED).then_some(bits);
    let bits = input.number("apart", possible)?;
    let mut since = |bit, field| match bits & bit {
        0 => Ok(None),
        _ => input.varint(field).map(Some),
    };
    let quarantined_ms = since(QUARANTINED, "quarantined ms")?;
    Ok((quarantined_ms, since(DELETED, "deleted ms")?))
}

pub(super) fn section(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_section(out, tag);
    body(out);
    end_section(out, start);
}

/// Where its body begins.
pub(super) fn begin_section(out: &mut Vec<u8>, tag: u8) -> usize {
    out.push(tag);
    out.extend_from_slice(&[0; 4]);
    out.len()
}

pub(super) fn end_section(out: &mut [u8], start: usize) {
    // A document is far below 4 GiB: its content, window, records and grants have limits.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn take_section(input: &mut Input<'_>, expected: u8) -> Result<Bytes, StateError> {
    let found = input.byte("tag")?;
    if found != expected {
        return Err(StateError::Section { found, expected });
    }
    let length = u32::from_le_bytes(input.array("length")?);
    Ok(input.bytes(length as usize, "section")?)
}

/// Reads all of a section.
pub(super) fn whole<T>(
    section: &Bytes,
    read: impl FnOnce(&mut Input<'_>) -> Result<T, StateError>,
) -> Result<T, StateError> {
    let mut input = Input::new(section);
    let value = read(&mut input)?;
    match input.left() {
        0 => Ok(value),
        left => Err(StateError::Trailing(left)),
    }
}
