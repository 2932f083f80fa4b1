//! What openraft is told about our types, and the stored form of a log entry.
//!
//! An entry is encoded once, by the leader that appends it; the same bytes are in every
//! replica's log and on the links between them.

use std::{collections::BTreeMap, fmt, io};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::{
    EmptyNode, EntryPayload, Membership, OptionalSend, RaftTypeConfig, alias,
    entry::{RaftEntry, RaftPayload as _},
    raft::responder::Responder,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

#[allow(deprecated)] // the crate it moved to is only re-exported here
impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = ();
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, EmptyNode>;
    type Entry = Entry;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = Settle<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub type LogId = alias::LogIdOf<TypeConfig>;
pub type Vote = alias::VoteOf<TypeConfig>;
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
type Payload = EntryPayload<Proposal, u64, EmptyNode>;

/// What is proposed: an encoded `Batch`, and the number under which the leader that
/// proposed it knows who waits for its outcome.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal {
    pub number: u64,
    pub batch: Bytes,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.number, self.batch.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({self})")
    }
}

/// openraft asks for serde of all that is in an entry; nothing of ours goes that way.
impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.number, self.batch.as_ref()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, batch) = <(u64, Vec<u8>)>::deserialize(deserializer)?;
        Ok(Self {
            number,
            batch: batch.into(),
        })
    }
}

/// Learns what became of a proposal: its result, or `None` when nobody will ever say.
pub struct Settle<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Settle<T> {
    pub fn new(settle: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(settle)))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Settle<T> {
    fn on_complete(mut self, result: T) {
        if let Some(settle) = self.0.take() {
            settle(Some(result));
        }
    }
}

impl<T> Drop for Settle<T> {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle(None);
        }
    }
}

/// An entry of a group's log.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    pub log_id: LogId,
    pub payload: Payload,
    /// Its stored form, where it came from a log or a link.
    #[serde(skip)]
    stored: Option<Bytes>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({self})")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.log_id, self.payload)
    }
}

impl RaftEntry for Entry {
    type CommittedLeaderId = LeaderId;
    type Payload = Payload;

    fn new(log_id: LogId, payload: Payload) -> Self {
        Self {
            log_id,
            payload,
            stored: None,
        }
    }
    fn log_id_parts(&self) -> (&LeaderId, u64) {
        (&self.log_id.leader_id, self.log_id.index)
    }
    fn set_log_id(&mut self, new: LogId) {
        self.log_id = new;
        self.stored = None;
    }
    fn get_membership(&self) -> Option<Membership<u64, EmptyNode>> {
        self.payload.get_membership()
    }
}

/// The version of the stored form, its first byte.
const FORMAT: u8 = 1;
const LOG_ID_BYTES: usize = 24;
const HEADER_BYTES: usize = 2 + LOG_ID_BYTES;

/// The second byte; never changes.
mod kind {
    pub const BLANK: u8 = 0;
    pub const NORMAL: u8 = 1;
    pub const MEMBERSHIP: u8 = 2;
}

