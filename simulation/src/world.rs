//! One simulation: three nodes, a router, two people; the leader of their document's group is
//! killed while they type, and comes back.

use std::{
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, ensure};
use codraft_proto::ids::{DocId, GroupId};
use codraft_router::sign_token;
use rand::{Rng, SeedableRng, rngs::StdRng};
use turmoil::Sim;

use crate::{
    cluster::{Cluster, NODES, ROUTER, ROUTER_PORT, TOKEN_SECRET},
    ledger::{Ledger, Phase},
    overrides,
    person::Person,
    socket::Speaker,
    trace::{Trace, line},
};

const TICK: Duration = Duration::from_millis(1);
const GROUPS: u32 = 2;
/// From the end of typing until all must be the same everywhere.
const SETTLE: Duration = Duration::from_secs(20);
const PEOPLE: [(&str, char); 2] = [("alice", '\u{4e00}'), ("bob", '\u{ac00}')];

/// What a simulation came to.
pub struct Outcome {
    pub elapsed: Duration,
    pub operations: u64,
    pub kills: u64,
    /// Between the last acknowledgement before the leader was killed and the first after.
    pub silence: Duration,
    pub problems: Vec<String>,
}

/// What is planted to see the simulation find it.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// For the last 300 ms before all lose their power the disks say that they synced, and did
    /// not.
    pub lying_disks: bool,
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// The process dies; its machine closes the connections and refuses new ones.
    Process,
    /// The machine does: nobody hears anything.
    Power,
}

/// Runs one simulation on this thread; people type for `typing`.
///
/// # Errors
/// When it cannot be set up; what did not hold is in the outcome.
pub fn run(seed: u64, typing: Duration, faults: Faults, trace: &Trace) -> Result<Outcome> {
    let ledger = Ledger::default();
    let cluster = Cluster::new(seed, GROUPS, trace.clone());
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + overrides::EPOCH)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(8))
        .tcp_capacity(16_384)
        .simulation_duration(typing + SETTLE + Duration::from_secs(60))
        .build();
    for (i, name) in NODES.into_iter().enumerate() {
        let cluster = cluster.clone();
        sim.host(name, move || cluster.clone().node(i));
    }
    let routers = cluster.clone();
    sim.host(ROUTER, move || routers.clone().router());
    for (i, (name, letter)) in PEOPLE.into_iter().enumerate() {
        let token = token(name)?;
        let speaker = Speaker {
            name,
            host: ROUTER,
            port: ROUTER_PORT,
            token,
            trace: trace.clone(),
        };
        let mut person = Person::new(
            speaker,
            ledger.clone(),
            seed ^ ((i as u64 + 1) << 40),
            letter,
        );
        sim.client(name, async move {
            if i == 0 {
                person.create(PEOPLE[1].0).await;
            }
            person.live().await;
            if i == 0 {
                person.read_last().await?;
            }
            Ok(())
        });
    }
    let rng = StdRng::seed_from_u64(seed);
    let mut world = World {
        sim,
        cluster,
        ledger,
        trace: trace.clone(),
        rng,
        faults,
        kills: 0,
        silence: Duration::ZERO,
    };
    let played = world.play(typing);
    let elapsed = world.sim.elapsed();
    let mut ledger = world.ledger.lock();
    match played {
        Ok(()) => ledger.check(),
        Err(error) => ledger.problems.push(format!("{error:#}")),
    }
    Ok(Outcome {
        elapsed,
        operations: ledger.people.values().map(|person| person.operations).sum(),
        kills: world.kills,
        silence: world.silence,
        problems: std::mem::take(&mut ledger.problems),
    })
}

fn token(user: &str) -> Result<String> {
    const DAY: u64 = 86_400;
    let now = overrides::EPOCH.as_secs();
    sign_token(TOKEN_SECRET, user, now - DAY, now + DAY).context("signing a token")
}

impl Kill {
    /// How long at most nothing is acknowledged when the leader goes like this.
    fn silence_most(self) -> Duration {
        match self {
            Kill::Process => Duration::from_millis(300),
            Kill::Power => Duration::from_millis(2_500),
        }
    }
}

struct World<'a> {
    sim: Sim<'a>,
    cluster: Cluster,
    ledger: Ledger,
    trace: Trace,
    rng: StdRng,
    faults: Faults,
    kills: u64,
    silence: Duration,
}

