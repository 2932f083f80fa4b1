//! Replicated groups: propose, read, follow who leads, stop.
//!
//! A group is one openraft node over the process's one write-ahead log. What is submitted
//! waits in a bounded queue, from where the group's proposer takes all that waits as one
//! log entry; outcomes are told where entries are applied, under the lock that guards the
//! group's state, so that state, feed and answers can never disagree.

mod install;
mod leadership;
mod level;
mod life;
mod prefetch;
mod proposer;
mod purge;
mod reads;
mod replace;
mod serve;
mod start;
mod trim;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DocId, GroupId, NodeId, Revision, UserId},
    link::{Lane, Outbox},
    tasks::Tasks,
    v1,
};
use openraft::{Instant as _, async_runtime::watch::WatchReceiver as _};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub use replace::{ReplaceError, Replacing};

pub use crate::{
    events::{
        AppliedSink, BulkLink, GroupEvents, Leadership, LogId, Origin, Peers, ProposeError,
        ProposeResult, ReadError, Sinks, StartError,
    },
    keeper::{Borrowed, KeepError, Kept},
    limits::{GroupLimits, RaftTimes},
    tail::KeepOptions,
    users::Found,
};

use crate::{
    applied::Machine,
    archive::{ArchiveMark, Cause},
    clocks::Clocks,
    command::Command,
    core::{Core, FOR_READERS},
    digests::{Digests, Verdict},
    keeper::{ASK_ONCE, Keeper},
    machine::{AtRest, Event, MachineLimits, Shard, Summary},
    network::PendingCalls,
    queue::Queue,
    types::{TypeConfig, Vote},
    wal::{GroupWal, Wal},
};
use reads::Reads;

/// A node that ends in order gives each group so long to keep its state.
const KEEP_AT_END: Duration = Duration::from_secs(2);
/// And all of them so long to archive what waits for it.
const ARCHIVE_AT_END: Duration = Duration::from_secs(2);

pub(crate) type Raft = openraft::Raft<TypeConfig, Machine>;

/// What a node's groups are told at their start.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    pub node: NodeId,
    /// The groups that this node is a replica of, each with the replicas that it was made with. The
    /// same on every node, in the same order.
    pub groups: Vec<(GroupId, Vec<NodeId>)>,
    /// Which of those a node has the place of, where it is none of them itself.
    pub seats: BTreeMap<NodeId, NodeId>,
    pub times: RaftTimes,
    /// Of what is replicated: the same on every replica.
    pub machine: MachineLimits,
    pub limits: GroupLimits,
    pub keep: KeepOptions,
}

impl RaftConfig {
    pub fn new(node: NodeId, groups: Vec<(GroupId, Vec<NodeId>)>) -> Self {
        Self {
            node,
            groups,
            seats: BTreeMap::new(),
            times: RaftTimes::default(),
            machine: MachineLimits::default(),
            limits: GroupLimits::default(),
            keep: KeepOptions::default(),
        }
    }

    fn seat(&self, node: NodeId) -> NodeId {
        self.seats.get(&node).copied().unwrap_or(node)
    }

    /// All nodes that have a place among these.
    fn nodes_of(&self, replicas: &[NodeId]) -> BTreeSet<NodeId> {
        let nodes = self.seats.keys().chain(replicas).copied();
        nodes
            .filter(|node| replicas.contains(&self.seat(*node)))
            .collect()
    }
}

/// One replicated group. Cheap to clone; clones are the same group.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    id: GroupId,
    node: NodeId,
    /// None while it lacks a state.
    raft: RwLock<Option<Raft>>,
    core: Arc<Mutex<Core>>,
    keeper: Arc<Keeper>,
    installing: install::Installing,
    /// Held while the members change.
    changing: Arc<tokio::sync::Mutex<()>>,
    peers: Arc<dyn Peers>,
    tasks: Tasks,
    queue: Arc<Queue>,
    prefetch: prefetch::Prefetch,
    log: GroupWal,
    digests: Digests,
    reads: Reads,
    /// Who leads, as `GroupEvents` was told last.
    leadership: Arc<Mutex<Leadership>>,
    /// The node that it was last handed to; 0 for none.
    handed_to: AtomicU64,
}

