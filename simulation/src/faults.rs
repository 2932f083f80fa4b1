//! The faults of a plan, as they begin and end. What one fault did is undone by that fault alone:
//! links and disks know by whom they were spoilt.

mod disk;
mod links;
mod stalls;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use turmoil::Sim;

use crate::{
    cluster::{Cluster, Ended},
    outside::{SlowDisk, Struck, network::Name},
    plan::{Fault, FaultKind, Host},
    record::{DriverSeen, Seen},
    shared::Shared,
    trace::line,
};
use disk::DamagedPages;
use links::Change;
use stalls::Debt;

/// How long a process that ended by itself stays away, where no fault says so.
const AWAY: Duration = Duration::from_millis(500);

/// How much longer a fault lasts that has struck nothing.
const GO_ON: Duration = Duration::from_millis(700);

/// A loss of power waits so long for a write that they can tear: that is when they hurt.
const PATIENCE: Duration = Duration::from_millis(800);

/// How long after a fault that found nothing to break it is tried again.
const AGAIN: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin(usize),
    End(usize),
    /// A flapping link changes.
    Flap(usize, bool),
    /// A process comes back.
    Return(usize),
    /// A disk that has not been found full by now leaves room for nothing at all.
    FillUp(usize),
    /// A copy of a disk takes its place.
    PutIn(usize),
}

/// A machine whose process is not running, or should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    /// By a fault or by itself; it comes back.
    Away { power: bool },
    /// Its log is damaged, or another one has its place: it stays out.
    Out,
}

pub struct Faults {
    shared: Shared,
    cluster: Cluster,
    struck: Struck,
    faults: Rc<Vec<Fault>>,
    steps: BTreeMap<(Duration, u64), Step>,
    count: u64,
    down: BTreeMap<usize, Down>,
    /// What is on at the moment.
    on: std::collections::BTreeSet<usize>,
    /// Losses of power that wait, and since when.
    waiting: BTreeMap<usize, Duration>,
    /// Disks that were taken out.
    kept: BTreeMap<usize, SlowDisk>,
    /// Copies that were made of disks, by fault.
    copies: BTreeMap<usize, SlowDisk>,
    /// Nodes whose log was damaged below what was synced.
    damaged: std::collections::BTreeSet<usize>,
    pages: DamagedPages,
    /// Of each place, in work.
    debts: Vec<Debt>,
}

impl Faults {
    /// `began`: when the safety phase did.
    pub fn new(shared: Shared, cluster: Cluster, struck: Struck, began: Duration) -> Self {
        let faults = shared.plan.faults.clone();
        let debts = vec![Debt::default(); cluster.hosts().count()];
        let mut this = Self {
            shared,
            cluster,
            struck,
            faults: Rc::new(faults),
            steps: BTreeMap::new(),
            count: 0,
            down: BTreeMap::new(),
            on: Default::default(),
            waiting: BTreeMap::new(),
            kept: BTreeMap::new(),
            copies: BTreeMap::new(),
            damaged: Default::default(),
            pages: DamagedPages::default(),
            debts,
        };
        for i in 0..this.faults.len() {
            let at = began + Duration::from_millis(this.faults[i].at_ms);
            this.later(at, Step::Begin(i));
        }
        this
    }

    fn later(&mut self, at: Duration, step: Step) {
        self.count += 1;
        self.steps.insert((at, self.count), step);
    }

    /// Whether a node is to be reckoned with after all faults are off.
    pub fn is_lost(&self, i: usize) -> bool {
        self.down.get(&i) == Some(&Down::Out)
    }

    pub fn is_quiet(&self) -> bool {
        self.down.values().all(|down| *down == Down::Out)
    }

    /// Does what is due, and looks after processes that ended by themselves.
    pub fn step(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.charge(sim);
        while let Some(entry) = self.steps.first_entry()
            && entry.key().0 <= now
        {
            let step = entry.remove();
            self.take(sim, step);
        }
        for place in &self.damaged {
            if self.cluster.serves(*place) && !self.down.contains_key(place) {
                let name = self.cluster.name(*place);
                let promised = "a node whose log is damaged below what was synced stays out";
                let broken = format!("{name} serves from a damaged log");
                self.shared.recorder.broken("damage", promised, &broken);
            }
        }
        for i in 0..self.cluster.hosts().count() {
            if let Some(ended) = self.cluster.ended(i) {
                self.ended(sim, i, &ended);
            }
        }
    }

