//! Where committed entries become state: the one place that applies, tells the feed and
//! answers who waits, all under one lock.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    panic::AssertUnwindSafe,
    sync::Arc,
};

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, GroupId},
    reject::Code,
    transport::BoxFuture,
};
use futures_util::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{SnapshotMetaOf, SnapshotOf},
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    command::{Batch, Command, Expire},
    events::{Origin, Sinks},
    machine::{Lookup, MachineLimits, Outcome, Shard},
    queue::Queue,
    tap,
    types::{LogId, Proposal, StoredMembership, TypeConfig},
};

/// Decoded entries are applied once they hold this many bytes, or no more are there.
const STEP_BYTES: usize = 4 << 20;

/// A group's state and those who are told of it; guarded by the group's lock.
pub struct Core {
    pub shard: Shard,
    pub sinks: Sinks,
    /// By proposal number: what was proposed here and has no outcome yet.
    pub waiting: BTreeMap<u64, Waiting>,
    /// Set when the state can no longer be proven to be what the log makes; the group then
    /// answers nothing more.
    pub unproven: Option<String>,
    /// What is proposed here next; for what the leader proposes on its own account.
    queue: Arc<Queue>,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// Who waits for a proposal, in the order of its commands; and what was proposed, to
/// propose it again where a fresh leader refused it.
pub struct Waiting {
    pub origins: Vec<Origin>,
    pub batch: Bytes,
    pub since: Instant,
}

impl Core {
    pub fn new(group: GroupId, limits: MachineLimits, sinks: Sinks, queue: Arc<Queue>) -> Self {
        Self {
            shard: Shard::new(group, limits),
            sinks,
            waiting: BTreeMap::new(),
            unproven: None,
            queue,
            last: None,
            membership: StoredMembership::default(),
        }
    }

    fn apply(&mut self, step: Step) {
        let Step { log_id, content } = step;
        match content {
            Content::Blank => {
                self.shard.skip(log_id.index);
                tap::state(&self.shard, log_id.index);
            }
            Content::Membership(membership) => {
                self.membership = membership;
                self.shard.skip(log_id.index);
                tap::state(&self.shard, log_id.index);
            }
            Content::Batch { batch, ours } => {
                let applied = self.shard.apply(log_id.index, &batch);
                self.queue.set_heap_bytes(self.shard.heap_bytes());
                tap::applied(&self.shard, log_id.index, &batch, &applied);
                self.sinks.applied(&self.shard, log_id, &applied);
                let mut full = BTreeSet::new();
                let waiting = ours.and_then(|number| self.waiting.remove(&number));
                for (origin, applied) in waiting.into_iter().flat_map(|w| w.origins).zip(applied) {
                    if applied.outcome == Outcome::Retry(Code::Busy) {
                        full.insert(applied.doc);
                    }
                    self.sinks.answered(origin, Ok(applied.outcome));
                }
                for doc in full {
                    self.make_room(doc);
                }
            }
        }
        self.last = Some(log_id);
    }

    /// Somebody was told to try again because refusals fill the document's records, and nothing
    /// but new revisions lets them go: in a quiet document that would be never.
    fn make_room(&self, doc: DocId) {
        if let Lookup::Present(document) = self.shard.document(&doc) {
            let below = document.expirable_below();
            // Where there is no room for it the next attempt brings it again.
            let _ = self
                .queue
                .push(Command::Expire(Expire { doc, below }), Origin::NOBODY);
        }
    }
}

/// An entry, decoded and about to be applied.
struct Step {
    log_id: LogId,
    content: Content,
}

enum Content {
    Blank,
    Membership(StoredMembership),
    /// `ours`: the number under which this process proposed it.
    Batch {
        batch: Batch,
        ours: Option<u64>,
    },
}

impl Step {
    fn docs(&self) -> impl Iterator<Item = DocId> {
        let commands = match &self.content {
            Content::Batch { batch, .. } => batch.commands.as_slice(),
            Content::Blank | Content::Membership(_) => &[],
        };
        commands.iter().filter_map(Command::doc)
    }
}

/// Brings documents into memory, before entries change them.
pub trait Prepare: Send + Sync + 'static {
    /// Resolves when all of them are in memory, to stay until they were changed.
    ///
    /// # Errors
    /// When one cannot be had: the group stops then.
    fn prepare(&self, docs: BTreeSet<DocId>) -> BoxFuture<'_, io::Result<()>>;
}

/// openraft's way to the core.
pub struct Machine {
    core: Arc<Mutex<Core>>,
    /// None while all documents are in memory.
    prepare: Option<Arc<dyn Prepare>>,
}

impl Machine {
    pub fn new(core: Arc<Mutex<Core>>) -> Self {
        Self {
            core,
            prepare: None,
        }
    }

    /// Waits until all of it can be applied, then applies it. Nobody holds the lock meanwhile, and
    /// nothing later is applied before.
    async fn apply_all(&self, steps: &mut Vec<Step>) -> io::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        if let Some(prepare) = &self.prepare {
            let docs = steps.iter().flat_map(Step::docs).collect();
            if let Err(error) = prepare.prepare(docs).await {
                let why = format!("a document cannot be had: {error}");
                return Err(self.stop(&mut self.core.lock(), why));
            }
        }
        self.apply_prepared(steps)
    }

    /// Applies all of it in one hold of the lock.
    fn apply_prepared(&self, steps: &mut Vec<Step>) -> io::Result<()> {
        let mut core = self.core.lock();
        if let Some(why) = &core.unproven {
            return Err(io::Error::other(why.clone()));
        }
        let applied = std::panic::catch_unwind(AssertUnwindSafe(|| {
            steps.drain(..).for_each(|step| core.apply(step));
        }));
        applied.map_err(|_| self.stop(&mut core, "a fault while applying".into()))
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
    type SnapshotData = io::Empty;
    type SnapshotBuilder = NoSnapshots;

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
            let log_id = entry.log_id;
            let content = match entry.payload {
                EntryPayload::Blank => Content::Blank,
                EntryPayload::Membership(membership) => {
                    Content::Membership(StoredMembership::new(Some(log_id), membership))
                }
                EntryPayload::Normal(Proposal { number, batch }) => {
                    bytes += batch.len();
                    match Batch::decode(&batch) {
                        // A number means something only to the process that proposed it,
                        // and only there is a responder.
                        Ok(batch) => Content::Batch {
                            batch,
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
            steps.push(Step { log_id, content });
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

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<TypeConfig>,
        _snapshot: io::Empty,
    ) -> io::Result<()> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, io::Empty>>> {
        Ok(None)
    }
}

/// There are none yet: a replica catches up by the log alone.
pub struct NoSnapshots;

impl RaftSnapshotBuilder<TypeConfig> for NoSnapshots {
    type SnapshotData = io::Empty;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, io::Empty>> {
        Err(no_snapshots())
    }
}

fn no_snapshots() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this version takes no snapshots",
    )
}
