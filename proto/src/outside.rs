//! What a process takes from the world, handed in as values, so that production, an
//! in-process cluster and the simulation run the same code.

use std::sync::Arc;

use crate::transport::Transport;

/// Wall time. Data only: nothing is ordered or permitted by it inside a shard.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// Bytes nobody can guess: ids, nonces, keys. Never logged.
pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);
}

/// What `Router::start` takes, and all but the disk of what `Node::start` takes.
#[derive(Clone)]
pub struct Outside {
    pub transport: Arc<dyn Transport>,
    pub clock: Arc<dyn Clock>,
    /// For jitter and other harmless choices; logged at start.
    pub seed: u64,
    pub entropy: Arc<dyn Entropy>,
}

/// The machine's own clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one owner of the wall clock
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| d.as_millis() as u64)
    }
}

/// The operating system's randomness.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use rand::TryRngCore;
        // Without randomness there are no keys and no ids: nothing can go on.
        if let Err(error) = rand::rngs::OsRng.try_fill_bytes(bytes) {
            panic!("the operating system gives no randomness: {error}");
        }
    }
}
