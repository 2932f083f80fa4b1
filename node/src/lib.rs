//! A node: it holds replicas of groups of documents, and serves them to routers on links.

mod accept;
mod audit;
mod bulk;
mod calls;
mod checks;
mod config;
mod fanout;
mod followers;
mod history;
mod hosted;
mod inbound;
mod leadership;
mod lists;
mod members;
mod metrics;
mod mutants;
mod notes;
mod peers;
mod presence;
mod programs;
mod raft;
mod reads;
mod receipts;
mod replace;
mod routers;
mod service;
mod start;
mod states;
mod wire;

use std::{future::Future, sync::Arc, time::Duration};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    tasks::Tasks,
};

use codraft_raft::{
    group::KeepError,
    machine::{Document, Summary},
    wal::Wal,
};

pub use codraft_proto::disk::OsDisk;
pub use codraft_raft::{budget::BudgetOptions, group::Leadership};
pub use config::{NodeConfig, NodeOutside};
pub use start::{StartError, check_folder};

use crate::{hosted::HostedGroups, metrics::Metrics, peers::Dialling, raft::Raft};

/// How long a node that goes away waits for others to take its groups over.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running node. Dropping it does not stop it: `shutdown` does.
pub struct Node {
    id: NodeId,
    address: String,
    tasks: Tasks,
    /// What other nodes and routers see; ended first.
    links: Tasks,
    dialling: Arc<Dialling>,
    groups: Arc<HostedGroups>,
    raft: Arc<Raft>,
    wal: Wal,
    metrics: Arc<Metrics>,
}

impl Node {
    /// Opens the disk, joins the groups, and serves links when this returns.
    ///
    /// # Errors
    /// What is wrong with the configuration, the disk or the address; nothing is left
    /// running then.
    pub async fn start(config: NodeConfig, outside: NodeOutside) -> Result<Self, StartError> {
        start::start(config, outside).await
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where it serves links, with the port that it got.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The leaders of this node's groups as it knows them.
    pub fn leaderships(&self) -> Vec<Leadership> {
        self.groups
            .iter()
            .map(|hosted| hosted.group.leadership())
            .collect()
    }

    /// Whether every group of this node has a leader.
    pub fn is_ready(&self) -> bool {
        self.groups
            .iter()
            .all(|hosted| hosted.group.leadership().node.is_some())
    }

    /// The hash of a replica's state and the log index that it stands at; `None` if the
    /// group is not here. Walks the whole state.
    pub fn digest(&self, group: GroupId) -> Option<(u64, [u8; 32])> {
        let hosted = self.groups.hosted.get(&group)?;
        Some(hosted.group.with(|shard| (shard.applied(), shard.digest())))
    }

    /// What a replica knows of a document, in memory or not; `None` if it is not here.
    pub fn summary(&self, doc: &DocId) -> Option<Summary> {
        let hosted = self.groups.of_doc(doc)?;
        hosted.group.with(|shard| shard.summary(doc))
    }

    /// Reads a document into memory where it is not there.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn bring(&self, doc: DocId) -> Result<(), KeepError> {
        match self.groups.of_doc(&doc) {
            Some(hosted) => hosted.group.bring(doc).await,
            None => Ok(()),
        }
    }

    /// Looks at a replica's document, under its group's lock; `None` if it is not here in memory.
    pub fn with_document<R>(&self, doc: &DocId, look: impl FnOnce(&Document) -> R) -> Option<R> {
        let group = self.groups.topology.group_of(doc);
        let hosted = self.groups.hosted.get(&group)?;
        hosted
            .group
            .with(|shard| shard.document(doc).present().map(|document| look(document)))
    }

    /// What it counts, as OpenMetrics text.
    pub fn metrics(&self) -> String {
        let stopped = self.groups.iter().filter(|h| h.group.stopped().is_some());
        self.metrics.stopped(stopped.count());
        let lacking = self.groups.iter().filter(|h| h.group.lacks().is_some());
        self.metrics.lacking(lacking.count());
        let mut quarantined = 0;
        for hosted in self.groups.iter() {
            quarantined += hosted.group.with(|shard| shard.quarantined().len());
            self.metrics.group(&hosted.group);
        }
        self.metrics.quarantined(quarantined);
        self.metrics.disk_full(self.wal.is_full());
        self.metrics
            .clock_ahead(self.raft.groups.clocks().ahead_ms());
        let log = self.wal.stats();
        self.metrics.log(log.syncs, log.records, log.bytes);
        self.metrics.text()
    }

    /// Resolves, with the reason, when the node cannot go on (its disk failed, one of its
    /// groups stopped, one of its tasks panicked); the process must then exit. Never while all is well.
    pub fn failed(&self) -> impl Future<Output = &'static str> + Send + 'static {
        self.tasks.failed()
    }

    /// Hands its leaderships over, then ends.
    pub async fn shutdown(self) {
        // Each group waits for itself, and not long; this only bounds what cannot happen.
        let handed_over = self.raft.groups.transfer_leadership();
        if tokio::time::timeout(FAREWELL, handed_over).await.is_err() {
            tracing::warn!(node = %self.id, "going away while leading: nobody took over in time");
        }
        self.dialling.close();
        self.links.shutdown().await;
        self.raft.groups.shutdown().await;
        self.tasks.shutdown().await;
    }
}
