//! The events of a group on their way into its op log, and out of it into the archive.

use std::{collections::BTreeMap, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::ids::{DocId, GroupId, Revision};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{KeepError, space::Space};
use crate::{
    archive::{ArchiveMark, RoundOptions, Rounds},
    budget::Budget,
    core::Core,
    manifest::{Manifest, ManifestError},
    oplog::{self, EventPage, Logged, event_key},
    pages::{PageLog, Uses},
    tap,
};

/// Writes what a group's core gathers.
pub struct Events {
    group: GroupId,
    log: PageLog,
    space: Space,
    budget: Arc<Budget>,
    pages: tokio::sync::Mutex<Pages>,
    /// How far they are archived.
    mark: watch::Sender<ArchiveMark>,
}

/// Where the events of a group are, those that the last manifest lists among them.
pub struct Pages {
    archived: ArchiveMark,
    /// What is not archived, or not all of it.
    listed: Vec<EventPage>,
    /// Of each of these, by where it ends: the first and the last revision of each document in it.
    revisions: BTreeMap<u64, BTreeMap<DocId, (Revision, Revision)>>,
    /// What the manifest on the disk lists.
    promised: Vec<EventPage>,
    rounds: Rounds,
}

impl Pages {
    pub fn listed(&self) -> &[EventPage] {
        &self.listed
    }

    /// Up to which entry the events are in the archive.
    pub fn archived(&self) -> ArchiveMark {
        self.archived
    }

    /// Where the next round ends, if it is complete.
    pub fn next_round(&self) -> Option<u64> {
        self.rounds.next()
    }

    /// Up to which entry the events are written.
    pub fn to(&self) -> u64 {
        let last = self.listed.last();
        last.map_or(self.archived.index, |page| page.to)
    }

    /// The pages with events of a document, from after one revision to another.
    pub fn listed_of(&self, doc: &DocId, after: Revision, to: Revision) -> Vec<EventPage> {
        let has = |page: &&EventPage| {
            let of_page = self.revisions.get(&page.to);
            let range = of_page.and_then(|docs| docs.get(doc));
            range.is_some_and(|(first, last)| *last > after && *first <= to)
        };
        self.listed.iter().filter(has).copied().collect()
    }

    /// What a page has of each document: its first and its last revision.
    pub fn revisions_in(&self, page: &EventPage) -> Option<&BTreeMap<DocId, (Revision, Revision)>> {
        self.revisions.get(&page.to)
    }

    /// How many rounds end up to an entry with which one ends, of those that are not archived.
    pub fn rounds_to(&self, index: u64) -> Option<u64> {
        self.rounds.count_to(index)
    }

    /// With those that another replica wrote, of entries that were not applied here.
    pub fn with(&self, pages: &[EventPage]) -> Vec<EventPage> {
        let to = self.to();
        let later = pages.iter().filter(|page| page.to > to);
        self.listed.iter().chain(later).copied().collect()
    }

    /// The rounds up to a mark are in the archive: what they hold may go.
    fn add_round(&mut self, archived: ArchiveMark) {
        self.rounds.archived(archived.index);
        self.archived = archived;
        let is_needed = |page: &EventPage| page.to > archived.index;
        self.listed
            .retain(|page| is_needed(page) && !mutant!("events_let_go_beyond_the_archive"));
        self.revisions.retain(|to, _| *to > archived.index);
    }

    /// Leaves out what tells of entries after `to`: they come again.
    pub fn cut(&mut self, to: u64) {
        self.listed.retain(|page| page.to <= to);
        self.revisions.retain(|end, _| *end <= to);
    }

    /// What is not archived, in bytes.
    fn listed_bytes(&self) -> u64 {
        let places = self.listed.iter().map(|page| page.place);
        places.map(|place| u64::from(place.length)).sum()
    }

    pub fn uses(&self) -> Uses {
        uses_of_events(self.listed.iter().chain(&self.promised))
    }
}

/// What event pages take of which file.
pub fn uses_of_events<'a>(pages: impl IntoIterator<Item = &'a EventPage>) -> Uses {
    let mut uses = Uses::new();
    for EventPage { place, .. } in pages {
        *uses.entry(place.file).or_default() += u64::from(place.length);
    }
    uses
}

/// What is in pages that a manifest lists.
///
/// # Errors
/// When one does not read back.
pub async fn load(
    log: &PageLog,
    manifest: &Manifest,
    options: RoundOptions,
) -> Result<Pages, ManifestError> {
    let archived = manifest.archived;
    let mut rounds = Rounds::after(archived.index, options);
    let mut revisions = BTreeMap::new();
    for page in &manifest.events {
        let mut events = read(log, manifest.group, page).await?;
        revisions.insert(page.to, revisions_of(&events));
        events.sort_by_key(|logged| logged.log_id.index);
        rounds.push(&events);
    }
    Ok(Pages {
        archived,
        listed: manifest.events.clone(),
        revisions,
        promised: manifest.events.clone(),
        rounds,
    })
}