    fn take(&mut self, sim: &mut Sim<'_>, step: Step) {
        match step {
            Step::Begin(i) => self.begin(sim, i),
            Step::End(i) => self.end_or_go_on(sim, i),
            Step::Flap(i, cut) => self.flap(sim, i, cut),
            Step::Return(place) => self.bring_back(sim, place),
            Step::FillUp(i) => self.fill_up(i, sim.elapsed()),
            Step::PutIn(i) => self.put_in(sim, i),
        }
    }

    fn tell(&self, i: usize, begins: bool) {
        let kind = &self.faults[i].kind;
        let what = format!("{kind:?}");
        line!(
            self.shared.trace,
            "fault {i} {}: {what}",
            if begins { "begins" } else { "ends" }
        );
        let seen = DriverSeen::Fault { what, begins };
        self.shared.recorder.note(Seen::Driver(seen));
    }

    fn begin(&mut self, sim: &mut Sim<'_>, i: usize) {
        let faults = self.faults.clone();
        let kind = &faults[i].kind;
        let (now, lasts) = (sim.elapsed(), Duration::from_millis(kind.for_ms()));
        // What is down cannot break; it is tried again until there is something to break.
        let subjects: Vec<usize> = kind
            .processes()
            .into_iter()
            .filter_map(|host| self.cluster.index_of(host))
            .collect();
        // What was replaced never breaks again.
        if !subjects.is_empty()
            && subjects
                .iter()
                .all(|place| self.cluster.is_replaced(*place))
        {
            return self.struck.one(i);
        }
        let replaces = matches!(kind, FaultKind::Replace { .. });
        if !subjects.is_empty()
            && !replaces
            && subjects.iter().all(|place| self.down.contains_key(place))
        {
            return self.later(now + AGAIN, Step::Begin(i));
        }
        if let FaultKind::Crash { power: true, .. } = kind
            && self.waits(i, &subjects, now)
        {
            let tick = Duration::from_millis(self.shared.plan.world.tick_ms);
            return self.later(now + tick, Step::Begin(i));
        }
        self.tell(i, true);
        match kind {
            FaultKind::Crash { nodes, power, .. } => {
                for node in nodes {
                    self.crash(sim, i, Host::Node(*node), *power, lasts);
                }
                if nodes.len() > 1 && self.cluster.nodes().all(|n| self.down.contains_key(&n)) {
                    self.shared.recorder.mark("whole_cluster_down");
                }
            }
            FaultKind::RouterCrash { router, .. } => {
                self.crash(sim, i, Host::Router(*router), false, lasts);
            }
            FaultKind::SyncError { .. }
            | FaultKind::Corrupt { .. }
            | FaultKind::PageDamage { .. }
            | FaultKind::StateDamage { .. }
            | FaultKind::DiskFull { .. }
            | FaultKind::DiskSlow { .. }
            | FaultKind::Wiped { .. }
            | FaultKind::FolderPutBack { .. } => self.spoil_disk(sim, i),
            FaultKind::Replace { node, lost } => self.replace(sim, i, *node, *lost),
            FaultKind::Partition { .. } | FaultKind::Delay { .. } | FaultKind::Loss { .. } => {
                self.spoil_links(sim, i, Change::On);
                self.on.insert(i);
                self.later(now + lasts, Step::End(i));
            }
            FaultKind::Flap { .. } => {
                self.on.insert(i);
                self.flap(sim, i, true);
                self.later(now + lasts, Step::End(i));
            }
            FaultKind::Pause { host, .. } => {
                self.spoil_links(sim, i, Change::On);
                if let Some(place) = self.cluster.index_of(*host) {
                    self.cluster.pause(place, true);
                }
                if self.is_there(*host) {
                    self.struck.one(i);
                }
                self.on.insert(i);
                self.later(now + lasts, Step::End(i));
            }
            FaultKind::Clock { host, .. } => {
                self.on.insert(i);
                self.set_clock(*host);
                self.later(now + lasts, Step::End(i));
            }
            FaultKind::Drain { node, .. } => {
                let place = *node as usize - 1;
                if !self.cluster.drain(place) {
                    return self.later(now + AGAIN, Step::Begin(i));
                }
                self.struck.one(i);
                self.on.insert(i);
            }
        }
    }

