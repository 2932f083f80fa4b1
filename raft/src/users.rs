//! User → documents: in which documents a user has a role, in the order of users and ids.
//!
//! The order lies in pages, and a manifest lists these with the first pair on each:
//!
//! ```text
//! page = (user text · documents varint · doc 16 *)*      users and documents rising
//! ```
//!
//! It is all in the documents' summaries too, so what is damaged of it is made anew. What changed since
//! the manifest is in memory ([`Changes`]). Both say where to look: whether a user still has a role, the
//! document says.

use std::{collections::BTreeSet, ops::Bound};

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, GroupId, Slot, UserId},
    placement::slot_of,
};

use crate::{
    command::{Command, Input, put_blob, put_varint},
    machine::{InSlot, Slots, StateError, Summary},
    pages::{PageKey, PagePlace},
};

/// A page is cut when it has grown to twice this, in bytes.
const PAGE_BYTES: usize = 16 << 10;
/// One that was left with less is put together with the next.
const SMALL_BYTES: usize = PAGE_BYTES / 4;

/// A document in a user's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub user: UserId,
    pub doc: DocId,
}

/// A part of a user's list.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their ids.
    pub documents: Vec<(DocId, Summary)>,
    /// The last that was looked at, behind which there may be more; none: there are no more.
    pub upto: Option<DocId>,
}

/// A page of the order: all from `first` on, up to the next page's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPage {
    pub first: Listed,
    pub place: PagePlace,
}

/// Whose page it is: no document's, and told by its place. No entry has the index 1 and no document's
/// list either ([`crate::manifest::bucket_key`]).
pub fn users_key(group: GroupId) -> PageKey {
    PageKey {
        group,
        slot: Slot(0),
        doc: DocId::default(),
        index: 1,
    }
}

/// Of pairs in order, those that belong on each page, which may be there already or not.
pub fn by_page<'a>(
    pages: &'a [UserPage],
    all: &'a [Listed],
) -> impl Iterator<Item = (&'a UserPage, &'a [Listed])> {
    let mut rest = all;
    pages.iter().enumerate().map(move |(nth, page)| {
        let end = pages.get(nth + 1).map_or(rest.len(), |next| {
            rest.partition_point(|listed| *listed < next.first)
        });
        let (of_page, later) = rest.split_at(end);
        rest = later;
        (page, of_page)
    })
}

/// What a page holds.
///
/// # Errors
/// When it is not a page of this order.
pub fn read_users(page: &Bytes) -> Result<Vec<Listed>, StateError> {
    let mut input = Input::new(page);
    let mut all: Vec<Listed> = Vec::new();
    while input.left() > 0 {
        let user: UserId = input.text("user")?.into();
        for _ in 0..input.varint("documents")? {
            let doc = DocId(input.array("doc")?);
            let listed = Listed {
                user: user.clone(),
                doc,
            };
            if all.last().is_some_and(|last| *last >= listed) {
                return Err(StateError::Invalid("order of users' documents"));
            }
            all.push(listed);
        }
    }
    Ok(all)
}

fn spell(all: &[Listed]) -> Vec<u8> {
    let mut page = Vec::new();
    for of_user in all.chunk_by(|a, b| a.user == b.user) {
        put_blob(&mut page, of_user[0].user.as_bytes());
        put_varint(&mut page, of_user.len() as u64);
        for listed in of_user {
            page.extend_from_slice(&listed.doc.0);
        }
    }
    page
}

/// The same, without the pairs of `changed` that are so no more, and with those that are.
pub fn merge(before: Vec<Listed>, changed: &[Listed], documents: &Slots) -> Vec<Listed> {
    let mut all: BTreeSet<Listed> = before.into_iter().collect();
    for listed in changed {
        let held = documents.get(slot_of(&listed.doc), &listed.doc);
        match held.is_some_and(|held| held.kept_role(&listed.user).is_some()) {
            true => all.insert(listed.clone()),
            false => all.remove(listed),
        };
    }
    all.into_iter().collect()
}

/// All pairs of a slot.
pub fn of_slot(documents: &InSlot) -> impl Iterator<Item = Listed> {
    documents.iter().flat_map(|(doc, held)| {
        let summary = held.summary();
        let users: Vec<UserId> = summary.grants().map(|(user, _)| user.clone()).collect();
        users.into_iter().map(|user| Listed { user, doc: *doc })
    })
}

/// The end of the order, while it is written anew.
#[derive(Default)]
pub struct Paging {
    open: Vec<Listed>,
    bytes: usize,
}

impl Paging {
    /// Whether a page that did not change may stand behind what was put here, once that is taken.
    pub fn may_end(&self) -> bool {
        self.open.is_empty() || self.bytes >= SMALL_BYTES
    }

    pub fn push(&mut self, listed: Listed) {
        let goes_on = self
            .open
            .last()
            .is_some_and(|last| last.user == listed.user);
        let user = if goes_on { 0 } else { listed.user.len() + 4 };
        self.bytes += user + size_of::<DocId>();
        self.open.push(listed);
    }

    /// A page of the first pairs, where there are enough; of all with `end`, where there are any.
    pub fn take(&mut self, end: bool) -> Option<(Listed, Vec<u8>)> {
        let all = std::mem::take(self);
        let most = match all.bytes >= 2 * PAGE_BYTES {
            true => PAGE_BYTES,
            false if end => usize::MAX,
            false => {
                *self = all;
                return None;
            }
        };
        let mut page = Paging::default();
        for listed in all.open {
            match page.bytes < most {
                true => page.push(listed),
                false => self.push(listed),
            }
        }
        let first = page.open.first()?.clone();
        Some((first, spell(&page.open)))
    }
}

/// Pairs that may be otherwise than the manifest has them.
#[derive(Default)]
pub struct Changes {
    since: BTreeSet<Listed>,
    /// Those that the manifest will have which is being written.
    writing: BTreeSet<Listed>,
}

impl Changes {
    /// A command was applied.
    pub fn applied(&mut self, command: &Command) {
        let (user, doc) = match command {
            Command::Create(create) => (&create.owner, create.doc),
            Command::Grant(grant) => (&grant.user, grant.doc),
            _ => return,
        };
        let user = user.clone();
        self.since.insert(Listed { user, doc });
    }

    /// All that the next manifest is to have, in order.
    pub fn begin(&mut self) -> Vec<Listed> {
        self.writing.append(&mut self.since);
        self.writing.iter().cloned().collect()
    }

    /// The manifest has them.
    pub fn written(&mut self) {
        self.writing.clear();
    }

    /// Of one user behind a document, in order, at most so many.
    pub fn of(&self, user: &UserId, after: Option<DocId>, most: usize) -> BTreeSet<DocId> {
        let listed = |doc| Listed {
            user: user.clone(),
            doc,
        };
        let from = match after {
            Some(after) => Bound::Excluded(listed(after)),
            None => Bound::Included(listed(DocId([0; 16]))),
        };
        let range = (from, Bound::Included(listed(DocId([0xff; 16]))));
        let of = |all: &BTreeSet<Listed>| -> Vec<DocId> {
            let range = all.range(range.clone());
            range.take(most).map(|listed| listed.doc).collect()
        };
        let all = of(&self.since).into_iter().chain(of(&self.writing));
        all.collect()
    }
}
