//! The links that this node dials: one to every other node. What is asked goes out here and
//! is answered on the same link.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use codraft_proto::{
    ids::NodeId,
    link::{self, Dialled, Inbound, Lane, LinkError, LinkHandle, LinkOptions, Outbox, Refusals},
    outside::Outside,
    tasks::Tasks,
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
    peers: BTreeMap<NodeId, Peer>,
}

struct Peer {
    address: String,
    outbox: Arc<Mutex<Option<Outbox>>>,
    handle: OnceLock<LinkHandle>,
}

impl Peers for Dialling {
    fn outbox(&self, node: NodeId) -> Option<Outbox> {
        self.peers.get(&node)?.outbox.lock().clone()
    }

    fn bulk(&self, node: NodeId) -> Option<Box<dyn BulkLink>> {
        let address = self.peers.get(&node)?.address.clone();
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
    pub fn new(dialler: Dialler, nodes: &[(NodeId, String)], members: Arc<Members>) -> Self {
        let peer = |address: &String| Peer {
            address: address.clone(),
            outbox: Arc::default(),
            handle: OnceLock::new(),
        };
        let peers = nodes.iter().map(|(node, address)| (*node, peer(address)));
        Self {
            dialler,
            members,
            peers: peers.collect(),
        }
    }

    /// Dials every node of the list and keeps the links up.
    pub fn dial(&self, raft: &Arc<Raft>) {
        for (node, peer) in &self.peers {
            let link = PeerLink {
                node: *node,
                outbox: peer.outbox.clone(),
                members: self.members.clone(),
                raft: raft.clone(),
                refusals: Arc::default(),
            };
            let handle = self.dialler.dial(peer.address.clone(), Arc::new(link));
            // Dialled once; a second handle would be a fault of `start`.
            let _ = peer.handle.set(handle);
        }
    }

    /// A node has just dialled this one, so it is there: no need to wait for the end of a
    /// pause.
    pub fn seen(&self, node: NodeId) {
        if let Some(handle) = self.peers.get(&node).and_then(|peer| peer.handle.get()) {
            handle.redial_now();
        }
    }

    pub fn close(&self) {
        self.peers
            .values()
            .filter_map(|peer| peer.handle.get())
            .for_each(LinkHandle::close);
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
    outbox: Arc<Mutex<Option<Outbox>>>,
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
        *self.outbox.lock() = Some(outbox);
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
        self.link.outbox.lock().take();
        self.link
            .raft
            .suspicion
            .link_broke(self.link.node, self.incarnation);
    }
}
