//! The events of one document, for whoever tells its history.

use std::sync::Arc;

use codraft_mutant::mutant;
use codraft_proto::ids::{DocId, Revision};
use tokio::sync::watch;

use super::{KeepError, Keeper, events::uses_of_events};
use crate::{
    archive::ArchiveMark,
    machine::{Event, Lookup},
    oplog::{self, EventPage, Logged, event_key},
    types::LogId,
};

impl Keeper {
    /// How far the events are archived, whenever that changes.
    pub fn marks(&self) -> watch::Receiver<ArchiveMark> {
        self.events.marks()
    }

    /// The events of a document from after one revision to another, in order, as far as they are not
    /// archived: what was archived meanwhile may be missing at the beginning.
    ///
    /// # Errors
    /// When the op log does not read back.
    pub async fn unarchived(
        &self,
        doc: DocId,
        after: Revision,
        to: Revision,
    ) -> Result<Vec<Arc<Event>>, KeepError> {
        let wanted = |event: &Arc<Event>| event.rev > after && event.rev <= to;
        let (listed, fresh, _pin) = {
            let pages = self.events.pages().await;
            let core = self.core.lock();
            if let Lookup::Present(document) = core.shard.document(&doc)
                && let Some(events) = document.events_after(after)
            {
                return Ok(events
                    .take_while(|event| event.rev <= to)
                    .cloned()
                    .collect());
            }
            let listed = pages.listed_of(&doc, after, to);
            let uses = uses_of_events(&listed);
            let pin = self.kept.event_space.pin(self.group, &uses);
            (listed, core.fresh.of(&doc), pin)
        };
        let mut events = Vec::new();
        for page in listed {
            if mutant!("history_without_the_op_log") {
                continue;
            }
            let of_doc = self.of_page(&page, doc).await?;
            events.extend(of_doc.into_iter().map(|logged| logged.event));
            tokio::task::yield_now().await;
        }
        events.extend(fresh);
        events.retain(wanted);
        // Another replica's pages, which came with a state, begin where its own did.
        events.sort_by_key(|event| event.rev);
        events.dedup_by_key(|event| event.rev);
        Ok(events)
    }

    /// The entry that a revision of a document came of; none where only the archive has the event, or
    /// nothing has it.
    ///
    /// # Errors
    /// When the op log does not read back.
    pub async fn entry_of(&self, doc: DocId, rev: Revision) -> Result<Option<LogId>, KeepError> {
        let (listed, fresh, _pin) = {
            let pages = self.events.pages().await;
            let listed = pages.listed_of(&doc, Revision(rev.0.saturating_sub(1)), rev);
            let pin = self
                .kept
                .event_space
                .pin(self.group, &uses_of_events(&listed));
            (listed, self.core.lock().fresh.entry_of(&doc, rev), pin)
        };
        if fresh.is_some() {
            return Ok(fresh);
        }
        for page in listed {
            let of_doc = self.of_page(&page, doc).await?;
            let found = of_doc.iter().find(|logged| logged.event.rev == rev);
            if let Some(logged) = found {
                return Ok(Some(logged.log_id));
            }
        }
        Ok(None)
    }

    async fn of_page(&self, page: &EventPage, doc: DocId) -> Result<Vec<Logged>, KeepError> {
        let key = event_key(self.group, page.to);
        let spelled = self.kept.events.read(&key, page.place).await?;
        let of_doc = oplog::decode_of(&spelled, page.from, &doc);
        of_doc.map_err(|error| KeepError::Damaged {
            doc,
            reason: format!("its events up to {}: {error}", page.to),
        })
    }
}