    /// Whether a loss of power is to wait for a write on one of these.
    fn waits(&mut self, i: usize, places: &[usize], now: Duration) -> bool {
        let since = *self.waiting.entry(i).or_insert(now);
        let writes = |place: &usize| self.cluster.disk(*place).would_tear();
        now < since + PATIENCE && !places.iter().any(writes)
    }

    /// What has struck nothing so far goes on.
    fn end_or_go_on(&mut self, sim: &mut Sim<'_>, i: usize) {
        if !self.on.contains(&i) || self.struck.has(i) {
            return self.end(sim, i);
        }
        if let FaultKind::DiskSlow { node, .. }
        | FaultKind::SyncError { node, .. }
        | FaultKind::DiskFull { node, .. } = self.faults[i].kind
        {
            // An idle log writes nothing, but a node that starts does.
            let place = node as usize - 1;
            if !self.down.contains_key(&place) {
                self.cluster.kill(sim, place);
                self.down.insert(place, Down::Away { power: false });
                self.later(sim.elapsed() + AGAIN, Step::Return(place));
            }
        }
        self.later(sim.elapsed() + GO_ON, Step::End(i));
    }

    fn end(&mut self, sim: &mut Sim<'_>, i: usize) {
        if !self.on.remove(&i) {
            return;
        }
        let faults = self.faults.clone();
        self.tell(i, false);
        match &faults[i].kind {
            FaultKind::Partition { .. }
            | FaultKind::Flap { .. }
            | FaultKind::Delay { .. }
            | FaultKind::Loss { .. } => self.spoil_links(sim, i, Change::Off),
            FaultKind::Pause { host, .. } => {
                self.spoil_links(sim, i, Change::Off);
                if let Some(place) = self.cluster.index_of(*host) {
                    self.cluster.pause(place, false);
                }
            }
            FaultKind::Clock { host, .. } => self.set_clock(*host),
            FaultKind::SyncError { node, .. }
            | FaultKind::DiskFull { node, .. }
            | FaultKind::DiskSlow { node, .. } => self.mend_disk(*node as usize - 1),
            FaultKind::Wiped { node } | FaultKind::FolderPutBack { node, .. } => {
                self.put_back(sim, *node as usize - 1);
            }
            FaultKind::Crash { .. }
            | FaultKind::RouterCrash { .. }
            | FaultKind::Corrupt { .. }
            | FaultKind::PageDamage { .. }
            | FaultKind::StateDamage { .. }
            | FaultKind::Replace { .. }
            | FaultKind::Drain { .. } => {}
        }
    }

    /// A new node comes for one whose disk is lost, or which runs on until it has its place.
    fn replace(&mut self, sim: &mut Sim<'_>, i: usize, node: u32, lost: bool) {
        let place = node as usize - 1;
        self.struck.one(i);
        if lost {
            self.cluster.kill(sim, place);
            self.down.insert(place, Down::Out);
        }
        self.cluster.bring_in(sim, node);
    }

    /// As wrong as the last of the faults that are on makes it.
    fn set_clock(&self, host: Host) {
        let wrong = self
            .on
            .iter()
            .rev()
            .find_map(|i| match self.faults[*i].kind {
                FaultKind::Clock { host: of, ms, .. } if of == host => Some((ms, *i)),
                _ => None,
            });
        if let Some(place) = self.cluster.index_of(host) {
            self.cluster.clock(place).set_wrong(wrong);
        }
    }

