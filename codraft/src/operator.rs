//! An operator's requests to the nodes, which answer them as they answer a router.

use std::time::Duration;

use anyhow::{Result, bail};
use codraft_proto::{
    ids::{DocId, NodeId},
    link,
    outside::{Entropy, OsEntropy, Outside},
    reject::Code,
    tasks::Tasks,
    topology::{FileTopology, Topology},
    v1::{self, Hello, PeerRole, call, reply},
};
use tokio::time::Instant;

use crate::outside::outside;

/// A request is given up after so long; long enough for a failover.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// One node has so long for its answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two rounds of questions.
pub const PAUSE: Duration = Duration::from_millis(200);

/// Asks nodes as a router does, one request a link.
pub struct Operator {
    pub topology: FileTopology,
    pub outside: Outside,
    name: u64,
    tasks: Tasks,
}

impl Operator {
    pub fn new(topology: FileTopology) -> Self {
        let mut name = [0; 8];
        OsEntropy.fill(&mut name);
        Self {
            topology,
            outside: outside(),
            name: u64::from_le_bytes(name),
            tasks: Tasks::default(),
        }
    }

    /// Asks the leader of the document's group, or of the one that the request names, whoever that is
    /// by then.
    ///
    /// # Errors
    /// What a node said of it, with its code, or that nobody leads within the time of a failover.
    pub async fn ask_leader(&self, doc: DocId, body: call::Body) -> Result<reply::Body> {
        let deadline = Instant::now() + PATIENCE;
        let nodes = self.topology.nodes();
        let mut next = 0;
        loop {
            let (node, address) = &nodes[next % nodes.len()];
            let problem = match self.ask(*node, address, doc, body.clone()).await {
                Ok(reply::Body::Problem(problem)) => problem,
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => v1::Problem {
                    code: Code::NoLeader as u32,
                    ..v1::Problem::default()
                },
            };
            let code = Code::from_number(problem.code).unwrap_or(Code::Internal);
            let elsewhere = matches!(code, Code::NotLeader | Code::NoLeader | Code::WrongGroup);
            if !elsewhere || Instant::now() >= deadline {
                bail!("{}: {}", code.as_str(), problem.message);
            }
            let leader = problem.leader.map(|leader| NodeId(leader.node));
            let named = nodes.iter().position(|(node, _)| Some(*node) == leader);
            next = named.unwrap_or(next + 1);
            if named.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Asks one node.
    ///
    /// # Errors
    /// Why no answer came.
    pub async fn ask(
        &self,
        node: NodeId,
        address: &str,
        doc: DocId,
        body: call::Body,
    ) -> Result<reply::Body> {
        let call = v1::Call {
            id: 1,
            doc: doc.to_bytes(),
            user: String::new(),
            deadline_ms: ANSWER.as_millis() as u32,
            body: Some(body),
        };
        let hello = Hello::new(&self.topology, PeerRole::Router, self.name, self.name);
        let node = (node, address.to_owned());
        let answer = link::ask(&self.tasks, &self.outside, hello, node, call, ANSWER).await;
        Ok(answer?)
    }
}
