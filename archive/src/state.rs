//! A document at one of its revisions, made of its events one by one: what it says, and who wrote it.

use std::sync::Arc;

use codraft_mutant::mutant;
use codraft_ot::{Authors, Chain, Content, Delta, Kind, Limits, OpError};
use codraft_proto::{
    event,
    ids::{DocId, Revision, UserId},
};
use codraft_raft::{command::Algebra, machine::Event};

use crate::authorship::Authorship;

/// What is archived was judged when it was applied.
pub(crate) const UNLIMITED: Limits = Limits {
    components: usize::MAX,
    document_units: u32::MAX >> 1,
    rich_bytes: usize::MAX,
    attributes: usize::MAX,
    attribute_bytes: usize::MAX,
    depth: usize::MAX,
    embed_bytes: usize::MAX,
};

/// Why an event does not follow on a state. Never the case for what was applied.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error("revision {found} where {expected} is next")]
    Gap { expected: Revision, found: Revision },
    #[error("revision {0} does not lead to its hash")]
    Chain(Revision),
    #[error("revision {0} has no operation that can be read")]
    Unreadable(Revision),
    #[error("revision {rev} does not fit its document: {error}")]
    Operation { rev: Revision, error: OpError },
}

impl FoldError {
    /// The event that does not follow.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Gap { expected, .. } => *expected,
            Self::Chain(rev) | Self::Unreadable(rev) | Self::Operation { rev, .. } => *rev,
        }
    }
}

/// Clones share what neither changes.
#[derive(Debug, Clone)]
pub struct State {
    pub doc: DocId,
    /// 0 before the document was created.
    pub rev: Revision,
    /// The chain hash at `rev`.
    pub hash: Chain,
    /// Of the event at `rev`.
    pub ts_ms: u64,
    pub algebra: Algebra,
    pub title: Box<str>,
    pub content: Content,
    /// By their numbers in `authors`.
    pub(crate) users: Arc<Vec<UserId>>,
    pub(crate) authors: Authors,
}

impl State {
    /// Before its first event.
    pub fn before(doc: DocId) -> State {
        State {
            doc,
            rev: Revision(0),
            hash: Chain::default(),
            ts_ms: 0,
            algebra: Algebra::Delta1,
            title: "".into(),
            content: Content::new(Kind::Text),
            users: Arc::default(),
            authors: Authors::new(Kind::Text),
        }
    }

    /// Goes on by the next event.
    ///
    /// # Errors
    /// When it is not the next one; the state is of no use then.
    pub fn pass(&mut self, event: &Event, scratch: &mut Vec<u8>) -> Result<(), FoldError> {
        let (expected, rev) = (self.rev + 1, event.rev);
        if rev != expected {
            let found = rev;
            return Err(FoldError::Gap { expected, found });
        }
        event.canonical(scratch);
        if self.hash.next(scratch) != event.hash {
            return Err(FoldError::Chain(rev));
        }
        match u32::from(event.kind) {
            event::CREATE => self.create(event)?,
            event::EDIT => {
                let author = self.number(&event.user);
                self.apply(rev, &event.body, [(u32::MAX, author)])?;
            }
            event::RESTORE => {
                let restored = event.restored().ok_or(FoldError::Unreadable(rev))?;
                let authorship = Authorship::decode(restored.authors);
                let authorship = authorship.map_err(|_| FoldError::Unreadable(rev))?;
                let mut wrote = Vec::with_capacity(authorship.runs.len());
                for (units, user) in authorship.iter() {
                    let user = match mutant!("restored_text_is_the_restorers") {
                        true => &event.user,
                        false => user,
                    };
                    wrote.push((units, self.number(user)));
                }
                self.apply(rev, restored.ops, wrote)?;
            }
            event::TITLE => {
                self.title = event.titled().ok_or(FoldError::Unreadable(rev))?.into();
            }
            _ => {}
        }
        (self.rev, self.hash, self.ts_ms) = (rev, event.hash, event.ts_ms);
        Ok(())
    }

    fn create(&mut self, event: &Event) -> Result<(), FoldError> {
        let rev = event.rev;
        let created = event.created().ok_or(FoldError::Unreadable(rev))?;
        self.algebra = created.algebra;
        self.title = created.title.into();
        self.content = Content::new(created.kind);
        self.users = Arc::new(vec![event.user.clone()]);
        self.authors = Authors::new(created.kind);
        if !created.initial.is_empty() {
            let inserts = decoded(rev, created.initial)?;
            let content = Content::from_delta(created.kind, &inserts, &UNLIMITED);
            self.content = content.map_err(|error| FoldError::Operation { rev, error })?;
            self.authors = Authors::of([(self.content.units(), 0)]);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        rev: Revision,
        ops: &[u8],
        wrote: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<(), FoldError> {
        let wrong = |error| FoldError::Operation { rev, error };
        let delta = decoded(rev, ops)?;
        self.content.apply(&delta, &UNLIMITED).map_err(wrong)?;
        self.authors = self.authors.after(&delta, wrote).map_err(wrong)?;
        Ok(())
    }

    fn number(&mut self, user: &UserId) -> u32 {
        let known = self.users.iter().position(|known| known == user);
        let number = known.unwrap_or_else(|| {
            Arc::make_mut(&mut self.users).push(user.clone());
            self.users.len() - 1
        });
        number as u32
    }

    pub fn kind(&self) -> Kind {
        self.content.kind()
    }

    /// Who wrote it, run by run.
    pub fn authorship(&self) -> Authorship {
        Authorship::of(&self.users, self.authors.iter())
    }

    /// Who wrote a part of it.
    pub fn authorship_of(&self, parts: impl IntoIterator<Item = (u32, u32)>) -> Authorship {
        let parts = parts.into_iter();
        let runs = parts.flat_map(|(from, units)| self.authors.part(from, units));
        Authorship::of(&self.users, runs)
    }

    /// What it takes in memory where nobody shares it, in bytes.
    pub fn heap_bytes(&self) -> u64 {
        let users: usize = self.users.iter().map(|user| user.len() + 40).sum();
        self.content.heap_bytes() + self.authors.heap_bytes() + users as u64
    }
}

fn decoded(rev: Revision, ops: &[u8]) -> Result<Delta, FoldError> {
    let delta = Delta::decode(ops, &UNLIMITED);
    delta.map_err(|error| FoldError::Operation { rev, error })
}
