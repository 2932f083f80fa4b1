//! Who looks which documents were set apart, and lets them go on a while later, by the calls that
//! `codraft quarantine` makes.

use std::{sync::Arc, time::Duration};

use codraft_proto::{
    ids::{DocId, NodeId},
    link,
    tasks::Tasks,
    topology::{FileTopology, Topology},
    v1::{Call, Describe, Hello, PeerRole, SetApart, SetQuarantine, call, reply},
};
use tokio::time::sleep;

use crate::{
    outside::{HostNetwork, SimulatedClock, Struck, outside},
    overrides,
    plan::{Plan, What, stream},
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
    let mut acts = plan.clients.iter().flat_map(|client| &client.acts);
    acts.any(|act| act.what == What::Poison)
}

/// Whether an error line is about what clients sent to that end.
pub fn explains(line: &str) -> bool {
    line.contains("a command panicked and was left out")
}

pub async fn run(shared: Shared, topology: Arc<FileTopology>) {
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
    topology: Arc<FileTopology>,
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
