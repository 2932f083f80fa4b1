//! What a plan must be to be played, and reading one from a file.

use std::collections::BTreeSet;

use codraft_proto::{
    ids::{GroupId, NodeId},
    placement,
};

use super::{Client, Fault, FaultKind, Host, Plan, VERSION, What};

/// Nothing in a plan lasts longer.
const LONGEST_MS: u64 = 3_600_000;

/// Why a plan cannot be played; a line each.
#[derive(Debug)]
pub struct BadPlan(Vec<String>);

impl std::fmt::Display for BadPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the plan cannot be played: {}", self.0.join("; "))
    }
}

impl std::error::Error for BadPlan {}

impl Plan {
    /// Reads a plan and checks it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> anyhow::Result<Plan> {
        use anyhow::Context;
        let plan: Plan = serde_json::from_str(text).context("not a plan")?;
        plan.check()?;
        Ok(plan)
    }

    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), BadPlan> {
        let mut wrong = Vec::new();
        if self.version != VERSION {
            wrong.push(format!(
                "it is of version {}, this is {VERSION}",
                self.version
            ));
        }
        self.check_world(&mut wrong);
        for (i, document) in self.documents.iter().enumerate() {
            if document.initial > 300_000 {
                wrong.push(format!("document {i} starts with more than 300000 units"));
            }
            if document
                .grants
                .iter()
                .any(|(user, _)| *user == document.owner)
            {
                wrong.push(format!("document {i} grants its owner a role"));
            }
        }
        if self.documents.is_empty() {
            wrong.push("it has no documents".into());
        }
        let mut numbers = BTreeSet::new();
        for client in &self.clients {
            if !numbers.insert(client.number) {
                wrong.push(format!("two clients have the number {}", client.number));
            }
            self.check_client(client, &mut wrong);
        }
        for (i, fault) in self.faults.iter().enumerate() {
            self.check_fault(i, fault, &mut wrong);
        }
        if !self.faults.is_sorted_by_key(|fault| fault.at_ms) {
            wrong.push("the faults are not in the order of their times".into());
        }
        self.check_losses(&mut wrong);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(BadPlan(wrong))
        }
    }

    fn check_world(&self, wrong: &mut Vec<String>) {
        let world = &self.world;
        let mut bound = |what: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("{what} is {value}, but must be {least} to {most}"));
            }
        };
        bound("world.nodes", world.nodes.into(), 3, 5);
        bound("world.routers", world.routers.into(), 1, 2);
        bound("world.groups", world.groups.into(), 1, 8);
        bound("world.tick_ms", world.tick_ms, 1, 10);
        bound("world.latency_ms[0]", world.latency_ms.0, 1, 1_000);
        bound(
            "world.latency_ms[1]",
            world.latency_ms.1,
            world.latency_ms.0,
            1_000,
        );
        bound("world.sync_us[0]", world.sync_us.0, 0, 1_000_000);
        bound(
            "world.sync_us[1]",
            world.sync_us.1,
            world.sync_us.0,
            1_000_000,
        );
        bound(
            "world.window_events",
            world.window_events.into(),
            4,
            1 << 20,
        );
        bound(
            "world.refusal_records",
            world.refusal_records.into(),
            1,
            1 << 20,
        );
        bound(
            "world.socket_queue_bytes",
            world.socket_queue_bytes.into(),
            1 << 10,
            1 << 30,
        );
        bound(
            "world.tail_commands",
            world.tail_commands.into(),
            1,
            1 << 30,
        );
        bound("world.round_bytes", world.round_bytes.into(), 1, 1 << 30);
        bound("world.quiet_ms", world.quiet_ms, 100, LONGEST_MS);
        bound("world.retention_ms", world.retention_ms, 0, LONGEST_MS);
        bound("world.memory_kib", world.memory_kib.into(), 1, 1 << 20);
        bound(
            "world.unarchived_kib",
            world.unarchived_kib.into(),
            1,
            1 << 30,
        );
        bound("world.safety_ms", world.safety_ms, 1, LONGEST_MS);
    }

    fn check_client(&self, client: &Client, wrong: &mut Vec<String>) {
        let number = client.number;
        if client.router >= self.world.routers {
            wrong.push(format!(
                "client {number} prefers router {}, which is not there",
                client.router
            ));
        }
        let document = self.documents.get(client.document as usize);
        if document.is_none() {
            wrong.push(format!(
                "client {number} is on document {}, which is not there",
                client.document
            ));
        }
        if client.joins_ms > self.world.safety_ms {
            wrong.push(format!("client {number} comes after the safety phase"));
        }
        if !client.acts.is_sorted_by_key(|act| act.at_ms) {
            wrong.push(format!(
                "client {number}'s acts are not in the order of their times"
            ));
        }
        for (i, act) in client.acts.iter().enumerate() {
            let mut bad = |what: &str| wrong.push(format!("client {number}, act {i}: {what}"));
            if act.at_ms > self.world.safety_ms {
                bad("it is later than the safety phase");
            }
            match &act.what {
                What::Type { gap_ms: ms, .. }
                | What::Offline { ms, .. }
                | What::Mute { ms }
                | What::Doze { ms }
                | What::LatePaste { ms, .. }
                    if *ms > LONGEST_MS =>
                {
                    bad("it takes more than an hour");
                }
                What::Format { .. } | What::Embed | What::Shapes { .. }
                    if document.is_some_and(|d| !d.rich) =>
                {
                    bad("the document is not a rich one");
                }
                What::Move { router } if *router >= self.world.routers => bad("no such router"),
                What::Type { letters, .. } | What::Offline { letters, .. } if *letters > 10_000 => {
                    bad("more than 10000 letters");
                }
                What::Paste { units } | What::Delete { units } | What::Format { units }
                    if !(1..=20_000).contains(units) =>
                {
                    bad("1 to 20000 units");
                }
                What::LatePaste { units, .. } if !(1..=80_000).contains(units) => {
                    bad("1 to 80000 units");
                }
                What::Shapes { letters } if !(1..=9_000).contains(letters) => {
                    bad("1 to 9000 letters");
                }
                What::Opens { times } if !(1..=64).contains(times) => bad("1 to 64 times"),
                _ => {}
            }
        }
    }

    fn check_fault(&self, i: usize, fault: &Fault, wrong: &mut Vec<String>) {
        let mut bad = |what: String| wrong.push(format!("fault {i}: {what}"));
        if fault.at_ms > self.world.safety_ms {
            bad("it is later than the safety phase".into());
        }
        if fault.kind.for_ms() > LONGEST_MS {
            bad("it takes more than an hour".into());
        }
        for host in fault.kind.hosts() {
            match host {
                Host::Node(n) if !(1..=self.world.nodes).contains(&n) => {
                    bad(format!("there is no node {n}"));
                }
                Host::Router(r) if r >= self.world.routers => {
                    bad(format!("there is no router {r}"))
                }
                // Clients may have been left out of the plan; their faults then strike nothing.
                _ => {}
            }
        }
        match &fault.kind {
            FaultKind::Crash { nodes, .. } if nodes.is_empty() => bad("it names no node".into()),
            FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => {
                if a.is_empty() || b.is_empty() || a.iter().any(|host| b.contains(host)) {
                    bad("two sides without a host in common are needed".into());
                }
                if matches!(&fault.kind, FaultKind::Flap { period_ms: 0, .. }) {
                    bad("a period of 0 ms".into());
                }
            }
            FaultKind::Delay { a, b, .. } | FaultKind::Loss { a, b, .. } if a == b => {
                bad("two hosts are needed".into());
            }
            FaultKind::Loss { per_mille, .. } if *per_mille > 1_000 => {
                bad("more than 1000 in a thousand".into());
            }
            FaultKind::Delay { ms, .. } if *ms > LONGEST_MS => bad("more than an hour".into()),
            FaultKind::DiskSlow { times, .. } if !(1..=100_000).contains(times) => {
                bad("1 to 100000 times as long".into());
            }
            FaultKind::Clock { ms, .. } if ms.unsigned_abs() > 1_000 * LONGEST_MS => {
                bad("wrong by more than 1000 hours".into());
            }
            FaultKind::Clock {
                host: Host::Client(_),
                ..
            } => {
                bad("clients have no clock that counts".into());
            }
            _ => {}
        }
    }

    /// What disks lost for good, or for a long time, must be a minority of every group.
    fn check_losses(&self, wrong: &mut Vec<String>) {
        let lost: BTreeSet<u64> = self
            .faults
            .iter()
            .filter_map(|fault| fault.kind.loses())
            .collect();
        let nodes: Vec<NodeId> = (1..=u64::from(self.world.nodes)).map(NodeId).collect();
        let replaced = |fault: &&Fault| matches!(fault.kind, FaultKind::Replace { .. });
        if self.faults.iter().filter(replaced).count() > 1 {
            wrong.push("more than one node is replaced".into());
        }
        for group in 0..self.world.groups {
            let replicas = placement::replicas(GroupId(group), &nodes);
            let gone = replicas
                .iter()
                .filter(|node| lost.contains(&node.0))
                .count();
            if gone * 2 >= replicas.len() {
                wrong.push(format!(
                    "group {group} loses the disks of {gone} of its {} replicas",
                    replicas.len()
                ));
            }
        }
    }
}

