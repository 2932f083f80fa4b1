//! Kills nodes while authors type, and measures how long nobody is acknowledged.

use std::time::Duration;

use anyhow::Result;
use hyper::Method;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{
    gaps::Gaps,
    patience::{PATIENCE, within},
    processes::{Processes, kill},
    rest::Rest,
};

#[derive(Debug, Clone, Copy)]
pub struct Kill {
    pub node: u64,
    /// Whether it led the document that was typed into.
    pub led: bool,
    /// The longest silence around it.
    pub gap: Duration,
}

/// Kills one random node after another until `stop`, each some acknowledgements after the one
/// before it came back. Returns what was measured.
///
/// `signal` is SIGKILL, or SIGSTOP for a death that nothing announces: the node is killed, and
/// so started again, once others have taken over.
pub async fn kill_at_random(
    processes: &Processes,
    rest: &Rest,
    signal: i32,
    gaps: &Gaps,
    seed: u64,
    most: usize,
    stop: impl Fn() -> bool,
) -> Result<Vec<Kill>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kills = Vec::new();
    while kills.len() < most && !stop() {
        let before = gaps.count();
        let wanted = before + rng.random_range(20..120);
        while gaps.count() < wanted && !stop() {
            sleep(Duration::from_millis(2)).await;
        }
        if stop() {
            break;
        }
        let leader = leader(rest, gaps).await?;
        let node = match leader {
            // A follower's death is hardly noticed: every second one is a leader's.
            Some(leader) if rng.random_bool(0.25) => leader,
            _ => rng.random_range(1..=3),
        };
        let led = leader == Some(node);
        let from = Instant::now();
        let pid = processes.signal(node, signal)?;
        // Ten acknowledgements later it is over.
        let after = gaps.count() + 10;
        while gaps.count() < after && !stop() {
            sleep(Duration::from_millis(1)).await;
        }
        kills.push(Kill {
            node,
            led,
            gap: gaps.longest(from, Instant::now()),
        });
        if signal == libc::SIGSTOP {
            kill(pid, libc::SIGKILL);
        }
        processes.all_alive(&[pid]).await?;
        // It is there; let it catch up, so that the next kill finds a majority: one every few
        // seconds, as the worst of machines would have it.
        sleep(Duration::from_millis(rng.random_range(1_000..3_000))).await;
    }
    Ok(kills)
}

/// Who leads the document that is typed into, as the router knows it.
async fn leader(rest: &Rest, gaps: &Gaps) -> Result<Option<u64>> {
    let Some(doc) = gaps.doc() else {
        return Ok(None);
    };
    leader_of(rest, &doc.to_string()).await
}

/// Who leads a document's group, as the router knows it.
pub async fn leader_of(rest: &Rest, doc: &str) -> Result<Option<u64>> {
    let path = format!("/dev/cluster?doc={doc}");
    let (_, answer) = rest.call(Method::GET, &path, None).await?;
    Ok(answer["leader"].as_u64())
}

/// Kills who leads a document's group.
pub async fn kill_leader(processes: &Processes, rest: &Rest, doc: &str) -> Result<()> {
    let led = async {
        loop {
            if let Some(leader) = leader_of(rest, doc).await? {
                return processes.signal(leader, libc::SIGKILL);
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, "a leader", led).await??;
    Ok(())
}
