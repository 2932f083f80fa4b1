//! Who looks which documents were set apart, and lets them go on a while later, by the calls that
//! `codraft quarantine` makes; and who puts new nodes in the place of others, as `codraft node replace`
//! does.

use std::{sync::Arc, time::Duration};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    link,
    tasks::Tasks,
    topology::{LiveTopology, NodeEntry, Topology},
    v1::{
        Call, Describe, Hello, PeerRole, Replace, Replacing, SetApart, SetQuarantine, call,
        replacing, reply,
    },
};
use tokio::time::sleep;

use crate::{
    outside::{HostNetwork, SimulatedClock, Struck, outside},
    overrides,
    plan::{FaultKind, Plan, What, stream},
    shared::{Shared, Stage},
};

pub const HOST: &str = "operator";
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(1);
/// A document stays apart so long, so that something happens meanwhile.
const APART_MS: u64 = 1_500;
/// How a router says who it is; no router's number.
const NAME: u64 = 9_999;

pub fn is_needed(plan: &Plan) -> bool {
    poisons(plan) || plan.faults.iter().any(|fault| replaces(&fault.kind))
}

fn poisons(plan: &Plan) -> bool {
    let mut acts = plan.clients.iter().flat_map(|client| &client.acts);
    acts.any(|act| act.what == What::Poison)
}

fn replaces(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::Replace { .. })
}

/// Nodes whose place another one is about to have, each with that one.
pub fn replaced(topology: &LiveTopology) -> Vec<(NodeId, NodeId)> {
    let file = topology.file();
    let pair = |old: &NodeEntry| {
        let mut others = file.at(old.seat());
        let new = others.find(|new| new.id > old.id)?;
        Some((NodeId(old.id), NodeId(new.id)))
    };
    file.nodes.iter().filter_map(pair).collect()
}

/// Whether an error line is about what clients sent to that end.
pub fn explains(line: &str) -> bool {
    // The library calls it an error that another one leads by now, or is at it already: it is asked again.
    let changes = line.contains("management") && line.contains("step error: ");
    line.contains("a command panicked and was left out") || changes
}

pub async fn run(shared: Shared, topology: Arc<LiveTopology>) {
    let network = HostNetwork {
        host: HOST.into(),
        network: shared.network.clone(),
        trace: shared.trace.clone(),
    };
    let seed = rand::Rng::random(&mut stream(shared.plan.seed, HOST, 0));
    let operator = Operator {
        outside: outside(seed, network, SimulatedClock::new(Struck::default())),
        tasks: Tasks::default(),
        topology,
    };
    while shared.stage.get() != Stage::Done {
        sleep(PAUSE).await;
        for (old, new) in replaced(&operator.topology) {
            if operator.replace(old, new).await {
                shared.recorder.mark("node_replaced");
                let mut file = operator.topology.file();
                file.nodes.retain(|node| node.id != old.0);
                // What it had it has no more: nothing that is fixed changes.
                let _ = operator.topology.replace(file);
            }
        }
        if !poisons(&shared.plan) {
            continue;
        }
        for node in operator.topology.nodes() {
            for doc in operator.due_at(&node).await {
                let lift = call::Body::Quarantine(SetQuarantine { on: false });
                operator.ask(&node, doc, lift).await;
            }
        }
    }
}

struct Operator {
    outside: codraft_proto::outside::Outside,
    tasks: Tasks,
    topology: Arc<LiveTopology>,
}

impl Operator {
    /// Documents that a node's groups have had apart for long enough.
    async fn due_at(&self, node: &(NodeId, String)) -> Vec<DocId> {
        let body = call::Body::Quarantined(Describe {});
        let listed = self.ask(node, DocId::default(), body).await;
        let Some(reply::Body::Quarantined(listed)) = listed else {
            return Vec::new();
        };
        let now_ms = (overrides::EPOCH + overrides::elapsed()).as_millis() as u64;
        let is_due = |one: &SetApart| one.since_ms + APART_MS <= now_ms;
        let due = listed.documents.iter().filter(|one| is_due(one));
        due.filter_map(|one| DocId::from_slice(&one.doc)).collect()
    }

    /// Whether all groups are done.
    async fn replace(&self, old: NodeId, new: NodeId) -> bool {
        let seat = self.topology.seat(new);
        let groups = (0..self.topology.groups()).map(GroupId);
        let held = groups.filter(|group| self.topology.seats(*group).contains(&seat));
        let asked = held.map(|group| self.replace_in(group, old, new));
        futures_util::future::join_all(asked)
            .await
            .into_iter()
            .all(|done| done)
    }

    /// Asks a group, whoever leads it, and once more at once, as somebody who cannot wait would.
    async fn replace_in(&self, group: GroupId, old: NodeId, new: NodeId) -> bool {
        let body = call::Body::Replace(Replace {
            group: group.0,
            old: old.0,
            new: new.0,
        });
        let mut is_done = false;
        let nodes = self.topology.nodes();
        for node in nodes.iter().chain(&nodes) {
            let answer = self.ask(node, DocId::default(), body.clone()).await;
            if let Some(reply::Body::Replacing(Replacing { stage })) = answer {
                is_done = matches!(stage, Some(replacing::Stage::Done(_)));
            }
        }
        is_done
    }

    /// No answer is as good as a problem: it is asked again.
    async fn ask(
        &self,
        node: &(NodeId, String),
        doc: DocId,
        body: call::Body,
    ) -> Option<reply::Body> {
        let call = Call {
            id: 1,
            doc: doc.to_bytes(),
            user: String::new(),
            deadline_ms: PATIENCE.as_millis() as u32,
            body: Some(body),
        };
        let hello = Hello::new(&*self.topology, PeerRole::Router, NAME, NAME);
        let node = node.clone();
        let answer = link::ask(&self.tasks, &self.outside, hello, node, call, PATIENCE).await;
        answer.ok()
    }
}
