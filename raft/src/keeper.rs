//! What keeps a group's state outside memory and log: it writes pages of what changed, makes
//! manifests of them, reads documents back that left memory, and lets others leave it.

mod archivist;
mod cool;
mod events;
mod lend;
mod load;
mod log;
mod mend;
mod past;
mod receive;
mod recover;
mod refetch;
mod replay;
mod slots;
mod space;
#[cfg(test)]
mod tests;
mod users;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    disk::Disk,
    ids::{DocId, GroupId},
    placement::slot_of,
    transport::BoxFuture,
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use events::{Events, Pages};
pub use lend::Borrowed;
use load::Left;
pub use load::Loaded;
pub use log::LogEnd;
use mend::{ASK_LONG, Tried};
pub use mend::{ASK_ONCE, Others};
pub use receive::{Partial, Received};
use slots::Written;
use space::{GroupUses, Pin, Space, Writing, uses_of_users};

use crate::{
    archive::{Archive, RoundOptions},
    budget::{Budget, BudgetOptions},
    core::{Core, Prepare},
    digests::Digests,
    machine::{AtRest, Document, InSlot, Page},
    manifest::{MANIFESTS, Manifest, ManifestError, Manifests},
    oplog::{EVENTS, WAITING_BYTES},
    pages::{PAGES, PageError, PageKey, PageLog, PageOptions, Uses},
    tail::Tail,
    tap,
};

/// Stored documents are put together up to this size before they are written, in bytes.
const BATCH: usize = 1 << 20;
/// Until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a node keeps on its disk beside its log; clones are the same.
#[derive(Clone)]
pub struct Kept {
    pages: PageLog,
    events: PageLog,
    manifests: Manifests,
    space: Space,
    event_space: Space,
    archiving: Archiving,
    budget: Arc<Budget>,
}

/// Where events go on to; without it they stay in the op log.
#[derive(Clone, Default)]
struct Archiving {
    archive: Option<Arc<dyn Archive>>,
    rounds: RoundOptions,
    /// One group's round at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Keeps one group.
pub struct Keeper {
    group: GroupId,
    core: Arc<Mutex<Core>>,
    kept: Kept,
    events: Events,
    digests: Digests,
    tail: Arc<Tail>,
    log: Arc<dyn LogEnd>,
    others: Others,
    /// The manifest that is on the disk.
    manifest: Mutex<Option<Arc<Manifest>>>,
    /// The one before it, where this process took both: its pages stay, as the log since does.
    earlier: Mutex<Option<(Arc<Manifest>, Pin)>>,
    /// Those that other replicas fetch now.
    lent: Mutex<Vec<Arc<Manifest>>>,
    /// What is left of a state that cannot be gone on from, until another one is in its place.
    left: Mutex<Option<Left>>,
    /// What it needs of the pages. Held while the next one is taken.
    uses: tokio::sync::Mutex<GroupUses>,
    /// A manifest took its place.
    placed: Notify,
    /// Whether another replica's archive is being brought here, to which no mark leads yet. Held while
    /// what no mark leads to is removed.
    adopting: tokio::sync::Mutex<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the disk has no room for pages: {0}")]
    Full(#[source] io::Error),
    /// What it holds is not known any more.
    #[error("the disk of the pages failed: {0}")]
    Failed(#[source] io::Error),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("document {doc} does not read back: {reason}")]
    Damaged { doc: DocId, reason: String },
    #[error("document {doc} in file {file:08x}.pages: {wrong}; and nobody else has it: {tried}")]
    Lost {
        doc: DocId,
        file: u32,
        wrong: Box<KeepError>,
        tried: Tried,
    },
    #[error(
        "{wrong}; and nobody else has a state: {tried}. Where that is for good, put another node in \
         this one's place: codraft node replace"
    )]
    Nobody { wrong: String, tried: Tried },
    #[error(
        "{wrong}; and no other node has them now: {tried}. The archive and who asks for history wait for \
         them: bring back the nodes that are away; where none of them has them, bring back that file \
         from a copy"
    )]
    Events { wrong: ManifestError, tried: Tried },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl KeepError {
    fn of_disk(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => Self::Full(error),
            _ => Self::Failed(error),
        }
    }
}

impl Kept {
    /// Opens what is on the disk, in a node's folder.
    ///
    /// # Errors
    /// When its folders cannot be read or made.
    pub async fn open(disk: Arc<dyn Disk>, data: &Path, options: PageOptions) -> io::Result<Kept> {
        Ok(Kept {
            pages: PageLog::open(disk.clone(), data.join(PAGES), options.clone()).await?,
            events: PageLog::open(disk.clone(), data.join(EVENTS), options).await?,
            budget: Arc::new(Budget::new(BudgetOptions::default())),
            manifests: Manifests::open(disk, data.join(MANIFESTS)).await?,
            space: Space::default(),
            event_space: Space::default(),
            archiving: Archiving::default(),
        })
    }

