//! One run of a plan: setup, the safety phase with its faults, then all faults off and
//! everything must heal.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use turmoil::Sim;

use crate::{
    client::Client,
    cluster::Cluster,
    faults::{self, Faults},
    memory, operator, oracles,
    outside::{Struck, network::Network},
    overrides,
    plan::{Host, Plan},
    proof,
    record::{DriverSeen, Seen},
    recorder::Recorder,
    settle, setup,
    shared::{Shared, Stage},
    trace::{Trace, line},
    tracer,
    verdict::Verdict,
};

/// Documents must be there after so long.
const SETUP: Duration = Duration::from_secs(30);
/// How much longer the safety phase lasts while some kind of fault has struck nothing.
const STRIKE: Duration = Duration::from_secs(10);
/// From the end of the faults until all must have healed, and what more is waited for, to see
/// whether it ever does.
const HEAL: Duration = Duration::from_secs(10);
const HEAL_MOST: Duration = Duration::from_secs(20);
/// How often it is asked whether it has, which costs more than a tick, and the network swept.
const ASK_MS: u64 = 100;
/// A process that holds less than so much more than before is not told of.
const WEIGHT: u64 = 1 << 20;
/// After the first violation the run goes on for so long, for the report.
const AFTERMATH: Duration = Duration::from_millis(300);

/// What a run came to, and its record.
pub struct Played {
    pub verdict: Verdict,
    pub recorder: Recorder,
}

/// Runs a plan on this thread, which is the simulation's alone.
///
/// # Errors
/// When it cannot be set up; what did not hold is in the verdict.
pub fn play(plan: &Plan, trace: &Trace) -> Result<Played> {
    plan.check()?;
    let recorder = Recorder::new(oracles::all(plan));
    tracer::install(trace.clone(), recorder.clone())?;
    let mut world = World::new(plan, trace, &recorder);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
    match played {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let promised = "a simulation runs to its end";
            recorder.broken("frame", promised, &format!("{error:#}"));
        }
        // The hook has put it on record.
        Err(_) if !recorder.violations().is_empty() => {}
        Err(_) => recorder.panic("driver", "a panic of which nothing is known".into()),
    }
    recorder.end();
    let (struck, _) = world.faults.as_ref().map(Faults::count).unwrap_or_default();
    let verdict = Verdict {
        struck,
        trace: trace.hash(),
        ..recorder.verdict(Verdict::of(plan))
    };
    // Taking it apart runs code of hosts, which is of no interest any more.
    std::mem::forget(world);
    Ok(Played { verdict, recorder })
}

struct World {
    sim: Sim<'static>,
    shared: Shared,
    cluster: Cluster,
    struck: Struck,
    faults: Option<Faults>,
    ticks: u64,
    /// Of each place, the most memory that was told of.
    weighed: Vec<u64>,
}

impl World {
    fn new(plan: &Plan, trace: &Trace, recorder: &Recorder) -> Self {
        memory::prepare();
        let world = &plan.world;
        let mut sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .epoch(UNIX_EPOCH + overrides::EPOCH)
            .tick_duration(Duration::from_millis(world.tick_ms))
            .min_message_latency(Duration::from_millis(world.latency_ms.0))
            .max_message_latency(Duration::from_millis(world.latency_ms.1))
            .tcp_capacity(65_536)
            .simulation_duration(Duration::from_secs(1 << 20))
            .build();
        let struck = Struck::default();
        let network = Network::new(struck.clone());
        let shared = Shared::new(plan.clone(), recorder.clone(), network, trace.clone());
        let cluster = Cluster::new(shared.clone(), struck.clone());
        let hosts = cluster.hosts().count();
        for (i, name) in cluster.hosts() {
            let cluster = cluster.clone();
            sim.host(&*name, move || cluster.clone().process(i));
        }
        for client in &plan.clients {
            let (shared, plan) = (shared.clone(), client.clone());
            let name = Host::Client(client.number).to_string();
            sim.client(name, async move {
                Client::new(shared, plan).live().await;
                Ok(())
            });
        }
        let makes = shared.clone();
        sim.client(setup::HOST, async move {
            setup::run(makes).await;
            Ok(())
        });
        if operator::is_needed(plan) {
            let (shared, topology) = (shared.clone(), cluster.topology());
            sim.client(operator::HOST, async move {
                operator::run(shared, topology).await;
                Ok(())
            });
        }
        let (of, faults) = (cluster.clone(), plan.faults.clone());
        let operated = operator::is_needed(plan);
        recorder.explain_errors_by(move |host, line| {
            operated && operator::explains(line) || faults::explains(&of, &faults, host, line)
        });
        Self {
            sim,
            shared,
            cluster,
            struck,
            faults: None,
            ticks: 0,
            weighed: vec![0; hosts],
        }
    }

