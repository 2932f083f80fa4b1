//! How a node comes up, in order: who am I, what do I hold, then the doors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use codraft_proto::{
    ids::{DiskId, GroupId, NodeId},
    link,
    tasks::Tasks,
    topology::{Topology, is_loopback},
    v1::{Hello, PeerRole},
};
use codraft_raft::{
    disk::Disk,
    group::{self, RaftConfig, Sinks},
    identity::{self, Expected, Identity, IdentityError, KnownPeers},
    suspect::Suspicion,
    wal::{Start, Wal, WalOptions},
};

use crate::{
    Node, NodeConfig, Outside,
    accept::Door,
    fanout::Fanout,
    followers::{Feed, FeedState, Followers},
    hosted::{Hosted, HostedGroups},
    leadership,
    members::Members,
    metrics::Metrics,
    peers::{Dialler, Dialling},
    raft::Raft,
    reads::{self, Reads},
    routers::Routers,
    service::Service,
    states::States,
};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("node {0} is not in the topology")]
    NotMember(NodeId),
    #[error("{0} is not loopback, and links are not encrypted: refused")]
    NotLoopback(String),
    #[error("cannot listen on {address}: {error}{}", in_use(error))]
    Listen {
        address: String,
        error: std::io::Error,
    },
    #[error("identity: {0}")]
    Identity(String),
    #[error("log: {0}")]
    Wal(String),
    #[error("groups: {0}")]
    Groups(String),
}

fn in_use(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            ": does this node run already? End that process, or change the address in cluster.toml"
        }
        _ => "",
    }
}

pub(crate) async fn start(config: NodeConfig, outside: Outside) -> Result<Node, StartError> {
    if !config.plain_text_anywhere && !is_loopback(&config.listen) {
        return Err(StartError::NotLoopback(config.listen));
    }
    let topology = config.topology.clone();
    let nodes = topology.nodes();
    if !nodes.iter().any(|(node, _)| *node == config.id) {
        return Err(StartError::NotMember(config.id));
    }
    let tasks = Tasks::new();
    match run(config, outside, nodes, &tasks).await {
        Ok(node) => Ok(node),
        Err(error) => {
            tasks.shutdown().await;
            Err(error)
        }
    }
}

/// Whether a node would be refused its folder. Changes nothing.
///
/// # Errors
/// Why it would be.
pub async fn check_folder(
    disk: &dyn Disk,
    data: &Path,
    id: NodeId,
    topology: &dyn Topology,
) -> Result<(), StartError> {
    let expected = Expected::new(topology, id);
    let found = Identity::load(disk, data, &expected).await;
    let refused = |error: IdentityError| StartError::Identity(error.to_string());
    found.map(|_| ()).map_err(refused)
}

/// What a node has on its disk.
struct Held {
    disk_id: DiskId,
    known: KnownPeers,
    wal: Wal,
    /// The latest ones, this one at the end.
    starts: Vec<Start>,
    /// Of this start.
    name: u64,
}

/// Takes the folder, and opens what is in it. Where the folder is refused nothing in it changed.
async fn open(
    config: &NodeConfig,
    outside: &codraft_proto::outside::Outside,
    disk: Arc<dyn Disk>,
    tasks: &Tasks,
) -> Result<Held, StartError> {
    let refused = |error: IdentityError| StartError::Identity(error.to_string());
    let unwritable = |error: &dyn std::fmt::Display| StartError::Wal(error.to_string());
    let claim = identity::claim(&*disk, &config.data)
        .await
        .map_err(refused)?;
    tasks.spawn("folder", async move {
        let _claim = claim;
        std::future::pending::<()>().await;
    });
    let expected = Expected::new(&*config.topology, config.id);
    let mut who = Identity::load_or_create(&*disk, &config.data, &expected, &*outside.entropy)
        .await
        .map_err(refused)?;
    let known = KnownPeers::load(disk.clone(), &config.data)
        .await
        .map_err(refused)?;
    // A node whose log is gone has forgotten what it promised.
    let options = WalOptions {
        must_exist: who.has_log,
        ..config.wal.clone()
    };
    let dir = config.data.join(identity::WAL);
    let (wal, report) = Wal::open(tasks, disk.clone(), dir, options)
        .await
        .map_err(|error| unwritable(&error))?;
    if let Some(damage) = wal.damage() {
        return Err(unwritable(&damage));
    }
    let mut name = [0; 8];
    outside.entropy.fill(&mut name);
    let name = u64::from_le_bytes(name);
    let starts = wal.begin(name).await.map_err(|error| unwritable(&error))?;
    who.log_made(&*disk, &config.data).await.map_err(refused)?;
    let number = starts.last().map(|start| start.number);
    tracing::info!(node = %who.node, start = ?number, ?report, "the log is open");
    // Without its disk a node can promise nothing.
    let (failing, watched) = (tasks.clone(), wal.clone());
    tasks.spawn("log watch", async move {
        let reason = watched.failed().await;
        tracing::error!(reason, "the log cannot be written");
        failing.fail("the log's disk failed");
    });
    Ok(Held {
        disk_id: who.disk,
        known,
        wal,
        starts,
        name,
    })
}

