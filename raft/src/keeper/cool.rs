//! Which documents leave memory: those used least recently where all take too much, and those that
//! nobody used for a while.

use std::time::Duration;

use tokio::time::Instant;

use super::Keeper;
use crate::tap;

/// Documents that leave memory under one hold of the group's lock.
const COOL: usize = 256;
/// Idle documents that are not written wait for the next manifest; with a sixteenth of what all may
/// take, or so many that no others are seen, it is due at once.
const IDLE_SHARE: u64 = 16;
const IDLE_LOOKED: usize = 1_024;

impl Keeper {
    /// Lets documents leave memory until the rest is within its bounds; whether that was enough.
    pub(super) async fn cool(&self) -> bool {
        loop {
            let (enough, cooled) = self.core.lock().cool(self.tail.memory_bytes(), COOL);
            if cooled > 0 {
                tap::cooled(cooled);
            }
            if enough || cooled == 0 {
                return enough;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Lets documents leave memory that nobody used for so long. Those that are not written go after
    /// the next manifest, which is due where they take much.
    pub(super) async fn cool_idle(&self, idle: Duration) {
        let Some(before) = Instant::now().checked_sub(idle) else {
            return;
        };
        loop {
            let idle = self.core.lock().cool_idle(before, IDLE_LOOKED);
            let much = self.tail.memory_bytes() / IDLE_SHARE;
            if idle.unwritten_bytes > much || idle.unwritten == IDLE_LOOKED {
                self.tail.tidy();
            }
            if idle.cooled == 0 {
                return;
            }
            tap::cooled(idle.cooled);
            tokio::task::yield_now().await;
        }
    }
}
