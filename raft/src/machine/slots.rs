//! The documents of a group, slot by slot: each in memory, or known by its summary alone while a
//! page holds the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codraft_mutant::mutant;
use codraft_proto::ids::{DocId, Role, Slot};

use super::{Document, Lookup, Packed, Summary};
use crate::pages::PagePlace;

/// The stored form of a document, as the last command that touched it left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub place: PagePlace,
    /// BLAKE3 over the stored form.
    pub digest: [u8; 32],
}

/// A document as a shard holds it.
#[derive(Debug, Clone)]
pub struct Held {
    /// The log index of the last entry that touched it.
    touched: u64,
    /// None while what that entry made of it is not written.
    page: Option<Page>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Warm(Arc<Document>),
    /// Where there is a page.
    Cold(Packed),
}

impl Held {
    pub fn cold(touched: u64, page: Page, summary: Summary) -> Self {
        Self {
            touched,
            page: Some(page),
            body: Body::Cold(Packed::of(&summary)),
        }
    }

    /// The same, cold, with its page at another place.
    pub fn moved(&self, page: Page) -> Self {
        Self {
            touched: self.touched,
            page: Some(page),
            body: Body::Cold(self.packed()),
        }
    }

    pub(super) fn new(touched: u64, document: Document) -> Self {
        Self {
            touched,
            page: None,
            body: Body::Warm(Arc::new(document)),
        }
    }

    pub fn touched(&self) -> u64 {
        self.touched
    }

    pub fn page(&self) -> Option<Page> {
        self.page
    }

    pub fn lookup(&self) -> Lookup<'_> {
        match &self.body {
            Body::Warm(document) => Lookup::Present(document),
            Body::Cold(packed) => Lookup::Cold(packed),
        }
    }

    /// BLAKE3 over the stored form.
    pub fn digest(&self) -> [u8; 32] {
        match (&self.body, &self.page) {
            (Body::Warm(document), None) => document.state_digest(),
            (_, Some(page)) => page.digest,
            // Not made.
            (Body::Cold(_), None) => [0; 32],
        }
    }

    pub fn summary(&self) -> Summary {
        match &self.body {
            Body::Warm(document) => document.summary(),
            Body::Cold(packed) => packed.summary(),
        }
    }

    /// What a user may do with it while it is there; none: nothing.
    pub fn kept_role(&self, user: &str) -> Option<Role> {
        match &self.body {
            Body::Warm(document) => document.roles().role(user),
            Body::Cold(packed) => packed.summary().kept_role(user),
        }
    }

    pub fn packed(&self) -> Packed {
        match &self.body {
            Body::Warm(document) => Packed::of(&document.summary()),
            Body::Cold(packed) => packed.clone(),
        }
    }

    pub(super) fn heap_bytes(&self) -> u64 {
        match &self.body {
            Body::Warm(document) => document.heap_bytes(),
            Body::Cold(packed) => packed.heap_bytes(),
        }
    }

    /// What is to be written of it: none where its page holds all.
    pub fn unwritten(&self) -> Option<&Arc<Document>> {
        match &self.body {
            Body::Warm(document) if self.page.is_none() => Some(document),
            Body::Warm(_) | Body::Cold(_) => None,
        }
    }

    pub(super) fn quarantined_ms(&self) -> Option<u64> {
        match &self.body {
            Body::Warm(document) => document.quarantined_ms(),
            Body::Cold(packed) => packed.summary().quarantined_ms,
        }
    }

    /// Lets go of what its page holds; whether there is one.
    pub(super) fn cool(&mut self) -> bool {
        if let (Body::Warm(document), Some(_)) = (&self.body, &self.page) {
            self.body = Body::Cold(Packed::of(&document.summary()));
            return true;
        }
        false
    }

    /// What its page holds was read; whether it was cold.
    pub(super) fn warm(&mut self, document: Arc<Document>) -> bool {
        let was_cold = matches!(self.body, Body::Cold(_));
        self.body = Body::Warm(document);
        was_cold
    }
}

/// The documents of one slot, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct InSlot {
    documents: BTreeMap<DocId, Held>,
    /// The log index of the last entry that touched one of them.
    touched: u64,
    /// Those whose page is no good, and that are in memory until another one is written.
    mended: BTreeSet<DocId>,
}

/// All of a group. Clones share everything; what changes is copied then, slot by slot.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    slots: BTreeMap<Slot, Arc<InSlot>>,
    len: usize,
}

impl Slots {
    pub fn count(&self) -> usize {
        self.len
    }

