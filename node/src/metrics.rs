//! What a node counts, and its text form for whoever scrapes it.

use std::sync::{Arc, atomic::Ordering};

use codraft_proto::{ids::GroupId, reject::Code};
use codraft_raft::{group::Group, machine::Shard};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Up to where the buckets of how long applying takes go, in seconds.
const APPLYING: [f64; 18] = [
    5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.3,
    1.0, 10.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupLabel {
    group: u32,
}

/// Counters are atomics: they are touched on the road of every operation.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    /// Operations that arrived on links.
    pub submits: Counter,
    /// Events that took a revision here, of documents with followers or without.
    pub applied: Counter,
    /// Commands in one applied entry.
    pub batch: Histogram,
    /// From when a committed entry is handed to a group until it is applied.
    applying: Family<GroupLabel, Histogram, fn() -> Histogram>,
    /// Pairs of a link and a document that it follows.
    pub followers: Gauge,
    /// Feeds that were cut: out of credit, or leadership lost.
    pub cuts: Counter,
    pub leader_changes: Counter,
    /// Groups that this node leads.
    pub leading: Gauge,
    pub links: Gauge,
    /// Of large documents that are spelled and wait for their readers.
    pub spelled_bytes: Gauge,
    /// Groups that stopped on their own; the process ends soon after.
    stopped: Gauge,
    /// Groups that wait for another replica's state, since theirs is damaged.
    lacking: Gauge,
    /// Documents that were set apart and take no edits.
    quarantined: Gauge,
    /// 1 while the log's disk has no room for its next file.
    disk_full: Gauge,
    /// How far this node's clock is ahead of the median of the nodes' clocks.
    clock_ahead_ms: Gauge,
    /// Operations whose base was too old.
    pub rebased: Counter,
    log_syncs: Counter,
    log_records: Counter,
    log_bytes: Counter,
    refused: Family<CodeLabel, Counter>,
    /// What the documents of a group take in memory, by their own account.
    state_bytes: Family<GroupLabel, Gauge>,
    /// Entries that a group's log on this disk holds.
    log_entries: Family<GroupLabel, Gauge>,
    /// States that were taken from other nodes, since the logs did not reach back.
    installs: Family<GroupLabel, Counter>,
    /// Rounds of events that are archived.
    archived: Family<GroupLabel, Gauge>,
    /// Entries that came after the last one whose events are.
    unarchived: Family<GroupLabel, Gauge>,
    /// What events take on the disk that are not archived, and from where on edits are refused.
    unarchived_bytes: Gauge,
    unarchived_limit_bytes: Gauge,
    /// Damaged pages that were had again.
    mended_pages: Family<GroupLabel, Counter>,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("codraft_node");
        let metrics = Self {
            submits: Counter::default(),
            applied: Counter::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            applying: Family::new_with_constructor(|| Histogram::new(APPLYING)),
            followers: Gauge::default(),
            cuts: Counter::default(),
            leader_changes: Counter::default(),
            leading: Gauge::default(),
            links: Gauge::default(),
            spelled_bytes: Gauge::default(),
            stopped: Gauge::default(),
            lacking: Gauge::default(),
            quarantined: Gauge::default(),
            disk_full: Gauge::default(),
            clock_ahead_ms: Gauge::default(),
            rebased: Counter::default(),
            log_syncs: Counter::default(),
            log_records: Counter::default(),
            log_bytes: Counter::default(),
            refused: Family::default(),
            state_bytes: Family::default(),
            log_entries: Family::default(),
            installs: Family::default(),
            archived: Family::default(),
            unarchived: Family::default(),
            unarchived_bytes: Gauge::default(),
            unarchived_limit_bytes: Gauge::default(),
            mended_pages: Family::default(),
            registry: Mutex::default(),
        };
        metrics.register(&mut registry);
        *metrics.registry.lock() = registry;
        Arc::new(metrics)
    }

    fn register(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "submits",
            "Operations that arrived on links",
            m.submits.clone(),
        );
        registry.register("applied", "Events that took a revision", m.applied.clone());
        registry.register(
            "batch_commands",
            "Commands in one log entry",
            m.batch.clone(),
        );
        registry.register(
            "apply_seconds",
            "From when a committed entry is handed to a group until it is applied, waits for pages included",
            m.applying.clone(),
        );
        registry.register(
            "followers",
            "Documents followed, summed over links",
            m.followers.clone(),
        );
        registry.register("cuts", "Feeds that were cut", m.cuts.clone());
        registry.register(
            "leader_changes",
            "Changes of leader seen",
            m.leader_changes.clone(),
        );
        registry.register("leading", "Groups led by this node", m.leading.clone());
        registry.register("router_links", "Links of routers", m.links.clone());
        registry.register(
            "rebased",
            "Operations whose base was too old",
            m.rebased.clone(),
        );
        registry.register(
            "refused",
            "Answers other than an event, by code",
            m.refused.clone(),
        );
        self.register_health(registry);
    }

    /// What the node and its disk hold, and how they are.
    fn register_health(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "spelled_bytes",
            "Large documents that wait for their readers",
            m.spelled_bytes.clone(),
        );
        registry.register(
            "stopped_groups",
            "Groups that stopped on their own",
            m.stopped.clone(),
        );
        registry.register(
            "lacking_groups",
            "Groups that wait for another node's state, since what they kept is damaged",
            m.lacking.clone(),
        );
        registry.register(
            "quarantined_documents",
            "Documents that were set apart and take no edits",
            m.quarantined.clone(),
        );
        registry.register(
            "disk_full",
            "Whether the log's disk has no room for its next file",
            m.disk_full.clone(),
        );
        registry.register(
            "clock_ahead_ms",
            "How far this node's clock is ahead of the median",
            m.clock_ahead_ms.clone(),
        );
        registry.register(
            "log_syncs",
            "Syncs of the log to its disk",
            m.log_syncs.clone(),
        );
        registry.register(
            "log_records",
            "Records written to the log",
            m.log_records.clone(),
        );
        registry.register("log_bytes", "Bytes written to the log", m.log_bytes.clone());
        registry.register(
            "state_bytes",
            "What a group's documents take in memory",
            m.state_bytes.clone(),
        );
        registry.register(
            "log_entries",
            "Entries that a group's log holds",
            m.log_entries.clone(),
        );
        registry.register(
            "installs",
            "States taken from other nodes, since no log reached back",
            m.installs.clone(),
        );
        self.register_kept(registry);
    }

    fn register_kept(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "archive_rounds",
            "Rounds of a group's events that are in this node's archive",
            m.archived.clone(),
        );
        registry.register(
            "unarchived_entries",
            "Entries applied after the last one whose events are in this node's archive",
            m.unarchived.clone(),
        );
        registry.register(
            "unarchived_bytes",
            "What events take on the disk that are not archived, of all groups",
            m.unarchived_bytes.clone(),
        );
        registry.register(
            "unarchived_limit_bytes",
            "From where on edits are refused until more of them are archived",
            m.unarchived_limit_bytes.clone(),
        );
        registry.register(
            "mended_pages",
            "Damaged pages that were had again, from other nodes or of the log",
            m.mended_pages.clone(),
        );
    }

    /// Where a group counts how long it takes to apply an entry.
    pub fn applying(&self, group: GroupId) -> Histogram {
        let label = GroupLabel { group: group.0 };
        self.applying.get_or_create_owned(&label)
    }

    /// How one of this node's groups stands.
    pub fn group(&self, group: &Group) {
        let label = GroupLabel {
            group: group.id().0,
        };
        let bytes = group.with(Shard::heap_bytes);
        self.state_bytes.get_or_create(&label).set(bytes as i64);
        let entries = group.log_entries();
        self.log_entries.get_or_create(&label).set(entries as i64);
        let installs = self.installs.get_or_create(&label);
        installs.inner().store(group.installs(), Ordering::Relaxed);
        let mark = group.archived();
        let rounds = self.archived.get_or_create(&label);
        rounds.set(mark.rounds as i64);
        let later = group.with(Shard::applied).saturating_sub(mark.index);
        self.unarchived.get_or_create(&label).set(later as i64);
        let (bytes, limit) = group.unarchived_bytes();
        self.unarchived_bytes.set(bytes as i64);
        self.unarchived_limit_bytes
            .set(limit.min(i64::MAX as u64) as i64);
        let mended = self.mended_pages.get_or_create(&label);
        mended.inner().store(group.mended(), Ordering::Relaxed);
    }

    pub fn refused(&self, code: Code) {
        self.refused
            .get_or_create(&CodeLabel {
                code: code.as_str(),
            })
            .inc();
    }

    pub fn refused_number(&self, number: u32) {
        if let Some(code) = Code::from_number(number) {
            self.refused(code);
        }
    }

    /// How many groups of this node wait for another replica's state.
    pub fn lacking(&self, groups: usize) {
        self.lacking.set(groups as i64);
    }

    /// How many groups of this node stopped on their own.
    pub fn stopped(&self, groups: usize) {
        self.stopped.set(groups as i64);
    }

    /// How many documents of this node's groups were set apart.
    pub fn quarantined(&self, documents: usize) {
        self.quarantined.set(documents as i64);
    }

    pub fn clock_ahead(&self, ms: Option<i64>) {
        self.clock_ahead_ms.set(ms.unwrap_or(0));
    }

    pub fn disk_full(&self, full: bool) {
        self.disk_full.set(full.into());
    }

    /// What the log counts itself.
    pub fn log(&self, syncs: u64, records: u64, bytes: u64) {
        for (counter, count) in [
            (&self.log_syncs, syncs),
            (&self.log_records, records),
            (&self.log_bytes, bytes),
        ] {
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry.lock()) {
            Ok(()) => out,
            // Writing into a string does not fail; an empty page says enough if it ever does.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
