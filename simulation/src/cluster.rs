//! The processes of a cluster: as production starts them, on hosts of the simulation.

use std::{cell::RefCell, path::PathBuf, rc::Rc, sync::Arc};

use codraft_node::{Node, NodeConfig};
use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    topology::{FileTopology, NodeEntry, Topology},
};
use codraft_router::{Keys, Router, RouterConfig};

use crate::{
    outside::{SimulatedNetwork, SlowDisk, outside},
    trace::{Trace, line},
};

pub const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
pub const ROUTER: &str = "router";
pub const ROUTER_PORT: u16 = 7400;
const NODE_PORT: u16 = 7401;
pub const TOKEN_SECRET: &[u8] = b"the simulation's secret of tokens, 32 bytes or more";
const TICKET_SECRET: &[u8] = b"the simulation's secret of tickets, 32 bytes or more";

/// The log index and the hash of the state of each replica that is up.
pub type Replicas = Vec<(u64, [u8; 32])>;

pub type HostResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Clone)]
pub struct Cluster {
    inner: Rc<Inner>,
}

struct Inner {
    seed: u64,
    topology: Arc<FileTopology>,
    trace: Trace,
    network: SimulatedNetwork,
    places: Vec<Place>,
}

/// A machine for a node. Its disk is there whether a process is or not.
struct Place {
    disk: SlowDisk,
    starts: RefCell<u64>,
    node: RefCell<Option<Node>>,
}

impl Cluster {
    pub fn new(seed: u64, groups: u32, trace: Trace) -> Self {
        let entry = |i: usize| NodeEntry {
            id: i as u64 + 1,
            address: format!("{}:{NODE_PORT}", NODES[i]),
        };
        let topology = FileTopology {
            cluster: "simulated".into(),
            groups,
            nodes: (0..NODES.len()).map(entry).collect(),
        };
        let place = |i: usize| Place {
            disk: SlowDisk::new(seed ^ ((i as u64 + 1) << 56)),
            starts: RefCell::new(0),
            node: RefCell::new(None),
        };
        let places = (0..NODES.len()).map(place).collect();
        Self {
            inner: Rc::new(Inner {
                seed,
                topology: Arc::new(topology),
                trace,
                network: SimulatedNetwork::default(),
                places,
            }),
        }
    }

    /// Node number `i`'s process, from start to failure.
    pub async fn node(self, i: usize) -> HostResult {
        let place = &self.inner.places[i];
        let start = place.starts.replace_with(|n| *n + 1) + 1;
        line!(
            self.inner.trace,
            "{} starts for the {start}. time",
            NODES[i]
        );
        let listen = format!("{}:{NODE_PORT}", NODES[i]);
        let id = NodeId(i as u64 + 1);
        let mut config = NodeConfig::new(
            id,
            listen,
            PathBuf::from("/data"),
            self.inner.topology.clone(),
        );
        config.plain_text_anywhere = true;
        let common = outside(self.seed_of(i as u64 + 1, start), &self.inner.network);
        let disk = Arc::new(place.disk.clone());
        let node = Node::start(config, codraft_node::Outside { common, disk }).await?;
        line!(self.inner.trace, "{} serves", NODES[i]);
        let failed = node.failed();
        place.node.replace(Some(node));
        Err(failed.await.into())
    }

    pub async fn router(self) -> HostResult {
        let keys = Keys {
            token_secret: TOKEN_SECRET.to_vec(),
            token_public: None,
            ticket_secret: TICKET_SECRET.to_vec(),
        };
        let listen = format!("{ROUTER}:{ROUTER_PORT}");
        let mut config = RouterConfig::new(listen, self.inner.topology.clone(), keys);
        config.plain_text_anywhere = true;
        let router =
            Router::start(config, outside(self.seed_of(100, 1), &self.inner.network)).await?;
        line!(self.inner.trace, "{ROUTER} serves");
        Err(router.failed().await.into())
    }

    fn seed_of(&self, process: u64, start: u64) -> u64 {
        self.inner.seed ^ (process << 48) ^ (start << 32)
    }

    pub fn group_of(&self, doc: &DocId) -> GroupId {
        self.inner.topology.group_of(doc)
    }

    /// The node that leads a group and knows it.
    pub fn leader(&self, group: GroupId) -> Option<usize> {
        let leads = |node: &Node| {
            node.leads()
                .iter()
                .any(|l| l.group == group && l.node == Some(node.id()))
        };
        self.inner
            .places
            .iter()
            .position(|place| place.node.borrow().as_ref().is_some_and(leads))
    }

    /// Lets go of a node's handle; before its host is crashed.
    pub fn forget(&self, i: usize) {
        self.inner.places[i].node.replace(None);
    }

    /// Says whether a node's machine refuses to be dialled.
    pub fn refuse(&self, i: usize, refuses: bool) {
        self.inner.network.refuse(NODES[i], refuses);
    }

    /// From now on a node's disk says that it synced and does not.
    pub fn lie(&self, i: usize) {
        self.inner.places[i].disk.lie();
    }

    /// What was not synced is lost.
    pub fn lose_power(&self, i: usize, seed: u64) {
        self.inner.places[i].disk.lose_power(seed);
    }

    /// Every group's replicas, as far as they are up: (index, hash of the state).
    pub fn digests(&self) -> Vec<(GroupId, Replicas)> {
        let digest = |group: GroupId, place: &Place| {
            place.node.borrow().as_ref().and_then(|n| n.digest(group))
        };
        let of = |group: GroupId| {
            self.inner
                .places
                .iter()
                .filter_map(|place| digest(group, place))
                .collect()
        };
        (0..self.inner.topology.groups())
            .map(|g| (GroupId(g), of(GroupId(g))))
            .collect()
    }
}
