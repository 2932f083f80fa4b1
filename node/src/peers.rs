//! The links that this node dials: one to every other node. What is asked goes out here and
//! is answered on the same link.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::NodeId,
    link::{self, Dialled, Inbound, Lane, LinkError, LinkHandle, LinkOptions, Outbox, Refusals},
    outside::Outside,
    tasks::Tasks,
    topology::Topology,
    v1::{Hello, Message, PeerRole, message::Body},
};
use codraft_raft::{
    group::{BulkLink, Peers},
    wal::Start,
};
use parking_lot::Mutex;

use crate::{
    bulk::{BulkDialled, BulkPeer, Session},
    members::Members,
    raft::Raft,
};

/// The dialled links, by node.
pub(crate) struct Dialling {
    dialler: Dialler,
    members: Arc<Members>,
    /// This node's own id.
    id: NodeId,
    topology: Arc<dyn Topology>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
}

/// The other end of a link that is up.
struct Linked {
    outbox: Outbox,
    /// The highest level of the log that its process reads.
    level: u32,
}

struct Peer {
    address: String,
    linked: Arc<Mutex<Option<Linked>>>,
    handle: LinkHandle,
}

impl Peers for Dialling {
    fn outbox(&self, node: NodeId) -> Option<Outbox> {
        let peers = self.peers.lock();
        let linked = peers.get(&node)?.linked.lock();
        linked.as_ref().map(|linked| linked.outbox.clone())
    }

    fn linked(&self) -> Vec<Outbox> {
        let peers = self.peers.lock();
        let linked = peers.values().map(|peer| peer.linked.lock());
        let outbox = |linked: &Option<Linked>| linked.as_ref().map(|linked| linked.outbox.clone());
        linked.filter_map(|linked| outbox(&linked)).collect()
    }

    fn level(&self, node: NodeId) -> Option<u32> {
        let peers = self.peers.lock();
        let linked = peers.get(&node)?.linked.lock();
        linked.as_ref().map(|linked| linked.level)
    }

    fn bulk(&self, node: NodeId) -> Option<Box<dyn BulkLink>> {
        let address = self.topology.address(node)?;
        let session = Session::new(node, self.members.clone());
        let dialled = Arc::new(BulkDialled(session.clone()));
        let mut dialler = self.dialler.clone();
        dialler.hello.bulk = true;
        let handle = dialler.dial(address, dialled);
        Some(Box::new(BulkPeer::new(session, handle)))
    }
}

impl Dialling {
    /// What is large can be fetched at once: a start may need it.
    pub fn new(
        dialler: Dialler,
        id: NodeId,
        topology: Arc<dyn Topology>,
        members: Arc<Members>,
    ) -> Self {
        Self {
            dialler,
            members,
            id,
            topology,
            peers: Mutex::default(),
        }
    }

    /// Dials the nodes that there are now and keeps the links up, and none to those that are gone.
    pub fn dial(&self, raft: &Arc<Raft>) {
        let nodes: BTreeMap<NodeId, String> = self.topology.nodes().into_iter().collect();
        let mut peers = self.peers.lock();
        peers.retain(|node, peer| {
            let stays = nodes.get(node) == Some(&peer.address);
            if !stays {
                peer.handle.close();
            }
            stays
        });
        for (node, address) in nodes {
            if node != self.id {
                let peer = peers.entry(node);
                peer.or_insert_with(|| self.peer(node, address, raft));
            }
        }
    }

    fn peer(&self, node: NodeId, address: String, raft: &Arc<Raft>) -> Peer {
        let linked = Arc::default();
        let link = PeerLink {
            node,
            linked: Arc::clone(&linked),
            members: self.members.clone(),
            raft: raft.clone(),
            refusals: Arc::default(),
        };
        let handle = self.dialler.dial(address.clone(), Arc::new(link));
        Peer {
            address,
            linked,
            handle,
        }
    }

    /// A node has just dialled this one, so it is there: no need to wait for the end of a
    /// pause.
    pub fn seen(&self, node: NodeId) {
        if let Some(peer) = self.peers.lock().get(&node) {
            peer.handle.redial_now();
        }
    }

    pub fn close(&self) {
        let peers = self.peers.lock();
        peers.values().for_each(|peer| peer.handle.close());
    }
}

/// How this node dials.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub tasks: Tasks,
    pub outside: Outside,
    pub hello: Hello,
    pub options: LinkOptions,
}

impl Dialler {
    fn dial(&self, address: String, dialled: Arc<dyn Dialled>) -> LinkHandle {
        let Self {
            tasks,
            outside,
            hello,
            options,
        } = self;
        link::dial(
            tasks,
            outside,
            address,
            hello.clone(),
            dialled,
            options.clone(),
        )
    }
}

/// What one dialled link is about.
#[derive(Clone)]
struct PeerLink {
    node: NodeId,
    linked: Arc<Mutex<Option<Linked>>>,
    members: Arc<Members>,
    raft: Arc<Raft>,
    refusals: Arc<Refusals>,
}

impl Dialled for PeerLink {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        if peer.role() != PeerRole::Node || peer.id != self.node.0 {
            return Err(LinkError::WrongPeer(format!("not node {}", self.node)));
        }
        self.members.check(peer)?;
        tracing::info!(peer = %self.node, incarnation = peer.incarnation, "link up");
        self.refusals.clear();
        let level = peer.level;
        *self.linked.lock() = Some(Linked { outbox, level });
        self.raft.suspicion.link_up(self.node, peer.incarnation);
        let start = peer.starts.last().map(Start::from);
        Ok(Arc::new(PeerReplies {
            link: self.clone(),
            incarnation: peer.incarnation,
            start,
        }))
    }

    fn down(&self, error: &LinkError) {
        match error {
            LinkError::Refused { .. } => self.raft.suspicion.redial_refused(self.node),
            LinkError::WrongPeer(why) if self.refusals.is_new(why) => {
                tracing::error!(peer = %self.node, %error, "no link");
            }
            _ => tracing::debug!(peer = %self.node, %error, "no link"),
        }
    }
}

/// What comes back on a dialled link.
struct PeerReplies {
    link: PeerLink,
    incarnation: u64,
    start: Option<Start>,
}

impl Inbound for PeerReplies {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        let PeerLink {
            node,
            raft,
            members,
            ..
        } = &self.link;
        for message in messages {
            match message.body {
                Some(Body::RaftReply(reply)) => {
                    // Before anybody builds on what it acknowledges.
                    members.told(*node, self.start.as_ref(), reply.synced);
                    raft.groups.handle_reply(reply);
                }
                Some(Body::PulseBack(pulse)) => raft.suspicion.pulse_received(*node, &pulse),
                Some(Body::SuspectReply(reply)) => raft.suspicion.handle_reply(*node, reply),
                _ => tracing::warn!(peer = %node, "unexpected message on a dialled link"),
            }
        }
    }

    fn closed(&self, _reason: &LinkError) {
        self.link.linked.lock().take();
        self.link
            .raft
            .suspicion
            .link_broke(self.link.node, self.incarnation);
    }
}