impl Group {
    pub fn id(&self) -> GroupId {
        self.inner.id
    }

    /// Queues a command for the next entry; its outcome goes to [`GroupEvents::answered`]
    /// with this origin, exactly once. An error here is the whole answer.
    pub fn submit(&self, command: Command, origin: Origin) -> Result<(), ProposeError> {
        let lead = self.leadership();
        if lead.node != Some(self.inner.node) {
            return Err(ProposeError::NotLeader(lead.node.map(|_| lead)));
        }
        if self.inner.log.is_full() {
            return Err(ProposeError::DiskFull);
        }
        if self.inner.keeper.budget().refuses(&command) {
            return Err(ProposeError::Unarchived);
        }
        self.inner.push(command, origin)
    }

    /// Resolves when all that was committed before this call is applied here, which only
    /// the leader can promise. All that wait share one round to a majority.
    pub async fn read(&self) -> Result<(), ReadError> {
        let lead = self.leadership();
        if lead.node != Some(self.inner.node) {
            return Err(ReadError::NotLeader(lead.node.map(|_| lead)));
        }
        if mutant!("read_without_read_index") {
            return Ok(());
        }
        self.inner.reads.wait().await
    }

    /// Looks at the state in one step of the applied feed: the group applies nothing meanwhile,
    /// so `look` must not block.
    pub fn with<R>(&self, look: impl FnOnce(&Shard) -> R) -> R {
        look(&self.inner.core.lock().shard)
    }

