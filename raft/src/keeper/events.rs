//! The events of a group on their way into its op log.

use codraft_mutant::mutant;
use codraft_proto::ids::GroupId;
use parking_lot::Mutex;

use super::KeepError;
use crate::{
    core::Core,
    oplog::{self, EventPage, event_key},
    pages::PageLog,
    tap,
};

/// Writes what a group's core gathers.
pub struct Events {
    group: GroupId,
    log: PageLog,
    pages: tokio::sync::Mutex<Pages>,
}

/// What is written of a group, the last manifest's pages among it.
pub struct Pages {
    listed: Vec<EventPage>,
}

impl Pages {
    pub fn listed(&self) -> &[EventPage] {
        &self.listed
    }

    /// Up to which entry the events are written.
    pub fn to(&self) -> u64 {
        self.listed.last().map_or(0, |page| page.to)
    }

    /// With those that another replica wrote, of entries that were not applied here.
    pub fn with(&self, pages: &[EventPage]) -> Vec<EventPage> {
        let to = self.to();
        let later = pages.iter().filter(|page| page.to > to);
        self.listed.iter().chain(later).copied().collect()
    }

    pub fn replace(&mut self, listed: Vec<EventPage>) {
        self.listed = listed;
    }
}

impl Events {
    pub fn new(group: GroupId, log: PageLog, listed: Vec<EventPage>) -> Self {
        Self {
            group,
            log,
            pages: tokio::sync::Mutex::new(Pages { listed }),
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
                let places = self.log.append(&[(key, spelled)]).await;
                let place = places.map_err(KeepError::of_disk)?[0];
                tap::logged(place, &piece);
                pages.listed.push(EventPage { from, to, place });
            }
            core.lock().fresh.written(piece.len());
            tokio::task::yield_now().await;
        }
        Ok((seen, pages))
    }
}
