//! The events of one document, for whoever tells its history.

use std::sync::Arc;

use codraft_mutant::mutant;
use codraft_proto::ids::{DocId, Revision};
use tokio::sync::watch;

use super::{KeepError, Keeper, events::uses_of_events};
use crate::{
    archive::ArchiveMark,
    machine::{Event, Lookup},
    oplog::{self, event_key},
};

impl Keeper {
    /// How far the events are archived, whenever that changes.
    pub fn marks(&self) -> watch::Receiver<ArchiveMark> {
        self.events.marks()
    }

    /// The events of a document after a revision, in order, as far as they are not archived: what was
    /// archived meanwhile may be missing at the beginning.
    ///
    /// # Errors
    /// When the op log does not read back.
    pub async fn unarchived(
        &self,
        doc: DocId,
        after: Revision,
    ) -> Result<Vec<Arc<Event>>, KeepError> {
        let (listed, mark, fresh, _pin) = {
            let pages = self.events.pages().await;
            let core = self.core.lock();
            if let Lookup::Present(document) = core.shard.document(&doc)
                && let Some(events) = document.events_after(after)
            {
                return Ok(events.cloned().collect());
            }
            let fresh = core.fresh.of(&doc);
            let uses = uses_of_events(pages.listed());
            let pin = self.kept.event_space.pin(self.group, &uses);
            (pages.listed().to_vec(), pages.archived(), fresh, pin)
        };
        let (mut events, mut have) = (Vec::new(), mark.index);
        for page in listed {
            if mutant!("history_without_the_op_log") {
                continue;
            }
            let key = event_key(self.group, page.to);
            let spelled = self.kept.events.read(&key, page.place).await?;
            let of_doc = oplog::decode_of(&spelled, page.from, &doc);
            let of_doc = of_doc.map_err(|error| KeepError::Damaged {
                doc,
                reason: format!("its events up to {}: {error}", page.to),
            })?;
            // Another replica's pages, which came with a state, begin where its own did.
            let new = of_doc.into_iter();
            let new = new.filter(|logged| logged.log_id.index > have);
            events.extend(new.map(|logged| logged.event));
            have = page.to;
            tokio::task::yield_now().await;
        }
        events.extend(fresh);
        events.retain(|event| event.rev > after);
        Ok(events)
    }
}
