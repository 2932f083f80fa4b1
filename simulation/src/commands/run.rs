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
    let commit = commit();
    let options = options.clone();
    let body = move || {
        let noise = if options.unstable {
            overrides::kernel_random()
        } else {
            0
        };
        overrides::take_over(plan.seed ^ noise);
        record_panics();
        activate(plan.mutant.as_deref())?;
        let trace = Trace::new(options.trace.is_some());
        let Played { verdict, recorder } = world::play(&plan, &trace)?;
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
        anyhow::Ok(verdict)
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
        commit,
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

fn record_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let line = panic.to_string().replace('\n', " ");
        match tracer::recorder() {
            Some(recorder) => recorder.panic(&tracer::host(), line),
            None => eprintln!("{line}"),
        }
    }));
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    #[allow(clippy::disallowed_methods)] // the harness's own file, after the simulation
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The commit that this was built from, as far as it can be told.
fn commit() -> String {
    if let Some(commit) = option_env!("CODRAFT_COMMIT") {
        return commit.to_owned();
    }
    let git = std::process::Command::new("git")
        .args([
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "rev-parse",
            "--short=12",
            "HEAD",
        ])
        .stderr(std::process::Stdio::null())
        .output();
    let said = git.ok().filter(|output| output.status.success());
    said.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
