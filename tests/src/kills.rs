//! Kills nodes while authors type, and measures how long nobody is acknowledged.

use std::time::Duration;

use anyhow::Result;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{gaps::Gaps, processes::Processes};

#[derive(Debug, Clone, Copy)]
pub struct Kill {
    pub node: u64,
    /// The longest silence around it.
    pub gap: Duration,
}

/// Kills one random node after another until `stop`, each some acknowledgements after the one
/// before it came back. Returns what was measured.
pub async fn kill_at_random(
    processes: &Processes,
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
        let node = rng.random_range(1..=3);
        let from = Instant::now();
        let pid = processes.signal(node, libc::SIGKILL)?;
        // Ten acknowledgements later it is over.
        let after = gaps.count() + 10;
        while gaps.count() < after && !stop() {
            sleep(Duration::from_millis(1)).await;
        }
        kills.push(Kill { node, gap: gaps.longest(from, Instant::now()) });
        processes.all_alive(&[pid]).await?;
        // It is there; let it catch up, so that the next kill finds a majority.
        sleep(Duration::from_millis(rng.random_range(400..900))).await;
    }
    Ok(kills)
}
