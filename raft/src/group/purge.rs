//! The log below what is kept elsewhere.

use std::time::Duration;

use openraft::{async_runtime::watch::WatchReceiver as _, errors::Fatal};

use super::{Group, Inner};
use crate::{
    manifest::Manifest,
    types::TypeConfig,
    wal::{GroupWal, Wal},
};

/// A log that is in no later file than so many before the one that is written to holds those files.
const OLD_SEGMENTS: u64 = 4;
/// Until openraft has heard of a manifest.
const HEARD: Duration = Duration::from_secs(10);

impl Inner {
    /// Tells openraft of a manifest, and lets go of the log up to the one before: what came since
    /// then stays for replicas that lag a little. Where the log is why old files stay, nothing of it
    /// does. All of it is this replica's own affair: each has its own manifests and its own log.
    pub(super) async fn purge(
        &self,
        manifest: &Manifest,
        before: Option<&Manifest>,
    ) -> Result<(), Fatal<TypeConfig>> {
        let Some(raft) = self.raft() else {
            return Ok(());
        };
        raft.trigger().snapshot().await?;
        // A purge that is asked for before that is forgotten.
        let mut metrics = raft.metrics();
        let heard = async {
            while metrics.borrow_watched().snapshot < Some(manifest.last) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(HEARD, heard).await.is_err() {
            let index = manifest.index();
            tracing::warn!(group = %self.id, index, "the log is not purged: the manifest is not known");
            return Ok(());
        }
        let is_old = lies_in_old_segments(&self.log);
        let up_to = match before {
            _ if is_old => Some(manifest.index()),
            before => before.map(Manifest::index),
        };
        // Whoever fetches a manifest goes on with the log after it.
        let lent = self.keeper.lent_at().unwrap_or(u64::MAX);
        match up_to.map(|index| index.min(lent)) {
            Some(index) if index >= self.log.first_index() => raft.trigger().purge_log(index).await,
            _ => Ok(()),
        }
    }
}

fn lies_in_old_segments(log: &GroupWal) -> bool {
    let age = log.oldest_segment_age();
    age.is_some_and(|age| age >= OLD_SEGMENTS)
}

/// A group in which little happens would hold the files of the whole log for ever: it takes a manifest
/// for that reason alone.
pub(super) async fn let_go_of_old_segments(wal: Wal, groups: Vec<Group>) {
    loop {
        wal.rolled().await;
        for Group { inner } in &groups {
            if lies_in_old_segments(&inner.log) {
                inner.keeper.tidy();
            }
        }
    }
}
