//! The way to the nodes: one link to each, who leads which group, and requests that are
//! not operations. It knows no Raft; a node that does not lead says so and names another.

mod calls;
mod leaders;

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    link::{Lane, Outbox},
    topology::Topology,
    v1::{self, message::Body},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use calls::PendingCalls;
pub use calls::Problem;
pub use leaders::Leader;
use leaders::Leaders;

use crate::ids::LinkId;

/// The way to one node.
#[derive(Clone)]
pub struct Route {
    pub link: LinkId,
    pub node: NodeId,
    outbox: Outbox,
}

impl Route {
    /// Queues a message for the node. Returns false if the link takes no more or is gone.
    pub fn send(&self, body: Body) -> bool {
        self.outbox
            .send(Lane::Data, v1::Message { body: Some(body) })
            .is_ok()
    }
}

pub struct Upstream {
    topology: Arc<dyn Topology>,
    state: Mutex<State>,
    calls: PendingCalls,
}

#[derive(Default)]
struct State {
    links: BTreeMap<NodeId, Route>,
    next_link: u64,
    /// How often any node was asked for; the next one is another.
    attempts: u32,
    leaders: Leaders,
}

impl Upstream {
    pub fn new(topology: Arc<dyn Topology>) -> Self {
        Self {
            topology,
            state: Mutex::default(),
            calls: PendingCalls::default(),
        }
    }

    pub fn nodes(&self) -> Vec<(NodeId, String)> {
        self.topology.nodes()
    }

    pub fn topology(&self) -> &dyn Topology {
        &*self.topology
    }

    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        (0..self.topology.groups()).map(GroupId)
    }

    pub fn group_of(&self, doc: DocId) -> GroupId {
        self.topology.group_of(&doc)
    }

    pub fn leader(&self, group: GroupId) -> Option<Leader> {
        self.state.lock().leaders.get(group)
    }

    /// The link to a group's leader, when it is known, linked and not silent.
    pub fn to_leader(&self, group: GroupId) -> Option<Route> {
        let state = self.state.lock();
        let leader = state.leaders.get(group).filter(|l| !l.silent)?;
        state.links.get(&leader.node?).cloned()
    }

    /// The way by this link, while it stands.
    pub fn route(&self, link: LinkId) -> Option<Route> {
        let state = self.state.lock();
        state.links.values().find(|r| r.link == link).cloned()
    }

    /// A link to ask on when the leader is not known: each of the group's nodes in turn.
    pub fn to_any(&self, group: GroupId) -> Option<Route> {
        let replicas = self.topology.replicas(group);
        let mut state = self.state.lock();
        state.attempts = state.attempts.wrapping_add(1);
        let attempt = state.attempts;
        let linked: Vec<_> = replicas.iter().filter_map(|n| state.links.get(n)).collect();
        linked
            .get(attempt as usize % linked.len().max(1))
            .map(|r| (*r).clone())
    }

    /// Whether every group has a leader that can be reached.
    pub fn is_ready(&self) -> bool {
        self.groups().all(|group| self.to_leader(group).is_some())
    }

    /// Takes in who leads. Returns true if the group's documents have to be moved.
    pub fn told(&self, from: NodeId, lead: &v1::Leadership) -> bool {
        let moved = self.state.lock().leaders.told(from, lead, Instant::now());
        let group = GroupId(lead.group);
        if let Some(leader) = self.to_leader(group).filter(|_| moved) {
            self.calls.moved(group, leader.link);
        }
        moved
    }

    /// Groups whose leader fell silent since the last call.
    pub fn fell_silent(&self) -> Vec<GroupId> {
        self.state.lock().leaders.fell_silent(Instant::now())
    }

    pub fn linked(&self, node: NodeId, outbox: Outbox) -> Route {
        let mut state = self.state.lock();
        state.next_link += 1;
        let route = Route {
            link: LinkId(state.next_link),
            node,
            outbox,
        };
        state.links.insert(node, route.clone());
        route
    }

    pub fn unlinked(&self, node: NodeId, link: LinkId) {
        let mut state = self.state.lock();
        if state.links.get(&node).is_some_and(|r| r.link == link) {
            state.links.remove(&node);
            state.leaders.lost(node);
        }
        drop(state);
        self.calls.lost(link);
    }
}
