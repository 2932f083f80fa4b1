//! Ids, nonces and keys: from the seed.

use codraft_proto::outside::Entropy;
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng, rngs::StdRng};

pub struct SeededEntropy {
    rng: Mutex<StdRng>,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.rng.lock().fill_bytes(bytes);
    }
}