    /// A process dies, or its machine does.
    fn crash(
        &mut self,
        sim: &mut Sim<'_>,
        i: usize,
        host: Host,
        power: bool,
        away: Duration,
    ) -> bool {
        let Some(place) = self.cluster.index_of(host) else {
            return false;
        };
        if self.down.contains_key(&place) {
            return false;
        }
        if !self.cluster.serves(place) && place < self.cluster.nodes().end {
            self.shared.recorder.mark("crashed while recovering");
        }
        self.struck.one(i);
        let name = self.cluster.name(place);
        if power {
            if self.cluster.disk(place).would_tear() {
                self.shared.recorder.mark("power_lost_in_a_write");
            }
            self.shared.network.power(&name, false);
            self.cut_off(sim, place, true);
        }
        self.cluster.kill(sim, place);
        if power {
            let seed = StdRng::seed_from_u64(self.faults[i].seed ^ place as u64).random();
            self.cluster.disk(place).lose_power(seed);
        }
        self.down.insert(place, Down::Away { power });
        self.later(sim.elapsed() + away, Step::Return(place));
        true
    }

    fn bring_back(&mut self, sim: &mut Sim<'_>, place: usize) {
        let Some(Down::Away { power }) = self.down.get(&place).copied() else {
            return;
        };
        self.down.remove(&place);
        if power {
            self.shared.network.power(&self.cluster.name(place), true);
            self.cut_off(sim, place, false);
        }
        // The next process finds a disk that fails no more by itself.
        for (i, fault) in self.faults.clone().iter().enumerate() {
            let here = |node: &u32| *node as usize - 1 == place;
            let heals = match &fault.kind {
                FaultKind::SyncError { node, .. } | FaultKind::DiskFull { node, .. } => here(node),
                _ => false,
            };
            if heals && self.struck.has(i) {
                self.end(sim, i);
            }
        }
        self.cluster.start(sim, place);
    }

    /// What a process that ended by itself means.
    fn ended(&mut self, sim: &mut Sim<'_>, place: usize, ended: &Ended) {
        self.cluster.kill(sim, place);
        let name = self.cluster.name(place);
        let hurt = self.cluster.disk(place).is_hurt();
        let promised = "a process ends only by a fault";
        if self.cluster.is_replaced(place) {
            self.down.insert(place, Down::Out);
            return;
        }
        match ended {
            Ended::Refused(_) if self.damaged.contains(&place) => {
                self.down.insert(place, Down::Out);
                return;
            }
            // Its disk is not its own: it stays out until that is back.
            Ended::Refused(_) | Ended::Failed(_) if self.kept.contains_key(&place) => {
                self.shared.recorder.mark("older disk refused");
                self.down.insert(place, Down::Away { power: false });
                return;
            }
            // Nobody else had what it needs.
            Ended::Refused(_) | Ended::Failed(_) if self.pages.are_damaged(place) => {
                self.shared.recorder.mark("a page was lost");
                if !self.pages.are_whole_again() {
                    self.down.insert(place, Down::Away { power: false });
                    return;
                }
            }
            Ended::Refused(why) if !hurt => {
                let broken = format!("{name} did not start: {why}");
                self.shared.recorder.broken("processes", promised, &broken);
            }
            Ended::Failed(why) if !hurt => {
                let broken = format!("{name} cannot go on: {why}");
                self.shared.recorder.broken("processes", promised, &broken);
            }
            Ended::Replaced => {
                let broken = format!("{name} ended as one whose place another one has");
                self.shared.recorder.broken("processes", promised, &broken);
            }
            Ended::Drained => self.shared.recorder.mark("leadership_handed_over"),
            Ended::Refused(_) | Ended::Failed(_) => self.shared.recorder.mark("ended by its disk"),
        }
        let away = self.away(place, ended);
        self.down.insert(place, Down::Away { power: false });
        self.later(sim.elapsed() + away, Step::Return(place));
    }

    /// As the fault says that ended it.
    fn away(&mut self, place: usize, ended: &Ended) -> Duration {
        let here = |node: &u32| *node as usize - 1 == place;
        let by = self
            .on
            .iter()
            .copied()
            .find(|i| match &self.faults[*i].kind {
                FaultKind::SyncError { node, .. } | FaultKind::DiskFull { node, .. } => {
                    *ended != Ended::Drained && here(node)
                }
                FaultKind::Drain { node, .. } => *ended == Ended::Drained && here(node),
                _ => false,
            });
        match by {
            Some(i) => {
                if *ended == Ended::Drained {
                    self.on.remove(&i);
                }
                Duration::from_millis(self.faults[i].kind.for_ms())
            }
            None => AWAY,
        }
    }

