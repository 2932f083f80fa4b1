//! Documents come into memory before entries need them, so that what is applied does not wait for a
//! disk: a leader proposes what is about a document once this is there, and others go first; a follower
//! reads while its log writes the entry.

use std::{collections::BTreeSet, mem, sync::Arc};

use codraft_proto::ids::DocId;
use openraft::EntryPayload;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Inner, Origin, ProposeError};
use crate::{
    command::{Batch, Command},
    keeper::ASK_ONCE,
    tap,
    types::Entry,
};

/// Documents that are read one after the other before it is looked whether there is room for more.
const ROUND: usize = 16;
/// Documents that may be on their way; the rest is read where it is applied.
const WANTED_MAX: usize = 1_024;

/// Which documents are to be brought into memory.
#[derive(Default)]
pub(super) struct Prefetch {
    wanted: Mutex<BTreeSet<DocId>>,
    wake: Notify,
}

impl Prefetch {
    /// Whether it will be looked after.
    fn want(&self, doc: DocId) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.len() >= WANTED_MAX && !wanted.contains(&doc) {
            return false;
        }
        wanted.insert(doc);
        self.wake.notify_one();
        true
    }

    /// All that are wanted, in rounds.
    fn take(&self) -> Vec<BTreeSet<DocId>> {
        let wanted: Vec<DocId> = mem::take(&mut *self.wanted.lock()).into_iter().collect();
        let rounds = wanted.chunks(ROUND);
        rounds.map(|docs| docs.iter().copied().collect()).collect()
    }
}

impl Inner {
    /// Queues a command, once the document that it is about is in memory.
    pub(super) fn push(&self, command: Command, origin: Origin) -> Result<(), ProposeError> {
        let is_cold = |doc: &DocId| self.core.lock().shard.is_cold(doc);
        let Some(doc) = command.doc().filter(is_cold) else {
            return self.queue.push(command, origin);
        };
        self.queue.push_aside(doc, command, origin)?;
        if !self.prefetch.want(doc) {
            self.queue.release(&doc);
        }
        Ok(())
    }

    /// Entries are on their way into this log.
    pub(super) fn expect(&self, entries: &[Entry]) {
        let applied = {
            let core = self.core.lock();
            if core.shard.are_all_warm() {
                return;
            }
            core.last
        };
        // A leader that does not know how far this log is sends some of it again.
        for entry in entries.iter().filter(|entry| Some(entry.log_id) > applied) {
            // What does not read back is said where it is applied.
            if let EntryPayload::Normal(proposal) = &entry.payload
                && let Ok(batch) = Batch::decode(&proposal.batch)
            {
                let docs = batch.commands.iter().filter_map(Command::doc);
                let core = self.core.lock();
                for doc in docs.filter(|doc| core.shard.is_cold(doc)) {
                    self.prefetch.want(doc);
                }
            }
        }
    }
}

/// Reads what is wanted, as long as the group runs.
pub(super) async fn run(group: Arc<Inner>) {
    loop {
        group.prefetch.wake.notified().await;
        for docs in group.prefetch.take() {
            if group.core.lock().pin(&docs) {
                tap::prefetched(docs.len());
                // Where one is damaged, applying asks others for longer, and says what is wrong.
                if let Err(error) = group.keeper.warm(&docs, ASK_ONCE).await {
                    tracing::debug!(group = %group.id, %error, "not read before it is needed");
                }
            }
            docs.iter().for_each(|doc| group.queue.release(doc));
        }
    }
}
