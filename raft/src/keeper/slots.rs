//! Writes what a manifest lists: pages of documents, and of each slot the list of them.

use std::{collections::BTreeSet, sync::Arc};

use codraft_proto::ids::{DocId, Slot};

use super::{BATCH, Batch, KeepError, Keeper, space::uses_of, stored};
use crate::{
    machine::{InSlot, Page},
    manifest::{Bucket, bucket, bucket_key},
    pages::Uses,
};

/// So many slots are written together: mostly little is to be written of each, and every write is a
/// way to the disk's thread and back.
const TOGETHER: usize = 64;

/// What was written of a slot for a manifest.
pub(super) struct Written {
    pub slot: Slot,
    pub bucket: Bucket,
    /// Document, the entry that touched it last, and its page.
    pub pages: Vec<(DocId, u64, Page)>,
    pub needs: Uses,
}

impl Keeper {
    /// Writes the documents of these slots that have no page, or have it in one of the files `moves`, and the
    /// lists of all.
    pub(super) async fn write_slots(
        &self,
        slots: Vec<(Slot, Arc<InSlot>)>,
        moves: &BTreeSet<u32>,
    ) -> Result<Vec<Written>, KeepError> {
        let mut all = Vec::with_capacity(slots.len());
        let mut slots = slots.into_iter().peekable();
        while slots.peek().is_some() {
            let (mut batch, mut pages) = (Batch::default(), Vec::new());
            let mut together = Vec::with_capacity(TOGETHER);
            for (slot, documents) in slots.by_ref().take(TOGETHER) {
                let before = pages.len() + batch.pages.len();
                self.gather(&documents, moves, &mut batch, &mut pages)
                    .await?;
                let count = pages.len() + batch.pages.len() - before;
                together.push((slot, documents, count));
                tokio::task::yield_now().await;
            }
            batch.write(&self.kept.pages, &mut pages).await?;
            self.write_lists(together, pages, &mut all).await?;
        }
        Ok(all)
    }

    /// Puts a slot's documents that are to be written into the batch; what was written of it is in
    /// `pages`, in the same order.
    async fn gather(
        &self,
        documents: &InSlot,
        moves: &BTreeSet<u32>,
        batch: &mut Batch,
        pages: &mut Vec<(DocId, u64, Page)>,
    ) -> Result<(), KeepError> {
        for (doc, held) in documents.iter() {
            let key = self.key(*doc, held.touched());
            let moved = held.page();
            let moved = moved.filter(|page| moves.contains(&page.place.file));
            match (held.unwritten(), moved) {
                (Some(document), _) => {
                    batch.push(key, stored(document).await);
                }
                (None, Some(page)) => batch.push(key, self.stored(&key, page).await?),
                (None, None) => continue,
            }
            if batch.bytes >= BATCH {
                batch.write(&self.kept.pages, pages).await?;
            }
        }
        Ok(())
    }

    /// Writes the lists of slots, each with how many of the pages are its own.
    async fn write_lists(
        &self,
        together: Vec<(Slot, Arc<InSlot>, usize)>,
        pages: Vec<(DocId, u64, Page)>,
        all: &mut Vec<Written>,
    ) -> Result<(), KeepError> {
        let (mut lists, mut listed) = (Vec::new(), Vec::new());
        let mut pages = pages.into_iter();
        for (slot, documents, count) in together {
            let pages: Vec<_> = pages.by_ref().take(count).collect();
            // From here on nobody copies the slot because of this.
            let mut own = InSlot::clone(&documents);
            drop(documents);
            own.keep_pages(&pages);
            let (list, hash) = bucket(&own);
            lists.push((bucket_key(self.group, slot), list.into()));
            listed.push((slot, pages, own, hash));
            tokio::task::yield_now().await;
        }
        let places = self.kept.pages.append(&lists).await;
        let places = places.map_err(KeepError::of_disk)?;
        for ((slot, pages, own, hash), place) in listed.into_iter().zip(places) {
            let bucket = Bucket {
                documents: own.count() as u64,
                place,
                hash,
            };
            let needs = uses_of(&bucket, &own);
            all.push(Written {
                slot,
                bucket,
                pages,
                needs,
            });
        }
        Ok(())
    }
}
