//! The world as the simulation hands it to nodes and routers.

mod clock;
mod disk;
mod entropy;
mod transport;

use std::sync::Arc;

use codraft_proto::outside::Outside;

use clock::SimulatedClock;
use entropy::SeededEntropy;
use transport::SimulatedNetwork;

pub use disk::SlowDisk;

/// What one start of one process gets. `seed` belongs to that start alone: a process that
/// comes back draws other numbers.
pub fn outside(seed: u64) -> Outside {
    Outside {
        transport: Arc::new(SimulatedNetwork),
        clock: Arc::new(SimulatedClock),
        seed,
        entropy: Arc::new(SeededEntropy::new(seed)),
    }
}
