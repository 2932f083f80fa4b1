//! What of a group is found on the disk at a start: its state, or what is left of it.

use std::{collections::BTreeSet, io, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::ids::GroupId;

use super::{Kept, Pages, events, space::GroupUses};
use crate::{
    core::KeptState,
    machine::Slots,
    manifest::{Manifest, ManifestError},
    oplog::EventPage,
    pages::PageError,
    tail::{KeepOptions, Tail},
    tap,
};

/// What was kept of a group.
pub struct Loaded {
    /// None where nothing was yet, and where it does not read back.
    pub state: Option<KeptState>,
    pub tail: Arc<Tail>,
    pub(super) left: Option<Left>,
    pub(super) uses: GroupUses,
    pub(super) pages: Pages,
}

/// What is left of a state that cannot be gone on from. Another replica's is to be taken, and of that
/// nothing needs to be fetched that is here.
pub struct Left {
    /// Why it cannot.
    pub wrong: String,
    /// Some of the lists of documents; none where the manifest itself is gone.
    pub(super) state: Option<KeptState>,
}

impl Loaded {
    /// Whether the group must not run before it has another replica's state.
    pub fn is_lacking(&self) -> bool {
        self.left.is_some()
    }

    fn take(&mut self, (state, uses, pages): Whole) {
        (self.state, self.uses, self.pages) = (Some(state), uses, pages);
    }

    /// Goes on as a replica without a state.
    fn lack(&mut self, wrong: String, rest: Option<Whole>) {
        let mut left = Left { wrong, state: None };
        if let Some((state, uses, pages)) = rest {
            (left.state, self.uses, self.pages) = (Some(state), uses, pages);
        }
        self.left = Some(left);
    }
}

type Whole = (KeptState, GroupUses, Pages);

impl Kept {
    /// The state of a group as it was kept. All of a node's groups are loaded before one of them is
    /// kept again. What does not read back is named in the log and set aside: where all of the log is
    /// still there the state comes of that, and else from another replica.
    ///
    /// # Errors
    /// When its manifest is of another version, or cannot be set aside.
    pub async fn load(
        &self,
        group: GroupId,
        options: KeepOptions,
        is_log_whole: bool,
    ) -> Result<Loaded, ManifestError> {
        let tail = Arc::new(Tail::new(options));
        let mut loaded = Loaded {
            state: None,
            tail: tail.clone(),
            left: None,
            uses: GroupUses::default(),
            pages: Pages::new(self.archiving.rounds.clone()),
        };
        let found = match self.whole(group).await {
            Ok(None) if !is_log_whole => Err(ManifestError::Missing),
            found => found,
        };
        match found {
            Ok(whole) => whole.into_iter().for_each(|whole| loaded.take(whole)),
            Err(error @ ManifestError::Format { .. }) => return Err(error),
            Err(wrong) => {
                let failed = |error| self.manifests.failed(error);
                self.manifests.set_aside(group).await.map_err(failed)?;
                tracing::error!(%group, %wrong, is_log_whole, "what was kept is damaged: set aside");
                if !is_log_whole {
                    tap::lacks(group);
                    loaded.lack(wrong.to_string(), self.rest(group).await);
                }
            }
        }
        self.space.join(group, loaded.uses.all(), tail.clone());
        self.event_space.join(group, &loaded.pages.uses(), tail);
        Ok(loaded)
    }

    /// What the latest manifest lists; none where there never was one.
    async fn whole(&self, group: GroupId) -> Result<Option<Whole>, ManifestError> {
        let Some(manifest) = self.manifests.load(group).await? else {
            return Ok(None);
        };
        let documents = manifest.documents(&self.pages).await?;
        self.has_events(&manifest)?;
        self.as_listed(manifest, documents).await.map(Some)
    }

    async fn as_listed(
        &self,
        mut manifest: Manifest,
        documents: Slots,
    ) -> Result<Whole, ManifestError> {
        let rounds = self.archiving.rounds.clone();
        let pages = events::load(&self.events, &manifest, rounds).await?;
        let uses = GroupUses::of(&manifest, &documents);
        manifest.uses = uses.all().clone();
        let manifest = Arc::new(manifest);
        let state = KeptState {
            manifest,
            documents,
        };
        Ok((state, uses, pages))
    }

    /// What can still be read of a manifest that was set aside: lists of documents, and events up to the
    /// first damaged file.
    async fn rest(&self, group: GroupId) -> Option<Whole> {
        let mut manifest = self.manifests.aside(group).await?;
        let (mut documents, mut wrong) = (Slots::default(), Vec::new());
        for (slot, bucket) in std::mem::take(&mut manifest.buckets) {
            match manifest.list(&self.pages, slot, &bucket).await {
                Ok(of_slot) => {
                    documents.put(slot, of_slot);
                    manifest.buckets.insert(slot, bucket);
                }
                Err(error) => wrong.push(error),
            }
        }
        for page in &manifest.events {
            let read = events::read(&self.events, group, page).await;
            wrong.extend(read.err());
        }
        // What else is in a damaged file is not built upon.
        let damaged = self.events.damaged().borrow().clone();
        let is_whole = |page: &EventPage| !damaged.contains(&page.place.file);
        let count = manifest
            .events
            .iter()
            .take_while(|page| is_whole(page))
            .count();
        manifest.events.truncate(count);
        // The first was named already.
        for wrong in wrong.iter().skip(1).take(NAMED) {
            tracing::error!(%group, %wrong, "what was kept is damaged");
        }
        self.as_listed(manifest, documents).await.ok()
    }

    /// Whether the files are there in which a manifest's events lie, to the end of the last one.
    fn has_events(&self, manifest: &Manifest) -> Result<(), PageError> {
        let files = self.events.files();
        for EventPage { place, .. } in &manifest.events {
            let bytes = files.get(&place.file).copied().unwrap_or(0);
            if bytes < place.end() {
                return Err(PageError::Gone {
                    file: place.file,
                    bytes,
                    needed: place.end(),
                });
            }
        }
        Ok(())
    }

    /// Removes what an earlier process wrote of events that no manifest lists: they are made again.
    /// Nothing goes while it is not known of a group what it has.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn tidy(&self, states: &[Loaded]) -> io::Result<()> {
        if states.iter().any(Loaded::is_lacking) {
            return Ok(());
        }
        let states = states.iter().filter_map(|loaded| loaded.state.as_ref());
        let mut listed: Vec<_> = states.flat_map(|state| &state.manifest.events).collect();
        if listed.len() > 1 && mutant!("old_events_removed_at_start") {
            listed.truncate(1);
        }
        let needed: BTreeSet<u32> = listed.iter().map(|page| page.place.file).collect();
        let files = self.events.files().into_keys();
        let unlisted: Vec<_> = files.filter(|file| !needed.contains(file)).collect();
        self.events.remove(unlisted).await
    }
}

/// What is damaged beside the first is named as long as it is not more.
const NAMED: usize = 16;
