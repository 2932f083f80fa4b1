//! What is known of a document without its page.

use std::sync::Arc;

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_ot::{Chain, Kind};
use codraft_proto::ids::{Revision, Role, UserId};

use super::{
    Document, Grant,
    grants::Grants,
    stored::{StateError, put_apart, take_apart},
};
use crate::command::{Algebra, Input, put_blob, put_varint};

/// Enough to answer what it is, who may do what with it, and where its head stands.
#[derive(Debug, Clone)]
pub struct Summary {
    pub kind: Kind,
    pub algebra: Algebra,
    pub title: Box<str>,
    /// As [`Document::owner`] says.
    pub owner: UserId,
    pub created_ms: u64,
    pub updated_ms: u64,
    pub rev: Revision,
    /// The chain hash at `rev`.
    pub hash: Chain,
    /// The window of history holds the events after this revision.
    pub floor: Revision,
    /// When it was set apart; none while it takes edits.
    pub quarantined_ms: Option<u64>,
    /// When it was deleted; none while it is there.
    pub deleted_ms: Option<u64>,
    pub(super) grants: Grants,
}

impl Summary {
    /// None, too, once it is deleted.
    pub fn grant(&self, user: &str) -> Option<Grant> {
        self.grants.of(user).filter(|_| self.deleted_ms.is_none())
    }

    /// None, too, once it is deleted.
    pub fn role(&self, user: &str) -> Option<Role> {
        self.grant(user).map(|grant| grant.role)
    }

    /// What it is while the document is there; a deleted one keeps its roles.
    pub fn kept_role(&self, user: &str) -> Option<Role> {
        self.grants.role(user)
    }

    /// In the order of the users' names.
    pub fn grants(&self) -> impl Iterator<Item = (&UserId, Grant)> {
        self.grants.iter()
    }

    /// Whether this is what a document says of itself.
    pub fn is_of(&self, document: &Document) -> bool {
        let spelled = |summary: &Summary| {
            let mut out = Vec::new();
            summary.encode(&mut out);
            out
        };
        spelled(self) == spelled(&document.summary())
    }
}

/// A summary as it is spelled, which takes a tenth of the memory: most documents are cold, and
/// nobody asks for them.
#[derive(Debug, Clone)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    pub fn of(summary: &Summary) -> Self {
        let mut spelled = Vec::new();
        summary.encode(&mut spelled);
        Self(spelled.into())
    }

    /// # Panics
    /// Never: it holds what `of` spelled.
    pub fn summary(&self) -> Summary {
        let spelled = Bytes::copy_from_slice(&self.0);
        Summary::decode(&mut Input::new(&spelled)).expect("a summary reads back")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it takes in memory, in bytes.
    pub fn heap_bytes(&self) -> u64 {
        (self.0.len() + 2 * size_of::<usize>()) as u64
    }
}

impl Document {
    pub fn summary(&self) -> Summary {
        Summary {
            kind: self.kind(),
            algebra: self.algebra(),
            title: self.title().into(),
            owner: self.owner().clone(),
            created_ms: self.created_ms(),
            updated_ms: self.updated_ms(),
            rev: self.rev(),
            hash: self.hash(),
            floor: self.floor(),
            quarantined_ms: self.quarantined_ms(),
            deleted_ms: self.deleted_ms(),
            grants: self.roles().clone(),
        }
    }
}

/// ```text
/// summary = kind u8 · algebra u8 · title text · owner text · created ms · updated ms · rev · hash 32
///           · floor · apart as in a stored document · grants likewise
/// ```
///
/// Numbers without a size are varints.
impl Summary {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.push(self.algebra as u8);
        put_blob(out, self.title.as_bytes());
        put_blob(out, self.owner.as_bytes());
        put_varint(out, self.created_ms);
        put_varint(out, self.updated_ms);
        put_varint(out, self.rev.0);
        out.extend_from_slice(&self.hash.0);
        put_varint(out, self.floor.0);
        put_apart(out, self.quarantined_ms, self.deleted_ms);
        self.grants.encode(out);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Result<Self, StateError> {
        let kind = input.number("document kind", Kind::from_number)?;
        let algebra = input.number("algebra", Algebra::from_number)?;
        let title = input.text("title")?.into();
        let owner = input.text("owner")?.into();
        let created_ms = input.varint("created ms")?;
        let updated_ms = input.varint("updated ms")? * u64::from(!mutant!("cold_without_its_time"));
        let rev = Revision(input.varint("rev")?);
        let hash = Chain(input.array("hash")?);
        let floor = Revision(input.varint("floor")?);
        let (quarantined_ms, deleted_ms) = take_apart(input)?;
        Ok(Self {
            kind,
            algebra,
            title,
            owner,
            created_ms,
            updated_ms,
            rev,
            hash,
            floor,
            quarantined_ms,
            deleted_ms,
            grants: Grants::decode(input, rev)?,
        })
    }
}
