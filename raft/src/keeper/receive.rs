//! A state that another replica kept, brought here: its manifest, and the pages that are not here yet.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DocId, GroupId, NodeId, Slot},
    v1,
};

use super::{
    BATCH, Batch, KeepError, Keeper, Kept, Pin, Writing, events,
    lend::{FETCH_BYTES, FETCH_PAGES},
    space::GroupUses,
};
use crate::{
    core::{Core, KeptState},
    events::BulkLink,
    machine::{InSlot, Page, Slots, StateError},
    manifest::{Bucket, Manifest, ManifestError, bucket, bucket_key, read_bucket},
    oplog::{self, EventPage, event_key},
    pages::{PageKey, PagePlace, Uses},
    tap,
    types::LogId,
};

/// What was fetched so far; it outlives an attempt, so that the next one goes on from there.
#[derive(Default)]
pub struct Partial {
    /// By document and the entry that touched it last.
    pages: BTreeMap<(DocId, u64), Page>,
    /// Of the lists of documents, by what is in them: many attempts write each once.
    lists: BTreeMap<Slot, Page>,
    /// Whose events these are, by their last entry: other replicas cut theirs elsewhere.
    events_of: Option<NodeId>,
    events: BTreeMap<u64, EventPage>,
    /// No manifest lists any of it yet.
    writing: Option<[Writing; 2]>,
}

impl Partial {
    /// How many pages came.
    #[cfg(test)]
    pub fn fetched(&self) -> usize {
        self.pages.len() + self.events.len()
    }
}

/// A manifest whose pages are all here.
pub struct Received {
    pub manifest: Manifest,
    /// Some of them are those of a manifest that was here before.
    _pin: Option<Pin>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the other replica: {0}")]
    Other(String),
    #[error("what came is not what was asked for: {0}")]
    Wrong(&'static str),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// One attempt.
pub(super) struct Attempt<'a> {
    pub keeper: &'a Keeper,
    pub link: &'a dyn BulkLink,
    /// Bytes that came.
    pub progress: &'a AtomicU64,
}

impl Keeper {
    /// Fetches the manifest that another replica took after the entry `last`, and what it lists.
    ///
    /// # Errors
    /// Why it could not be had. What came stays for another attempt.
    pub async fn receive(
        &self,
        from: NodeId,
        link: &dyn BulkLink,
        last: LogId,
        partial: &mut Partial,
        progress: &AtomicU64,
    ) -> Result<Received, ReceiveError> {
        let body = v1::fetch::Body::Manifest(last.index);
        let fetched = fetch(link, self.group, body).await;
        let fetched = fetched.map_err(ReceiveError::Other)?;
        let theirs = fetched.first().ok_or(ReceiveError::Wrong("nothing"))?;
        let theirs = Manifest::decode(theirs, Path::new("a manifest that was sent"))?;
        if theirs.group != self.group || theirs.last != last {
            return Err(ReceiveError::Wrong("another manifest"));
        }
        self.receive_listed(from, link, theirs, partial, progress)
            .await
    }

    /// Fetches what a manifest lists that another replica lent.
    pub(super) async fn receive_listed(
        &self,
        from: NodeId,
        link: &dyn BulkLink,
        theirs: Manifest,
        partial: &mut Partial,
        progress: &AtomicU64,
    ) -> Result<Received, ReceiveError> {
        let attempt = Attempt {
            keeper: self,
            link,
            progress,
        };
        let (own, held, pin) = self.here().await;
        if partial.writing.is_none() {
            let Kept { pages, events, .. } = &self.kept;
            let (page, event) = (pages.current().await, events.current().await);
            let page = self.kept.space.writing(self.group, page);
            let event = self.kept.event_space.writing(self.group, event);
            partial.writing = Some([page, event]);
        }
        let mut buckets = BTreeMap::new();
        for (slot, bucket) in &theirs.buckets {
            let own = own.as_ref().and_then(|own| own.buckets.get(slot));
            let bucket = match own.filter(|own| own.hash == bucket.hash) {
                Some(own) => *own,
                None => attempt.slot(*slot, bucket, &held, partial).await?,
            };
            buckets.insert(*slot, bucket);
        }
        let events = attempt.events(from, &theirs, partial).await?;
        let manifest = Manifest {
            events,
            buckets,
            // They follow from the documents.
            users: None,
            uses: Uses::new(),
            ..theirs
        };
        Ok(Received {
            manifest,
            _pin: pin,
        })
    }

    /// What is here that need not be fetched.
    async fn here(&self) -> (Option<Arc<Manifest>>, Slots, Option<Pin>) {
        // Between two manifests: what is held has its pages where the latest says.
        let _uses = self.uses.lock().await;
        let left = self.left.lock();
        let left = left.as_ref().map(|left| left.state.as_ref());
        let (own, held) = match left {
            Some(left) => left
                .map(|left| (left.manifest.clone(), left.documents.clone()))
                .unzip(),
            None => (self.latest(), Some(self.core.lock().shard.slots())),
        };
        let pin = own.as_ref();
        let pin = pin.map(|own| self.kept.space.pin(self.group, &own.uses));
        (own, held.unwrap_or_default(), pin)
    }

