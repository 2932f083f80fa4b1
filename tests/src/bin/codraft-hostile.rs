//! `make hostile`: for each way in which one user could harm the others, a client that does its
//! worst inside the limits beside honest writers on real processes. The last line is JSON.
//!
//! `codraft-hostile [--seconds 60] [--settle 60] [--writers 100] [--only c1,c3] [--codraft PATH]`
#![allow(clippy::disallowed_methods)]

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use codraft_e2e::hostile::{self, CASES, Case, Options, Outcome};

struct Args {
    options: Options,
    cases: Vec<&'static Case>,
    codraft: Option<PathBuf>,
}

fn args() -> Result<Args> {
    let mut parsed = Args {
        options: Options {
            lasts: Duration::from_secs(60),
            settles: Duration::from_secs(60),
            writers: 100,
        },
        cases: CASES.iter().collect(),
        codraft: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        let seconds = || value.parse().map(Duration::from_secs_f64);
        let options = &mut parsed.options;
        match &*name {
            "--seconds" => options.lasts = seconds()?,
            "--settle" => options.settles = seconds()?,
            "--writers" => options.writers = value.parse()?,
            "--only" => {
                parsed.cases = value.split(',').map(hostile::case).collect::<Result<_>>()?
            }
            "--codraft" => parsed.codraft = Some(value.into()),
            _ => bail!("there is no {name}"),
        }
    }
    Ok(parsed)
}

fn main() -> Result<()> {
    let args = args()?;
    if let Some(program) = args
        .codraft
        .filter(|_| std::env::var_os("CODRAFT_BIN").is_none())
    {
        // Started again with that program's name where all look for it.
        let again = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env("CODRAFT_BIN", program)
            .status()?;
        std::process::exit(again.code().unwrap_or(1));
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    let mut outcomes = Vec::new();
    for case in args.cases {
        println!("{}: {}", case.name, case.says);
        let outcome = runtime.block_on(hostile::play(case, &args.options));
        let outcome = outcome.with_context(|| format!("case {}", case.name))?;
        print(&outcome);
        outcomes.push(outcome);
    }
    println!("{}", serde_json::to_string(&outcomes)?);
    Ok(())
}

fn print(outcome: &Outcome) {
    let line = |who: &str, l: &hostile::Latency| {
        let (p50, p99, worst) = (l.p50_ms, l.p99_ms, l.worst_ms);
        let operations = l.operations;
        println!("  {who}: p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.0} ms of {operations}");
    };
    line("control", &outcome.control);
    line("honest ", &outcome.honest);
    println!(
        "  p99 × {:.2}, {} leader changes, {} attempts",
        outcome.p99_ratio, outcome.leader_changes, outcome.attempts
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for (name, memory) in &outcome.memory {
        let (before, most, after) = (mib(memory.before), mib(memory.most), mib(memory.after));
        println!("  {name}: {before:.0} MiB before, {most:.0} at most, {after:.0} after");
    }
    for (what, count) in outcome.harm.iter().filter(|(_, count)| **count > 0) {
        println!("  {what}: {count}");
    }
}
