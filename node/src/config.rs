//! What a node is told at its start.

use std::{path::PathBuf, sync::Arc};

use codraft_archive::CheckpointOptions;
use codraft_proto::{
    disk::Disk, ids::NodeId, limits::PRESENCE_TTL_MS, link::LinkOptions, receipt::ReceiptKey,
    topology::Topology,
};
use codraft_raft::{
    archive::RoundOptions,
    budget::BudgetOptions,
    group::{GroupLimits, KeepOptions, RaftTimes},
    machine::MachineLimits,
    pages::PageOptions,
    wal::WalOptions,
};

#[derive(Clone)]
pub struct NodeConfig {
    pub id: NodeId,
    /// `host:port` to serve links on; port 0 asks for a free one.
    pub listen: String,
    /// The directory that is this node's disk.
    pub data: PathBuf,
    pub topology: Arc<dyn Topology>,
    pub times: RaftTimes,
    pub limits: GroupLimits,
    /// Part of what is replicated: the same on every node.
    pub machine: MachineLimits,
    pub wal: WalOptions,
    pub pages: PageOptions,
    /// When a round of the archive ends: the same on every node.
    pub rounds: RoundOptions,
    /// When it keeps a document whole: the same on every node.
    pub checkpoints: CheckpointOptions,
    pub keep: KeepOptions,
    pub budget: BudgetOptions,
    pub link: LinkOptions,
    /// Who was not heard for so long is no longer in a document.
    pub presence_ttl_ms: u64,
    /// The private half of the cluster's key for receipts.
    pub receipt_key: Option<ReceiptKey>,
    /// A document of at most so many bytes is spelled for its readers where it is looked at, under
    /// its group's lock; a larger one outside, in steps.
    pub spelled_at_once: usize,
    /// Links carry no encryption yet, so anything but this machine's loopback is refused;
    /// the simulation has no loopback between its hosts.
    pub plain_text_anywhere: bool,
}

impl NodeConfig {
    pub fn new(id: NodeId, listen: String, data: PathBuf, topology: Arc<dyn Topology>) -> Self {
        Self {
            id,
            listen,
            data,
            topology,
            times: RaftTimes::default(),
            limits: GroupLimits::default(),
            machine: MachineLimits::default(),
            wal: WalOptions::default(),
            pages: PageOptions::default(),
            rounds: RoundOptions::default(),
            checkpoints: CheckpointOptions::default(),
            keep: KeepOptions::default(),
            budget: BudgetOptions::default(),
            link: LinkOptions::default(),
            presence_ttl_ms: PRESENCE_TTL_MS,
            receipt_key: None,
            spelled_at_once: 16 << 10,
            plain_text_anywhere: false,
        }
    }
}

/// What a node takes from the world.
#[derive(Clone)]
pub struct NodeOutside {
    pub common: codraft_proto::outside::Outside,
    pub disk: Arc<dyn Disk>,
}