/// Bytes that no version of this program wrote.
fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Entry {
    pub fn index(&self) -> u64 {
        self.log_id.index
    }

    /// The stored form: format, kind, then term, node and index as little-endian u64, then
    /// what the kind has to say.
    pub fn into_stored(self) -> Bytes {
        if let Some(stored) = self.stored {
            return stored;
        }
        let body = match &self.payload {
            EntryPayload::Normal(proposal) => 8 + proposal.batch.len(),
            _ => 64,
        };
        let mut out = BytesMut::with_capacity(HEADER_BYTES + body);
        out.put_u8(FORMAT);
        out.put_u8(match &self.payload {
            EntryPayload::Blank => kind::BLANK,
            EntryPayload::Normal(_) => kind::NORMAL,
            EntryPayload::Membership(_) => kind::MEMBERSHIP,
        });
        put_log_id(&mut out, &self.log_id);
        match &self.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(proposal) => {
                out.put_u64_le(proposal.number);
                out.put_slice(&proposal.batch);
            }
            EntryPayload::Membership(membership) => put_membership(&mut out, membership),
        }
        out.freeze()
    }

    /// The entry of a stored form, which it shares.
    pub fn from_stored(stored: Bytes) -> io::Result<Self> {
        let log_id = log_id_of(&stored)?;
        let body = stored.slice(HEADER_BYTES..);
        let payload = match stored[1] {
            kind::BLANK => EntryPayload::Blank,
            kind::NORMAL => {
                let mut rest = &body[..];
                let number = get_u64(&mut rest)?;
                EntryPayload::Normal(Proposal {
                    number,
                    batch: body.slice(8..),
                })
            }
            kind::MEMBERSHIP => EntryPayload::Membership(get_membership(&body)?),
            _ => return Err(damaged("unknown kind of log entry")),
        };
        Ok(Self {
            log_id,
            payload,
            stored: Some(stored),
        })
    }
}

/// The log id of a stored entry, without the rest.
pub fn log_id_of(stored: &[u8]) -> io::Result<LogId> {
    if stored.len() < HEADER_BYTES {
        return Err(damaged("log entry is too short"));
    }
    if stored[0] != FORMAT {
        return Err(damaged("unknown format of a log entry"));
    }
    get_log_id(&mut &stored[2..])
}

fn put_log_id(out: &mut BytesMut, id: &LogId) {
    out.put_u64_le(id.leader_id.term);
    out.put_u64_le(id.leader_id.node_id);
    out.put_u64_le(id.index);
}

fn get_u64(from: &mut &[u8]) -> io::Result<u64> {
    let (head, rest) = from
        .split_first_chunk()
        .ok_or_else(|| damaged("number is cut off"))?;
    *from = rest;
    Ok(u64::from_le_bytes(*head))
}

fn get_log_id(from: &mut &[u8]) -> io::Result<LogId> {
    let leader_id = LeaderId {
        term: get_u64(from)?,
        node_id: get_u64(from)?,
    };
    Ok(LogId {
        leader_id,
        index: get_u64(from)?,
    })
}

/// The configurations (one, or two while joint), each as its voters; then all nodes.
fn put_membership(out: &mut BytesMut, membership: &Membership<u64, EmptyNode>) {
    let configs = membership.get_joint_config();
    out.put_u64_le(configs.len() as u64);
    for voters in configs {
        out.put_u64_le(voters.len() as u64);
        voters.iter().for_each(|voter| out.put_u64_le(*voter));
    }
    out.put_u64_le(membership.nodes().count() as u64);
    membership
        .nodes()
        .for_each(|(node, _)| out.put_u64_le(*node));
}

fn get_membership(mut body: &[u8]) -> io::Result<Membership<u64, EmptyNode>> {
    let from = &mut body;
    let mut configs = Vec::new();
    for _ in 0..get_u64(from)? {
        configs.push(
            (0..get_u64(from)?)
                .map(|_| get_u64(from))
                .collect::<io::Result<_>>()?,
        );
    }
    let nodes: BTreeMap<u64, EmptyNode> = (0..get_u64(from)?)
        .map(|_| Ok((get_u64(from)?, EmptyNode::new())))
        .collect::<io::Result<_>>()?;
    Membership::new(configs, nodes).map_err(|_| damaged("impossible membership"))
}

/// The stored form of a vote: term, node, committed.
pub fn vote_to_stored(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.node_id);
    out.put_u8(vote.committed.into());
    out.freeze()
}

pub fn vote_from_stored(mut stored: &[u8]) -> io::Result<Vote> {
    let from = &mut stored;
    let leader_id = LeaderId {
        term: get_u64(from)?,
        node_id: get_u64(from)?,
    };
    match from {
        [committed @ (0 | 1)] => Ok(Vote {
            leader_id,
            committed: *committed == 1,
        }),
        _ => Err(damaged("damaged vote")),
    }
}

