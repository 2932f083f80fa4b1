//! The world as the simulation hands it to nodes and routers.

mod clock;
mod disk;
mod entropy;
pub mod network;
mod transport;

use std::{collections::BTreeSet, sync::Arc};

use codraft_proto::outside::Outside;
use parking_lot::Mutex;

use entropy::SeededEntropy;

pub use clock::SimulatedClock;
pub use disk::{Pauses, SlowDisk};
pub use transport::HostNetwork;

/// What one start of one process gets. `seed` belongs to that start alone: a process that
/// comes back draws other numbers.
pub fn outside(seed: u64, network: HostNetwork, clock: SimulatedClock) -> Outside {
    Outside {
        transport: Arc::new(network),
        clock: Arc::new(clock),
        seed,
        entropy: Arc::new(SeededEntropy::new(seed)),
    }
}

/// Which faults of the plan, by index, really struck something.
#[derive(Clone, Default)]
pub struct Struck {
    faults: Arc<Mutex<BTreeSet<usize>>>,
}

impl Struck {
    pub fn one(&self, fault: usize) {
        self.all([fault]);
    }

    pub fn all(&self, faults: impl IntoIterator<Item = usize>) {
        let mut struck = self.faults.lock();
        struck.extend(faults);
    }

    pub fn has(&self, fault: usize) -> bool {
        let struck = self.faults.lock();
        struck.contains(&fault)
    }
}