impl FaultKind {
    /// The kind, as in the plan's JSON.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash { .. } => "crash",
            FaultKind::RouterCrash { .. } => "router_crash",
            FaultKind::SyncError { .. } => "sync_error",
            FaultKind::Corrupt { .. } => "corrupt",
            FaultKind::PageDamage { .. } => "page_damage",
            FaultKind::StateDamage { .. } => "state_damage",
            FaultKind::DiskFull { .. } => "disk_full",
            FaultKind::DiskSlow { .. } => "disk_slow",
            FaultKind::Wiped { .. } => "wiped",
            FaultKind::Replace { .. } => "replace",
            FaultKind::FolderPutBack { .. } => "folder_put_back",
            FaultKind::Partition { .. } => "partition",
            FaultKind::Flap { .. } => "flap",
            FaultKind::Delay { .. } => "delay",
            FaultKind::Loss { .. } => "loss",
            FaultKind::Pause { .. } => "pause",
            FaultKind::Clock { .. } => "clock",
            FaultKind::Drain { .. } => "drain",
        }
    }

    /// All hosts that it names.
    pub fn hosts(&self) -> Vec<Host> {
        match self {
            FaultKind::Crash { nodes, .. } => nodes.iter().map(|n| Host::Node(*n)).collect(),
            FaultKind::RouterCrash { router, .. } => vec![Host::Router(*router)],
            FaultKind::SyncError { node, .. }
            | FaultKind::Corrupt { node, .. }
            | FaultKind::PageDamage { node }
            | FaultKind::StateDamage { node, .. }
            | FaultKind::DiskFull { node, .. }
            | FaultKind::DiskSlow { node, .. }
            | FaultKind::Wiped { node }
            | FaultKind::Replace { node, .. }
            | FaultKind::FolderPutBack { node, .. }
            | FaultKind::Drain { node, .. } => vec![Host::Node(*node)],
            FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => {
                a.iter().chain(b).copied().collect()
            }
            FaultKind::Delay { a, b, .. } | FaultKind::Loss { a, b, .. } => vec![*a, *b],
            FaultKind::Pause { host, .. } | FaultKind::Clock { host, .. } => vec![*host],
        }
    }

    /// Those of which at least one must run for it to strike.
    pub fn processes(&self) -> Vec<Host> {
        match self {
            FaultKind::Partition { .. }
            | FaultKind::Flap { .. }
            | FaultKind::Delay { .. }
            | FaultKind::Loss { .. } => Vec::new(),
            _ => self.hosts(),
        }
    }

    /// The node whose disk loses what was synced.
    pub fn loses(&self) -> Option<u64> {
        match self {
            FaultKind::Corrupt {
                node, tail: false, ..
            }
            | FaultKind::PageDamage { node }
            | FaultKind::StateDamage { node, .. }
            | FaultKind::Wiped { node }
            | FaultKind::Replace { node, .. }
            | FaultKind::FolderPutBack { node, .. } => Some(u64::from(*node)),
            _ => None,
        }
    }

    /// How long it lasts, or how long what it ended stays away.
    pub fn for_ms(&self) -> u64 {
        self.clone().for_ms_mut().map_or(300, |for_ms| *for_ms)
    }

    /// The same, where the plan chooses it.
    pub fn for_ms_mut(&mut self) -> Option<&mut u64> {
        match self {
            FaultKind::Crash { for_ms, .. }
            | FaultKind::RouterCrash { for_ms, .. }
            | FaultKind::SyncError { for_ms, .. }
            | FaultKind::Corrupt { for_ms, .. }
            | FaultKind::StateDamage { for_ms, .. }
            | FaultKind::DiskFull { for_ms, .. }
            | FaultKind::DiskSlow { for_ms, .. }
            | FaultKind::Partition { for_ms, .. }
            | FaultKind::Flap { for_ms, .. }
            | FaultKind::Delay { for_ms, .. }
            | FaultKind::Loss { for_ms, .. }
            | FaultKind::Pause { for_ms, .. }
            | FaultKind::Clock { for_ms, .. }
            | FaultKind::FolderPutBack { for_ms, .. }
            | FaultKind::Drain { for_ms, .. } => Some(for_ms),
            FaultKind::PageDamage { .. } | FaultKind::Wiped { .. } | FaultKind::Replace { .. } => {
                None
            }
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Node(n) => write!(f, "node-{n}"),
            Host::Router(r) => write!(f, "router-{}", r + 1),
            Host::Client(n) => write!(f, "client-{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_seeds_can_be_played_and_read_back() {
        for seed in 0..500 {
            let plan = Plan::from_seed(seed);
            plan.check()
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(Plan::parse(&text).unwrap(), plan);
        }
    }

    #[test]
    fn a_plan_that_cannot_be_played_says_why() {
        let mut plan = Plan::from_seed(1);
        plan.world.nodes = 9;
        plan.clients[0].document = 77;
        plan.faults.push(Fault {
            at_ms: 0,
            seed: 0,
            kind: FaultKind::Wiped { node: 8 },
        });
        let error = plan.check().unwrap_err().to_string();
        for part in ["world.nodes is 9", "document 77", "not in the order"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(Plan::parse("{}").is_err());
    }

    #[test]
    fn a_majority_of_disks_cannot_be_lost() {
        let mut plan = Plan::from_seed(1);
        plan.world.nodes = 3;
        let wiped = |node| Fault {
            at_ms: 1,
            seed: 0,
            kind: FaultKind::Wiped { node },
        };
        plan.faults = vec![wiped(1)];
        plan.check().unwrap();
        plan.faults.push(wiped(2));
        assert!(plan.check().unwrap_err().to_string().contains("2 of its 3"));
    }
}
