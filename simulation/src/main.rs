//! Simulates a whole cluster in one thread, from one seed, the same every time.

mod cluster;
mod ledger;
mod outside;
mod overrides;
mod person;
#[allow(dead_code)] // seam
mod plan;
#[allow(dead_code)] // seam
mod record;
mod socket;
mod tools;
mod trace;
#[allow(dead_code)] // seam
mod verdict;
mod world;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow};
use clap::Parser;

use crate::{
    trace::{Trace, Tracer},
    world::Faults,
};

#[derive(Debug, Parser)]
#[command(about, version)]
enum Command {
    /// Runs one simulation and prints what it came to on one line.
    Run(Run),
    Meta(tools::meta::Meta),
    Soak(tools::soak::Soak),
    Shrink(tools::shrink::Shrink),
    Mutants(tools::mutants::Mutants),
    Figures(tools::figures::Figures),
    Report(tools::report::Report),
}

#[derive(Debug, clap::Args)]
struct Run {
    #[arg(long)]
    seed: u64,
    /// Simulated seconds of typing.
    #[arg(long, default_value_t = 9)]
    seconds: u64,
    /// Where to write the trace: all that happened, a line each.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Mixes real randomness in, to see that two traces can differ.
    #[arg(long, hide = true)]
    unstable: bool,
    /// Has the disks lie about a sync before the power goes, to see that a loss is found.
    #[arg(long, hide = true)]
    lying_disks: bool,
}

fn main() -> ExitCode {
    let held = match Command::parse() {
        Command::Run(run) => simulate(run),
        Command::Meta(meta) => meta.run(),
        Command::Soak(soak) => soak.run(),
        Command::Shrink(shrink) => shrink.run(),
        Command::Mutants(mutants) => mutants.run(),
        Command::Figures(figures) => figures.run(),
        Command::Report(report) => report.run(),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn simulate(run: Run) -> Result<bool> {
    // A thread of its own: what this one drew its keys from is not the seed.
    let (seed, typing, unstable) = (run.seed, Duration::from_secs(run.seconds), run.unstable);
    let faults = Faults {
        lying_disks: run.lying_disks,
    };
    let body = move || {
        let noise = if unstable {
            overrides::kernel_random()
        } else {
            0
        };
        overrides::take_over(seed ^ noise);
        let trace = Trace::default();
        tracing::subscriber::set_global_default(Tracer::new(trace.clone()))?;
        anyhow::Ok((world::run(seed, typing, faults, &trace)?, trace))
    };
    let thread = std::thread::Builder::new()
        .name("simulation".into())
        .spawn(body)?;
    let (outcome, trace) = thread
        .join()
        .map_err(|_| anyhow!("the simulation panicked"))??;
    if let Some(path) = &run.trace {
        #[allow(clippy::disallowed_methods)] // the harness's own file, after the simulation
        std::fs::write(path, trace.text())
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let verdict = if outcome.problems.is_empty() {
        "held"
    } else {
        "BROKEN"
    };
    println!(
        "run seed={seed} simulated={:.3}s acknowledged={} kills={} silence={}ms trace={} {verdict}",
        outcome.elapsed.as_secs_f64(),
        outcome.operations,
        outcome.kills,
        outcome.silence.as_millis(),
        trace.hash(),
    );
    for problem in &outcome.problems {
        eprintln!("{problem}");
    }
    Ok(outcome.problems.is_empty())
}
