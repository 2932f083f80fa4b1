//! What other replicas fetch: a manifest, and the pages that it lists.

use std::sync::Arc;

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, Slot},
    v1,
};
use parking_lot::Mutex;

use super::{Keeper, Pin, events::uses_of_events};
use crate::{
    manifest::Manifest,
    pages::{PageKey, PagePlace},
};

/// What one request takes at most, in bytes, and in pages; a larger page goes alone.
pub const FETCH_BYTES: u64 = 1 << 20;
pub const FETCH_PAGES: usize = 4_096;

/// Another replica may fetch a manifest, and what it lists, as long as this is held.
pub struct Lent {
    keeper: Arc<Keeper>,
    manifest: Arc<Manifest>,
    _pins: [Pin; 2],
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut lent = self.keeper.lent.lock();
        let of = lent.iter().position(|m| Arc::ptr_eq(m, &self.manifest));
        of.into_iter().for_each(|place| {
            lent.swap_remove(place);
        });
    }
}

/// What the other side of one link was lent; it stays as long as the link.
#[derive(Default)]
pub struct Borrowed(Mutex<Option<Lent>>);

impl Keeper {
    pub fn lend(self: &Arc<Self>, manifest: Arc<Manifest>) -> Lent {
        let pages = self.kept.space.pin(self.group, &manifest.uses);
        let events = uses_of_events(&manifest.events);
        let events = self.kept.event_space.pin(self.group, &events);
        self.lent.lock().push(manifest.clone());
        Lent {
            keeper: self.clone(),
            manifest,
            _pins: [pages, events],
        }
    }

    /// The earliest entry after which another replica will want the log, of those that fetch a
    /// manifest now.
    pub fn lent_at(&self) -> Option<u64> {
        self.lent.lock().iter().map(|m| m.index()).min()
    }

    /// Lends the latest manifest where it is of this entry or a later one; else one is taken as soon as
    /// that can be.
    fn lend_latest(self: &Arc<Self>, at_least: u64, to: &Borrowed) -> Result<Bytes, String> {
        let latest = self.latest().filter(|latest| latest.index() >= at_least);
        let Some(latest) = latest else {
            let applied = self.core.lock().shard.applied();
            if applied >= at_least {
                self.tail.tidy();
            }
            return Err(format!(
                "it is at entry {applied}, and kept none since {at_least}"
            ));
        };
        let spelled = latest.encode().into();
        *to.0.lock() = Some(self.lend(latest));
        Ok(spelled)
    }

    /// What another replica asked for, in its order.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn fetch(
        self: &Arc<Self>,
        body: v1::fetch::Body,
        borrowed: &Borrowed,
    ) -> Result<Vec<Bytes>, String> {
        match body {
            // Of what it has not got itself it gives nothing.
            v1::fetch::Body::Latest(_) if self.left.lock().is_some() => Ok(Vec::new()),
            v1::fetch::Body::Latest(at_least) => Ok(vec![self.lend_latest(at_least, borrowed)?]),
            v1::fetch::Body::Manifest(index) => {
                let lent = self.lent.lock();
                let found = lent.iter().find(|manifest| manifest.index() == index);
                let manifest = found.ok_or("that manifest is not lent (any more)")?;
                Ok(vec![manifest.encode().into()])
            }
            v1::fetch::Body::Pages(request) => self.fetch_pages(request).await,
            v1::fetch::Body::Object(part) => Ok(vec![self.fetch_object(part).await?]),
            v1::fetch::Body::Document(request) => self.fetch_document(&request).await,
        }
    }

    async fn fetch_pages(&self, request: v1::FetchPages) -> Result<Vec<Bytes>, String> {
        let bytes: u64 = request.pages.iter().map(|p| u64::from(p.length)).sum();
        let too_large = bytes > FETCH_BYTES && request.pages.len() > 1;
        if too_large || request.pages.len() > FETCH_PAGES {
            return Err("too much at once".into());
        }
        let log = match request.events {
            true => &self.kept.events,
            false => &self.kept.pages,
        };
        let mut pages = Vec::with_capacity(request.pages.len());
        for page in &request.pages {
            let key = PageKey {
                group: self.group,
                slot: Slot(u16::try_from(page.slot).map_err(|_| "no such slot")?),
                doc: DocId::from_slice(&page.doc).ok_or("a document's id has 16 bytes")?,
                index: page.index,
            };
            let place = PagePlace {
                file: page.file,
                offset: page.offset,
                length: page.length,
            };
            let page = match log.read(&key, place).await {
                Ok(page) => page,
                Err(error) => {
                    let elsewhere = self.lent(&key).await;
                    elsewhere.ok_or_else(|| error.to_string())?
                }
            };
            pages.push(page);
        }
        Ok(pages)
    }
}