    /// Everything ends: links are whole, disks are mended and in their places, processes run.
    pub fn heal(&mut self, sim: &mut Sim<'_>) {
        self.steps.clear();
        for i in self.on.clone() {
            self.end(sim, i);
        }
        self.pages.flip_back();
        for place in self.down.keys().copied().collect::<Vec<_>>() {
            self.bring_back(sim, place);
        }
    }

    /// How often each kind of the plan struck, and those that never did.
    pub fn count(&self) -> (BTreeMap<String, u64>, Vec<&'static str>) {
        let mut struck: BTreeMap<String, u64> = BTreeMap::new();
        for (i, fault) in self.faults.iter().enumerate() {
            let count = struck.entry(fault.kind.name().to_owned()).or_default();
            *count += u64::from(self.struck.has(i));
        }
        let never = self.faults.iter().map(|fault| fault.kind.name());
        let mut never: Vec<_> = never.filter(|name| struck.get(*name) == Some(&0)).collect();
        never.sort_unstable();
        never.dedup();
        (struck, never)
    }

    /// Clients may have been left out of the plan.
    fn is_there(&self, host: Host) -> bool {
        match host {
            Host::Client(n) => self.shared.plan.clients.iter().any(|c| c.number == n),
            _ => true,
        }
    }

    fn names(&self) -> Vec<Name> {
        let nodes = self.cluster.hosts().map(|(_, name)| name);
        let clients = self.shared.plan.clients.iter();
        let clients = clients.map(|client| Host::Client(client.number).to_string().as_str().into());
        nodes.chain(clients).collect()
    }
}

/// What is logged because of a disk that fails, of damaged pages, and of other damage to a state.
const BY_DISK: &[&str] = &[
    "the log cannot be written",
    "the log's disk is full",
    "this process must end",
    "cannot record a node's disk",
    "group stopped",
    "openraft",
    "unexpected answer to a proposal",
    "too many events are not archived",
];
const BY_PAGES: &[&str] = &[
    "a cold document cannot be had",
    "lists of users' documents are made anew",
    "group stopped",
    "this process must end",
    "openraft",
];
const BY_STATE: &[&str] = &[
    "what was kept is damaged",
    "events are damaged",
    "lists of users' documents are made anew",
];

/// Whether a fault that struck explains an error that a host logs.
pub fn explains(cluster: &Cluster, faults: &[Fault], host: &str, line: &str) -> bool {
    let place = cluster
        .hosts()
        .find(|(_, name)| &**name == host)
        .map(|(i, _)| i);
    let Some(place) = place.filter(|place| cluster.nodes().contains(place)) else {
        return false;
    };
    let says = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
    // A disk that failed: the process says so and ends, and its groups stop.
    if cluster.disk(place).is_hurt() && says(BY_DISK) {
        return true;
    }
    // Pages were damaged, and nobody else has one of them.
    let here = |fault: &Fault| {
        fault.kind
            == FaultKind::PageDamage {
                node: place as u32 + 1,
            }
    };
    if faults.iter().any(here) && says(BY_PAGES) {
        return true;
    }
    // What was kept is damaged: named, and set aside.
    let here = |fault: &Fault| {
        let node = place as u32 + 1;
        matches!(fault.kind, FaultKind::StateDamage { node: of, .. } if of == node)
    };
    if faults.iter().any(here) && says(BY_STATE) {
        return true;
    }
    // What was asked of a group while it ended is not answered; its library calls that an error.
    let by_end = ["raft stopped", "failed to receive from RaftCore"];
    if cluster.is_draining(place) && says(&["openraft"]) && says(&by_end) {
        return true;
    }
    // A wiped disk, or an older copy of one: the others refuse it, and it is told so.
    let not_its_own = |kind: &FaultKind| {
        matches!(
            kind,
            FaultKind::Wiped { .. } | FaultKind::FolderPutBack { .. }
        )
    };
    let wipes = faults.iter().any(|fault| not_its_own(&fault.kind));
    // Who has no place any more is told so.
    let replaced = cluster.is_replaced(place) && says(&["no link", "has its place"]);
    if replaced {
        return true;
    }
    wipes && says(&["refused", "no link"])
}