    /// Takes a state that was received for this replica's own: durable when it returns. Waits while
    /// the disk has no room.
    ///
    /// # Errors
    /// When the disk fails, or the state does not read back.
    pub async fn install(&self, manifest: &Manifest) -> Result<(), ReceiveError> {
        loop {
            match self.try_install(manifest).await {
                Err(ReceiveError::Keep(error @ KeepError::Full(_))) => self.again(error).await?,
                other => {
                    // A mark leads to all that was adopted, or nobody will.
                    *self.adopting.lock().await = false;
                    return other;
                }
            }
        }
    }

    async fn try_install(&self, manifest: &Manifest) -> Result<(), ReceiveError> {
        let mut uses = self.uses.lock().await;
        let mut manifest = manifest.clone();
        let documents = manifest.documents(&self.kept.pages).await?;
        let needed = GroupUses::of(&manifest, &documents);
        let before = self.latest().map(|latest| latest.index());
        let written = self.events.write(&self.core, |_: &mut Core| {}).await;
        let ((), mut events) = written?;
        // What the archive does not have is here, or in the other replica's archive alone.
        let is_here = manifest.archived.index <= events.to();
        if is_here && !mutant!("mark_taken_without_its_archive") {
            manifest.events = events.with(&manifest.events);
            manifest.archived = events.archived();
        }
        manifest.uses = needed.all().clone();
        let rounds = self.kept.archiving.rounds.clone();
        let pages = events::load(&self.kept.events, &manifest, rounds).await?;
        if !mutant!("installed_in_memory_alone") {
            self.place(&manifest, before).await?;
        }
        self.events.replace(&mut events, pages);
        *uses = needed;
        self.kept.space.placed(self.group, uses.all());
        let manifest = Arc::new(manifest);
        let state = KeptState {
            manifest: manifest.clone(),
            documents,
        };
        let mut core = self.core.lock();
        core.restore(&state);
        self.tail.begin_anew();
        // It lists no users' documents yet.
        self.tail.tidy();
        if let Some(at) = manifest.digest
            && !mutant!("install_forgets_the_rolling_hash")
        {
            self.digests.resume(at);
        }
        tap::installed(&manifest);
        drop(core);
        // The log since then goes.
        *self.earlier.lock() = None;
        *self.manifest.lock() = Some(manifest);
        self.placed.notify_one();
        Ok(())
    }
}

impl Attempt<'_> {
    async fn fetch(&self, body: v1::fetch::Body, count: usize) -> Result<Vec<Bytes>, ReceiveError> {
        let fetched = fetch(self.link, self.keeper.group, body).await;
        let pages = fetched.map_err(ReceiveError::Other)?;
        let bytes: usize = pages.iter().map(Bytes::len).sum();
        self.progress.fetch_add(bytes as u64, Relaxed);
        match pages.len() == count {
            true => Ok(pages),
            false => Err(ReceiveError::Wrong("another number of pages")),
        }
    }

    /// Pages as the other replica keeps them.
    pub async fn pages(
        &self,
        events: bool,
        asked: &[(PageKey, PagePlace)],
    ) -> Result<Vec<Bytes>, ReceiveError> {
        let reference = |(key, place): &(PageKey, PagePlace)| v1::PageReference {
            slot: key.slot.0.into(),
            doc: Bytes::copy_from_slice(&key.doc.0),
            index: key.index,
            file: place.file,
            offset: place.offset,
            length: place.length,
        };
        let pages = asked.iter().map(reference).collect();
        let body = v1::fetch::Body::Pages(v1::FetchPages { events, pages });
        let fetched = self.fetch(body, asked.len()).await?;
        let mut lengths = fetched.iter().zip(asked);
        match lengths.all(|(page, (_, place))| page.len() == place.length as usize) {
            true => Ok(fetched),
            false => Err(ReceiveError::Wrong("a page of another length")),
        }
    }

