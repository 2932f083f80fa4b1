//! Wall time: the simulation's, and each host's own error.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use codraft_proto::outside::Clock;

use crate::overrides;

/// Clones are the same clock.
#[derive(Clone, Default)]
pub struct SimulatedClock {
    error_ms: Arc<AtomicI64>,
}

impl SimulatedClock {
    pub fn set_wrong_by(&self, ms: i64) {
        self.error_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        let now = (overrides::EPOCH + overrides::elapsed()).as_millis() as u64;
        now.saturating_add_signed(self.error_ms.load(Ordering::Relaxed))
    }
}