/// The stored form of the committed position; empty for none.
pub fn committed_to_stored(committed: Option<&LogId>) -> Bytes {
    committed.map_or_else(Bytes::new, log_id_to_stored)
}

pub fn committed_from_stored(stored: &[u8]) -> io::Result<Option<LogId>> {
    if stored.is_empty() {
        return Ok(None);
    }
    log_id_from_stored(stored).map(Some)
}

/// The stored form of a position: term, node, index.
pub fn log_id_to_stored(id: &LogId) -> Bytes {
    let mut out = BytesMut::with_capacity(LOG_ID_BYTES);
    put_log_id(&mut out, id);
    out.freeze()
}

pub fn log_id_from_stored(mut stored: &[u8]) -> io::Result<LogId> {
    let id = get_log_id(&mut stored)?;
    match stored {
        [] => Ok(id),
        _ => Err(damaged("bytes after a log id")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn log_id() -> LogId {
        LogId {
            leader_id: LeaderId {
                term: 3,
                node_id: 2,
            },
            index: 0x0102,
        }
    }

    fn round_trip(payload: Payload) -> Bytes {
        let stored = Entry::new(log_id(), payload.clone()).into_stored();
        let entry = Entry::from_stored(stored.clone()).unwrap();
        assert_eq!(entry.log_id, log_id());
        assert!(entry.payload == payload);
        assert_eq!(entry.into_stored(), stored, "the same bytes go on");
        stored
    }

    #[test]
    fn the_stored_form_of_a_group_entry_is_pinned() {
        let proposal = Proposal {
            number: 7,
            batch: Bytes::from_static(b"ab"),
        };
        let stored = round_trip(EntryPayload::Normal(proposal));
        #[rustfmt::skip]
        assert_eq!(&stored[..], &[
            1, 1, 3,0,0,0,0,0,0,0, 2,0,0,0,0,0,0,0, 2,1,0,0,0,0,0,0, 7,0,0,0,0,0,0,0, b'a', b'b',
        ]);
        assert_eq!(round_trip(EntryPayload::Blank).len(), HEADER_BYTES);
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        round_trip(EntryPayload::Membership(Membership::new_with_defaults(
            joint,
            [5],
        )));
    }

    #[test]
    fn damaged_group_entries_are_errors() {
        let proposal = Proposal {
            number: 7,
            batch: Bytes::new(),
        };
        let stored = Entry::new(log_id(), EntryPayload::Normal(proposal)).into_stored();
        for cut in 0..stored.len() {
            assert!(
                Entry::from_stored(stored.slice(..cut)).is_err(),
                "cut at {cut}"
            );
        }
        let membership = Membership::new_with_defaults(vec![BTreeSet::from([1])], []);
        let stored = Entry::new(log_id(), EntryPayload::Membership(membership)).into_stored();
        for cut in 0..stored.len() {
            assert!(
                Entry::from_stored(stored.slice(..cut)).is_err(),
                "cut at {cut}"
            );
        }
        let mut huge = stored[..HEADER_BYTES].to_vec();
        huge.extend([0xff; 16]);
        assert!(Entry::from_stored(huge.into()).is_err());
    }

    #[test]
    fn votes_and_positions_come_back() {
        for vote in [Vote::new(5, 1), Vote::new_committed(9, 3)] {
            assert_eq!(vote_from_stored(&vote_to_stored(&vote)).unwrap(), vote);
        }
        assert!(vote_from_stored(&[0; 16]).is_err());
        for id in [None, Some(log_id())] {
            assert_eq!(
                committed_from_stored(&committed_to_stored(id.as_ref())).unwrap(),
                id
            );
        }
        assert!(log_id_from_stored(&[0; 25]).is_err() && log_id_from_stored(&[]).is_err());
    }
}
