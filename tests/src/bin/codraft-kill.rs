//! `make kill`: a recording is typed while random nodes are killed with kill -9; prints the
//! silence around each kill. `codraft-kill [kills] [stop]`: with `stop`, SIGSTOP instead.
#![allow(clippy::disallowed_methods)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use codraft_e2e::{
    gaps::{Gaps, quantile},
    kills::kill_at_random,
    processes::{Processes, kill},
    replay::{check_marks, replay},
    rest::Rest,
    traces,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wanted: usize = std::env::args().nth(1).map_or(Ok(50), |n| n.parse())?;
    let signal = match std::env::args().nth(2).as_deref() {
        Some("stop") => libc::SIGSTOP,
        _ => libc::SIGKILL,
    };
    let processes = Processes::start("kill", &[], &[])?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    let gaps = Gaps::default();
    let mut all = Vec::new();
    let mut operations = 0;
    let mut round = 0;
    while all.len() < wanted {
        let trace = match traces::load("friendsforever")? {
            Some(trace) => trace,
            None => traces::generated(20_000, round),
        };
        let over = Arc::new(AtomicBool::new(false));
        let typing = {
            let (rest, gaps, over) = (rest.clone(), gaps.clone(), over.clone());
            tokio::task::spawn(async move {
                let result = replay(&rest, trace, &gaps).await;
                over.store(true, Ordering::Relaxed);
                result
            })
        };
        let stop = || over.load(Ordering::Relaxed);
        let kills = kill_at_random(
            &processes,
            &rest,
            signal,
            &gaps,
            round,
            wanted - all.len(),
            stop,
        )
        .await?;
        for killed in &kills {
            let who = if killed.led { ", the leader" } else { "" };
            println!("node {}{who}: {:.1} ms", killed.node, millis(killed.gap));
        }
        all.extend(kills);
        if all.len() >= wanted && !stop() {
            println!("all three at once");
            processes
                .state()?
                .nodes
                .iter()
                .for_each(|node| kill(node.pid, libc::SIGKILL));
        }
        let played = typing.await??;
        ensure!(
            played.text == played.expected,
            "the text is not the recording's"
        );
        ensure!(
            played.rev == played.operations + 1,
            "an operation was applied twice or not at all"
        );
        check_marks(&played.marks)?;
        operations += played.operations;
        round += 1;
    }
    println!(
        "{} kills, {operations} operations acknowledged, 0 lost, 0 doubled, no socket closed",
        all.len()
    );
    summary("all", all.iter().map(|k| k.gap).collect());
    summary(
        "leaders",
        all.iter().filter(|k| k.led).map(|k| k.gap).collect(),
    );
    Ok(())
}

fn summary(what: &str, mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    println!(
        "{what}: {} gaps, p50 {:.1} ms, p90 {:.1} ms, worst {:.1} ms",
        gaps.len(),
        millis(quantile(&gaps, 0.5)),
        millis(quantile(&gaps, 0.9)),
        millis(gaps.last().copied().unwrap_or_default()),
    );
}

fn millis(gap: Duration) -> f64 {
    gap.as_secs_f64() * 1000.0
}
