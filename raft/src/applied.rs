//! openraft's way to a group's state: committed entries are decoded, what they need is read into
//! memory, then they are applied.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, io, panic::AssertUnwindSafe, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::ids::DocId;
use futures_util::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    alias::{SnapshotMetaOf, SnapshotOf},
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    command::Batch,
    core::{Content, Core, FOR_ENTRIES, Prepare, Step},
    keeper::Keeper,
    manifest::Manifest,
    oplog::WAITING_BYTES,
    types::{LogId, Proposal, StoredMembership, TypeConfig},
};

/// Decoded entries are applied once they hold this many bytes, or no more are there.
const STEP_BYTES: usize = 4 << 20;

/// openraft's way to the core.
pub struct Machine {
    core: Arc<Mutex<Core>>,
    prepare: Arc<dyn Prepare>,
    keeper: Arc<Keeper>,
}

impl Machine {
    pub fn new(core: Arc<Mutex<Core>>, keeper: Arc<Keeper>) -> Self {
        let prepare = keeper.clone();
        Self {
            core,
            prepare,
            keeper,
        }
    }

    /// Waits until all of it can be applied, then applies it. Nobody holds the lock meanwhile, and
    /// nothing later is applied before.
    async fn apply_all(&self, steps: &mut Vec<Step>) -> io::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        loop {
            let cold: BTreeSet<DocId> = {
                let mut core = self.core.lock();
                let docs = steps.iter().flat_map(Step::docs);
                let cold = docs.filter(|doc| core.shard.is_cold(doc)).collect();
                let is_ready = BTreeSet::is_empty(&cold) && core.fresh.bytes() <= WAITING_BYTES;
                if is_ready || mutant!("applied_before_it_is_read") {
                    return self.apply_prepared(&mut core, steps);
                }
                core.need(&cold, FOR_ENTRIES);
                cold
            };
            // Looked at again then: one may have left memory since.
            if let Err(error) = self.prepare.prepare(&cold).await {
                let why = format!("what applying needs cannot be had: {error}");
                // The group goes on from another replica's state, which has it otherwise.
                if self.keeper.lacks().is_some() {
                    return Err(io::Error::other(why));
                }
                return Err(self.stop(&mut self.core.lock(), why));
            }
        }
    }

    /// Applies all of it in one hold of the lock.
    fn apply_prepared(&self, core: &mut Core, steps: &mut Vec<Step>) -> io::Result<()> {
        if let Some(why) = &core.unproven {
            return Err(io::Error::other(why.clone()));
        }
        let applied = std::panic::catch_unwind(AssertUnwindSafe(|| {
            steps.drain(..).for_each(|step| core.apply(step));
        }));
        applied.map_err(|_| self.stop(core, "a fault while applying".into()))
    }

    /// A replica that cannot apply an entry must not skip it: it would be another state
    /// under the same name.
    fn stop(&self, core: &mut Core, why: String) -> io::Error {
        tracing::error!(group = %core.shard.group(), after = ?core.last, why, "group stopped");
        core.unproven.get_or_insert(why.clone());
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Arc<Manifest>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let core = self.core.lock();
        Ok((core.last, core.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut steps = Vec::new();
        let mut responders = Vec::new();
        let mut bytes = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            let (log_id, came) = (entry.log_id, Instant::now());
            let content = match entry.payload {
                EntryPayload::Blank => Content::Blank,
                EntryPayload::Membership(membership) => {
                    Content::Membership(StoredMembership::new(Some(log_id), membership))
                }
                EntryPayload::Normal(Proposal { number, batch }) => {
                    let stored = batch.len();
                    bytes += stored;
                    match Batch::decode(&batch) {
                        // A number means something only to the process that proposed it,
                        // and only there is a responder.
                        Ok(batch) => Content::Batch {
                            batch,
                            bytes: stored,
                            ours: responder.as_ref().map(|_| number),
                        },
                        Err(error) => {
                            self.apply_all(&mut steps).await?;
                            let why = format!("entry {log_id} cannot be read: {error}");
                            return Err(self.stop(&mut self.core.lock(), why));
                        }
                    }
                }
            };
            steps.push(Step {
                log_id,
                content,
                came,
            });
            responders.extend(responder);
            if bytes >= STEP_BYTES {
                self.apply_all(&mut steps).await?;
                bytes = 0;
            }
        }
        self.apply_all(&mut steps).await?;
        // Outcomes were told; this lets the proposer go on.
        responders
            .into_iter()
            .for_each(|responder| responder.send(()));
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.keeper.clone())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Arc<Manifest>,
    ) -> io::Result<()> {
        match self.keeper.install(&snapshot).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let why = format!("a state from another node cannot be installed: {error}");
                Err(self.stop(&mut self.core.lock(), why))
            }
        }
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, Arc<Manifest>>>> {
        Ok(self.keeper.latest().map(snapshot_of))
    }
}

/// Hands openraft the latest manifest: the keeper takes them when they are due.
pub struct Builder(Arc<Keeper>);

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Arc<Manifest>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Arc<Manifest>>> {
        let nothing = || io::Error::other("nothing was kept yet");
        let latest = self.0.latest();
        Ok(snapshot_of(latest.ok_or_else(nothing)?))
    }
}

fn snapshot_of(manifest: Arc<Manifest>) -> SnapshotOf<TypeConfig, Arc<Manifest>> {
    Snapshot {
        meta: SnapshotMeta {
            last_log_id: Some(manifest.last),
            last_membership: manifest.membership.clone(),
        },
        snapshot: manifest,
    }
}
