//! How a node comes up: its identity, its log, its groups, then its links.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use codraft_archive::{ARCHIVE, Archivist, History};
use codraft_proto::{
    disk::Disk,
    ids::{DiskId, GroupId, NodeId},
    link,
    outside::Outside,
    tasks::Tasks,
    topology::{Topology, is_loopback},
    transport::Listener,
    v1::{Hello, PeerRole},
};
use codraft_raft::{
    command::LEVEL,
    group::{self, Kept, RaftConfig, Sinks},
    identity::{self, Expected, Identity, IdentityError, KnownPeers},
    suspect::Suspicion,
    wal::{Start, Wal, WalError, WalOptions},
};
use codraft_tiers::{presence::Memory, snapshots::Folder};
use parking_lot::Mutex;

use crate::{
    Node, NodeConfig, NodeOutside,
    accept::Acceptor,
    bulk::Pace,
    checks::{self, Checks},
    fanout::Fanout,
    followers::Feed,
    hosted::{Hosted, HostedGroups},
    leadership,
    members::Members,
    metrics::Metrics,
    peers::{Dialler, Dialling},
    presence::{self, PresenceHub},
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
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("pages or the archive cannot be kept: {0}")]
    Keep(#[source] std::io::Error),
    #[error(transparent)]
    Groups(#[from] group::StartError),
}

fn in_use(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            ": does this node run already? End that process, or change the address in cluster.toml"
        }
        _ => "",
    }
}