    /// Brings a document into memory, where it is in use from now on.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn bring(&self, doc: DocId) -> Result<(), KeepError> {
        let docs = BTreeSet::from([doc]);
        {
            let mut core = self.inner.core.lock();
            core.use_document(&doc);
            core.need(&docs, FOR_READERS);
        }
        self.inner.keeper.warm(&docs, ASK_ONCE).await
    }

    /// Documents in which a user has a role and that are `wanted`, in the order of their ids from
    /// behind one on, at most so many. As they are now: see [`Group::read`].
    pub async fn of_user(
        &self,
        user: &UserId,
        after: Option<DocId>,
        most: usize,
        wanted: &(dyn Fn(&Summary) -> bool + Sync),
    ) -> Found {
        let keeper = &self.inner.keeper;
        keeper.of_user(user, after, most, wanted).await
    }

    /// What readers of a document start from that is not in memory, and stays where it is; none of
    /// one that is, or is not made.
    ///
    /// # Errors
    /// Why it cannot be read here. [`Group::bring`] may have it from another replica.
    pub async fn at_rest(&self, doc: DocId) -> Result<Option<AtRest>, KeepError> {
        self.inner.keeper.at_rest(doc).await
    }

    pub fn leadership(&self) -> Leadership {
        *self.inner.leadership.lock()
    }

    /// Whether this node leads and a majority answered it within the last second.
    pub fn is_leading_with_quorum(&self) -> bool {
        let fresh = Duration::from_secs(1);
        let Some(raft) = self.raft() else {
            return false;
        };
        let metrics = raft.data_metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        self.leadership().node == Some(self.inner.node)
            && acked.is_some_and(|at| at.elapsed() <= fresh)
            && self.inner.queue.closed().is_none()
    }

    /// How many entries its log on this disk holds.
    pub fn log_entries(&self) -> u64 {
        let log = &self.inner.log;
        log.last_index()
            .map_or(0, |last| last + 1 - log.first_index())
    }

    /// Up to where its events are archived, as the manifest on this disk says.
    pub fn archived(&self) -> ArchiveMark {
        let latest = self.inner.keeper.latest();
        latest.map_or_else(ArchiveMark::default, |manifest| manifest.archived)
    }

    /// How far its events are archived here, whenever that changes.
    pub fn archive_marks(&self) -> watch::Receiver<ArchiveMark> {
        self.inner.keeper.marks()
    }

    /// The events of a document from after one revision to another, in order, as far as they are not
    /// archived: what was archived meanwhile may be missing at the beginning.
    ///
    /// # Errors
    /// When its op log does not read back.
    pub async fn unarchived(
        &self,
        doc: DocId,
        after: Revision,
        to: Revision,
    ) -> Result<Vec<Arc<Event>>, KeepError> {
        self.inner.keeper.unarchived(doc, after, to).await
    }

    /// The log entry that a revision of a document came of; none where only the archive has it.
    ///
    /// # Errors
    /// When its op log does not read back.
    pub async fn entry_of(&self, doc: DocId, rev: Revision) -> Result<Option<LogId>, KeepError> {
        self.inner.keeper.entry_of(doc, rev).await
    }

    /// Brings here from another replica what was missing or damaged in the archive where this is why
    /// something failed. Whether that was the reason and is put right.
    pub async fn mend_archive(&self, why: &Cause) -> bool {
        self.inner.keeper.mend_archive(why).await
    }

    /// What events take on this node's disk that are not archived, of all its groups, and from where on
    /// edits are refused; in bytes.
    pub fn unarchived_bytes(&self) -> (u64, u64) {
        self.inner.keeper.budget().used()
    }

    /// Has it keep its state now: what can be archived is, once that is done.
    pub fn keep(&self) {
        self.inner.keeper.tidy();
    }

    /// How often it took a state from another node since its start.
    pub fn installs(&self) -> u64 {
        self.inner.installing.done()
    }

    /// How many damaged pages and objects of the archive it had again since its start, from other nodes
    /// but for a few.
    pub fn mended(&self) -> u64 {
        self.inner.keeper.mended()
    }

    /// Why it does not take part, where it waits for another replica's state.
    pub fn lacks(&self) -> Option<String> {
        self.inner.keeper.lacks()
    }

    /// Why the group stopped on its own, if it did. It answers nothing more, and its process
    /// should end: see [`Tasks::failed`].
    pub fn stopped(&self) -> Option<String> {
        self.inner.core.lock().unproven.clone()
    }

    /// Hands leadership to the follower with the longest log and waits for it, at most half
    /// a second. True when this node does not lead (any more).
    pub async fn transfer_leadership(&self) -> bool {
        self.inner.transfer().await
    }

    /// The committed vote of this group's leader and what of the log is safe on this disk; none while it
    /// lacks a state.
    pub(crate) fn tail(&self) -> Option<(Vote, Option<LogId>)> {
        let raft = self.raft()?;
        let vote = raft.server_metrics().borrow_watched().vote;
        let flushed = raft.watch_log_progress().get();
        Some((vote, flushed.and_then(|point| point.last_log_id)))
    }

    /// The voters: one set, or two while the membership changes; none while it lacks a state.
    pub(crate) fn voters(&self) -> Vec<Vec<NodeId>> {
        let Some(raft) = self.raft() else {
            return Vec::new();
        };
        let metrics = raft.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let configs = membership.membership().get_joint_config();
        configs
            .iter()
            .map(|voters| voters.iter().map(|n| NodeId(*n)).collect())
            .collect()
    }

    /// The hashes of what was applied here.
    pub(crate) fn digests(&self) -> &Digests {
        &self.inner.digests
    }

    /// None while it lacks a state: it has no vote then, and follows nobody.
    pub(crate) fn raft(&self) -> Option<Raft> {
        self.inner.raft()
    }
}

impl Inner {
    fn raft(&self) -> Option<Raft> {
        self.raft.read().clone()
    }

