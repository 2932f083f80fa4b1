//! Who is in the cluster and which group is where, behind a trait: from `cluster.toml` now,
//! from a group of the cluster itself later.

use std::net::ToSocketAddrs;

use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    ids::{DocId, GroupId, NodeId},
    placement, v1,
};

pub trait Topology: Send + Sync + 'static {
    /// The cluster's name; links refuse another one.
    fn cluster(&self) -> &str;
    fn groups(&self) -> u32;
    /// For how long history is kept, in milliseconds of the events' own time; 0 for ever.
    fn retention_ms(&self) -> u64;
    /// Nodes and where they listen for links.
    fn nodes(&self) -> Vec<(NodeId, String)>;
    /// Whose place a node has: its own, or that of the node which had it when the cluster was made.
    fn seat(&self, node: NodeId) -> NodeId;
    /// The nodes that hold a group, the preferred leader first; also both of a node that is being
    /// replaced and the one that takes its place.
    fn replicas(&self, group: GroupId) -> Vec<NodeId>;
    /// Changes whenever the nodes do. A topology that never changes has none.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// The seats of a group, the preferred leader's first; fixed when the cluster is made.
    fn seats(&self, group: GroupId) -> Vec<NodeId> {
        let replicas = self.replicas(group).into_iter();
        let mut seats: Vec<NodeId> = replicas.map(|node| self.seat(node)).collect();
        seats.dedup();
        seats
    }
    fn group_of(&self, doc: &DocId) -> GroupId {
        placement::group_of(placement::slot_of(doc), self.groups())
    }
    fn address(&self, node: NodeId) -> Option<String> {
        self.nodes()
            .into_iter()
            .find(|(id, _)| *id == node)
            .map(|(_, address)| address)
    }
}

/// What of a topology is fixed when the cluster is made: another number of slots or groups, or
/// other seats, would look for documents where they are not, and another retention would archive the
/// same rounds as other objects. Addresses are no part of it, nor who has a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub slots: u32,
    /// The nodes at first, rising.
    pub nodes: Vec<NodeId>,
    /// The voters of each group at first, rising.
    pub voters: Vec<Vec<NodeId>>,
    /// For how long history is kept; 0 for ever.
    pub retention_ms: u64,
}

impl Placement {
    pub fn of(topology: &dyn Topology) -> Self {
        let rising = |mut nodes: Vec<NodeId>| {
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        };
        let voters = (0..topology.groups()).map(|group| rising(topology.seats(GroupId(group))));
        let nodes = topology.nodes().into_iter();
        let nodes = nodes.map(|(node, _)| topology.seat(node));
        Self {
            slots: placement::SLOTS.into(),
            nodes: rising(nodes.collect()),
            voters: voters.collect(),
            retention_ms: topology.retention_ms(),
        }
    }

    /// The first thing that is not the same, as this has it and as the other has it.
    pub fn difference(&self, other: &Placement) -> Option<(String, String)> {
        let both = |what: fn(&Placement) -> String| Some((what(self), what(other)));
        if self.slots != other.slots {
            return both(|it| format!("{} slots", it.slots));
        }
        if self.voters.len() != other.voters.len() {
            return both(|it| format!("groups = {}", it.voters.len()));
        }
        if self.retention_ms != other.retention_ms {
            return both(|it| format!("retention_ms = {}", it.retention_ms));
        }
        if self.nodes != other.nodes {
            return both(|it| format!("nodes {}", list(&it.nodes)));
        }
        let mut groups = self.voters.iter().zip(&other.voters).enumerate();
        let (group, (mine, theirs)) = groups.find(|(_, (mine, theirs))| mine != theirs)?;
        let on = |nodes: &[NodeId]| format!("group {group} on nodes {}", list(nodes));
        Some((on(mine), on(theirs)))
    }
}

fn list(nodes: &[NodeId]) -> String {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    nodes.join(", ")
}

fn numbers(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

fn node_ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

impl From<&Placement> for v1::Placement {
    fn from(placement: &Placement) -> Self {
        let voters = |nodes: &Vec<NodeId>| v1::Voters {
            nodes: numbers(nodes),
        };
        Self {
            slots: placement.slots,
            nodes: numbers(&placement.nodes),
            groups: placement.voters.iter().map(voters).collect(),
            retention_ms: placement.retention_ms,
        }
    }
}

impl From<&v1::Placement> for Placement {
    fn from(placement: &v1::Placement) -> Self {
        let voters = |group: &v1::Voters| node_ids(&group.nodes);
        Self {
            slots: placement.slots,
            nodes: node_ids(&placement.nodes),
            voters: placement.groups.iter().map(voters).collect(),
            retention_ms: placement.retention_ms,
        }
    }
}

impl v1::Hello {
    /// What a process says of itself at first, whoever it is.
    pub fn new(topology: &dyn Topology, role: v1::PeerRole, id: u64, incarnation: u64) -> Self {
        Self {
            cluster: topology.cluster().to_owned(),
            role: role.into(),
            id,
            incarnation,
            placement: Some((&Placement::of(topology)).into()),
            ..Self::default()
        }
    }
}

/// `cluster.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTopology {
    pub cluster: String,
    /// 1 to 256; fixed when the cluster is made.
    pub groups: u32,
    /// For how long history is kept, by the events' own time; 0 for ever. Fixed when the cluster is made.
    #[serde(default)]
    pub retention_ms: u64,
    #[serde(rename = "node", default)]
    pub nodes: Vec<NodeEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    pub id: u64,
    /// `host:port`.
    pub address: String,
    /// The node whose place it has, where that is not its own: the one of when the cluster was made.
    pub seat: Option<u64>,
}

