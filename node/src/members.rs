//! Which nodes may speak as nodes: members of the topology, each with the one disk that was
//! seen under its id.

use std::{collections::BTreeSet, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DiskId, NodeId},
    link::{LinkError, Refusals},
    tasks::Tasks,
    topology::Topology,
    v1::{Hello, LogPosition},
};
use codraft_raft::{
    identity::KnownPeers,
    wal::{Position, Standing, Start, Wal},
};
use parking_lot::Mutex;

pub(crate) struct Members {
    topology: Arc<dyn Topology>,
    known: Arc<KnownPeers>,
    wal: Wal,
    /// Whose disk is being written down.
    learning: Arc<Mutex<BTreeSet<NodeId>>>,
    refusals: Refusals,
    tasks: Tasks,
}

impl Members {
    pub fn new(topology: Arc<dyn Topology>, known: KnownPeers, wal: &Wal, tasks: &Tasks) -> Self {
        Self {
            topology,
            known: Arc::new(known),
            wal: wal.clone(),
            learning: Arc::default(),
            refusals: Refusals::default(),
            tasks: tasks.clone(),
        }
    }

    /// A wiped disk under an old id would forget votes and entries that others count on, so
    /// a node that is new is let in only once its disk is on record here; it comes again in
    /// a moment.
    pub fn check(&self, peer: &Hello) -> Result<(), LinkError> {
        let node = NodeId(peer.id);
        let wrong = |why: String| Err(LinkError::WrongPeer(why));
        if !self.is_member(node) {
            return wrong(format!(
                "node {node} is not a member: it is not in cluster.toml, or another node has its \
                 place and it must not run any more"
            ));
        }
        let Some(disk) = DiskId::from_slice(&peer.disk) else {
            return wrong(format!("node {node} names no disk"));
        };
        match self.known.known(node) {
            Some(known) if known == disk => self.went_on(node, peer),
            Some(_) if mutant!("wiped_node_votes") => Ok(()),
            Some(known) => {
                let why = format!("node {node} had disk {known} and comes with {disk}");
                if self.refusals.is_new(&why) {
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

    pub fn is_member(&self, node: NodeId) -> bool {
        self.topology.address(node).is_some()
    }

    /// The log must be the one that was known, or have gone on from there: see `wal::starts`.
    fn went_on(&self, node: NodeId, peer: &Hello) -> Result<(), LinkError> {
        let starts: Vec<Start> = peer.starts.iter().map(Start::from).collect();
        let Some(start) = starts.last().filter(|start| start.name == peer.incarnation) else {
            return Err(LinkError::WrongPeer(format!("node {node} names no start")));
        };
        if let Some(known) = self.wal.remembered(node)
            && !known.is_held_by(&starts)
            && !mutant!("older_copy_votes")
        {
            let (Position { segment, offset }, opened) = (known.synced, start.opened);
            let why = format!(
                "node {node} runs on an older copy of its folder: it was known in start {} with \
                 its log up to byte {offset} of segment {segment}, and comes in start {} that \
                 opened it at byte {} of segment {}; put back the folder that it had last, or \
                 put a new node in its place with `codraft node replace`",
                known.number, start.number, opened.offset, opened.segment,
            );
            if self.refusals.is_new(&why) {
                tracing::error!("{why}; refused");
            }
            return Err(LinkError::WrongPeer(why));
        }
        self.wal.remember(node, start.standing());
        Ok(())
    }

    /// A node that is linked said up to where its log is synced.
    pub fn told(&self, node: NodeId, start: Option<&Start>, synced: Option<LogPosition>) {
        if let (Some(start), Some(synced)) = (start, synced) {
            let synced = synced.into();
            let standing = Standing {
                synced,
                ..start.standing()
            };
            self.wal.remember(node, standing);
        }
    }

    fn learn(&self, node: NodeId, disk: DiskId) {
        if !self.learning.lock().insert(node) {
            return;
        }
        let (known, learning) = (self.known.clone(), self.learning.clone());
        self.tasks.spawn("members", async move {
            match known.check(node, disk).await {
                Ok(true) => tracing::info!(%node, %disk, "a node's disk is on record"),
                Ok(false) => {}
                Err(error) => tracing::error!(%node, %error, "cannot record a node's disk"),
            }
            learning.lock().remove(&node);
        });
    }
}
