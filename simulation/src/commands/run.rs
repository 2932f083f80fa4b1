//! `run --seed N`: one simulation, and what it came to.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    overrides,
    plan::Plan,
    recorder::Recorder,
    tools::seeds::Commit,
    trace::Trace,
    tracer,
    verdict::Verdict,
    world::{self, Played},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Prints the verdict as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Where to write the trace: all that happened, a line each.
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// Where to write the record: all that clients and nodes saw, a line of JSON each.
    #[arg(long)]
    pub record: Option<PathBuf>,
    /// Turns a planted bug on.
    #[arg(long)]
    pub mutant: Option<String>,
    /// Mixes real randomness in, to see that two traces can differ.
    #[arg(long, hide = true)]
    pub unstable: bool,
}

pub fn main(args: &Args) -> Result<ExitCode> {
    let plan = Plan::from_seed(args.seed);
    report(plan, &format!("run --seed {}", args.seed), &args.options)
}

/// Plays a plan and prints what it came to.
pub fn report(mut plan: Plan, command: &str, options: &Options) -> Result<ExitCode> {
    if options.mutant.is_some() {
        plan.mutant.clone_from(&options.mutant);
    }
    let verdict = play(plan, options)?;
    if options.json {
        println!("{}", serde_json::to_string(&verdict)?);
    } else {
        let mutant = verdict
            .mutant
            .as_ref()
            .map(|name| format!(" --mutant {name}"));
        println!(
            "make sim ARGS=\"{command}{}\" seed={} commit={} faults={} simulated={:.3}s acknowledged={} trace={} {}",
            mutant.unwrap_or_default(),
            verdict.seed,
            verdict.commit,
            if verdict.faults.is_empty() {
                "none".to_owned()
            } else {
                verdict.faults.join(",")
            },
            verdict.simulated_ms as f64 / 1_000.0,
            verdict.acknowledged,
            verdict.trace,
            if verdict.held() { "held" } else { "BROKEN" },
        );
        for v in &verdict.violations {
            eprintln!(
                "{} {} at {} ms: {} ({})",
                v.oracle, v.property, v.at_ms, v.broken, v.promised
            );
        }
    }
    Ok(if verdict.held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Plays a plan on a thread of its own: what this one drew its keys from is not the seed. Once
/// a process, as tokio numbers its tasks for all of it.
pub fn play(plan: Plan, options: &Options) -> Result<Verdict> {
    let started = overrides::kernel_clock();
    // A copy of the sources without git is played all the same.
    let commit = Commit::here().map_or_else(|_| "unknown".to_owned(), |commit| commit.name());
    let options = options.clone();
    let body = move || {
        let noise = if options.unstable {
            overrides::kernel_random()
        } else {
            0
        };
        overrides::take_over(plan.seed ^ noise);
        let trace = Trace::new(options.trace.is_some());
        let begun = Verdict {
            commit,
            ..Verdict::of(&plan)
        };
        record_panics(begun.clone(), trace.clone(), options.clone());
        activate(plan.mutant.as_deref())?;
        let Played { verdict, recorder } = world::play(&plan, &trace)?;
        save(&options, &trace, &recorder)?;
        anyhow::Ok(Verdict {
            commit: begun.commit,
            ..verdict
        })
    };
    let thread = std::thread::Builder::new()
        .name("simulation".into())
        .stack_size(16 << 20)
        .spawn(body)?;
    let verdict = thread
        .join()
        .map_err(|_| anyhow!("the simulation panicked"))??;
    let took: Duration = overrides::kernel_clock().saturating_sub(started);
    Ok(Verdict {
        wall_ms: took.as_millis() as u64,
        mutant_reached: mutant_reached(),
        ..verdict
    })
}

/// The one place where planted bugs are turned on.
#[cfg(codraft_mutants)]
fn activate(mutant: Option<&str>) -> Result<()> {
    mutant.map_or(Ok(()), |name| Ok(codraft_mutant::activate(name)?))
}

#[cfg(not(codraft_mutants))]
fn activate(mutant: Option<&str>) -> Result<()> {
    match mutant {
        None => Ok(()),
        Some(name) => Err(anyhow!(
            "{name}: no bug is planted in this build, see `make sim`"
        )),
    }
}

#[cfg(codraft_mutants)]
fn mutant_reached() -> u64 {
    codraft_mutant::reached()
}

#[cfg(not(codraft_mutants))]
fn mutant_reached() -> u64 {
    0
}

/// Panics go on record. One that cannot be unwound ends the process: what there is by then is
/// told at once.
fn record_panics(begun: Verdict, trace: Trace, options: Options) {
    std::panic::set_hook(Box::new(move |panic| {
        let line = panic.to_string().replace('\n', " ");
        eprintln!("{line}");
        let Some(recorder) = tracer::recorder() else {
            return;
        };
        // What a client sent to that end.
        if line.contains("poisoned") {
            return;
        }
        recorder.panic(&tracer::host(), line.clone());
        // As the standard library says it, of a destructor or a foreign function.
        if !line.contains("panic in a ") {
            return;
        }
        if let Err(error) = save(&options, &trace, &recorder) {
            eprintln!("{error:#}");
        }
        let verdict = Verdict {
            trace: trace.hash(),
            mutant_reached: mutant_reached(),
            ..recorder.verdict(begun.clone())
        };
        if options.json
            && let Ok(verdict) = serde_json::to_string(&verdict)
        {
            println!("{verdict}");
        }
    }));
}

/// The trace and the record, where they are asked for.
fn save(options: &Options, trace: &Trace, recorder: &Recorder) -> Result<()> {
    if let Some(path) = &options.trace {
        write(path, trace.text().unwrap_or_default().as_bytes())?;
    }
    if let Some(path) = &options.record {
        let mut lines = Vec::new();
        recorder.with_entries(|entries| {
            entries.iter().try_for_each(|entry| {
                serde_json::to_writer(&mut lines, entry)?;
                lines.write_all(b"\n")?;
                anyhow::Ok(())
            })
        })?;
        write(path, &lines)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    #[allow(clippy::disallowed_methods)] // the harness's own file, after the simulation
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