    /// The documents of a slot that are not here, and the list of all.
    async fn slot(
        &self,
        slot: Slot,
        theirs: &Bucket,
        held: &Slots,
        partial: &mut Partial,
    ) -> Result<Bucket, ReceiveError> {
        let Keeper { group, kept, .. } = self.keeper;
        let key = bucket_key(*group, slot);
        let listed = self.pages(false, &[(key, theirs.place)]).await?;
        let listed = read_bucket(&listed[0])?;
        let (mut here, mut lacking) = (BTreeMap::new(), Vec::new());
        for (doc, wanted) in listed.iter() {
            let Some(page) = wanted.page() else { continue };
            let own = held.get(slot, doc);
            let own = own.filter(|own| own.touched() == wanted.touched());
            let own = own.and_then(|own| own.page());
            let fetched = || partial.pages.get(&(*doc, wanted.touched())).copied();
            let known = own.or_else(fetched);
            match known.filter(|known| known.digest == page.digest) {
                Some(known) => {
                    here.insert(*doc, known);
                }
                None => {
                    let key = PageKey {
                        group: *group,
                        slot,
                        doc: *doc,
                        index: wanted.touched(),
                    };
                    lacking.push((key, page.place));
                }
            }
        }
        for asked in in_requests(&lacking) {
            let mut batch = Batch::default();
            let fetched = self.pages(false, asked).await?;
            for ((key, _), page) in asked.iter().zip(fetched) {
                batch.push(*key, page);
            }
            let mut written = Vec::new();
            batch.write(&kept.pages, &mut written).await?;
            for (doc, touched, page) in written {
                partial.pages.insert((doc, touched), page);
                here.insert(doc, page);
            }
        }
        let mut local = InSlot::default();
        for (doc, wanted) in listed.iter() {
            let page = here
                .get(doc)
                .ok_or(ReceiveError::Wrong("a list without pages"))?;
            local.push(*doc, wanted.moved(*page));
        }
        // Over the digests of all of them, those of what came among them.
        let (list, hash) = bucket(&local);
        if hash != theirs.hash {
            return Err(ReceiveError::Wrong("a list of other documents"));
        }
        let place = self.list(key, list, partial).await?;
        Ok(Bucket { place, ..*theirs })
    }

    /// Where a list of documents is written, once however many attempts there are.
    async fn list(
        &self,
        key: PageKey,
        list: Vec<u8>,
        partial: &mut Partial,
    ) -> Result<PagePlace, ReceiveError> {
        let digest = *blake3::hash(&list).as_bytes();
        let written = partial.lists.get(&key.slot);
        if let Some(written) = written.filter(|of| of.digest == digest) {
            return Ok(written.place);
        }
        let places = self.keeper.kept.pages.append(&[(key, list.into())]).await;
        let place = places.map_err(KeepError::of_disk)?[0];
        partial.lists.insert(key.slot, Page { place, digest });
        Ok(place)
    }

    /// The events of the entries that were not applied here.
    async fn events(
        &self,
        from: NodeId,
        theirs: &Manifest,
        partial: &mut Partial,
    ) -> Result<Vec<EventPage>, ReceiveError> {
        let Keeper {
            group,
            kept,
            core,
            events,
            ..
        } = self.keeper;
        let mut to = events.write(core, |_| {}).await?.1.to();
        if theirs.archived.index > to && !mutant!("install_without_archive") {
            self.keeper.adopt(theirs.archived, self.link).await?;
        }
        to = to.max(theirs.archived.index);
        if partial.events_of.replace(from) != Some(from) {
            partial.events.clear();
        }
        let mut have = to;
        let (mut wanted, mut lacking) = (Vec::new(), Vec::new());
        for page in theirs.events.iter().filter(|page| page.to > to) {
            if mutant!("install_without_events") {
                break;
            }
            // What nobody has any more cannot be told by this replica either.
            if page.from > have {
                return Err(ReceiveError::Wrong("events are missing"));
            }
            have = page.to;
            wanted.push(*page);
            let known = partial.events.get(&page.to);
            if known.is_none_or(|known| known.from != page.from) {
                lacking.push((event_key(*group, page.to), page.place));
            }
        }
        for asked in in_requests(&lacking) {
            let spelled = self.pages(true, asked).await?;
            let keys = asked.iter().map(|(key, _)| *key);
            let pages: Vec<_> = keys.zip(spelled).collect();
            let places = kept.events.append(&pages).await;
            let places = places.map_err(KeepError::of_disk)?;
            for ((key, spelled), place) in pages.iter().zip(places) {
                let page = wanted.iter().find(|page| page.to == key.index);
                let page = page.ok_or(ReceiveError::Wrong("another page"))?;
                tap::logged(place, &oplog::decode(spelled, page.from)?);
                let page = EventPage { place, ..*page };
                partial.events.insert(page.to, page);
            }
        }
        let brought = wanted
            .iter()
            .filter_map(|page| partial.events.get(&page.to));
        Ok(brought.copied().collect())
    }
}

/// Pages of a group, as another replica sends them.
pub(super) async fn fetch(
    link: &dyn BulkLink,
    group: GroupId,
    body: v1::fetch::Body,
) -> Result<Vec<Bytes>, String> {
    let (id, group, body) = (0, group.0, Some(body));
    let fetched = link.fetch(v1::Fetch { id, group, body }).await?;
    match fetched.error.is_empty() {
        true => Ok(fetched.pages),
        false => Err(fetched.error),
    }
}

/// As many as fit one request, time after time.
pub(super) fn in_requests(
    pages: &[(PageKey, PagePlace)],
) -> impl Iterator<Item = &[(PageKey, PagePlace)]> {
    const { assert!(FETCH_BYTES <= BATCH as u64) };
    let mut rest = pages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, place): &&(PageKey, PagePlace)| {
            bytes += u64::from(place.length);
            bytes <= FETCH_BYTES
        };
        let count = rest.iter().take(FETCH_PAGES).take_while(fits).count();
        let (request, later) = rest.split_at(count.max(1).min(rest.len()));
        rest = later;
        (!request.is_empty()).then_some(request)
    })
}
