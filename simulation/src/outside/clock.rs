//! Wall time: the simulation's, and each host's own error.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use codraft_proto::outside::Clock;

use super::Struck;
use crate::overrides;

/// Clones are the same clock.
#[derive(Clone)]
pub struct SimulatedClock {
    error_ms: Arc<AtomicI64>,
    /// The fault that made it wrong.
    fault: Arc<AtomicUsize>,
    struck: Struck,
}

impl SimulatedClock {
    pub fn new(struck: Struck) -> Self {
        Self {
            error_ms: Arc::default(),
            fault: Arc::default(),
            struck,
        }
    }

    pub fn set_wrong_by(&self, ms: i64, fault: usize) {
        self.fault.store(fault, Ordering::Relaxed);
        self.error_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        let error = self.error_ms.load(Ordering::Relaxed);
        if error != 0 {
            self.struck.one(self.fault.load(Ordering::Relaxed));
        }
        let now = (overrides::EPOCH + overrides::elapsed()).as_millis() as u64;
        now.saturating_add_signed(error)
    }
}