fn revisions_of(events: &[Logged]) -> BTreeMap<DocId, (Revision, Revision)> {
    let mut revisions = BTreeMap::new();
    for Logged { event, .. } in events {
        let all = revisions.entry(event.doc).or_insert((event.rev, event.rev));
        *all = (all.0.min(event.rev), all.1.max(event.rev));
    }
    revisions
}

/// The events of a page, document by document.
///
/// # Errors
/// When it does not read back.
pub async fn read(
    log: &PageLog,
    group: GroupId,
    page: &EventPage,
) -> Result<Vec<Logged>, ManifestError> {
    let EventPage { from, to, place } = *page;
    let spelled = log.read(&event_key(group, to), place).await;
    let spelled = spelled.map_err(|error| ManifestError::EventPage { from, to, error })?;
    let events = oplog::decode(&spelled, page.from);
    events.map_err(|error| ManifestError::Events { to: page.to, error })
}

impl Pages {
    /// Of a group of which nothing was kept.
    pub fn new(options: RoundOptions) -> Self {
        Self {
            archived: ArchiveMark::default(),
            listed: Vec::new(),
            revisions: BTreeMap::new(),
            promised: Vec::new(),
            rounds: Rounds::after(0, options),
        }
    }
}

impl Events {
    pub fn new(
        group: GroupId,
        log: PageLog,
        (space, budget): (Space, Arc<Budget>),
        pages: Pages,
    ) -> Self {
        budget.waits(group, pages.listed_bytes());
        Self {
            group,
            log,
            space,
            budget,
            mark: watch::Sender::new(pages.archived),
            pages: tokio::sync::Mutex::new(pages),
        }
    }

    /// Where the events are. Nobody writes any as long as what is returned is held.
    pub async fn pages(&self) -> tokio::sync::MutexGuard<'_, Pages> {
        self.pages.lock().await
    }

    /// How far they are archived, whenever that changes.
    pub fn marks(&self) -> watch::Receiver<ArchiveMark> {
        self.mark.subscribe()
    }

    /// The rounds from a mark up to another are in the archive. A state that was installed meanwhile has a
    /// mark of its own.
    pub async fn add_round(&self, mark: ArchiveMark, archived: ArchiveMark) {
        let mut pages = self.pages.lock().await;
        if pages.archived == mark {
            pages.add_round(archived);
            self.budget.waits(self.group, pages.listed_bytes());
            self.mark.send_replace(archived);
        }
    }

    /// Writes the events of all entries that were applied by now; they are durable after the next
    /// sync of their log. `look` sees the core as it is then. Nobody else writes as long as what is
    /// returned is held.
    ///
    /// # Errors
    /// When the disk has no room or fails. What is not written stays where it was.
    pub async fn write<R>(
        &self,
        core: &Mutex<Core>,
        look: impl FnOnce(&mut Core) -> R,
    ) -> Result<(R, tokio::sync::MutexGuard<'_, Pages>), KeepError> {
        let mut pages = self.pages.lock().await;
        let (seen, last, mut left) = {
            let mut core = core.lock();
            let last = core.last.map_or(0, |last| last.index);
            (look(&mut core), last, core.fresh.count())
        };
        while left > 0 {
            let piece = core.lock().fresh.piece(left);
            left -= piece.len();
            let from = pages.to();
            let end = piece.last().filter(|_| left > 0);
            let to = end.map_or(last, |logged| logged.log_id.index);
            let key = event_key(self.group, to);
            let spelled = oplog::encode(&piece, from).into();
            if !mutant!("events_not_written") {
                let current = self.log.current().await;
                let _writing = self.space.writing(self.group, current);
                let places = self.log.append(&[(key, spelled)]).await;
                let place = places.map_err(KeepError::of_disk)?[0];
                tap::logged(place, &piece);
                pages.listed.push(EventPage { from, to, place });
                pages.revisions.insert(to, revisions_of(&piece));
                self.budget.waits(self.group, pages.listed_bytes());
                self.space.placed(self.group, &pages.uses());
            }
            pages.rounds.push(&piece);
            core.lock().fresh.written(piece.len());
            tokio::task::yield_now().await;
        }
        Ok((seen, pages))
    }

    /// A page was written elsewhere, with these events. What was archived meanwhile is not needed.
    pub async fn moved(&self, was: &EventPage, page: EventPage, events: &[Logged]) {
        let mut pages = self.pages.lock().await;
        let Some(place) = pages.listed.iter().position(|listed| listed == was) else {
            return;
        };
        pages.listed[place] = page;
        pages.revisions.insert(page.to, revisions_of(events));
        self.budget.waits(self.group, pages.listed_bytes());
        self.space.placed(self.group, &pages.uses());
    }

    /// A manifest is in its place.
    pub async fn placed(&self, manifest: &Manifest) {
        let mut pages = self.pages.lock().await;
        pages.promised.clone_from(&manifest.events);
        self.space.placed(self.group, &pages.uses());
    }

    /// Another replica's manifest is in its place, which lists these.
    pub fn replace(&self, pages: &mut Pages, by: Pages) {
        *pages = by;
        self.mark.send_replace(pages.archived);
        self.budget.waits(self.group, pages.listed_bytes());
        self.space.placed(self.group, &pages.uses());
    }
}
