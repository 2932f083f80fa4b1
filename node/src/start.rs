//! How a node comes up, in order: who am I, what do I hold, then the doors.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use codraft_proto::{
    ids::{GroupId, NodeId},
    link,
    tasks::Tasks,
    topology::is_loopback,
    v1::{Hello, PeerRole},
};
use codraft_raft::{
    group::{self, RaftConfig, Sinks},
    identity::{self, Identity, IdentityError, KnownPeers},
    suspect::Suspicion,
    wal::{Wal, WalOptions},
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
    let refused = |error: IdentityError| StartError::Identity(error.to_string());
    let claim = identity::claim(&*disk, &config.data)
        .await
        .map_err(refused)?;
    tasks.spawn("folder", async move {
        let _claim = claim;
        std::future::pending::<()>().await;
    });
    let mut who = Identity::load_or_create(
        &*disk,
        &config.data,
        topology.cluster(),
        config.id,
        &*common.entropy,
    )
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
    let (wal, report) = Wal::open(
        tasks,
        disk.clone(),
        config.data.join(identity::WAL),
        options,
    )
    .await
    .map_err(|error| StartError::Wal(error.to_string()))?;
    who.log_made(&*disk, &config.data).await.map_err(refused)?;
    tracing::info!(node = %who.node, incarnation = who.incarnation, ?report, "the log is open");
    // Without its disk a node can promise nothing.
    let (failing, watched) = (tasks.clone(), wal.clone());
    tasks.spawn("log watch", async move {
        let reason = watched.failed().await;
        tracing::error!(reason, "the log cannot be written");
        failing.fail("the log's disk failed");
    });

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
        let reads = Arc::new(Reads::new(group.clone(), feed.clone()));
        Some((id, Arc::new(Hosted { group, feed, reads })))
    };
    let hosted: BTreeMap<_, _> = feeds.into_iter().filter_map(host).collect();
    for hosted in hosted.values() {
        tasks.spawn("reads", reads::serve(hosted.reads.clone()));
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
        tasks,
    ));
    let service = Arc::new(Service {
        groups: groups.clone(),
        routers,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
    });
    let hello = Hello {
        cluster: topology.cluster().to_owned(),
        role: PeerRole::Node as i32,
        id: config.id.0,
        incarnation: who.incarnation,
        disk: who.disk.to_bytes(),
        ..Hello::default()
    };
    let links = tasks.child();
    let door = Door {
        service,
        members: members.clone(),
        raft: raft.clone(),
        dialling: dialling.clone(),
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
