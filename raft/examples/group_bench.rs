//! What an operation costs: three replicas in this process, links and a disk of memory.
//! Prints CPU µs an operation over all three, for 1, 4 and 8 groups and 64 to 512 in flight.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use codraft_proto::ids::GroupId;
use codraft_raft::group::Origin;
use common::{Cluster, create, edit};

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    #[allow(clippy::disallowed_methods)] // a measurement, not the product
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods)] // a measurement, not the product
async fn main() {
    println!("groups in_flight   ops/s  cpu_us/op  ops/entry");
    for groups in [1_u32, 4, 8] {
        for in_flight in [64_u64, 128, 256, 512] {
            let cluster = Cluster::start(groups, true).await;
            let each = in_flight / u64::from(groups);
            let mut writers = Vec::new();
            for group in 0..groups {
                let leader = cluster.leader(GroupId(group)).await;
                let handle = leader.groups.group(GroupId(group)).unwrap().clone();
                let mut answers = leader.answers(u64::from(group));
                // Four documents a group; a fresh leader answers the creations when it can.
                for n in 0..4 {
                    handle
                        .submit(
                            create(n),
                            Origin {
                                link: group.into(),
                                tag: 0,
                            },
                        )
                        .unwrap();
                    answers.recv().await.unwrap().1.unwrap();
                }
                writers.push((leader, handle, answers, group));
            }
            let before: u64 = writers
                .iter()
                .map(|(l, ..)| l.heard.batches.load(Ordering::Relaxed))
                .max()
                .unwrap();
            let (from, started) = (cpu(), Instant::now());
            let runs = writers
                .into_iter()
                .map(|(leader, handle, mut answers, group)| async move {
                    // A writer's next operation is based on what its last one made.
                    let link = u64::from(group);
                    for tag in 0..each {
                        handle
                            .submit(edit(tag % 4, tag, 1, 1), Origin { link, tag })
                            .unwrap();
                    }
                    let mut seqs = vec![1; each as usize];
                    let mut done = 0_u64;
                    while started.elapsed() < Duration::from_secs(2) {
                        let (origin, outcome) = answers.recv().await.unwrap();
                        let base = match outcome.unwrap() {
                            codraft_raft::machine::Outcome::Applied { rev } => rev,
                            other => panic!("{other:?}"),
                        };
                        done += 1;
                        let seq = &mut seqs[origin.tag as usize];
                        *seq += 1;
                        handle
                            .submit(edit(origin.tag % 4, origin.tag, *seq, base.0), origin)
                            .unwrap();
                    }
                    (done, leader)
                });
            let results = futures_util::future::join_all(runs).await;
            let done: u64 = results.iter().map(|(n, _)| n).sum();
            let (spent, took) = (cpu() - from, started.elapsed());
            let after: u64 = results
                .iter()
                .map(|(_, l)| l.heard.batches.load(Ordering::Relaxed))
                .max()
                .unwrap();
            println!(
                "{groups:6} {in_flight:9} {:7.0} {:10.1} {:10.1}",
                done as f64 / took.as_secs_f64(),
                spent.as_secs_f64() * 1e6 / done as f64,
                done as f64 / (after - before).max(1) as f64,
            );
            for node in &cluster.nodes {
                node.groups.shutdown().await;
                node.tasks.shutdown().await;
            }
        }
    }
}