    /// In the order of the slots.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &InSlot)> {
        self.slots.iter().map(|(slot, of)| (*slot, &**of))
    }

    /// In the order of the slots.
    pub fn into_slots(self) -> impl Iterator<Item = (Slot, Arc<InSlot>)> {
        self.slots.into_iter()
    }

    pub fn get(&self, slot: Slot, doc: &DocId) -> Option<&Held> {
        self.slots.get(&slot)?.documents.get(doc)
    }

    /// The documents of a slot that was empty.
    pub fn put(&mut self, slot: Slot, documents: InSlot) {
        self.len += documents.count();
        self.slots.insert(slot, Arc::new(documents));
    }

    /// All others stay.
    pub fn leave_out(&mut self, slot: Slot, doc: &DocId) {
        let of = self.slots.get_mut(&slot).map(Arc::make_mut);
        let gone = of.and_then(|of| of.documents.remove(doc));
        self.len -= usize::from(gone.is_some());
    }

    /// In the order of the slots, then of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &DocId, &Held)> {
        let slots = self.slots.iter();
        slots.flat_map(|(slot, held)| held.iter().map(|(doc, held)| (*slot, doc, held)))
    }

    /// Those behind a document, or all, in the same order.
    pub fn after(
        &self,
        after: Option<(Slot, DocId)>,
    ) -> impl Iterator<Item = (Slot, &DocId, &Held)> {
        let from = after.map_or(Slot(0), |(slot, _)| slot);
        let held = self.slots.range(from..).flat_map(|(slot, held)| {
            let of_slot = held.iter();
            of_slot.map(|(doc, held)| (*slot, doc, held))
        });
        held.filter(move |(slot, doc, _)| after.is_none_or(|after| (*slot, **doc) > after))
    }

    /// To change a document, or what is kept of it.
    pub(super) fn get_mut(&mut self, slot: Slot, doc: &DocId) -> Option<&mut Held> {
        let of = self.slots.get_mut(&slot)?;
        of.documents.contains_key(doc).then_some(())?;
        Arc::make_mut(of).documents.get_mut(doc)
    }

    /// A document that is in memory.
    pub(super) fn warm(&self, slot: Slot, doc: &DocId) -> Option<&Arc<Document>> {
        self.get(slot, doc)?.lookup().present()
    }

    /// A document that is in memory, to be changed by the entry at `index`.
    pub(super) fn touch(
        &mut self,
        slot: Slot,
        doc: &DocId,
        index: u64,
    ) -> Option<&mut Arc<Document>> {
        let of = self.slots.get_mut(&slot)?;
        // Looked for before anything is copied.
        of.documents.contains_key(doc).then_some(())?;
        let of = Arc::make_mut(of);
        let held = of.documents.get_mut(doc)?;
        let Body::Warm(document) = &mut held.body else {
            return None;
        };
        (of.touched, held.touched, held.page) = (index, index, None);
        Some(document)
    }

    /// See [`InSlot::keep_pages`].
    pub(super) fn keep_pages(&mut self, slot: Slot, pages: &[(DocId, u64, Page)]) {
        if let Some(of) = self.slots.get_mut(&slot).filter(|_| !pages.is_empty()) {
            Arc::make_mut(of).keep_pages(pages);
        }
    }

    /// The page of a document that is in memory is no good: it is to be written anew, though no
    /// entry touches the document.
    pub(super) fn mended(&mut self, slot: Slot, doc: &DocId) {
        let is_warm = self.warm(slot, doc).is_some();
        if let Some(of) = self.slots.get_mut(&slot).filter(|_| is_warm) {
            let of = Arc::make_mut(of);
            of.documents
                .get_mut(doc)
                .into_iter()
                .for_each(|held| held.page = None);
            of.mended.insert(*doc);
        }
    }

    /// A document that was not there.
    pub(super) fn insert(&mut self, slot: Slot, doc: DocId, held: Held) {
        let of = Arc::make_mut(self.slots.entry(slot).or_default());
        of.touched = of.touched.max(held.touched);
        let before = of.documents.insert(doc, held);
        self.len += usize::from(before.is_none());
    }
}

impl InSlot {
    pub fn touched(&self) -> u64 {
        self.touched
    }

    /// Whether the list of its documents at an earlier entry, if it was written, is as it is now.
    pub fn is_as_at(&self, index: u64) -> bool {
        self.touched <= index && self.mended.is_empty()
    }

    pub fn count(&self) -> usize {
        self.documents.len()
    }

    pub fn get(&self, doc: &DocId) -> Option<&Held> {
        self.documents.get(doc)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&DocId, &Held)> {
        self.documents.iter()
    }

    /// Documents were written, each as the entry left it that touched it last by then.
    pub fn keep_pages(&mut self, pages: &[(DocId, u64, Page)]) {
        for (doc, touched, page) in pages {
            if let Some(held) = self.documents.get_mut(doc)
                && (held.touched == *touched || mutant!("stale_page_taken_for_current"))
            {
                held.page = Some(*page);
                self.mended.remove(doc);
            }
        }
    }

    /// Puts a document behind the others; false where that is not its place.
    pub fn push(&mut self, doc: DocId, held: Held) -> bool {
        let last = self.documents.last_key_value();
        if last.is_some_and(|(last, _)| *last >= doc) {
            return false;
        }
        self.touched = self.touched.max(held.touched);
        self.documents.insert(doc, held);
        true
    }
}
