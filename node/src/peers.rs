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
#[derive(Default)]
pub(crate) struct Dialling {
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Default)]
struct Peer {
    outbox: Arc<Mutex<Option<Outbox>>>,
    handle: OnceLock<LinkHandle>,
    bulk: OnceLock<BulkDialler>,
}

/// How a node is dialled for what is large.
struct BulkDialler {
    dialler: Dialler,
    address: String,
    members: Arc<Members>,
}

impl Peers for Dialling {
    fn outbox(&self, node: NodeId) -> Option<Outbox> {
        self.peers.get(&node)?.outbox.lock().clone()
    }

    fn bulk(&self, node: NodeId) -> Option<Box<dyn BulkLink>> {
        let BulkDialler {
            dialler,
            address,
            members,
        } = self.peers.get(&node)?.bulk.get()?;
        let session = Session::new(node, members.clone());
        let dialled = Arc::new(BulkDialled(session.clone()));
        let handle = dialler.dial(address.clone(), dialled);
        Some(Box::new(BulkPeer::new(session, handle)))
    }
}

impl Dialling {
    pub fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        Self {
            peers: nodes.map(|node| (node, Peer::default())).collect(),
        }
    }

    /// Dials every node of the list and keeps the links up.
    pub fn dial(
        &self,
        dialler: &Dialler,
        nodes: &[(NodeId, String)],
        members: &Arc<Members>,
        raft: &Arc<Raft>,
    ) {
        for (node, address) in nodes {
            let Some(peer) = self.peers.get(node) else {
                continue;
            };
            let outbox = peer.outbox.clone();
            let link = PeerLink {
                node: *node,
                outbox,
                members: members.clone(),
                raft: raft.clone(),
                refusals: Arc::default(),
            };
            let handle = dialler.dial(address.clone(), Arc::new(link));
            let mut bulk = dialler.clone();
            bulk.hello.bulk = true;
            let bulk = BulkDialler {
                dialler: bulk,
                address: address.clone(),
                members: members.clone(),
            };
            // Dialled once; a second handle would be a fault of `start`.
            let _ = peer.handle.set(handle);
            let _ = peer.bulk.set(bulk);
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
