//! What a process takes from the world: the machine that it runs on.

use std::sync::Arc;

use codraft_proto::{
    outside::{Entropy, OsEntropy, Outside, SystemClock},
    transport::Tcp,
};

/// The machine itself.
pub fn outside() -> Outside {
    let entropy = Arc::new(OsEntropy);
    let mut seed = [0; 8];
    entropy.fill(&mut seed);
    Outside {
        transport: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        seed: u64::from_le_bytes(seed),
        entropy,
    }
}
