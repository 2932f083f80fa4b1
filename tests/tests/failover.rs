//! kill -9 while people type: nothing acknowledged is lost or doubled, no socket closes.
#![allow(clippy::disallowed_methods)] // a test outside the product, never simulated

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use codraft_e2e::{
    gaps::Gaps,
    kills::kill_at_random,
    processes::{Processes, kill},
    replay::{check_marks, replay},
    rest::Rest,
    traces,
};

#[tokio::test]
async fn a_node_dies_while_two_type() -> Result<()> {
    let processes = Processes::start("failover", &[], &[])?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    let gaps = Gaps::default();
    let over = Arc::new(AtomicBool::new(false));
    let typing = {
        let (rest, gaps, over) = (rest.clone(), gaps.clone(), over.clone());
        tokio::task::spawn(async move {
            let result = replay(&rest, traces::generated(4_000, 11), &gaps).await;
            over.store(true, Ordering::Relaxed);
            result
        })
    };
    let kills = {
        let stop = || over.load(Ordering::Relaxed);
        kill_at_random(&processes, &rest, libc::SIGKILL, &gaps, 5, 6, stop).await?
    };
    let played = typing.await??;
    assert!(
        kills.len() >= 3,
        "only {} kills happened: {kills:?}",
        kills.len()
    );
    assert_eq!(played.text, played.expected);
    assert_eq!(played.rev, played.operations + 1, "each operation once");
    check_marks(&played.marks)?;
    println!("gaps around {} kills: {kills:?}", kills.len());
    Ok(())
}

#[tokio::test]
async fn all_nodes_die_at_once() -> Result<()> {
    let processes = Processes::start("all-die", &[], &[])?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    let gaps = Gaps::default();
    let typing = {
        let (rest, gaps) = (rest.clone(), gaps.clone());
        tokio::task::spawn(async move { replay(&rest, traces::generated(1_000, 3), &gaps).await })
    };
    while gaps.count() < 200 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let nodes = processes.state()?.nodes;
    nodes.iter().for_each(|node| kill(node.pid, libc::SIGKILL));
    let played = typing.await??;
    assert_eq!(played.text, played.expected);
    assert_eq!(played.rev, played.operations + 1, "each operation once");
    check_marks(&played.marks)?;
    Ok(())
}