    /// With an archive, and when a round of it ends.
    pub fn archived(mut self, archive: Arc<dyn Archive>, rounds: RoundOptions) -> Kept {
        self.archiving = Archiving {
            archive: Some(archive),
            rounds,
            ..self.archiving
        };
        self
    }

    /// With a limit to what waits to be archived.
    pub fn within(mut self, budget: BudgetOptions) -> Kept {
        self.budget = Arc::new(Budget::new(budget));
        self
    }
}

impl Keeper {
    /// Goes on from what was loaded, whose state `core` has.
    pub fn new(
        group: GroupId,
        core: Arc<Mutex<Core>>,
        kept: Kept,
        digests: Digests,
        log: Arc<dyn LogEnd>,
        others: Others,
        loaded: Loaded,
    ) -> Self {
        let Loaded {
            state,
            uses,
            pages,
            tail,
            left,
        } = loaded;
        let manifest = state.map(|state| state.manifest);
        if manifest.as_ref().is_some_and(|of| of.users.is_none()) {
            tail.tidy();
        }
        let space = kept.event_space.clone();
        let budget = kept.budget.clone();
        let events = Events::new(group, kept.events.clone(), (space, budget), pages);
        Self {
            group,
            core,
            kept,
            events,
            digests,
            tail,
            log,
            others,
            manifest: Mutex::new(manifest),
            earlier: Mutex::default(),
            lent: Mutex::default(),
            left: Mutex::new(left),
            uses: tokio::sync::Mutex::new(uses),
            placed: Notify::new(),
            adopting: tokio::sync::Mutex::default(),
        }
    }

    /// What of the disk events may take that are not archived.
    pub fn budget(&self) -> &Budget {
        &self.kept.budget
    }

    /// A manifest is to be taken whatever there is to write.
    pub fn tidy(&self) {
        self.tail.tidy();
    }

    /// The manifest that is on the disk.
    pub fn latest(&self) -> Option<Arc<Manifest>> {
        self.manifest.lock().clone()
    }

    /// Makes a manifest of the state as it is now, and writes the pages that it lacks. Nothing that
    /// is applied waits for it. Files that nobody needs any more are removed.
    ///
    /// # Errors
    /// When the disk has no room or fails; the manifest before stays.
    pub async fn take(&self) -> Result<Option<Arc<Manifest>>, KeepError> {
        let mut uses = self.uses.lock().await;
        // Without a state nothing moves, however little is needed of a file: two groups of a node that
        // lack theirs would have each other try again at once, for ever.
        if self.core.lock().image().is_none() {
            self.tail.begin_anew();
            return Ok(None);
        }
        let Kept { pages, space, .. } = &self.kept;
        let current = pages.current().await;
        let writing = space.writing(self.group, current);
        let taken = self.take_from(&mut uses, current).await;
        space.placed(self.group, uses.all());
        drop(writing);
        if taken.is_err() {
            self.tail.tidy();
        }
        let (unused, _) = space.judge(&pages.files(), &pages.damaged().borrow(), current);
        pages.remove(unused).await.map_err(KeepError::of_disk)?;
        if taken.is_ok() {
            self.forget_events().await?;
        }
        taken
    }

    /// Removes files of events that are all archived.
    async fn forget_events(&self) -> Result<(), KeepError> {
        let Kept {
            events,
            event_space,
            ..
        } = &self.kept;
        let current = events.current().await;
        let unused = event_space.unused(&events.files(), current);
        events.remove(unused).await.map_err(KeepError::of_disk)
    }