    fn play(&mut self) -> Result<()> {
        let documents = self.shared.plan.documents.len();
        let made = |world: &mut Self| world.shared.docs.borrow().len() == documents;
        if !self.run_until(SETUP, made)? {
            anyhow::ensure!(self.is_broken(), "no documents after {SETUP:?}");
            return Ok(());
        }
        let began = self.sim.elapsed();
        self.shared.began.set(began);
        self.faults = Some(Faults::new(
            self.shared.clone(),
            self.cluster.clone(),
            self.struck.clone(),
            began,
        ));
        self.stage(Stage::Safety);
        let safety = Duration::from_millis(self.shared.plan.world.safety_ms);
        self.run_until(safety, |_| false)?;
        // Some faults wait for something that they can strike.
        let struck = |world: &mut Self| {
            let faults = world.faults.as_ref();
            faults.is_none_or(|faults| faults.count().1.is_empty())
        };
        if !struck(self) {
            self.run_until(STRIKE, struck)?;
        }
        if self.is_broken() {
            return Ok(());
        }
        if let Some(faults) = &mut self.faults {
            faults.heal(&mut self.sim);
            // One kind may find nothing to break; a campaign looks at each of them. A wrong clock
            // that nobody reads is as good as none, and a node whose groups hold no document has
            // hardly any log, and no page or list, to damage.
            let (struck, never) = faults.count();
            let sure =
                |kind: &&str| !["clock", "corrupt", "page_damage", "state_damage"].contains(kind);
            if never.iter().any(sure) && struck.values().all(|count| *count == 0) {
                let broken = format!("planned, and never struck: {}", never.join(", "));
                let promised = "of what is planned to break something breaks";
                self.shared.recorder.broken("faults", promised, &broken);
                return Ok(());
            }
        }
        self.stage(Stage::Healing);
        self.shared.recorder.note(Seen::Driver(DriverSeen::Healing));
        self.heal()?;
        if self.is_broken() {
            return Ok(());
        }
        settle::read(&self.shared, &self.cluster);
        self.stage(Stage::Done);
        // Each client says what it ended with.
        self.run_until(Duration::from_millis(200), |_| false)?;
        self.weigh(true);
        if proof::is_due(&self.shared.plan) && !self.is_broken() {
            let lies = proof::of(&self.shared.plan, &self.cluster)?;
            let promised = "what nodes keep is what was applied, by their files alone";
            for lie in &lies {
                self.shared.recorder.broken("proof", promised, lie);
            }
            self.shared.recorder.note(Seen::Driver(DriverSeen::Proven));
        }
        Ok(())
    }

    /// Notes what processes hold in memory, where that is news.
    fn weigh(&mut self, done: bool) {
        for ((_, host), told) in self.cluster.hosts().zip(&mut self.weighed) {
            let (live, peak) = memory::held_by(tracer::number_of(&host));
            if done || peak > *told + *told / 4 + WEIGHT {
                *told = peak;
                let host = host.to_string();
                let seen = DriverSeen::Memory {
                    host,
                    live,
                    peak,
                    done,
                };
                self.shared.recorder.note(Seen::Driver(seen));
            }
        }
    }

    /// Waits until all that must heal has.
    fn heal(&mut self) -> Result<()> {
        let since = self.sim.elapsed();
        let missing = |world: &Self| match &world.faults {
            Some(faults) => settle::missing(&world.shared, &world.cluster, faults),
            None => Vec::new(),
        };
        if self.run_until(HEAL, |world| missing(world).is_empty())? && !self.is_broken() {
            let took = self.sim.elapsed() - since;
            line!(self.shared.trace, "healed after {took:?}");
            self.healed(Vec::new());
            return Ok(());
        }
        if self.is_broken() {
            return Ok(());
        }
        let mut late = missing(self);
        // Late is wrong; never is another thing to look for.
        let end = HEAL_MOST.saturating_sub(HEAL);
        let healed = self.run_until(end, |world| missing(world).is_empty())?;
        let took = self.sim.elapsed() - since;
        late.push(if healed {
            format!("healed after {took:?}")
        } else {
            format!("not healed after {took:?}")
        });
        self.healed(late);
        Ok(())
    }

    fn healed(&mut self, missing: Vec<String>) {
        let broken = missing.join("; ");
        self.shared
            .recorder
            .note(Seen::Driver(DriverSeen::Healed { missing }));
        if !broken.is_empty() && !self.is_broken() {
            let promised = "with all faults off, everything heals within 10 s";
            self.shared.recorder.broken("heals", promised, &broken);
        }
    }

    fn stage(&self, stage: Stage) {
        line!(self.shared.trace, "stage {stage:?}");
        self.shared.stage.set(stage);
    }

    fn is_broken(&self) -> bool {
        self.shared.recorder.broken_at().is_some()
    }

    /// Runs until it holds (true), for so long (false), or until a while after something broke
    /// (false).
    fn run_until(
        &mut self,
        most: Duration,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool> {
        let end = self.sim.elapsed() + most;
        let asks = ASK_MS / self.shared.plan.world.tick_ms;
        while self.sim.elapsed() < end {
            let now = self.sim.elapsed();
            if self
                .shared
                .recorder
                .broken_at()
                .is_some_and(|at| now > at + AFTERMATH)
            {
                return Ok(false);
            }
            overrides::set_elapsed(now);
            if let Some(faults) = &mut self.faults {
                faults.step(&mut self.sim);
            }
            self.sim.step().map_err(|error| anyhow!("{error}"))?;
            self.ticks += 1;
            if self.ticks.is_multiple_of(asks) {
                self.shared.network.sweep(now);
                self.weigh(false);
                if holds(self) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
