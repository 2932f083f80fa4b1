//! The way from links to the consensus of the groups and to the search for dead leaders.

use std::sync::Arc;

use codraft_proto::{
    ids::NodeId,
    link::{Lane, Outbox},
    v1,
};
use codraft_raft::{group::Groups, suspect::Suspicion};

pub(crate) struct Raft {
    pub groups: Arc<Groups>,
    pub suspicion: Suspicion,
}

impl Raft {
    pub fn call(&self, from: NodeId, lane: Lane, call: v1::RaftCall, reply: &Outbox) {
        self.groups.handle(from, lane, call, reply);
    }

    pub fn reply(&self, reply: v1::RaftReply) {
        self.groups.handle_reply(reply);
    }

    pub fn link_up(&self, node: NodeId, incarnation: u64) {
        self.suspicion.link_up(node, incarnation);
    }

    pub fn link_broke(&self, node: NodeId, incarnation: u64) {
        self.suspicion.link_broke(node, incarnation);
    }

    pub fn redial_refused(&self, node: NodeId) {
        self.suspicion.redial_refused(node);
    }

    pub fn pulse(&self, from: NodeId, pulse: v1::Pulse, reply: &Outbox) {
        self.suspicion.handle_pulse(from, pulse, reply);
    }

    pub fn pulse_back(&self, node: NodeId, pulse: &v1::Pulse) {
        self.suspicion.pulse_received(node, pulse);
    }

    pub fn suspect(&self, from: NodeId, suspect: v1::Suspect, reply: &Outbox) {
        self.suspicion.handle(from, suspect, reply);
    }

    pub fn suspect_reply(&self, from: NodeId, reply: v1::SuspectReply) {
        self.suspicion.handle_reply(from, reply);
    }
}