    async fn take_from(
        &self,
        uses: &mut GroupUses,
        current: u32,
    ) -> Result<Option<Arc<Manifest>>, KeepError> {
        let Kept { pages, space, .. } = &self.kept;
        let (_, moves) = space.judge(&pages.files(), &pages.damaged().borrow(), current);
        let look = |core: &mut Core| {
            self.tail.begin_anew();
            (core.image(), self.digests.newest(), core.changes.begin())
        };
        let ((image, digest, changed), events) = self.events.write(&self.core, look).await?;
        let (archived, listed) = (events.archived(), events.listed().to_vec());
        drop(events);
        let Some(image) = image else {
            return Ok(None);
        };
        let latest = self.latest();
        let before = latest.as_ref().map(|manifest| manifest.index());
        let is_told = |latest: &Arc<Manifest>| {
            let as_listed = latest.archived == archived && latest.events == listed;
            as_listed && latest.users.is_some() && image.is_in(latest)
        };
        if !uses.has(&moves) && latest.as_ref().is_some_and(is_told) {
            return Ok(latest);
        }
        let stays = |slot, documents: &InSlot| {
            let latest = latest.as_ref().filter(|_| !uses.is_in(slot, &moves))?;
            let is_known = documents.is_as_at(latest.index());
            latest.buckets.get(&slot).filter(|_| is_known).copied()
        };
        let users = self.write_users(&image.slots, &changed, &moves).await?;
        let (mut buckets, mut touched) = (BTreeMap::new(), Vec::new());
        for (slot, documents) in image.slots.into_slots() {
            match stays(slot, &documents) {
                Some(bucket) => drop(buckets.insert(slot, bucket)),
                None => touched.push((slot, documents)),
            }
        }
        let written = self.write_slots(touched, &moves).await?;
        buckets.extend(written.iter().map(|of| (of.slot, of.bucket)));
        let mut manifest = Manifest {
            group: self.group,
            last: image.last,
            membership: image.membership,
            level: image.level,
            digest,
            archived,
            events: listed,
            buckets,
            users: Some(users),
            uses: Uses::new(),
        };
        // A majority has the last entry by now, and this disk perhaps not.
        self.log.settled().await.map_err(KeepError::Failed)?;
        self.place(&manifest, before).await?;
        self.events.placed(&manifest).await;
        self.kept(&manifest, written, uses);
        manifest.uses = uses.all().clone();
        let manifest = Arc::new(manifest);
        if let Some(latest) = latest.filter(|latest| latest.index() < manifest.index()) {
            let pin = space.pin(self.group, &latest.uses);
            *self.earlier.lock() = Some((latest, pin));
        }
        *self.manifest.lock() = Some(manifest.clone());
        self.core.lock().changes.written();
        self.placed.notify_one();
        Ok(Some(manifest))
    }

    /// Puts a manifest in its place, once all that it lists is durable.
    async fn place(&self, manifest: &Manifest, before: Option<u64>) -> Result<(), KeepError> {
        let Kept {
            pages,
            events,
            manifests,
            ..
        } = &self.kept;
        if !mutant!("manifest_before_its_pages") {
            // Whatever the reason: a later sync makes nothing good.
            pages.sync().await.map_err(KeepError::Failed)?;
        }
        if !mutant!("manifest_before_its_events") {
            events.sync().await.map_err(KeepError::Failed)?;
        }
        let replaced = manifests.replace(manifest, before).await;
        replaced.map_err(KeepError::of_disk)
    }

    /// A manifest is in its place: what was written for it is told.
    fn kept(&self, manifest: &Manifest, written: Vec<Written>, uses: &mut GroupUses) {
        let (group, index) = (self.group, manifest.index());
        let count: usize = written.iter().map(|slot| slot.pages.len()).sum();
        tracing::info!(%group, index, pages = count, "state kept");
        for Written {
            slot, pages, needs, ..
        } in written
        {
            // A slot a hold, so that nobody waits long.
            self.core.lock().shard.keep_pages(slot, &pages);
            uses.replace(Some(slot), needs);
        }
        uses.replace(None, uses_of_users(manifest));
        tap::kept(manifest);
    }

    /// Keeps what is in memory within its bounds until the next manifest was due, and taken.
    ///
    /// # Errors
    /// When it is not known any more what the disk holds.
    pub async fn next(&self) -> Result<Arc<Manifest>, KeepError> {
        let idle = self.tail.idle();
        let mut look_at = Instant::now() + idle / 4;
        loop {
            let due = timeout_at(look_at, self.tail.due()).await;
            if Instant::now() >= look_at {
                self.cool_idle(idle).await;
                look_at = Instant::now() + idle / 4;
            }
            if due.is_err() {
                continue;
            }
            if let Err(error) = self.write_events().await {
                self.again(error).await?;
                continue;
            }
            // What was not written since it changed has to stay.
            if self.tail.is_manifest_due() || !self.cool().await {
                match self.take().await {
                    Ok(Some(manifest)) => {
                        self.cool().await;
                        self.tail.relieved();
                        return Ok(manifest);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.again(error).await?;
                        continue;
                    }
                }
            }
            self.tail.relieved();
        }
    }

    /// Writes the events that were applied, where there are enough.
    async fn write_events(&self) -> Result<(), KeepError> {
        if self.tail.are_events_due() {
            self.tail.begin_events();
            drop(self.events.write(&self.core, |_| {}).await?);
        }
        Ok(())
    }

    /// Waits before another attempt, where there can be one.
    async fn again(&self, error: KeepError) -> Result<(), KeepError> {
        if let KeepError::Failed(_) = error {
            return Err(error);
        }
        tracing::warn!(group = %self.group, %error, "the state could not be kept");
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }

