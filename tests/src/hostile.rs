//! The hostile set: for each way in which one user could harm the others inside every limit, a
//! client that does its worst beside honest writers on real processes. What the honest ones see
//! stands beside a control in which the same client runs against a sink, so that what the
//! client itself costs this machine is not taken for harm.

mod attacks;
mod client;
mod honest;
mod scene;
mod sink;
mod watch;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{patience::within, processes::Processes, rest::Rest};
pub use attacks::{CASES, Case};
use client::Client;
use honest::Honest;
pub use honest::Latency;
use scene::{Scene, Setting};
use watch::Watch;
pub use watch::{Back, Memory};

/// Nothing that is made ready takes longer.
const PREPARATION: Duration = Duration::from_secs(120);

/// How long and with how many.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the honest alone, of the control, and of the attack.
    pub lasts: Duration,
    /// How long memory is waited for afterwards.
    pub settles: Duration,
    pub writers: usize,
    /// What is made ready for the client is divided by this.
    pub share: usize,
    pub back: Back,
}

/// What an attack came to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub case: &'static str,
    pub seconds: f64,
    /// Nobody else is there.
    pub alone: Latency,
    /// The client runs against a sink.
    pub control: Latency,
    pub honest: Latency,
    /// p99 of the honest, by that of the control.
    pub p99_ratio: f64,
    /// That all processes kept busy: alone, beside the sink, attacked.
    pub cores: Vec<f64>,
    pub leader_changes: usize,
    /// Processes that ended and were started again.
    pub restarts: usize,
    /// By process, in bytes of resident memory.
    pub memory: BTreeMap<String, Memory>,
    pub memory_came_back: bool,
    /// What the client got done at the sink, and at the router.
    pub control_attempts: u64,
    pub attempts: u64,
    /// What else went wrong for honest people, by name.
    pub harm: BTreeMap<String, u64>,
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

/// Plays one case.
///
/// # Errors
/// When it cannot be played; what honest people suffered is in the outcome.
pub async fn play(
    processes: &Processes,
    case: &'static Case,
    options: &Options,
) -> Result<Outcome> {
    let owner = Rest::new(&processes.ready.http, &processes.ready.token);
    let honest = Honest::start(&owner, options.writers).await?;
    let first = honest.docs().first().context("no honest writers")?;
    let user = format!("mallory-{}", case.name);
    let setting = Setting {
        owner: owner.clone(),
        mallory: Rest::new(&processes.ready.http, &processes.token(&user)?),
        user,
        honest_doc: first.clone(),
        share: options.share,
    };
    let scene = within(
        PREPARATION,
        "the scene to be ready",
        (case.prepare)(setting),
    )
    .await??;

    let mut watch = Watch::start(processes, &owner, honest.docs(), options.back).await?;
    let began = watch.used();
    let alone = honest.measure(options.lasts).await?;
    let mut cores = vec![watch.cores_since(began)];

    watch.control_begins();
    let began = watch.used();
    let (control, control_attempts) = beside_a_sink(case, &scene, &honest, options).await?;
    cores.push(watch.cores_since(began));

    watch.attack_begins().await?;
    let began = watch.used();
    let client = Client::start(case, scene);
    let suffered = async {
        let suffered = honest.measure(options.lasts).await?;
        client.has_done_something().await?;
        anyhow::Ok(suffered)
    };
    let suffered = watch.during(suffered).await??;
    cores.push(watch.cores_since(began));
    let (attempts, mut harm) = client.end().await?;
    honest.end(&mut harm);
    watch.settle(options.settles).await?;
    Ok(Outcome {
        case: case.name,
        seconds: options.lasts.as_secs_f64(),
        alone,
        control,
        honest: suffered,
        p99_ratio: suffered.p99_ms / control.p99_ms.max(0.001),
        cores,
        leader_changes: watch.leader_changes(),
        restarts: watch.restarts(processes)?,
        memory: watch.memory(),
        memory_came_back: watch.came_back(),
        control_attempts,
        attempts,
        harm,
    })
}

/// What the honest wait for while the client runs against a sink, and what it gets done there.
async fn beside_a_sink(
    case: &'static Case,
    scene: &Scene,
    honest: &Honest,
    options: &Options,
) -> Result<(Latency, u64)> {
    let sink = sink::Sink::start(scene.welcome.clone())?;
    let client = Client::start(case, scene.aimed_at(&sink.address));
    let latency = honest.measure(options.lasts).await?;
    client.has_done_something().await.context("at the sink")?;
    let (attempts, _) = client.end().await?;
    Ok((latency, attempts))
}
