//! Documents that have something to do later: one timer for all of them.

use std::collections::BTreeSet;

use codraft_proto::ids::DocId;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub struct Timers {
    at: Mutex<BTreeSet<(u64, DocId)>>,
    sooner: Notify,
}

impl Timers {
    /// `at_ms` is in the router's own time.
    pub fn add(&self, at_ms: u64, doc: DocId) {
        let mut at = self.at.lock();
        at.insert((at_ms, doc));
        if at.first() == Some(&(at_ms, doc)) {
            drop(at);
            self.sooner.notify_one();
        }
    }

    /// When the first is due.
    pub fn first_ms(&self) -> Option<u64> {
        self.at.lock().first().map(|(at_ms, _)| *at_ms)
    }

    /// Resolves when something came to be due sooner than all else.
    pub async fn changed(&self) {
        self.sooner.notified().await;
    }

    pub fn take(&self, now_ms: u64) -> Vec<DocId> {
        let mut at = self.at.lock();
        let mut due = Vec::new();
        while at.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            due.extend(at.pop_first().map(|(_, doc)| doc));
        }
        due
    }
}
