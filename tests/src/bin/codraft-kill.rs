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
    let fast = [("CODRAFT_LIMITS__OPS_PER_SECOND", "1000000")];
    let processes = Processes::start("kill", &[], &fast)?;
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
        let kills = kill_at_random(&processes, &gaps, round, wanted - all.len(), stop).await?;
        for killed in &kills {
            println!("node {} killed: {:.1} ms", killed.node, millis(killed.gap));
        }
        all.extend(kills);
        if all.len() >= wanted && !stop() {
            println!("all three at once");
            processes.state()?.nodes.iter().for_each(|node| kill(node.pid, libc::SIGKILL));
        }
        let played = typing.await??;
        ensure!(played.text == played.expected, "the text is not the recording's");
        ensure!(played.rev == played.operations + 1, "an operation was applied twice or not at all");
        check_marks(&played.marks)?;
        operations += played.operations;
        round += 1;
    }
    let mut sorted: Vec<Duration> = all.iter().map(|k| k.gap).collect();
    sorted.sort_unstable();
    println!(
        "{} kills, {operations} operations acknowledged, 0 lost, 0 doubled, no socket closed; \
         gap p50 {:.1} ms, p90 {:.1} ms, worst {:.1} ms",
        all.len(),
        millis(quantile(&sorted, 0.5)),
        millis(quantile(&sorted, 0.9)),
        millis(sorted.last().copied().unwrap_or_default()),
    );
    Ok(())
}

fn millis(gap: Duration) -> f64 {
    gap.as_secs_f64() * 1000.0
}
