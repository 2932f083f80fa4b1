//! From logs on a disk to running groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{GroupId, NodeId, Term},
    outside::Outside,
    tasks::Tasks,
};
use openraft::{Config, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};

use super::{
    Group, Groups, Inner, Leadership, Peers, Queue, Raft, RaftConfig, Reads, Sinks, StartError,
    install, leadership, level,
    life::{self, Opening},
    prefetch, proposer, purge, reads, trim,
};
use crate::{
    clocks::Clocks,
    core::Core,
    digests::Digests,
    keeper::{Keeper, Kept, Loaded, Others},
    machine::MachineLimits,
    network::{Network, PendingCalls},
    tap,
    wal::{GroupWal, Wal},
};

impl Groups {
    /// Opens every group of the configuration and begins to take part in it.
    pub async fn start(
        config: RaftConfig,
        wal: Wal,
        peers: Arc<dyn Peers>,
        tasks: &Tasks,
        outside: &Outside,
        kept: Kept,
        mut sinks: impl FnMut(GroupId) -> Sinks,
    ) -> Result<Groups, StartError> {
        same_groups(&config, &wal)?;
        let times = Arc::new(times(&config)?);
        let tasks = tasks.child();
        let calls = Arc::new(PendingCalls::default());
        let clocks = Arc::new(Clocks::new(outside.clock.clone()));
        let mut groups = BTreeMap::new();
        let states = load(&config, &wal, &kept).await?;
        for ((id, replicas), loaded) in config.groups.iter().zip(states) {
            let log = wal.group(*id);
            let limits = machine_limits(&config);
            let queue = Arc::new(Queue::new(config.limits.clone()));
            let digests = Digests::new(replicas.len());
            let told = sinks(*id).with(Box::new(digests.clone()));
            let core = Core::new(*id, limits, told, queue.clone(), loaded.tail.clone());
            let others = Others::new(config.node, config.nodes_of(replicas), peers.clone());
            let (core, keeper) = go_on(&log, core, kept.clone(), digests.clone(), others, loaded);
            let network = Network {
                group: *id,
                node: config.node,
                peers: peers.clone(),
                calls: calls.clone(),
                keeper: keeper.clone(),
            };
            let inner = Arc::new(Inner {
                id: *id,
                node: config.node,
                raft: RwLock::default(),
                core,
                keeper,
                installing: install::Installing::default(),
                changing: Arc::default(),
                peers: peers.clone(),
                tasks: tasks.clone(),
                queue,
                prefetch: prefetch::Prefetch::default(),
                log,
                digests,
                reads: Reads::new(config.limits.reads),
                leadership: Arc::new(Mutex::new(nobody_leads(*id))),
                handed_to: AtomicU64::default(),
            });
            let opening = Opening {
                times: times.clone(),
                network,
                replicas: replicas.clone(),
                seats: config.seats.clone(),
            };
            let raft = opening.open_or_lack(&inner).await?;
            take_part(&inner, opening, raft, &clocks, &tasks);
            groups.insert(*id, Group { inner });
        }
        watch_disk(&wal, &groups, &tasks);
        Ok(Groups {
            node: config.node,
            groups,
            calls,
            clocks,
            wal,
            tasks,
        })
    }
}

fn watch_disk(wal: &Wal, groups: &BTreeMap<GroupId, Group>, tasks: &Tasks) {
    let all: Vec<Group> = groups.values().cloned().collect();
    let full = leadership::leave_while(wal.fullness(), all.clone());
    tasks.spawn("full disk", full);
    if let Some(group) = all.first() {
        let stuck = group.inner.keeper.budget().stuck();
        let stuck = leadership::leave_while(stuck, all.clone());
        tasks.spawn("stuck archive", stuck);
    }
    tasks.spawn("old log", purge::let_go_of_old_segments(wal.clone(), all));
}

fn machine_limits(config: &RaftConfig) -> MachineLimits {
    let mut limits = config.machine.clone();
    if mutant!("window_trimmed_differently") {
        limits.window_events += config.node.0 as usize;
    }
    limits
}

/// What was kept of all groups, in their order.
async fn load(config: &RaftConfig, wal: &Wal, kept: &Kept) -> Result<Vec<Loaded>, StartError> {
    let mut states = Vec::new();
    for (group, _) in &config.groups {
        let failed = |error| StartError::Kept {
            group: *group,
            error,
        };
        let is_log_whole = wal.group(*group).purged().is_none();
        let loaded = kept.load(*group, config.keep.clone(), is_log_whole).await;
        states.push(loaded.map_err(failed)?);
    }
    let tidied = kept.tidy(&states).await;
    tidied.map_err(|error| StartError::Config(format!("old events cannot be removed: {error}")))?;
    Ok(states)
}

/// A group's state as it was kept, and its keeper.
fn go_on(
    log: &GroupWal,
    mut core: Core,
    kept: Kept,
    digests: Digests,
    others: Others,
    loaded: Loaded,
) -> (Arc<Mutex<Core>>, Arc<Keeper>) {
    let group = log.id();
    if let Some(state) = &loaded.state {
        tap::restored(group, state.manifest.index());
        let rolling = state.manifest.digest;
        if let Some(at) = rolling.filter(|_| !mutant!("rolling_hash_forgotten")) {
            digests.resume(at);
        }
        core.restore(state);
    }
    let core = Arc::new(Mutex::new(core));
    let log = Arc::new(log.clone());
    let keeper = Keeper::new(group, core.clone(), kept, digests, log, others, loaded);
    (core, Arc::new(keeper))
}