    /// Brings documents into memory, each once: whether it stays until the others came is not waited
    /// for. Those that are missing are none of its business. What is damaged here the other replicas are
    /// asked for, at most so many times.
    ///
    /// # Errors
    /// When one cannot be read or is not what was written, and nobody else has it.
    pub async fn warm(&self, docs: &BTreeSet<DocId>, attempts: u32) -> Result<(), KeepError> {
        let (mut failed, mut lacking) = (BTreeMap::new(), docs.clone());
        loop {
            let cold = self.core.lock().shard.cold(&lacking);
            if cold.is_empty() {
                return Ok(());
            }
            for (doc, index, page) in cold {
                match self.read(doc, index, page).await {
                    Ok(document) => {
                        self.core.lock().warm(&doc, index, Arc::new(document));
                        lacking.remove(&doc);
                    }
                    // It may have been moved meanwhile, and its file removed.
                    Err(error) if failed.insert(doc, page) == Some(page) => {
                        self.mend(&self.key(doc, index), page, error, attempts)
                            .await?;
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// What readers of a document start from, without bringing it into memory; none of one that is
    /// there, or is not made.
    pub async fn at_rest(&self, doc: DocId) -> Result<Option<AtRest>, KeepError> {
        let cold = self.core.lock().shard.cold(&BTreeSet::from([doc]));
        let Some((doc, index, page)) = cold.into_iter().next() else {
            return Ok(None);
        };
        let stored = self.read_page(&self.key(doc, index), page).await?;
        match AtRest::of(&stored) {
            Ok(at_rest) => Ok(Some(at_rest)),
            Err(error) => Err(KeepError::Damaged {
                doc,
                reason: error.to_string(),
            }),
        }
    }

    /// Whose page it is: a document's as the entry `index` left it.
    fn key(&self, doc: DocId, index: u64) -> PageKey {
        let (group, slot) = (self.group, slot_of(&doc));
        PageKey {
            group,
            slot,
            doc,
            index,
        }
    }

    async fn read(&self, doc: DocId, index: u64, page: Page) -> Result<Document, KeepError> {
        #[cfg(codraft_mutants)]
        if mutant!("page_checksum_ignored") {
            let stored = self.kept.pages.read_unchecked(page.place).await?;
            if let Ok(document) = self.decode(doc, &stored) {
                return Ok(document);
            }
        }
        self.decode(doc, &self.read_page(&self.key(doc, index), page).await?)
    }

    /// What a page of a document holds, if that is what was written.
    async fn read_page(&self, key: &PageKey, page: Page) -> Result<Bytes, KeepError> {
        let stored = self.kept.pages.read(key, page.place).await?;
        match *blake3::hash(&stored).as_bytes() == page.digest {
            true => Ok(stored),
            false => Err(KeepError::Damaged {
                doc: key.doc,
                reason: "it is not what was written".into(),
            }),
        }
    }

    fn decode(&self, doc: DocId, stored: &Bytes) -> Result<Document, KeepError> {
        let limits = self.core.lock().shard.limits().clone();
        Document::decode(stored, &limits).map_err(|error| KeepError::Damaged {
            doc,
            reason: error.to_string(),
        })
    }
}

impl Prepare for Keeper {
    fn prepare<'a>(&'a self, docs: &'a BTreeSet<DocId>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let warm = self.warm(docs, ASK_LONG).await;
            if let Err(error @ KeepError::Lost { doc, .. }) = &warm {
                self.lack(*doc, error.to_string());
            }
            warm.map_err(io::Error::other)?;
            while self.core.lock().fresh.bytes() > WAITING_BYTES {
                if let Err(error) = self.events.write(&self.core, |_| {}).await {
                    self.again(error).await.map_err(io::Error::other)?;
                }
            }
            Ok(())
        })
    }
}

/// Other tasks have their turn after each step.
async fn stored(document: &Document) -> Bytes {
    let mut stored = Vec::with_capacity(document.content().encoded_bytes());
    let mut storing = document.storing();
    while !storing.step(&mut stored) {
        tokio::task::yield_now().await;
    }
    stored.into()
}

/// Stored documents that are written together.
#[derive(Default)]
struct Batch {
    pages: Vec<(PageKey, Bytes)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, key: PageKey, stored: Bytes) {
        self.bytes += stored.len();
        self.pages.push((key, stored));
    }

    /// Writes all of it, and begins anew.
    async fn write(
        &mut self,
        log: &PageLog,
        written: &mut Vec<(DocId, u64, Page)>,
    ) -> Result<(), KeepError> {
        let places = log.append(&self.pages).await.map_err(KeepError::of_disk)?;
        for ((key, stored), place) in self.pages.drain(..).zip(places) {
            let digest = *blake3::hash(&stored).as_bytes();
            written.push((key.doc, key.index, Page { place, digest }));
        }
        self.bytes = 0;
        Ok(())
    }
}