impl World<'_> {
    fn play(&mut self, typing: Duration) -> Result<()> {
        let patience = Duration::from_secs(20);
        ensure!(
            self.run_until(patience, Self::has_group)?,
            "no document after {patience:?}"
        );
        let group = self.group().context("no document")?;
        let third = typing / 3;
        let pause = third + self.jitter(500);
        self.run_for(pause)?;
        ensure!(
            self.run_until(patience, |world| world.cluster.leader(group).is_some())?,
            "nobody leads"
        );
        let leader = self.cluster.leader(group).context("nobody leads")?;
        let how = if self.rng.random_bool(0.5) {
            Kill::Process
        } else {
            Kill::Power
        };
        line!(self.trace, "the leader is killed: {how:?}");
        self.kill(leader, how);
        let killed = self.sim.elapsed();
        let pause = third + self.jitter(500);
        self.run_for(pause)?;
        self.silence = self.ledger.lock().silence(killed, self.sim.elapsed());
        if self.silence > how.silence_most() {
            let silence = self.silence;
            let problem = format!("{silence:?} without an acknowledgement around {how:?}");
            self.ledger.problem(problem);
        }
        self.bring_back(leader, how);
        self.run_for(third / 2)?;
        // Without a majority's memory only what is on the disks is left.
        if self.rng.random_bool(0.5) || self.faults.lying_disks {
            self.blackout()?;
        }
        self.run_for(third / 2)?;
        self.ledger.lock().phase = Phase::Settling;
        line!(self.trace, "nothing more is typed");
        if !self.run_until(SETTLE, Self::is_settled)? {
            let digests = self.cluster.digests();
            self.ledger.problem(format!(
                "not the same everywhere after {SETTLE:?}: {digests:?}"
            ));
        }
        for (group, digests) in self.cluster.digests() {
            for (index, digest) in digests {
                line!(
                    self.trace,
                    "group {group} at {index}: {}",
                    blake3::Hash::from(digest).to_hex()
                );
            }
        }
        self.ledger.lock().phase = Phase::Done;
        ensure!(
            self.run_until(patience, |_| false)?,
            "the clients do not end"
        );
        Ok(())
    }

    fn jitter(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(0..most_ms))
    }

    fn group(&self) -> Option<GroupId> {
        let doc = self.ledger.lock().doc.clone()?;
        Some(self.cluster.group_of(&DocId::from_str(&doc).ok()?))
    }

    fn has_group(&self) -> bool {
        self.group().is_some()
    }

    /// Whether both people have everything and every replica of every group is the same.
    fn is_settled(&self) -> bool {
        let same = |digests: &Vec<_>| {
            digests.len() == NODES.len() && digests.iter().all(|d| *d == digests[0])
        };
        self.ledger.lock().is_settled()
            && self
                .cluster
                .digests()
                .iter()
                .all(|(_, digests)| same(digests))
    }

    /// The power goes for all nodes at once, and comes back.
    fn blackout(&mut self) -> Result<()> {
        if self.faults.lying_disks {
            (0..NODES.len()).for_each(|i| self.cluster.lie(i));
            let lie = Duration::from_millis(300);
            self.run_for(lie)?;
        }
        line!(self.trace, "the power goes everywhere");
        (0..NODES.len()).for_each(|i| self.kill(i, Kill::Power));
        let pause = Duration::from_millis(200) + self.jitter(800);
        self.run_for(pause)?;
        (0..NODES.len()).for_each(|i| self.bring_back(i, Kill::Power));
        Ok(())
    }

    fn kill(&mut self, i: usize, how: Kill) {
        line!(self.trace, "{} is killed: {how:?}", NODES[i]);
        self.kills += 1;
        if matches!(how, Kill::Power) {
            self.others(i)
                .for_each(|other| self.sim.partition(NODES[i], other));
        }
        self.cluster.refuse(i, matches!(how, Kill::Process));
        self.cluster.forget(i);
        self.sim.crash(NODES[i]);
        let seed = self.rng.random();
        self.cluster.lose_power(i, seed);
    }

    fn bring_back(&mut self, i: usize, how: Kill) {
        line!(self.trace, "{} comes back", NODES[i]);
        if matches!(how, Kill::Power) {
            self.others(i)
                .for_each(|other| self.sim.repair(NODES[i], other));
        }
        self.cluster.refuse(i, false);
        self.sim.bounce(NODES[i]);
    }

    fn others(&self, i: usize) -> impl Iterator<Item = &'static str> + use<> {
        let nodes = NODES
            .into_iter()
            .enumerate()
            .filter(move |(other, _)| *other != i);
        nodes.map(|(_, name)| name).chain([ROUTER])
    }

    fn run_for(&mut self, time: Duration) -> Result<()> {
        self.run_until(time, |_| false).map(|_| ())
    }

    /// Runs until it holds or the clients have ended (true), or for so long (false).
    fn run_until(&mut self, most: Duration, holds: impl Fn(&Self) -> bool) -> Result<bool> {
        let end = self.sim.elapsed() + most;
        let mut ticks = 0u32;
        while self.sim.elapsed() < end {
            overrides::set_elapsed(self.sim.elapsed());
            if self.sim.step().map_err(|error| anyhow!("{error}"))? {
                return Ok(true);
            }
            ticks += 1;
            // Asking costs more than a tick.
            if ticks.is_multiple_of(50) && holds(self) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
