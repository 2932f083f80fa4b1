//! Who may come in, and who listens to them.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::NodeId,
    link::{ADDRESS_BYTES_MAX, Accept, Inbound, Lane, LinkError, Outbox},
    transport::Remote,
    v1::{Hello, Message, PeerRole, message::Body},
};
use codraft_raft::wal::Start;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    bulk::{BulkRequests, Pace},
    inbound::RouterInbound,
    leadership,
    members::Members,
    peers::Dialling,
    raft::Raft,
    service::Service,
};

pub(crate) struct Acceptor {
    pub service: Arc<Service>,
    pub members: Arc<Members>,
    pub raft: Arc<Raft>,
    pub dialling: Arc<Dialling>,
    /// The links that other nodes dialled.
    pub nodes: Mutex<BTreeMap<NodeId, Outbox>>,
    /// Of what is large.
    pub pace: Arc<Pace>,
}

impl Acceptor {
    /// Follows who is in the cluster: dials who is new, and is done with who is gone.
    pub async fn follow(self: Arc<Self>, mut changes: watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            self.dialling.dial(&self.raft);
            self.nodes.lock().retain(|node, outbox| {
                let stays = self.members.is_member(*node);
                if !stays {
                    outbox.close();
                }
                stays
            });
        }
    }
}

impl Accept for Acceptor {
    fn accept(
        &self,
        peer: &Hello,
        remote: &Remote,
        outbox: Outbox,
    ) -> Result<Arc<dyn Inbound>, LinkError> {
        match peer.role() {
            PeerRole::Router => {
                if peer.address.len() > ADDRESS_BYTES_MAX {
                    let length = peer.address.len();
                    let why = format!(
                        "at an address of {length} bytes: it is at most {ADDRESS_BYTES_MAX}"
                    );
                    return Err(LinkError::WrongPeer(why));
                }
                let link = self.service.routers.add(outbox, &peer.address);
                let address = &*remote.address;
                tracing::info!(
                    link = link.id,
                    router = peer.id,
                    address,
                    public_url = peer.address,
                    "a router is here"
                );
                leadership::introduce(&self.service.groups, &link);
                Ok(Arc::new(RouterInbound::new(self.service.clone(), link)))
            }
            PeerRole::Node => {
                self.members.check(peer)?;
                let node = NodeId(peer.id);
                if peer.bulk {
                    return Ok(Arc::new(BulkRequests {
                        node,
                        raft: self.raft.clone(),
                        pace: self.pace.clone(),
                        outbox,
                        tasks: self.service.tasks.clone(),
                        underway: Arc::default(),
                        borrowed: Arc::default(),
                    }));
                }
                // The last one to say who it is.
                if let Some(older) = self.nodes.lock().insert(node, outbox.clone()) {
                    older.close();
                }
                self.dialling.seen(node);
                Ok(Arc::new(PeerRequests {
                    node,
                    start: peer.starts.last().map(Start::from),
                    members: self.members.clone(),
                    raft: self.raft.clone(),
                    outbox,
                }))
            }
            PeerRole::Unspecified => Err(LinkError::WrongPeer("of no role".into())),
        }
    }
}

/// What another node asks on the link that it dialled.
struct PeerRequests {
    node: NodeId,
    start: Option<Start>,
    members: Arc<Members>,
    raft: Arc<Raft>,
    outbox: Outbox,
}

impl Inbound for PeerRequests {
    fn batch(&self, lane: Lane, messages: Vec<Message>) {
        for m in messages {
            match m.body {
                Some(Body::RaftCall(call)) => {
                    self.raft.groups.handle(self.node, lane, call, &self.outbox)
                }
                Some(Body::Pulse(pulse)) => {
                    self.members
                        .told(self.node, self.start.as_ref(), pulse.synced);
                    self.raft
                        .suspicion
                        .handle_pulse(self.node, pulse, &self.outbox);
                }
                Some(Body::Suspect(suspect)) => {
                    self.raft.suspicion.handle(self.node, suspect, &self.outbox);
                }
                _ => tracing::warn!(peer = %self.node, "unexpected message of a node"),
            }
        }
    }

    fn closed(&self, _reason: &LinkError) {}
}