fn nobody_leads(group: GroupId) -> Leadership {
    let (term, node) = (Term(0), None);
    Leadership { group, term, node }
}

fn take_part(
    group: &Arc<Inner>,
    opening: Opening,
    raft: Option<Raft>,
    clocks: &Arc<Clocks>,
    tasks: &Tasks,
) {
    // Who takes another's place comes to a group that is there.
    if let Some(raft) = &raft
        && opening.replicas.contains(&group.node)
    {
        let replicas = opening.replicas.clone();
        let first = life::initialize(group.clone(), raft.clone(), replicas);
        tasks.spawn("group first", first);
    }
    let life = life::live(group.clone(), opening, raft, tasks.clone());
    tasks.spawn("group", life);
    tasks.spawn(
        "group proposer",
        proposer::run(group.clone(), clocks.clone()),
    );
    tasks.spawn("group reads", reads::run(group.clone()));
    let quiet = trim::trim_quiet(group.clone(), clocks.clone(), group.queue.limits().quiet_ms);
    tasks.spawn("quiet documents", quiet);
    tasks.spawn("prefetch", prefetch::run(group.clone()));
    tasks.spawn("level", level::raise(group.clone()));
    tasks.spawn("group keeper", keep(group.clone(), tasks.clone()));
    let keeper = group.keeper.clone();
    tasks.spawn("archivist", async move { keeper.archive().await });
    let keeper = group.keeper.clone();
    tasks.spawn("mender", async move { keeper.mend_events().await });
}

/// Keeps the group's state, tells openraft of each manifest, and lets go of the log below.
async fn keep(group: Arc<Inner>, tasks: Tasks) {
    let mut before = group.keeper.latest();
    loop {
        let manifest = match group.keeper.next().await {
            Ok(manifest) => manifest,
            Err(error) => return group.fail(error.to_string(), &tasks),
        };
        if let Err(error) = group.purge(&manifest, before.as_deref()).await {
            tracing::warn!(group = %group.id, %error, "nobody is told of a manifest");
        }
        group.installing.reached(manifest.index());
        before = Some(manifest);
    }
}

/// What this process was told of its groups must be what the log holds, and sound.
fn same_groups(config: &RaftConfig, wal: &Wal) -> Result<(), StartError> {
    // What is lost may have been promised: no group of this log may vote, or lead with what
    // is left of it.
    if let Some(damage) = wal.damage() {
        return Err(StartError::Quarantined(damage));
    }
    let told = |group: &GroupId| config.groups.iter().any(|(known, _)| known == group);
    if let Some(group) = wal.groups().into_iter().find(|group| !told(group)) {
        return Err(StartError::Config(format!(
            "the log holds group {group}, which cluster.toml does not give to this node: put it \
             back as it was when the cluster was made"
        )));
    }
    let seat = config.seat(config.node);
    let strange = |(_, replicas): &&(_, Vec<NodeId>)| !replicas.contains(&seat);
    match config.groups.iter().find(strange) {
        Some((id, _)) => Err(StartError::Config(format!(
            "node is no replica of group {id}"
        ))),
        None => Ok(()),
    }
}

/// What the log says of a group's voters must be what this process was told.
pub(super) fn same_seats(group: &Arc<Inner>, opening: &Opening) -> Result<(), StartError> {
    let told: BTreeSet<NodeId> = opening.replicas.iter().copied().collect();
    let group = Group {
        inner: group.clone(),
    };
    let seat = |node: &NodeId| opening.seats.get(node).copied().unwrap_or(*node);
    for voters in group.voters() {
        let seats: BTreeSet<NodeId> = voters.iter().map(seat).collect();
        if !voters.is_empty() && seats != told {
            return Err(StartError::Config(format!(
                "the log has group {} on nodes {voters:?}, cluster.toml on {told:?} and those that \
                 it gives their seats to: put it back as it was",
                group.id()
            )));
        }
    }
    Ok(())
}

fn times(config: &RaftConfig) -> Result<Config, StartError> {
    let ms = |d: std::time::Duration| d.as_millis() as u64;
    let config = Config {
        cluster_name: "codraft".into(),
        heartbeat_interval: ms(config.times.heartbeat),
        election_timeout_min: ms(config.times.election_min),
        election_timeout_max: ms(config.times.election_max),
        enable_pre_vote: Some(true),
        // A replica's log is purged only by command, below what is exported and archived.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // An entry is already a batch.
        max_payload_entries: 64,
        // However far behind a replica is, it catches up by the log while that is there.
        replication_lag_threshold: u64::MAX,
        // A replica that is back must not wait to be told what it missed: the next one to die
        // may be the one that completes a majority now. Without a link a try costs nothing.
        backoff: "20ms".into(),
        ..Config::default()
    };
    config
        .validate()
        .map_err(|error| StartError::Config(error.to_string()))
}
