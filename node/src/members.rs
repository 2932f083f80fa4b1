//! Which nodes may speak as nodes: members of the topology, each with the one disk that was
//! seen under its id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DiskId, NodeId},
    link::LinkError,
    tasks::Tasks,
    v1::Hello,
};
use codraft_raft::identity::KnownPeers;

use crate::metrics::lock;

pub(crate) struct Members {
    nodes: BTreeSet<NodeId>,
    known: Arc<KnownPeers>,
    /// Whose disk is being written down.
    learning: Arc<Mutex<BTreeSet<NodeId>>>,
    /// The last wrong disk that a node came with.
    refused: Mutex<BTreeMap<NodeId, DiskId>>,
    tasks: Tasks,
}

impl Members {
    pub fn new(nodes: impl IntoIterator<Item = NodeId>, known: KnownPeers, tasks: &Tasks) -> Self {
        let nodes = nodes.into_iter().collect();
        Self {
            nodes,
            known: Arc::new(known),
            learning: Arc::default(),
            refused: Mutex::default(),
            tasks: tasks.clone(),
        }
    }

    /// A wiped disk under an old id would forget votes and entries that others count on, so
    /// a node that is new is let in only once its disk is on record here; it comes again in
    /// a moment.
    pub fn check(&self, peer: &Hello) -> Result<(), LinkError> {
        let node = NodeId(peer.id);
        let wrong = |why: String| Err(LinkError::WrongPeer(why));
        if !self.nodes.contains(&node) {
            return wrong(format!("node {node} is not a member"));
        }
        let Some(disk) = DiskId::from_slice(&peer.disk) else {
            return wrong(format!("node {node} names no disk"));
        };
        match self.known.known(node) {
            Some(known) if known == disk || mutant!("wiped_node_votes") => Ok(()),
            Some(known) => {
                let why = format!("node {node} had disk {known} and comes with {disk}");
                // It comes again and again; once is enough to read.
                if lock(&self.refused).insert(node, disk) != Some(disk) {
                    tracing::error!(
                        "{why}: its log is not the one that others counted on; refused"
                    );
                }
                wrong(why)
            }
            None => {
                self.learn(node, disk);
                Err(LinkError::Broke(format!(
                    "node {node}'s disk is being put on record"
                )))
            }
        }
    }

    fn learn(&self, node: NodeId, disk: DiskId) {
        if !lock(&self.learning).insert(node) {
            return;
        }
        let (known, learning) = (self.known.clone(), self.learning.clone());
        self.tasks.spawn("members", async move {
            match known.check(node, disk).await {
                Ok(true) => tracing::info!(%node, %disk, "a node's disk is on record"),
                Ok(false) => {}
                Err(error) => tracing::error!(%node, %error, "cannot record a node's disk"),
            }
            lock(&learning).remove(&node);
        });
    }
}
