//! Moves a group's events from its op log into the archive, round by round.

use std::sync::atomic::Ordering::Relaxed;

use codraft_mutant::mutant;
use codraft_proto::v1;

use super::{AGAIN, Keeper, events, events::Pages, receive::ReceiveError};
use crate::{
    archive::{Archive, ArchiveError, ArchiveMark, Cause, Round},
    events::BulkLink,
    oplog::EventPage,
    tap,
};

/// What is not needed any more is removed after so many rounds.
const TIDY_EVERY: u64 = 16;

impl Keeper {
    /// Archives every complete round that a manifest on the disk covers, as long as the group lives.
    pub async fn archive(&self) {
        let Some(archive) = &self.kept.archiving.archive else {
            return;
        };
        let mut mended = String::new();
        loop {
            let archived = self.archive_round(&**archive).await;
            self.budget().tried(self.group, archived.is_ok());
            match archived {
                Ok(true) => {}
                Ok(false) => self.placed.notified().await,
                Err(error) => {
                    let why = error.to_string();
                    // What was put right and is wrong at once again is wrong in another way.
                    if why != mended && self.mend_archive(&*error).await {
                        mended = why;
                        continue;
                    }
                    mended.clear();
                    tracing::warn!(group = %self.group, why, "events could not be archived");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Brings here from another replica what was missing or damaged in the archive where this is why
    /// something failed. Whether that was the reason and is put right.
    pub async fn mend_archive(&self, why: &Cause) -> bool {
        let Some(archive) = &self.kept.archiving.archive else {
            return false;
        };
        let _turn = self.others.turn.lock().await;
        for node in self.others() {
            let Some(link) = self.others.peers.bulk(node) else {
                continue;
            };
            match archive.mend(why, &*link).await {
                Ok(true) => {
                    let group = self.group;
                    tracing::warn!(%group, %why, "the archive was damaged: taken again from node {node}");
                    self.others.mended.fetch_add(1, Relaxed);
                    return true;
                }
                Ok(false) => return false,
                Err(error) => {
                    tracing::warn!(group = %self.group, %node, %error, "not had from there")
                }
            }
        }
        false
    }

    /// Resolves when every complete round is archived that a manifest on the disk covers.
    pub async fn caught_up(&self) {
        let mut marks = self.events.marks();
        while self.kept.archiving.archive.is_some() {
            let next = self.complete_round(&*self.events.pages().await);
            if next.is_none() || marks.changed().await.is_err() {
                break;
            }
        }
    }

    /// Where the next round ends that can be archived.
    fn complete_round(&self, pages: &Pages) -> Option<u64> {
        // What a crash takes away of later events might come again as others.
        let covered = self.latest()?.index();
        pages.next_round().filter(|to| *to <= covered)
    }

    /// Archives the next round; whether there was one.
    async fn archive_round(&self, archive: &dyn Archive) -> Result<bool, ArchiveError> {
        let (mark, to, listed) = {
            let pages = self.events.pages().await;
            let Some(to) = self.complete_round(&pages) else {
                return Ok(false);
            };
            (pages.archived(), to, pages.listed().to_vec())
        };
        let next = {
            let _turn = self.kept.archiving.turn.lock().await;
            let round = self.round(mark, to, &listed).await?;
            let told = round.events.clone();
            let next = archive.add(self.group, mark, round).await?;
            tap::archived(self.group, mark, next, &told);
            next
        };
        tracing::info!(group = %self.group, rounds = next.rounds, index = to, "events archived");
        self.events.add_round(mark, next).await;
        if next.rounds.is_multiple_of(TIDY_EVERY) {
            let adopting = self.adopting.lock().await;
            if !*adopting {
                // Others' rounds may have been taken meanwhile.
                let newest = self.events.pages().await.archived();
                archive.tidy(self.group, self.archives(newest)).await?;
            }
        }
        Ok(true)
    }

    /// Brings the events here that another replica has archived up to a mark.
    pub(super) async fn adopt(
        &self,
        mark: ArchiveMark,
        link: &dyn BulkLink,
    ) -> Result<(), ReceiveError> {
        *self.adopting.lock().await = true;
        self.bring(mark, link).await
    }

    /// The same, where nothing is removed meanwhile.
    pub(super) async fn bring(
        &self,
        mark: ArchiveMark,
        link: &dyn BulkLink,
    ) -> Result<(), ReceiveError> {
        let archive = self.kept.archiving.archive.as_ref();
        let archive = archive.ok_or(ReceiveError::Wrong("events are missing"))?;
        let adopted = archive.adopt(self.group, mark, link).await;
        adopted.map_err(|error| ReceiveError::Other(error.to_string()))?;
        tap::adopted(self.group, mark);
        Ok(())
    }

    /// The events after a mark up to an entry, document by document.
    async fn round(
        &self,
        mark: ArchiveMark,
        to: u64,
        listed: &[EventPage],
    ) -> Result<Round, ArchiveError> {
        let (mut have, mut all) = (mark.index, Vec::new());
        for page in listed.iter().filter(|page| page.to > mark.index) {
            if page.from >= to {
                break;
            }
            let events = events::read(&self.kept.events, self.group, page).await?;
            let new = events.into_iter().filter(|logged| {
                let index = logged.log_id.index;
                let last = index == to && mutant!("round_without_its_last_entry");
                index > have && index <= to && !last
            });
            all.extend(new.map(|logged| logged.event));
            have = page.to;
            tokio::task::yield_now().await;
        }
        all.sort_by_key(|event| (event.doc, event.rev));
        Ok(Round { to, events: all })
    }

    /// The marks that somebody may go on from.
    fn archives(&self, newest: ArchiveMark) -> Vec<ArchiveMark> {
        let lent = self.lent.lock();
        let lent = lent.iter().map(|manifest| manifest.archived);
        let latest = self.latest().map(|manifest| manifest.archived);
        lent.chain(latest).chain([newest]).collect()
    }

    /// Of the archive, what another replica asked for.
    pub(super) async fn fetch_object(&self, part: v1::FetchObject) -> Result<bytes::Bytes, String> {
        let archive = self.kept.archiving.archive.as_ref();
        let archive = archive.ok_or("there is no archive here")?;
        let found = archive.fetch(self.group, part).await;
        found.map_err(|error| error.to_string())
    }
}