impl From<(u64, String)> for NodeEntry {
    fn from((id, address): (u64, String)) -> Self {
        let seat = None;
        Self { id, address, seat }
    }
}

impl NodeEntry {
    pub fn seat(&self) -> NodeId {
        NodeId(self.seat.unwrap_or(self.id))
    }
}

/// What is wrong with a `cluster.toml`.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("cluster.toml cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("cluster.toml: the cluster needs a name of 1 to 64 letters, digits, dots or dashes")]
    Name,
    #[error("cluster.toml: groups = {0}, but there are 1 to 256")]
    Groups(u32),
    #[error(
        "cluster.toml: retention_ms = {0}, but history is kept for 0 (for ever) or {RETENTION_MS_MIN} \
         at least"
    )]
    Retention(u64),
    #[error("cluster.toml: there is no [[node]]")]
    NoNodes,
    #[error("cluster.toml: a node's id is 1 or more")]
    ZeroId,
    #[error("cluster.toml: two nodes have the id {0}")]
    SameId(u64),
    #[error("cluster.toml: two nodes have the address {0}")]
    SameAddress(String),
    #[error("cluster.toml: node {id} has the address {address:?}, which is not host:port")]
    Address { id: u64, address: String },
    #[error(
        "cluster.toml: node {id} has seat = {seat}: a node that takes another's place has a higher \
         id than that one, since no id is used again"
    )]
    Seat { id: u64, seat: u64 },
    #[error(
        "cluster.toml: seat {seat} has {count} nodes: one is replaced by one, so end what was begun \
         first"
    )]
    Crowded { seat: NodeId, count: usize },
    #[error("cluster.toml now has {now} where it had {was}, which cannot change")]
    Fixed { was: String, now: String },
}

/// The most groups a cluster may have.
pub const GROUPS_MAX: u32 = 256;
/// The least time for which history is kept.
pub const RETENTION_MS_MIN: u64 = 1_000;

impl FileTopology {
    /// Reads and checks the text of a `cluster.toml`.
    ///
    /// # Errors
    /// What is wrong with it, in words that say what to change.
    pub fn parse(text: &str) -> Result<Self, TopologyError> {
        let topology: FileTopology = toml::from_str(text)?;
        topology.check()?;
        Ok(topology)
    }

    /// The text of a `cluster.toml` that `parse` reads back as this.
    ///
    /// # Errors
    /// What is wrong with it: a file that would be refused is not written.
    pub fn to_text(&self) -> Result<String, TopologyError> {
        self.check()?;
        let mut text = format!(
            "# Who is in this cluster. The same file on every machine.\n\
             cluster = \"{}\"\n\
             # Raft groups: fixed when the cluster was made.\n\
             groups = {}\n",
            self.cluster, self.groups
        );
        if self.retention_ms > 0 {
            text.push_str(&format!(
                "# History is kept for so long, by the events' own time: fixed when the cluster was made.\n\
                 retention_ms = {}\n",
                self.retention_ms
            ));
        }
        for node @ NodeEntry { id, address, .. } in &self.nodes {
            text.push_str(&format!("\n[[node]]\nid = {id}\naddress = \"{address}\"\n"));
            let seat = node.seat();
            if seat.0 != *id {
                text.push_str(&format!(
                    "# It has the place of node {seat}.\nseat = {seat}\n"
                ));
            }
        }
        Ok(text)
    }

    fn check(&self) -> Result<(), TopologyError> {
        let letters = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(1..=64).contains(&self.cluster.len()) || !self.cluster.chars().all(letters) {
            return Err(TopologyError::Name);
        }
        if !(1..=GROUPS_MAX).contains(&self.groups) {
            return Err(TopologyError::Groups(self.groups));
        }
        if (1..RETENTION_MS_MIN).contains(&self.retention_ms) {
            return Err(TopologyError::Retention(self.retention_ms));
        }
        if self.nodes.is_empty() {
            return Err(TopologyError::NoNodes);
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if node.id == 0 {
                return Err(TopologyError::ZeroId);
            }
            if self.nodes[..i].iter().any(|other| other.id == node.id) {
                return Err(TopologyError::SameId(node.id));
            }
            if self.nodes[..i]
                .iter()
                .any(|other| other.address == node.address)
            {
                return Err(TopologyError::SameAddress(node.address.clone()));
            }
            self.check_seat(node)?;
            let (id, address) = (node.id, node.address.clone());
            if !is_host_and_port(&address) {
                return Err(TopologyError::Address { id, address });
            }
        }
        Ok(())
    }

