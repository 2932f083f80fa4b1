//! The world as the simulation hands it to nodes and routers.

mod clock;
mod disk;
mod entropy;
mod transport;

use std::sync::Arc;

use codraft_proto::outside::Outside;

use clock::SimulatedClock;
use entropy::SeededEntropy;

pub use disk::SlowDisk;
pub use transport::SimulatedNetwork;

/// What one start of one process gets. `seed` belongs to that start alone: a process that
/// comes back draws other numbers.
pub fn outside(seed: u64, network: &SimulatedNetwork) -> Outside {
    Outside {
        transport: Arc::new(network.clone()),
        clock: Arc::new(SimulatedClock),
        seed,
        entropy: Arc::new(SeededEntropy::new(seed)),
    }
}
