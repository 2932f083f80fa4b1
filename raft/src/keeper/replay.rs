//! A document as an earlier entry left it, made again of a page from before and the log since.
//!
//! Documents that change often were kept by each replica at entries of its own, so that none has the
//! page of another. But each has the manifest before its latest, and the log since.

use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;

use super::{Keeper, stored};
use crate::{
    command::{Batch, Command},
    machine::{Held, InSlot, Lookup, Shard, Slots},
    manifest::{Manifest, bucket_key, read_bucket},
    pages::PageKey,
    types::{Entry, Proposal},
};

impl Keeper {
    /// A document as an entry left it that was applied here. Nobody has compared it with anything.
    pub(super) async fn made_again(&self, key: &PageKey) -> Option<Bytes> {
        let (latest, earlier) = {
            let earlier = self.earlier.lock();
            let earlier = earlier.as_ref().map(|(manifest, _)| manifest.clone());
            (self.latest(), earlier)
        };
        for manifest in [latest, earlier].into_iter().flatten() {
            let _pin = self.kept.space.pin(self.group, &manifest.uses);
            let page = self.listed(&manifest, key).await;
            if page.as_ref().is_some_and(|held| held.touched() > key.index) {
                continue;
            }
            if let Some(made) = self.made_of(&manifest, page, key).await {
                return Some(made);
            }
        }
        None
    }

    /// A document as a manifest lists it.
    pub(super) async fn listed(&self, manifest: &Manifest, key: &PageKey) -> Option<Held> {
        let bucket = manifest.buckets.get(&key.slot)?;
        let list = bucket_key(self.group, key.slot);
        let listed = self.kept.pages.read(&list, bucket.place).await.ok()?;
        read_bucket(&listed).ok()?.get(&key.doc).cloned()
    }

    /// Goes on from what a manifest lists of a document, which may be nothing, up to an entry.
    async fn made_of(&self, from: &Manifest, held: Option<Held>, key: &PageKey) -> Option<Bytes> {
        let mut alone = Slots::default();
        let mut warm = None;
        if let Some(held) = held {
            let (touched, page) = (held.touched(), held.page()?);
            let before = self.read_page(&self.key(key.doc, touched), page).await;
            let before = before.ok()?;
            if touched == key.index {
                return Some(before);
            }
            warm = Some((touched, self.decode(key.doc, &before).ok()?));
            let mut documents = InSlot::default();
            documents.push(key.doc, held);
            alone.put(key.slot, documents);
        }
        let limits = self.core.lock().shard.limits().clone();
        let mut shard = Shard::restore(self.group, limits, from.index(), from.level, alone);
        if let Some((touched, document)) = warm {
            shard.warm(&key.doc, touched, Arc::new(document));
        }
        let mut next = from.index() + 1;
        while next <= key.index {
            let records = self.log.read(next, key.index + 1).await.ok()?;
            next += records.len() as u64;
            if records.is_empty() {
                return None;
            }
            for record in records {
                apply(&mut shard, Entry::from_stored(record).ok()?, key)?;
            }
            tokio::task::yield_now().await;
        }
        match shard.document(&key.doc) {
            Lookup::Present(document) => Some(stored(document).await),
            Lookup::Cold(_) | Lookup::Missing => None,
        }
    }
}

/// What of an entry is about one document.
fn apply(shard: &mut Shard, entry: Entry, key: &PageKey) -> Option<()> {
    let index = entry.index();
    let EntryPayload::Normal(Proposal { batch, .. }) = entry.payload else {
        return Some(());
    };
    let mut batch = Batch::decode(&batch).ok()?;
    let is_about = |command: &Command| command.doc() == Some(key.doc);
    batch.commands.retain(is_about);
    if !batch.commands.is_empty() {
        shard.apply(index, &batch);
    }
    Some(())
}
