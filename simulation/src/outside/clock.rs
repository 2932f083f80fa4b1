//! Wall time: the simulation's, and each host's own error.

use std::sync::Arc;

use codraft_proto::outside::Clock;
use parking_lot::{Mutex, MutexGuard};

use super::Struck;
use crate::overrides;

/// Clones are the same clock.
#[derive(Clone)]
pub struct SimulatedClock {
    /// By how many ms it is wrong, and by which fault.
    wrong: Arc<Mutex<Option<(i64, usize)>>>,
    struck: Struck,
}

impl SimulatedClock {
    pub fn new(struck: Struck) -> Self {
        Self {
            wrong: Arc::default(),
            struck,
        }
    }

    pub fn set_wrong(&self, wrong: Option<(i64, usize)>) {
        *self.lock() = wrong;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(i64, usize)>> {
        self.wrong.lock()
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        let now = (overrides::EPOCH + overrides::elapsed()).as_millis() as u64;
        match *self.lock() {
            Some((ms, fault)) => {
                self.struck.one(fault);
                now.saturating_add_signed(ms)
            }
            None => now,
        }
    }
}
