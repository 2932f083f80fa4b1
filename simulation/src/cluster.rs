//! The processes of a cluster: as production starts them, on hosts of the simulation.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use codraft_node::{BudgetOptions, Node, NodeConfig};
use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    topology::{FileTopology, LiveTopology, NodeEntry, Topology},
};
use codraft_raft::{archive::RoundOptions, machine};
use codraft_router::{Keys, Router, RouterConfig};
use rand::Rng;
use tokio::sync::Notify;
use turmoil::Sim;

use crate::{
    outside::{HostNetwork, Pauses, SimulatedClock, SlowDisk, Struck, network::Name, outside},
    plan::{Fault, FaultKind, Host, stream},
    record::{DriverSeen, Seen},
    shared::{Shared, token_key},
    trace::line,
    tracer, turns,
};

pub const ROUTER_PORT: u16 = 7400;
const NODE_PORT: u16 = 7401;
const TICKET_SECRET: &[u8] = b"the simulation's secret of tickets, 32 bytes or more";

pub type HostResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Clone)]
pub struct Cluster {
    inner: Rc<Inner>,
}

struct Inner {
    shared: Shared,
    topology: Arc<LiveTopology>,
    struck: Struck,
    segment_bytes: u64,
    /// Nodes first, those that come later at their end, then routers.
    machines: Vec<Machine>,
    nodes: usize,
}

/// A machine. Its disk and its clock are there whether a process is or not.
struct Machine {
    name: Name,
    disk: RefCell<SlowDisk>,
    clock: SimulatedClock,
    pauses: Pauses,
    life: Cell<u64>,
    /// Whether it is in the cluster by now.
    is_there: Cell<bool>,
    node: RefCell<Option<Node>>,
    /// The process ended by itself; its host is still to be cleared.
    ended: RefCell<Option<Ended>>,
    drain: Rc<Notify>,
    /// It was asked to end, in this life.
    draining: Cell<bool>,
}

/// How a process ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It did not start.
    Refused(String),
    Failed(String),
    Drained,
    /// Another one has its place.
    Replaced,
}

impl Cluster {
    pub fn new(shared: Shared, struck: Struck) -> Self {
        let plan = &shared.plan;
        let (world, seed) = (&plan.world, plan.seed);
        let replaces = |fault: &&Fault| matches!(fault.kind, FaultKind::Replace { .. });
        let later = plan.faults.iter().filter(replaces).count() as u32;
        let all = world.nodes + later;
        let nodes = (1..=all).map(Host::Node);
        let routers = (0..world.routers).map(Host::Router);
        let entry = |n: u32| NodeEntry::from((n.into(), address(n)));
        let topology = FileTopology {
            cluster: "simulated".into(),
            groups: world.groups,
            retention_ms: world.retention_ms,
            nodes: (1..=world.nodes).map(entry).collect(),
        };
        let disk = |host: Host, pauses: &Pauses| {
            let seed = stream(seed, "disk", host_number(host)).random();
            SlowDisk::new(seed, world.sync_us, struck.clone(), pauses.clone())
        };
        let machine = |host: Host| {
            let pauses = Pauses::default();
            Machine {
                name: host.to_string().as_str().into(),
                disk: RefCell::new(disk(host, &pauses)),
                clock: SimulatedClock::new(struck.clone()),
                pauses,
                life: Cell::new(0),
                is_there: Cell::new(!matches!(host, Host::Node(n) if n > world.nodes)),
                node: RefCell::new(None),
                ended: RefCell::new(None),
                drain: Rc::new(Notify::new()),
                draining: Cell::new(false),
            }
        };
        // Where disks fill up, files of the log are made often.
        let fills = |kind: &FaultKind| matches!(kind, FaultKind::DiskFull { .. });
        let segment_bytes = if plan.faults.iter().any(|fault| fills(&fault.kind)) {
            16 << 10
        } else {
            [16 << 10, 64 << 10, 256 << 10][stream(seed, "segments", 0).random_range(0..3)]
        };
        let machines = nodes.chain(routers).map(machine).collect();
        Self {
            inner: Rc::new(Inner {
                nodes: all as usize,
                topology: Arc::new(LiveTopology::new(topology)),
                segment_bytes,
                struck,
                machines,
                shared,
            }),
        }
    }