pub(crate) async fn start(config: NodeConfig, outside: NodeOutside) -> Result<Node, StartError> {
    if !config.plain_text_anywhere && !is_loopback(&config.listen) {
        return Err(StartError::NotLoopback(config.listen));
    }
    if config.topology.address(config.id).is_none() {
        return Err(StartError::NotMember(config.id));
    }
    let tasks = Tasks::new();
    match run(config, outside, &tasks).await {
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
    Identity::load(disk, data, &expected).await?;
    Ok(())
}

/// What a node has on its disk.
struct Storage {
    disk_id: DiskId,
    known: KnownPeers,
    wal: Wal,
    kept: Kept,
    archivist: Arc<Archivist>,
    /// The latest ones, this one at the end.
    starts: Vec<Start>,
    /// Of this start.
    name: u64,
}

/// Takes the folder, and opens what is in it. Where the folder is refused nothing in it changed.
async fn open(
    config: &NodeConfig,
    outside: &Outside,
    disk: Arc<dyn Disk>,
    tasks: &Tasks,
) -> Result<Storage, StartError> {
    let claim = identity::claim(&*disk, &config.data).await?;
    tasks.spawn("folder", async move {
        let _claim = claim;
        std::future::pending::<()>().await;
    });
    let expected = Expected::new(&*config.topology, config.id);
    let mut who =
        Identity::load_or_create(&*disk, &config.data, &expected, &*outside.entropy).await?;
    let known = KnownPeers::load(disk.clone(), &config.data).await?;
    // A node whose log is gone has forgotten what it promised.
    let options = WalOptions {
        must_exist: who.has_log,
        ..config.wal.clone()
    };
    let dir = config.data.join(identity::WAL);
    let (wal, report) = Wal::open(tasks, disk.clone(), dir, options).await?;
    if let Some(damage) = wal.damage() {
        return Err(WalError::Damaged(damage).into());
    }
    // Pages never stand before a sync of the log.
    let lane = disk.lane().map_err(StartError::Keep)?;
    let kept = Kept::open(lane, &config.data, config.pages.clone()).await;
    let kept = kept.map_err(StartError::Keep)?;
    let lane = disk.lane().map_err(StartError::Keep)?;
    let folder = Folder::open(lane, config.data.join(ARCHIVE)).await;
    let folder = Arc::new(folder.map_err(StartError::Keep)?);
    let archivist = Archivist::new(folder, config.checkpoints.clone());
    let archivist = Arc::new(archivist.retaining(config.topology.retention_ms()));
    let kept = kept.archived(archivist.clone(), config.rounds.clone());
    let kept = kept.within(config.budget.clone());
    let mut name = [0; 8];
    outside.entropy.fill(&mut name);
    let name = u64::from_le_bytes(name);
    let starts = wal.begin(name).await.map_err(WalError::Write)?;
    who.log_made(&*disk, &config.data).await?;
    let number = starts.last().map(|start| start.number);
    tracing::info!(node = %who.node, start = ?number, ?report, "the log is open");
    // Without its disk a node can promise nothing.
    let (failing, watched) = (tasks.clone(), wal.clone());
    tasks.spawn("log watch", async move {
        let reason = watched.failed().await;
        tracing::error!(reason, "the log cannot be written");
        failing.fail("the log's disk failed");
    });
    Ok(Storage {
        disk_id: who.disk,
        known,
        wal,
        kept,
        archivist,
        starts,
        name,
    })
}

async fn run(config: NodeConfig, outside: NodeOutside, tasks: &Tasks) -> Result<Node, StartError> {
    let NodeOutside { common, disk } = outside;
    // Nothing is touched that another process may have: neither its address nor its folder.
    let (listener, address) = listen(&config, &common).await?;
    let storage = open(&config, &common, disk, tasks).await?;

    let metrics = Metrics::new();
    let routers = Arc::new(Routers::default());
    let topology = config.topology.clone();
    let dialler = dialler(&config, &common, &storage, tasks.child());
    let members = Members::new(topology.clone(), storage.known, &storage.wal, tasks);
    let members = Arc::new(members);
    let dialling = Dialling::new(dialler.clone(), config.id, topology, members.clone());
    let dialling = Arc::new(dialling);
    let mut feeds = BTreeMap::new();
    let fanout = |group: GroupId| {
        let feed = Arc::new(Feed::new(&metrics, presence_of(&config, &common)));
        feeds.insert(group, feed.clone());
        let (routers, metrics) = (routers.clone(), metrics.clone());
        let fanout = Fanout::new(config.id, group, feed, routers, metrics);
        Sinks::new(Box::new(fanout))
    };
    let raft = consensus(
        &config,
        &common,
        (&storage.wal, &storage.kept),
        &dialling,
        tasks,
        fanout,
    )
    .await?;
    let history = Arc::new(History::new(storage.archivist));
    let groups = Arc::new(host(&config, &raft, feeds, (&metrics, &history), tasks));
    let beat = leadership::beat(groups.clone(), routers.clone());
    tasks.spawn("leadership beat", beat);

    let checks = Arc::<Checks>::default();
    tasks.spawn("checks", checks::serve(checks.clone(), groups.clone()));
    let service = Arc::new(Service {
        groups: groups.clone(),
        routers,
        metrics: metrics.clone(),
        history,
        checks,
        receipt_key: config.receipt_key.clone(),
        tasks: tasks.clone(),
    });
    let acceptor = Acceptor {
        service,
        members,
        raft: raft.clone(),
        dialling: dialling.clone(),
        nodes: Mutex::default(),
        pace: Arc::new(Pace::new(config.keep.bulk_bytes_per_second)),
    };
    let links = dialler.tasks.clone();
    link_up(dialler, listener, acceptor, config.topology.clone());
    tracing::info!(node = %config.id, %address, "serving");
    Ok(Node {
        id: config.id,
        address,
        tasks: tasks.clone(),
        links,
        dialling,
        groups,
        raft,
        wal: storage.wal,
        metrics,
    })
}

/// Who is in the documents of a group.
fn presence_of(config: &NodeConfig, outside: &Outside) -> PresenceHub {
    let people = Box::<Memory>::default();
    PresenceHub::new(people, outside.clock.clone(), config.presence_ttl_ms)
}

/// How this node dials others, and what it says of itself.
fn dialler(config: &NodeConfig, outside: &Outside, storage: &Storage, links: Tasks) -> Dialler {
    let (topology, node) = (&*config.topology, config.id.0);
    Dialler {
        tasks: links,
        outside: outside.clone(),
        hello: Hello {
            disk: storage.disk_id.to_bytes(),
            starts: storage.starts.iter().map(Into::into).collect(),
            level: LEVEL,
            ..Hello::new(topology, PeerRole::Node, node, storage.name)
        },
        options: config.link.clone(),
    }
}

async fn listen(
    config: &NodeConfig,
    outside: &Outside,
) -> Result<(Box<dyn Listener>, String), StartError> {
    let failed = |error| StartError::Listen {
        address: config.listen.clone(),
        error,
    };
    let listener = outside.transport.listen(&config.listen).await;
    let listener = listener.map_err(failed)?;
    let address = listener.local_address().map_err(failed)?;
    Ok((listener, address))
}

/// Starts the groups that this node has a replica of.
async fn consensus(
    config: &NodeConfig,
    outside: &Outside,
    (wal, kept): (&Wal, &Kept),
    dialling: &Arc<Dialling>,
    tasks: &Tasks,
    sinks: impl FnMut(GroupId) -> Sinks,
) -> Result<Arc<Raft>, StartError> {
    let topology = &config.topology;
    let seat = topology.seat(config.id);
    let groups = (0..topology.groups())
        .map(|group| (GroupId(group), topology.seats(GroupId(group))))
        .filter(|(_, seats)| seats.contains(&seat))
        .collect();
    let nodes = topology.nodes().into_iter();
    let raft_config = RaftConfig {
        node: config.id,
        groups,
        seats: nodes.map(|(node, _)| (node, topology.seat(node))).collect(),
        times: config.times.clone(),
        machine: config.machine.clone(),
        limits: config.limits.clone(),
        keep: config.keep.clone(),
    };
    let groups = group::Groups::start(
        raft_config,
        wal.clone(),
        dialling.clone(),
        tasks,
        outside,
        kept.clone(),
        sinks,
    )
    .await?;
    let groups = Arc::new(groups);
    let suspicion = Suspicion::start(groups.clone(), dialling.clone(), tasks);
    Ok(Arc::new(Raft { groups, suspicion }))
}

/// Serves reads of those groups.
fn host(
    config: &NodeConfig,
    raft: &Raft,
    feeds: BTreeMap<GroupId, Arc<Feed>>,
    (metrics, history): (&Arc<Metrics>, &Arc<History>),
    tasks: &Tasks,
) -> HostedGroups {
    let host = |(id, feed): (GroupId, Arc<Feed>)| {
        let group = raft.groups.group(id)?.clone();
        let (states, at_once) = (
            States::new(metrics.clone(), history.clone()),
            config.spelled_at_once,
        );
        let reads = Reads::new(group.clone(), feed.clone(), states, at_once, tasks.clone());
        let reads = Arc::new(reads);
        Some((id, Arc::new(Hosted { group, feed, reads })))
    };
    let hosted: BTreeMap<_, _> = feeds.into_iter().filter_map(host).collect();
    for hosted in hosted.values() {
        tasks.spawn("reads", reads::serve(hosted.reads.clone()));
        tasks.spawn("states", reads::spell(hosted.reads.clone()));
        tasks.spawn("presence", presence::serve(hosted.feed.presence.clone()));
    }
    HostedGroups {
        topology: config.topology.clone(),
        hosted,
    }
}

/// Serves links, and dials the other nodes.
fn link_up(
    dialler: Dialler,
    listener: Box<dyn Listener>,
    acceptor: Acceptor,
    topology: Arc<dyn Topology>,
) {
    let acceptor = Arc::new(acceptor);
    let Dialler {
        tasks,
        hello,
        options,
        ..
    } = dialler;
    link::serve(&tasks, listener, hello, acceptor.clone(), options);
    let changes = topology.changes();
    acceptor.dialling.dial(&acceptor.raft);
    if let Some(changes) = changes {
        tasks.spawn("topology", acceptor.follow(changes));
    }
}
