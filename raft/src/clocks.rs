//! Whether this node's wall clock can be believed, judged by what the other nodes' clocks show.
//!
//! Times in a document never go back, so one stamp from tomorrow would stay on all that follows
//! until tomorrow comes. A leader therefore compares its clock with the median of all that it
//! knows. Far from it, it stamps with the median and hands its leaderships over; no edit is
//! refused for a clock.

use std::{collections::BTreeMap, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::{ids::NodeId, outside::Clock};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A clock further than this from the median is not believed, in milliseconds.
const OFF_MS: u64 = 2_000;

pub struct Clocks {
    own: Arc<dyn Clock>,
    /// What another node's clock showed, and when that was heard. Time since then is measured
    /// by this machine's monotonic clock, so a jump of its wall clock shows at once.
    others: Mutex<BTreeMap<NodeId, (Instant, u64)>>,
}

impl Clocks {
    pub fn new(own: Arc<dyn Clock>) -> Self {
        Self {
            own,
            others: Mutex::default(),
        }
    }

    /// What this node's clock shows, in milliseconds since the Unix epoch; right or wrong.
    pub fn own_ms(&self) -> u64 {
        self.own.now_ms()
    }

    /// Another node said what its clock shows now; 0 from a version that does not say.
    pub fn heard(&self, node: NodeId, wall_ms: u64) {
        if wall_ms > 0 {
            self.others.lock().insert(node, (Instant::now(), wall_ms));
        }
    }

    /// The time to stamp a proposal with.
    pub fn stamp_ms(&self) -> u64 {
        let own = self.own.now_ms();
        match self.median_ms(own) {
            Some(median) if own.abs_diff(median) > OFF_MS && !mutant!("wrong_clock_believed") => {
                median
            }
            _ => own,
        }
    }

    /// How far this clock is ahead of the median, negative if it is behind; `None` when too few
    /// clocks are known to judge.
    pub fn ahead_ms(&self) -> Option<i64> {
        let own = self.own.now_ms();
        let median = self.median_ms(own)?;
        Some((own as i64).wrapping_sub(median as i64))
    }

    pub fn is_off(&self) -> bool {
        self.ahead_ms()
            .is_some_and(|ahead| ahead.unsigned_abs() > OFF_MS)
    }

    /// Of two clocks nobody knows which one is wrong.
    fn median_ms(&self, own: u64) -> Option<u64> {
        let others = self.others.lock();
        if others.len() < 2 {
            return None;
        }
        let now = others.values().map(|(heard, wall_ms)| {
            let since = heard.elapsed().as_millis() as u64;
            wall_ms.saturating_add(since)
        });
        let mut clocks: Vec<u64> = now.chain([own]).collect();
        clocks.sort_unstable();
        clocks.get((clocks.len() - 1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering::Relaxed},
        time::Duration,
    };

    use super::*;

    const DAY_MS: u64 = 86_400_000;
    const NOW_MS: u64 = 1_000 * DAY_MS;

    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now_ms(&self) -> u64 {
            self.0.load(Relaxed)
        }
    }

    fn clocks() -> (Clocks, Arc<Hand>) {
        let own = Arc::new(Hand(AtomicU64::new(NOW_MS)));
        (Clocks::new(own.clone()), own)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_far_from_the_median_is_not_believed() {
        let (clocks, own) = clocks();
        clocks.heard(NodeId(2), NOW_MS + 300);
        clocks.heard(NodeId(3), NOW_MS - 300);
        assert_eq!(clocks.stamp_ms(), NOW_MS);
        for wrong in [NOW_MS + DAY_MS, NOW_MS - DAY_MS] {
            own.0.store(wrong, Relaxed);
            assert!(clocks.stamp_ms().abs_diff(NOW_MS) <= 300);
            assert!(clocks.is_off());
        }
        // The median goes on with this machine's own time between two words.
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clocks.stamp_ms(), NOW_MS + 60_000 - 300);
        own.0.store(NOW_MS + 60_000 + 1_500, Relaxed);
        assert_eq!(clocks.stamp_ms(), NOW_MS + 61_500, "near enough is its own");
        assert!(!clocks.is_off());
    }

    #[tokio::test(start_paused = true)]
    async fn one_other_clock_proves_nothing_and_one_wrong_one_moves_nothing() {
        let (clocks, _) = clocks();
        clocks.heard(NodeId(2), NOW_MS + DAY_MS);
        clocks.heard(NodeId(3), 0);
        assert_eq!((clocks.stamp_ms(), clocks.ahead_ms()), (NOW_MS, None));
        clocks.heard(NodeId(3), NOW_MS + 5);
        assert_eq!((clocks.stamp_ms(), clocks.ahead_ms()), (NOW_MS, Some(-5)));
    }
}
