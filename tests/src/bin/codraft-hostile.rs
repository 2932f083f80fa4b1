//! `make hostile`: for each way in which one user could harm the others, a client that does its
//! worst inside the limits beside honest writers on real processes. The last line is JSON.
//!
//! `codraft-hostile [--seconds 60] [--settle 60] [--writers 100] [--only c1,c3] [--codraft PATH]`
#![allow(clippy::disallowed_methods)]

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    hostile::{self, Back, CASES, Case, Latency, Options, Outcome},
    processes::Processes,
};

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
            share: 1,
            back: Back {
                times: 1.1,
                bytes: 0,
            },
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
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    println!("{LATENCIES}");
    for case in args.cases {
        eprintln!("{}: {}", case.name, case.says);
        match runtime.block_on(play(case, &args.options)) {
            Ok(outcome) => {
                println!("{}", latencies(&outcome));
                outcomes.push(outcome);
            }
            Err(error) => {
                eprintln!("{}: {error:#}", case.name);
                failed.push(case.name);
            }
        }
    }
    print_rest(&outcomes);
    println!("{}", serde_json::to_string(&outcomes)?);
    ensure!(failed.is_empty(), "not played to the end: {failed:?}");
    Ok(())
}

/// On processes of its own: no case finds what another one left.
async fn play(case: &'static Case, options: &Options) -> Result<Outcome> {
    let processes = Processes::start(&format!("hostile-{}", case.name), &[], &[])?;
    hostile::play(&processes, case, options).await
}

const LATENCIES: &str = "\
| | p50 / p99 alone, ms | beside a sink | attacked | p99 × | cores | changes of leader | attempts (sink) |
|---|---|---|---|---|---|---|---|";

fn latencies(outcome: &Outcome) -> String {
    let ms = |l: &Latency| format!("{:.1} / {:.1}", l.p50_ms, l.p99_ms);
    let cores: Vec<_> = outcome.cores.iter().map(|c| format!("{c:.2}")).collect();
    format!(
        "| {} | {} | {} | {} | {:.2} | {} | {} | {} ({}) |",
        outcome.case,
        ms(&outcome.alone),
        ms(&outcome.control),
        ms(&outcome.honest),
        outcome.p99_ratio,
        cores.join(" → "),
        outcome.leader_changes,
        outcome.attempts,
        outcome.control_attempts,
    )
}

fn print_rest(outcomes: &[Outcome]) {
    println!(
        "\n| MiB resident | | before | at most | after | after / before | without the honest |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mib = |bytes: u64| bytes >> 20;
    for outcome in outcomes {
        for (name, memory) in &outcome.memory {
            let before = memory.before as f64;
            let without = memory.after.saturating_sub(memory.of_honest()) as f64;
            println!(
                "| {} | {name} | {} | {} | {} | {:.2} | {:.2} |",
                outcome.case,
                mib(memory.before),
                mib(memory.most),
                mib(memory.after),
                memory.after as f64 / before,
                without / before,
            );
        }
    }
    for outcome in outcomes {
        let restarts = ("processes that ended".to_owned(), outcome.restarts as u64);
        let harm = outcome.harm.clone().into_iter().chain([restarts]);
        for (what, count) in harm.filter(|(_, count)| *count > 0) {
            println!("{}: {what}: {count}", outcome.case);
        }
    }
}