    pub fn hosts(&self) -> impl Iterator<Item = (usize, Name)> + use<'_> {
        let names = self
            .inner
            .machines
            .iter()
            .map(|machine| machine.name.clone());
        names.enumerate()
    }

    pub fn topology(&self) -> Arc<LiveTopology> {
        self.inner.topology.clone()
    }

    pub fn nodes(&self) -> std::ops::Range<usize> {
        0..self.inner.nodes
    }

    /// Which machine a node or router runs on.
    pub fn index_of(&self, host: Host) -> Option<usize> {
        match host {
            Host::Node(n) => (n as usize).checked_sub(1),
            Host::Router(r) => Some(self.inner.nodes + r as usize),
            Host::Client(_) => None,
        }
    }

    pub fn name(&self, i: usize) -> Name {
        self.inner.machines[i].name.clone()
    }

    fn network(&self, i: usize) -> HostNetwork {
        HostNetwork {
            host: self.name(i),
            network: self.inner.shared.network.clone(),
            trace: self.inner.shared.trace.clone(),
        }
    }

    /// A process, from its start to its end; the host is cleared by the driver.
    pub async fn process(self, i: usize) -> HostResult {
        let machine = &self.inner.machines[i];
        if !machine.is_there.get() {
            return pending().await;
        }
        let life = machine.life.get() + 1;
        machine.life.set(life);
        machine.ended.replace(None);
        machine.draining.set(false);
        tracer::born(&machine.name, life);
        line!(
            self.inner.shared.trace,
            "{} starts for the {life}. time",
            machine.name
        );
        let ended = if i < self.inner.nodes {
            self.node(i, life).await
        } else {
            self.router(i, life).await
        };
        line!(self.inner.shared.trace, "{} ends: {ended:?}", machine.name);
        machine.ended.replace(Some(ended));
        pending().await
    }

    async fn node(&self, i: usize, life: u64) -> Ended {
        let machine = &self.inner.machines[i];
        let world = &self.inner.shared.plan.world;
        let listen = format!("{}:{NODE_PORT}", machine.name);
        let id = NodeId(i as u64 + 1);
        let mut config = NodeConfig::new(
            id,
            listen,
            PathBuf::from("/data"),
            self.inner.topology.clone(),
        );
        config.plain_text_anywhere = true;
        config.machine = world.machine_limits();
        config.wal.segment_bytes = self.inner.segment_bytes;
        config.pages.file_bytes = self.inner.segment_bytes as u32;
        config.keep.tail_commands = world.tail_commands.into();
        config.rounds.bytes = world.round_bytes as usize;
        // Where rounds are small documents are kept whole often.
        if config.rounds.bytes < RoundOptions::default().bytes {
            config.checkpoints.revisions = 16;
            config.checkpoints.bytes_a_revision = 64;
            config.checkpoints.ms = 2_000;
        }
        let unarchived = u64::from(world.unarchived_kib) << 10;
        config.budget = BudgetOptions::of(unarchived, u64::MAX);
        config.limits.quiet_ms = world.quiet_ms;
        config.keep.memory_bytes = u64::from(world.memory_kib) << 10;
        // Its documents are small, and some are to be spelled outside their group's lock.
        config.spelled_at_once = 64;
        let disk = machine.disk.borrow().clone();
        disk.start();
        let outside = codraft_node::NodeOutside {
            common: outside(
                self.seed_of(i, life),
                self.network(i),
                machine.clock.clone(),
            ),
            disk: Arc::new(disk),
        };
        let started = Node::start(config, outside).await;
        let refused = started.as_ref().err().map(ToString::to_string);
        self.inner
            .shared
            .recorder
            .note(Seen::Driver(DriverSeen::Started {
                node: id.0,
                life,
                refused: refused.clone(),
            }));
        let Ok(node) = started else {
            return Ended::Refused(refused.unwrap_or_default());
        };
        let failed = node.failed();
        machine.node.replace(Some(node));
        let ended = tokio::select! {
            biased;
            reason = failed => return Ended::Failed(reason.to_owned()),
            () = machine.drain.notified() => Ended::Drained,
            () = self.without(id) => Ended::Replaced,
        };
        let node = machine.node.take();
        if let Some(node) = node {
            node.shutdown().await;
        }
        ended
    }

    /// Until a node is not in the cluster any more.
    async fn without(&self, id: NodeId) {
        let Some(mut changes) = self.inner.topology.changes() else {
            return pending().await;
        };
        while self.inner.topology.address(id).is_some() {
            if changes.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    async fn router(&self, i: usize, life: u64) -> Ended {
        let machine = &self.inner.machines[i];
        let keys = Keys {
            tokens: vec![token_key()],
            ticket_secret: TICKET_SECRET.to_vec(),
        };
        let listen = format!("{}:{ROUTER_PORT}", machine.name);
        let mut config = RouterConfig::new(listen, self.inner.topology.clone(), keys);
        config.plain_text_anywhere = true;
        config.any_limits = true;
        // Nodes keep people for longer: whoever is not told to be gone is seen.
        config.limits.presence_ttl_ms = 4_000;
        config.limits.socket_queue_bytes = self.inner.shared.plan.world.socket_queue_bytes;
        let outside = outside(
            self.seed_of(i, life),
            self.network(i),
            machine.clock.clone(),
        );
        match Router::start(config, outside).await {
            Ok(router) => Ended::Failed(router.failed().await.to_owned()),
            Err(error) => Ended::Refused(error.to_string()),
        }
    }

    fn seed_of(&self, i: usize, life: u64) -> u64 {
        let number = (i as u64) << 32 | life;
        stream(self.inner.shared.plan.seed, "process", number).random()
    }

    // ---- What the driver does ----------------------------------------------------------------

    /// Ends a process at once.
    pub fn kill(&self, sim: &mut Sim<'_>, i: usize) {
        let machine = &self.inner.machines[i];
        tracer::silenced(|| {
            machine.node.replace(None);
            machine.ended.replace(None);
            sim.crash(&*machine.name);
        });
        turns::forget(tracer::number_of(&machine.name));
    }

    pub fn start(&self, sim: &mut Sim<'_>, i: usize) {
        let name = self.name(i);
        tracer::silenced(|| sim.bounce(&*name));
    }

    /// Puts the machine that is kept for it into the cluster, in the place of a node.
    pub fn bring_in(&self, sim: &mut Sim<'_>, old: u32) {
        let i = self.inner.nodes - 1;
        let id = i as u32 + 1;
        let mut file = self.inner.topology.file();
        file.nodes.push(NodeEntry {
            seat: Some(old.into()),
            ..NodeEntry::from((id.into(), address(id)))
        });
        // The plan was checked.
        let _ = self.inner.topology.replace(file);
        self.inner.machines[i].is_there.set(true);
        self.start(sim, i);
    }

    /// Whether a node is in the cluster no more.
    pub fn is_replaced(&self, i: usize) -> bool {
        let is_there = self.inner.machines[i].is_there.get();
        i < self.inner.nodes
            && is_there
            && self.inner.topology.address(NodeId(i as u64 + 1)).is_none()
    }

    /// Asks a node to hand over and end.
    pub fn drain(&self, i: usize) -> bool {
        let machine = &self.inner.machines[i];
        if machine.node.borrow().is_none() {
            return false;
        }
        machine.draining.set(true);
        machine.drain.notify_waiters();
        true
    }

    pub fn is_draining(&self, i: usize) -> bool {
        self.inner.machines[i].draining.get()
    }

    /// A process that ended by itself since it was asked last.
    pub fn ended(&self, i: usize) -> Option<Ended> {
        self.inner.machines[i].ended.take()
    }

    pub fn disk(&self, i: usize) -> SlowDisk {
        self.inner.machines[i].disk.borrow().clone()
    }

    /// An empty disk for a machine.
    pub fn new_disk(&self, i: usize, seed: u64) -> SlowDisk {
        let (world, pauses) = (
            &self.inner.shared.plan.world,
            &self.inner.machines[i].pauses,
        );
        SlowDisk::new(
            seed,
            world.sync_us,
            self.inner.struck.clone(),
            pauses.clone(),
        )
    }

    /// Puts another disk into a machine; returns the one that was there.
    pub fn swap_disk(&self, i: usize, disk: SlowDisk) -> SlowDisk {
        self.inner.machines[i].disk.replace(disk)
    }

    /// A pause of a machine begins or ends.
    pub fn pause(&self, i: usize, begins: bool) {
        let machine = &self.inner.machines[i];
        machine.pauses.change(begins);
        turns::stand_still(tracer::number_of(&machine.name), begins);
    }

    pub fn clock(&self, i: usize) -> &SimulatedClock {
        &self.inner.machines[i].clock
    }

    // ---- What the driver asks ----------------------------------------------------------------

    /// Whether a node is up, which is longer than that its process runs.
    pub fn serves(&self, i: usize) -> bool {
        self.inner.machines[i].node.borrow().is_some()
    }

    pub fn with_node<R>(&self, i: usize, ask: impl FnOnce(&Node) -> R) -> Option<R> {
        self.inner.machines[i].node.borrow().as_ref().map(ask)
    }

    pub fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.inner.topology.groups()).map(GroupId)
    }

    /// The machines of the nodes that hold a group.
    pub fn replicas(&self, group: GroupId) -> Vec<usize> {
        let nodes = self.inner.topology.replicas(group);
        nodes.iter().map(|node| node.0 as usize - 1).collect()
    }

    pub fn group_of(&self, doc: &DocId) -> GroupId {
        self.inner.topology.group_of(doc)
    }

    /// Looks at a node's replica of a document.
    pub fn with_document<R>(
        &self,
        i: usize,
        doc: &DocId,
        look: impl FnOnce(&machine::Document) -> R,
    ) -> Option<R> {
        self.with_node(i, |node| node.with_document(doc, look))?
    }
}

fn address(node: u32) -> String {
    format!("{}:{NODE_PORT}", Host::Node(node))
}

fn host_number(host: Host) -> u64 {
    match host {
        Host::Node(n) => u64::from(n),
        Host::Router(r) => 100 + u64::from(r),
        Host::Client(n) => 1_000 + u64::from(n),
    }
}
