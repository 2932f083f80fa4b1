//! Whoever shows no token, or a wrong one, is refused in turn: so many a second. A refusal costs the
//! router as much as some ten operations, and no account bears it.

use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep_until};

/// Nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Strangers {
    pause: Duration,
    /// When the next one has its turn; up to a second ago where few came.
    next: Mutex<Instant>,
}

impl Strangers {
    pub fn new(a_second: u32) -> Self {
        Self {
            pause: Duration::from_secs(1) / a_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the turn to be refused. A second's worth may come at once.
    pub async fn turn(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock();
            let at = (*next).max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
            let at = at.min(now + PATIENCE);
            *next = at + self.pause;
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_a_second_and_nobody_waits_for_ever() {
        let strangers = Strangers::new(100);
        tokio::time::advance(Duration::from_secs(60)).await;
        let began = Instant::now();
        join_all((0..100).map(|_| strangers.turn())).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        join_all((0..200).map(|_| strangers.turn())).await;
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(1_900), "{waited:?}");
        assert!(waited <= Duration::from_millis(2_100), "{waited:?}");
        let began = Instant::now();
        join_all((0..10_000).map(|_| strangers.turn())).await;
        assert!(began.elapsed() <= PATIENCE + Duration::from_millis(1));
    }
}
