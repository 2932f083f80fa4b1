//! Wall time: the simulation's.

use codraft_proto::outside::Clock;

use crate::overrides;

pub struct SimulatedClock;

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        (overrides::EPOCH + overrides::elapsed()).as_millis() as u64
    }
}