async fn run(
    config: NodeConfig,
    outside: Outside,
    nodes: Vec<(NodeId, String)>,
    tasks: &Tasks,
) -> Result<Node, StartError> {
    let Outside { common, disk } = outside;
    let topology = config.topology.clone();
    // Nothing is touched that another process may have: neither its address nor its folder.
    let listen = |error| StartError::Listen {
        address: config.listen.clone(),
        error,
    };
    let listener = common
        .transport
        .listen(&config.listen)
        .await
        .map_err(listen)?;
    let address = listener.local_address().map_err(listen)?;
    let Held {
        disk_id,
        known,
        wal,
        starts,
        name,
    } = open(&config, &common, disk, tasks).await?;

    let metrics = Metrics::new();
    let routers = Arc::new(Routers::default());
    let peers: Vec<_> = nodes
        .iter()
        .filter(|(node, _)| *node != config.id)
        .cloned()
        .collect();
    let dialling = Arc::new(Dialling::new(peers.iter().map(|(node, _)| *node)));
    let groups: Vec<_> = (0..topology.groups())
        .map(|group| (GroupId(group), topology.replicas(GroupId(group))))
        .filter(|(_, replicas)| replicas.contains(&config.id))
        .collect();
    let replicas: BTreeSet<_> = groups
        .iter()
        .flat_map(|(_, nodes)| nodes)
        .copied()
        .collect();
    let others = replicas
        .into_iter()
        .filter(|node| *node != config.id)
        .collect();
    let mut feeds = BTreeMap::new();
    let fanout = |group: GroupId| {
        let followers = Followers::new(metrics.clone());
        let state = Mutex::new(FeedState {
            leading: false,
            followers,
        });
        let feed = Arc::new(Feed { state });
        feeds.insert(group, feed.clone());
        let (routers, metrics) = (routers.clone(), metrics.clone());
        Sinks::new(Box::new(Fanout::new(config.id, feed, routers, metrics)))
    };
    let raft_config = RaftConfig {
        node: config.id,
        groups,
        times: config.times.clone(),
        machine: config.machine.clone(),
        limits: config.limits.clone(),
    };
    let consensus = group::Groups::start(
        raft_config,
        wal.clone(),
        dialling.clone(),
        tasks,
        &common,
        fanout,
    )
    .await
    .map_err(|error| StartError::Groups(error.to_string()))?;
    let consensus = Arc::new(consensus);
    let suspicion = Suspicion::start(consensus.clone(), dialling.clone(), others, tasks);

    let host = |(id, feed): (GroupId, Arc<Feed>)| {
        let group = consensus.group(id)?.clone();
        let (states, at_once) = (States::new(metrics.clone()), config.spelled_at_once);
        let reads = Arc::new(Reads::new(group.clone(), feed.clone(), states, at_once));
        Some((id, Arc::new(Hosted { group, feed, reads })))
    };
    let hosted: BTreeMap<_, _> = feeds.into_iter().filter_map(host).collect();
    for hosted in hosted.values() {
        tasks.spawn("reads", reads::serve(hosted.reads.clone()));
        tasks.spawn("states", reads::spell(hosted.reads.clone()));
    }
    let groups = Arc::new(HostedGroups {
        topology: topology.clone(),
        hosted,
    });
    let raft = Arc::new(Raft {
        groups: consensus,
        suspicion,
    });
    tasks.spawn(
        "leadership beat",
        leadership::beat(groups.clone(), routers.clone()),
    );

    let members = Arc::new(Members::new(
        peers.iter().map(|(node, _)| *node),
        known,
        &wal,
        tasks,
    ));
    let service = Arc::new(Service {
        groups: groups.clone(),
        routers,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
    });
    let hello = Hello {
        disk: disk_id.to_bytes(),
        starts: starts.iter().map(Into::into).collect(),
        ..Hello::new(&*topology, PeerRole::Node, config.id.0, name)
    };
    let links = tasks.child();
    let door = Door {
        service,
        members: members.clone(),
        raft: raft.clone(),
        dialling: dialling.clone(),
        nodes: Mutex::default(),
    };
    link::serve(
        &links,
        listener,
        hello.clone(),
        Arc::new(door),
        config.link.clone(),
    );
    let dialler = Dialler {
        tasks: &links,
        outside: &common,
        hello: &hello,
        options: &config.link,
    };
    dialling.dial(&dialler, &peers, &members, &raft);
    tracing::info!(node = %config.id, %address, "serving");
    Ok(Node {
        id: config.id,
        address,
        tasks: tasks.clone(),
        links,
        dialling,
        groups,
        raft,
        wal,
        metrics,
    })
}