    /// So that the next start has nothing to apply.
    async fn keep_at_end(&self) {
        match tokio::time::timeout(KEEP_AT_END, self.keeper.take()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(group = %self.id, %error, "the state was not kept at the end");
            }
            Err(_) => tracing::warn!(group = %self.id, "no time to keep the state at the end"),
        }
    }
}

/// All groups of a node.
pub struct Groups {
    node: NodeId,
    groups: BTreeMap<GroupId, Group>,
    calls: Arc<PendingCalls>,
    clocks: Arc<Clocks>,
    wal: Wal,
    tasks: Tasks,
}

impl Groups {
    /// The log of all of them.
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// What the nodes' clocks show.
    pub fn clocks(&self) -> &Arc<Clocks> {
        &self.clocks
    }

    /// What another node asks of a group here; answered on `reply`, in the lane it came.
    pub fn handle(&self, from: NodeId, lane: Lane, call: v1::RaftCall, reply: &Outbox) {
        let group = self.group(GroupId(call.group)).cloned();
        let (wal, reply) = (self.wal.clone(), reply.clone());
        self.tasks.spawn("raft call", async move {
            serve::answer(group, &wal, from, lane, call, &reply).await;
        });
    }

    /// What another node wants of what is kept here.
    pub async fn fetch(&self, request: v1::Fetch, borrowed: &Borrowed) -> v1::Fetched {
        let group = self.group(GroupId(request.group)).map(|group| &group.inner);
        let fetched = match (group, request.body) {
            (Some(group), Some(body)) => group.keeper.fetch(body, borrowed).await,
            (None, _) => Err("not a group of this node".into()),
            (_, None) => Err("a request without a body".into()),
        };
        let (pages, error) = match fetched {
            Ok(pages) => (pages, String::new()),
            Err(why) => (Vec::new(), why),
        };
        let id = request.id;
        v1::Fetched { id, pages, error }
    }

    /// What another node answered.
    pub fn handle_reply(&self, reply: v1::RaftReply) {
        self.calls.settle(reply);
    }

    /// Where another replica stands. One that differs from a majority must not go on.
    pub(crate) fn compare(&self, from: NodeId, theirs: &v1::StateHash) {
        let Some(group) = self.group(GroupId(theirs.group)) else {
            return;
        };
        let verdict = group.digests().heard(from, theirs.index, &theirs.hash);
        if verdict != Verdict::Same {
            let (group, index) = (group.id(), theirs.index);
            tracing::error!(%group, index, other = %from, "two replicas differ in what they applied");
        }
        if verdict == Verdict::OddOneOut {
            let why = format!(
                "its state is not that of the other replicas at {}",
                theirs.index
            );
            group.inner.fail(why, &self.tasks);
        }
    }

    /// The link to a node is gone: what was asked there will not be answered.
    pub fn peer_lost(&self, node: NodeId) {
        self.calls.forget(node);
    }

    /// Hands over all that this node leads.
    pub async fn transfer_leadership(&self) {
        futures_util::future::join_all(self.iter().map(Group::transfer_leadership)).await;
    }

    /// Stops all groups; what waits is answered with `Shutdown`.
    pub async fn shutdown(&self) {
        for group in self.iter() {
            group.inner.close(ProposeError::Shutdown);
            group.inner.keep_at_end().await;
        }
        let archived = self.iter().map(|group| group.inner.keeper.caught_up());
        let archived = futures_util::future::join_all(archived);
        if tokio::time::timeout(ARCHIVE_AT_END, archived)
            .await
            .is_err()
        {
            tracing::warn!("no time to archive all rounds at the end: the next start does");
        }
        for group in self.iter() {
            // With how far it is archived now.
            group.inner.keep_at_end().await;
            if let Some(raft) = group.raft()
                && let Err(error) = raft.shutdown().await
            {
                tracing::warn!(group = %group.id(), %error, "group did not stop in order");
            }
        }
        self.tasks.shutdown().await;
    }
}
