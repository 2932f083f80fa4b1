//! Writes which user has which documents, and reads it back.

use std::{collections::BTreeSet, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::ids::{DocId, UserId};

use super::{BATCH, KeepError, Keeper};
use crate::{
    machine::{Slots, Summary},
    manifest::Manifest,
    pages::PageError,
    users::{Found, Listed, Paging, UserPage, by_page, merge, of_slot, read_users, users_key},
};

impl Keeper {
    /// Pages of all users' documents: those of the manifest before where nothing `changed`, others
    /// written. Those in one of the files `moves` are written anew, and all where one cannot be read.
    pub(super) async fn write_users(
        &self,
        documents: &Slots,
        changed: &[Listed],
        moves: &BTreeSet<u32>,
    ) -> Result<Vec<UserPage>, KeepError> {
        let changed = match mutant!("lists_without_what_changed") {
            true => &[],
            false => changed,
        };
        let latest = self.latest();
        let before = match &latest {
            None => Some(&[][..]),
            Some(latest) => latest.users.as_deref(),
        };
        if let Some(before) = before {
            match self.page_anew(before, documents, changed, moves).await {
                Err(KeepError::Page(error)) => self.named(&error),
                written => return written,
            }
        }
        let all = all(documents).await;
        self.page_anew(&[], documents, &all, moves).await
    }

    async fn page_anew(
        &self,
        before: &[UserPage],
        documents: &Slots,
        changed: &[Listed],
        moves: &BTreeSet<u32>,
    ) -> Result<Vec<UserPage>, KeepError> {
        let mut writing = Writing {
            keeper: self,
            paging: Paging::default(),
            pages: Vec::new(),
            bytes: 0,
            written: Vec::with_capacity(before.len()),
        };
        for (page, of_page) in by_page(before, changed) {
            let stays = of_page.is_empty() && !moves.contains(&page.place.file);
            if stays && writing.paging.may_end() {
                writing.cut(true).await?;
                writing.flush().await?;
                writing.written.push(page.clone());
                continue;
            }
            let listed = self.read_users(page).await?;
            for listed in merge(listed, of_page, documents) {
                writing.paging.push(listed);
            }
            writing.cut(false).await?;
            tokio::task::yield_now().await;
        }
        let rest = if before.is_empty() { changed } else { &[] };
        for some in rest.chunks(SOME) {
            for listed in merge(Vec::new(), some, documents) {
                writing.paging.push(listed);
            }
            writing.cut(false).await?;
            tokio::task::yield_now().await;
        }
        writing.cut(true).await?;
        writing.flush().await?;
        Ok(writing.written)
    }

    async fn read_users(&self, page: &UserPage) -> Result<Vec<Listed>, KeepError> {
        let key = users_key(self.group);
        let spelled = self.kept.pages.read(&key, page.place).await?;
        let (file, offset) = (page.place.file, page.place.offset);
        read_users(&spelled).map_err(|_| PageError::Damaged { file, offset }.into())
    }

    fn named(&self, error: &PageError) {
        tracing::error!(group = %self.group, %error, "lists of users' documents are made anew");
    }

    /// Documents in which a user has a role, or had one when they were deleted, and that are `wanted`, in the order of their ids from
    /// behind one on, at most so many. Only so many are looked at: where few are wanted it ends early.
    pub async fn of_user(
        &self,
        user: &UserId,
        after: Option<DocId>,
        most: usize,
        wanted: &(dyn Fn(&Summary) -> bool + Sync),
    ) -> Found {
        let (mut documents, mut upto, mut looked_at) = (Vec::new(), after, 0);
        let some = most.max(LOOK) + 1;
        loop {
            let listed = self.candidates(user, upto, some).await;
            let is_end = listed.len() < some;
            looked_at += listed.len();
            upto = listed.last().copied().or(upto);
            let core = self.core.lock();
            for doc in listed {
                let summary = core.shard.summary(&doc);
                let theirs = summary.filter(|summary| summary.kept_role(user).is_some());
                documents.extend(theirs.filter(wanted).map(|summary| (doc, summary)));
            }
            drop(core);
            if documents.len() > most {
                documents.truncate(most);
                upto = documents.last().map(|(doc, _)| *doc);
                return Found { documents, upto };
            }
            if is_end {
                let upto = None;
                return Found { documents, upto };
            }
            if looked_at >= LOOKED_AT_MAX {
                return Found { documents, upto };
            }
        }
    }

    /// The first of a user's documents behind one; some may be theirs no more.
    async fn candidates(&self, user: &UserId, after: Option<DocId>, most: usize) -> Vec<DocId> {
        loop {
            // Before the manifest is looked at: what is no change any more is in a later one.
            let mut docs = self.core.lock().changes.of(user, after, most);
            if mutant!("list_without_the_latest") {
                docs.clear();
            }
            let latest = self.latest();
            let read = match &latest {
                None => Ok(()),
                Some(manifest) => match &manifest.users {
                    Some(pages) => self.in_pages(pages, user, after, most, &mut docs).await,
                    None => {
                        self.in_summaries(user, after, &mut docs).await;
                        Ok(())
                    }
                },
            };
            match (read, latest) {
                (Ok(()), _) => return docs.into_iter().take(most).collect(),
                (Err(error), Some(latest)) => self.disown(&latest, &error),
                (Err(_), None) => {}
            }
        }
    }

    async fn in_pages(
        &self,
        pages: &[UserPage],
        user: &UserId,
        after: Option<DocId>,
        most: usize,
        docs: &mut BTreeSet<DocId>,
    ) -> Result<(), KeepError> {
        let doc = after.unwrap_or_default();
        let from = Listed {
            user: user.clone(),
            doc,
        };
        let at = pages.partition_point(|page| page.first <= from);
        let mut count = 0;
        for page in &pages[at.saturating_sub(1)..] {
            if page.first.user > *user || count >= most {
                break;
            }
            let listed = self.read_users(page).await?.into_iter();
            let of_user = listed.filter(|listed| listed.user == *user);
            for listed in of_user.filter(|listed| after.is_none_or(|after| listed.doc > after)) {
                docs.insert(listed.doc);
                count += 1;
            }
        }
        Ok(())
    }

    async fn in_summaries(&self, user: &UserId, after: Option<DocId>, docs: &mut BTreeSet<DocId>) {
        let slots = self.core.lock().shard.slots();
        for (_, documents) in slots.into_slots() {
            let theirs = documents
                .iter()
                .filter(|(_, held)| held.kept_role(user).is_some());
            let theirs = theirs.map(|(doc, _)| *doc);
            docs.extend(theirs.filter(|doc| after.is_none_or(|after| *doc > after)));
            tokio::task::yield_now().await;
        }
    }

    /// The lists of a manifest cannot be read, unless it was replaced and they went with it: the next
    /// one, due at once, has them anew.
    fn disown(&self, manifest: &Arc<Manifest>, error: &KeepError) {
        let mut latest = self.manifest.lock();
        if !latest
            .as_ref()
            .is_some_and(|latest| Arc::ptr_eq(latest, manifest))
        {
            return;
        }
        if let KeepError::Page(error) = error {
            self.named(error);
        }
        *latest = Some(Arc::new(Manifest {
            users: None,
            ..Manifest::clone(manifest)
        }));
        drop(latest);
        self.tail.tidy();
    }
}

/// At least so many of a user's documents are looked at in one turn.
const LOOK: usize = 128;
/// And for one answer about so many in all.
const LOOKED_AT_MAX: usize = 4_096;

/// So many pairs that had no page are gone through at once.
const SOME: usize = 1_024;

/// Each user of each document, in order.
async fn all(documents: &Slots) -> Vec<Listed> {
    let (mut all, mut users) = (Vec::new(), BTreeSet::<UserId>::new());
    for (_, documents) in documents.slots() {
        for Listed { user, doc } in of_slot(documents) {
            // One name for all documents of a user.
            let user = match users.get(&user) {
                Some(known) => known.clone(),
                None => {
                    users.insert(user.clone());
                    user
                }
            };
            all.push(Listed { user, doc });
        }
        tokio::task::yield_now().await;
    }
    all.sort_unstable();
    all
}

/// The order, as far as it is written.
struct Writing<'a> {
    keeper: &'a Keeper,
    paging: Paging,
    pages: Vec<(Listed, Vec<u8>)>,
    bytes: usize,
    written: Vec<UserPage>,
}

impl Writing<'_> {
    /// Makes pages of what there is enough of, or of all.
    async fn cut(&mut self, end: bool) -> Result<(), KeepError> {
        while let Some((first, page)) = self.paging.take(end) {
            self.bytes += page.len();
            self.pages.push((first, page));
            if self.bytes >= BATCH {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), KeepError> {
        if self.pages.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let key = users_key(self.keeper.group);
        let pages = std::mem::take(&mut self.pages).into_iter();
        let (firsts, pages): (Vec<_>, Vec<_>) = pages
            .map(|(first, page)| (first, (key, page.into())))
            .unzip();
        let places = self.keeper.kept.pages.append(&pages).await;
        let places = places.map_err(KeepError::of_disk)?;
        let written = firsts.into_iter().zip(places);
        self.written
            .extend(written.map(|(first, place)| UserPage { first, place }));
        Ok(())
    }
}