    fn check_seat(&self, node: &NodeEntry) -> Result<(), TopologyError> {
        let (id, seat) = (node.id, node.seat());
        if seat.0 == 0 || seat.0 > id {
            return Err(TopologyError::Seat { id, seat: seat.0 });
        }
        let count = self.at(seat).count();
        match count {
            1 | 2 => Ok(()),
            _ => Err(TopologyError::Crowded { seat, count }),
        }
    }

    /// The nodes that have a seat: one, or the old one and the new one.
    pub fn at(&self, seat: NodeId) -> impl Iterator<Item = &NodeEntry> {
        self.nodes.iter().filter(move |node| node.seat() == seat)
    }
}

impl Topology for FileTopology {
    fn cluster(&self) -> &str {
        &self.cluster
    }
    fn groups(&self) -> u32 {
        self.groups
    }
    fn retention_ms(&self) -> u64 {
        self.retention_ms
    }
    fn nodes(&self) -> Vec<(NodeId, String)> {
        self.nodes
            .iter()
            .map(|node| (NodeId(node.id), node.address.clone()))
            .collect()
    }
    fn seat(&self, node: NodeId) -> NodeId {
        let entry = self.nodes.iter().find(|entry| entry.id == node.0);
        entry.map_or(node, NodeEntry::seat)
    }
    fn replicas(&self, group: GroupId) -> Vec<NodeId> {
        let mut seats: Vec<NodeId> = self.nodes.iter().map(NodeEntry::seat).collect();
        seats.sort_unstable();
        seats.dedup();
        let seats = placement::replicas(group, &seats).into_iter();
        let nodes = seats.flat_map(|seat| self.at(seat));
        nodes.map(|node| NodeId(node.id)).collect()
    }
}

/// A topology that processes use while it changes: a node takes another's place.
pub struct LiveTopology {
    cluster: String,
    groups: u32,
    file: RwLock<FileTopology>,
    changes: watch::Sender<u64>,
}

impl LiveTopology {
    pub fn new(file: FileTopology) -> Self {
        Self {
            cluster: file.cluster.clone(),
            groups: file.groups,
            file: RwLock::new(file),
            changes: watch::Sender::new(0),
        }
    }

    pub fn file(&self) -> FileTopology {
        self.file.read().clone()
    }

    /// Goes on with what `cluster.toml` holds now. Returns whether that is something else.
    ///
    /// # Errors
    /// When it would move documents; then all stays as it is.
    pub fn replace(&self, file: FileTopology) -> Result<bool, TopologyError> {
        let was = self.file();
        if was == file {
            return Ok(false);
        }
        if was.cluster != file.cluster {
            let cluster = |file: &FileTopology| format!("cluster = {:?}", file.cluster);
            let (was, now) = (cluster(&was), cluster(&file));
            return Err(TopologyError::Fixed { was, now });
        }
        if let Some((was, now)) = Placement::of(&was).difference(&Placement::of(&file)) {
            return Err(TopologyError::Fixed { was, now });
        }
        *self.file.write() = file;
        self.changes.send_modify(|count| *count += 1);
        Ok(true)
    }
}

impl Topology for LiveTopology {
    fn cluster(&self) -> &str {
        &self.cluster
    }
    fn groups(&self) -> u32 {
        self.groups
    }
    fn retention_ms(&self) -> u64 {
        self.file.read().retention_ms
    }
    fn nodes(&self) -> Vec<(NodeId, String)> {
        self.file.read().nodes()
    }
    fn seat(&self, node: NodeId) -> NodeId {
        self.file.read().seat(node)
    }
    fn replicas(&self, group: GroupId) -> Vec<NodeId> {
        self.file.read().replicas(group)
    }
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.changes.subscribe())
    }
}

/// `host:port` with a host and a port that can be dialled; an IPv6 host stands in brackets.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        }
    };
    // Digits alone: `parse` would take a plus sign.
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    host_ok && digits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Whether an address is on this machine's loopback alone: all that may be listened on while
/// links have no TLS.
pub fn is_loopback(address: &str) -> bool {
    match address.to_socket_addrs() {
        Ok(mut found) => {
            let mut any = false;
            found.all(|a| {
                any = true;
                a.ip().is_loopback()
            }) && any
        }
        Err(_) => false,
    }
}
