//! The hostile set: for each way in which one user could harm the others inside every limit, a
//! client that does its worst beside honest writers on real processes. What the honest ones see
//! stands beside a control in which the same client runs against a sink, so that what the
//! client itself costs this machine is not taken for harm.

mod attacks;
mod honest;
mod sink;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{processes::Processes, rest::Rest};
pub use attacks::{CASES, Case};
use honest::Honest;
pub use honest::Latency;
use watch::{Memory, Watch};

/// How long and with how many.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the control, and of the attack.
    pub lasts: Duration,
    /// How long memory is waited for afterwards.
    pub settles: Duration,
    pub writers: usize,
}

/// What an attack came to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub case: &'static str,
    pub seconds: f64,
    pub honest: Latency,
    /// The same while the client ran against a sink.
    pub control: Latency,
    /// p99 of the honest, by that of the control.
    pub p99_ratio: f64,
    pub leader_changes: usize,
    /// By process, in bytes of resident memory.
    pub memory: BTreeMap<String, Memory>,
    /// What the client got done.
    pub attempts: u64,
    /// What else went wrong for honest people, by name.
    pub harm: BTreeMap<String, u64>,
}

impl Outcome {
    /// Whether each process holds about what it held before: `times` as much, and `more`.
    pub fn memory_came_back(&self, times: f64, more: u64) -> bool {
        let back = |m: &Memory| m.after as f64 <= m.before as f64 * times + more as f64;
        self.memory.values().all(back)
    }
}

/// The case of a name.
///
/// # Errors
/// When there is none; the names that there are.
pub fn case(name: &str) -> Result<&'static Case> {
    let names = || CASES.iter().map(|case| case.name).collect::<Vec<_>>();
    let found = CASES.iter().find(|case| case.name == name);
    found.with_context(|| format!("there is no case {name:?}; there are {:?}", names()))
}

/// Plays one case on processes of its own.
///
/// # Errors
/// When it cannot be played; what honest people suffered is in the outcome.
pub async fn play(case: &'static Case, options: &Options) -> Result<Outcome> {
    let processes = Processes::start(&format!("hostile-{}", case.name), &[], &[])?;
    let owner = Rest::new(&processes.ready.http, &processes.ready.token);
    let mallory = Rest::new(&processes.ready.http, &processes.token("mallory")?);
    let honest = Honest::start(&owner, options.writers).await?;
    for doc in honest.docs() {
        owner.grant(doc, "mallory", "viewer").await?;
    }
    let scene = (case.prepare)(owner.clone(), mallory, honest.docs().to_vec()).await?;
    honest.quiet().await;

    // The same client against a sink.
    let sink = sink::Sink::start(scene.welcome.clone()).await?;
    let aside = Rest::new(&sink.address, &scene.mallory.token);
    let client = Client::start(case, scene.aimed_at(aside));
    let control = honest.measure(options.lasts).await;
    client.end()?;

    let mut watch = Watch::start(&processes, &owner, honest.docs()).await?;
    let client = Client::start(case, scene.clone());
    let measured = tokio::join!(honest.measure(options.lasts), watch.run(options.lasts));
    let (suffered, watched) = measured;
    watched?;
    let (attempts, mut harm) = client.end()?;
    watch.settle(options.settles).await?;
    honest.end(&mut harm).await;
    Ok(Outcome {
        case: case.name,
        seconds: options.lasts.as_secs_f64(),
        p99_ratio: suffered.p99_ms / control.p99_ms.max(0.001),
        honest: suffered,
        control,
        leader_changes: watch.leader_changes(),
        memory: watch.memory(),
        attempts,
        harm,
    })
}

/// The hostile client, on a thread of its own.
struct Client {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<attacks::Done>>,
}

impl Client {
    fn start(case: &'static Case, scene: attacks::Scene) -> Client {
        let over = Arc::new(AtomicBool::new(false));
        let scene = scene.until(over.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build()?;
            runtime.block_on((case.attack)(scene))
        });
        Client { over, thread }
    }

    fn end(self) -> Result<(u64, BTreeMap<String, u64>)> {
        self.over.store(true, Relaxed);
        match self.thread.join() {
            Ok(done) => done.map(|done| (done.attempts, done.harm)),
            Err(_) => bail!("the hostile client panicked"),
        }
    }
}

/// Waits for something, at most so long.
async fn until(most: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + most;
    while Instant::now() < end {
        if holds().await {
            return true;
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}
