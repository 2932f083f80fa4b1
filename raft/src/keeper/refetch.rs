//! Pages of the op log that do not read back, had from another replica while the group runs.
//!
//! Events are the same on every replica, but each cuts its pages elsewhere. So another one is asked for
//! its latest manifest, and for those of its pages that tell of the same entries; what it has archived of
//! them is taken as it is archived there, since rounds are the same everywhere. What came is written as
//! a page of its own, and the next manifest, which is due at once, lists that one. Nobody who types
//! waits for it: the archive does, and who asks for history is told to try again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use codraft_proto::ids::{DocId, NodeId, Revision};

use super::{
    AGAIN, KeepError, Keeper, events,
    mend::{Answer, Tried},
    receive::{Attempt, ReceiveError, in_requests},
};
use crate::{
    archive::ArchiveMark,
    events::BulkLink,
    machine::Event,
    manifest::{Manifest, ManifestError},
    oplog::{self, EventPage, Logged, event_key},
    tap,
};

type Runs = BTreeMap<DocId, Vec<Arc<Event>>>;

impl Keeper {
    /// Has again what does not read back of the op log, whenever that is found, as long as the group
    /// lives.
    pub async fn mend_events(&self) {
        let mut damaged = self.kept.events.damaged();
        let mut said = String::new();
        loop {
            let files = damaged.borrow_and_update().clone();
            match self.empty(&files).await {
                Ok(()) => {
                    said.clear();
                    if damaged.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    if why != said {
                        tracing::error!(group = %self.group, why, "events are damaged, and asked for again");
                        said = why;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Has all pages elsewhere that lie in these files.
    pub(super) async fn empty(&self, files: &BTreeSet<u32>) -> Result<(), KeepError> {
        let listed = self.events.pages().await.listed().to_vec();
        let mut emptied = Ok(());
        for page in &listed {
            if files.contains(&page.place.file) {
                emptied = emptied.and(self.rewrite(page).await);
            }
        }
        emptied
    }

    /// Writes a page elsewhere, with what another replica has of it if need be.
    async fn rewrite(&self, page: &EventPage) -> Result<(), KeepError> {
        let EventPage { from, to, place } = *page;
        let key = event_key(self.group, to);
        let error = match self.kept.events.read(&key, place).await {
            Ok(spelled) => match oplog::decode(&spelled, from) {
                Ok(events) => return self.put(page, from, &events).await,
                Err(error) => return Err(ManifestError::Events { to, error }.into()),
            },
            Err(error) => error,
        };
        let wrong = ManifestError::EventPage { from, to, error };
        let mut tried = Tried::default();
        for node in self.others() {
            let answer = match self.refetch(node, page).await {
                Ok(true) => {
                    tracing::warn!(group = %self.group, %wrong, "taken again from node {node}");
                    self.others.mended.fetch_add(1, Relaxed);
                    return Ok(());
                }
                Ok(false) => Answer::Never,
                Err(why) => Answer::NotNow(why.to_string()),
            };
            tried.said(node, answer);
        }
        Err(KeepError::Events { wrong, tried })
    }

    /// False where that node has no state either.
    async fn refetch(&self, node: NodeId, page: &EventPage) -> Result<bool, ReceiveError> {
        let link = self.others.peers.bulk(node);
        let link = link.ok_or_else(|| ReceiveError::Other("no such node".into()))?;
        let Some(theirs) = self.latest_of(&*link, page.to).await? else {
            return Ok(false);
        };
        let own = self.events.pages().await.archived();
        let mut from = page.from.max(own.index);
        if theirs.archived.index > from {
            self.take_rounds(theirs.archived, &*link).await?;
            from = theirs.archived.index;
        }
        if from < page.to {
            let events = self.fetch_events(&*link, &theirs, from, page.to).await?;
            self.check(page, from, &events).await?;
            self.put(page, from, &events).await?;
        }
        self.tail.tidy();
        Ok(true)
    }

    /// The rounds up to another replica's mark, as they are in its archive.
    async fn take_rounds(
        &self,
        theirs: ArchiveMark,
        link: &dyn BulkLink,
    ) -> Result<(), ReceiveError> {
        // Nothing is removed until a mark leads to what comes.
        let _adopting = self.adopting.lock().await;
        let own = self.archived_until(theirs).await;
        let own = own
            .ok_or_else(|| ReceiveError::Other("it has archived more than is kept here".into()))?;
        self.bring(theirs, link).await?;
        self.events.add_round(own, theirs).await;
        Ok(())
    }

    /// The mark that leads on to this one by rounds which a manifest on the disk covers.
    async fn archived_until(&self, theirs: ArchiveMark) -> Option<ArchiveMark> {
        let pages = self.events.pages().await;
        let own = pages.archived();
        let is_covered = self.latest()?.index() >= theirs.index;
        let rounds = pages.rounds_to(theirs.index)?;
        let is_next = is_covered && own.rounds + rounds == theirs.rounds;
        if !is_next {
            self.tail.tidy();
        }
        is_next.then_some(own)
    }

    /// The events of the entries after `from` that another replica's manifest lists, in their order.
    async fn fetch_events(
        &self,
        link: &dyn BulkLink,
        theirs: &Manifest,
        from: u64,
        to: u64,
    ) -> Result<Vec<Logged>, ReceiveError> {
        let progress = AtomicU64::new(0);
        let attempt = Attempt {
            keeper: self,
            link,
            progress: &progress,
        };
        let wanted = |page: &&EventPage| page.to > from && page.from < to;
        let wanted: Vec<_> = theirs.events.iter().filter(wanted).collect();
        let place = |page: &&EventPage| (event_key(self.group, page.to), page.place);
        let places: Vec<_> = wanted.iter().map(place).collect();
        let (mut have, mut events) = (from, Vec::new());
        let mut wanted = wanted.into_iter();
        for asked in in_requests(&places) {
            let fetched = attempt.pages(true, asked).await?;
            for (spelled, page) in fetched.into_iter().zip(wanted.by_ref()) {
                if page.from > have {
                    break;
                }
                let is_new = |of: &Logged| of.log_id.index > have && of.log_id.index <= to;
                events.extend(
                    oplog::decode(&spelled, page.from)?
                        .into_iter()
                        .filter(is_new),
                );
                have = page.to;
            }
        }
        if have < to {
            return Err(ReceiveError::Wrong("events are missing"));
        }
        events.sort_by_key(|logged| logged.log_id.index);
        Ok(events)
    }

    /// Whether these are the events that a page had after `from`: of each document the same revisions,
    /// which lead on from what is here before them, from one to the next, and to what is here behind.
    async fn check(
        &self,
        page: &EventPage,
        from: u64,
        events: &[Logged],
    ) -> Result<(), ReceiveError> {
        let mut runs = Runs::new();
        for Logged { event, .. } in events {
            runs.entry(event.doc).or_default().push(event.clone());
        }
        let has_all = {
            let pages = self.events.pages().await;
            let known = pages.revisions_in(page).cloned().unwrap_or_default();
            known.iter().all(
                |(doc, (first, last))| match runs.get(doc).map(|run| ends(run)) {
                    Some(ends) if from > page.from => ends.0 >= *first && ends.1 == *last,
                    Some(ends) => ends == (*first, *last),
                    None => from > page.from,
                },
            ) && runs.keys().all(|doc| known.contains_key(doc))
        };
        let beside = self.beside(page, &runs).await;
        let leads_on = |(doc, run): (&DocId, &Vec<Arc<Event>>)| {
            let (first, last) = ends(run);
            let before = beside.get(&(*doc, before(first)));
            let behind = beside.get(&(*doc, after(last)));
            let head = self.core.lock().shard.summary(doc);
            let is_head = head.filter(|head| head.rev == last).map(|head| head.hash);
            lead_on(before.into_iter().chain(run).chain(behind))
                && is_head.is_none_or(|hash| run.last().is_some_and(|event| event.hash == hash))
        };
        match has_all && runs.iter().all(leads_on) {
            true => Ok(()),
            false => Err(ReceiveError::Wrong("other events")),
        }
    }

    /// The events before and behind each of these runs, as far as other pages here have them.
    async fn beside(
        &self,
        page: &EventPage,
        runs: &Runs,
    ) -> BTreeMap<(DocId, Revision), Arc<Event>> {
        let sides = runs.iter().flat_map(|(doc, run)| {
            let (first, last) = ends(run);
            [(*doc, before(first)), (*doc, after(last))]
        });
        let sides: BTreeSet<_> = sides.collect();
        let mut others = BTreeMap::new();
        {
            let pages = self.events.pages().await;
            for (doc, rev) in &sides {
                let listed = pages.listed_of(doc, before(*rev), *rev);
                others.extend(listed.into_iter().map(|other| (other.to, other)));
            }
        }
        others.remove(&page.to);
        let mut beside = BTreeMap::new();
        for other in others.values() {
            // What is damaged too says nothing, and is had again for itself.
            let events = events::read(&self.kept.events, self.group, other).await;
            let events = events.into_iter().flatten().map(|logged| logged.event);
            let keyed = events.map(|event| ((event.doc, event.rev), event));
            beside.extend(keyed.filter(|(side, _)| sides.contains(side)));
            tokio::task::yield_now().await;
        }
        beside
    }

    /// Writes these as the page that another one was.
    async fn put(&self, was: &EventPage, from: u64, events: &[Logged]) -> Result<(), KeepError> {
        let mut events = events.to_vec();
        events.sort_by_key(|logged| logged.log_id.index);
        let key = event_key(self.group, was.to);
        let spelled: Bytes = oplog::encode(&events, from).into();
        let Self { kept, group, .. } = self;
        let current = kept.events.current().await;
        let _writing = kept.event_space.writing(*group, current);
        let places = kept.events.append(&[(key, spelled)]).await;
        let place = places.map_err(KeepError::of_disk)?[0];
        tap::logged(place, &events);
        let page = EventPage {
            from,
            place,
            ..*was
        };
        self.events.moved(was, page, &events).await;
        self.tail.tidy();
        Ok(())
    }
}

fn ends(run: &[Arc<Event>]) -> (Revision, Revision) {
    let rev = |event: Option<&Arc<Event>>| event.map_or(Revision(0), |event| event.rev);
    (rev(run.first()), rev(run.last()))
}

fn before(rev: Revision) -> Revision {
    Revision(rev.0.saturating_sub(1))
}

fn after(rev: Revision) -> Revision {
    Revision(rev.0.saturating_add(1))
}

/// Whether each event of a document is the next after the one before it, by the chain of hashes.
fn lead_on<'a>(events: impl Iterator<Item = &'a Arc<Event>>) -> bool {
    let (mut last, mut canonical) = (None::<&Arc<Event>>, Vec::new());
    for event in events {
        event.canonical(&mut canonical);
        let is_next = |last: &Arc<Event>| {
            event.rev == after(last.rev) && event.hash == last.hash.next(&canonical)
        };
        if last.is_some_and(|last| !is_next(last)) {
            return false;
        }
        last = Some(event);
    }
    true
}
