//! Tickets that were used, so that each is good once.

use std::collections::BTreeSet;

/// More than there are sockets of a router, all of which may come back at once.
const TICKETS_MAX: usize = 1 << 18;

pub struct Expired;

/// Remembers a ticket until it has expired. The clock may jump in between, in both directions, so
/// what was forgotten is remembered in another way: nothing as old as that is taken again.
#[derive(Default)]
pub struct UsedTickets {
    /// By the end of their life, in milliseconds.
    used: BTreeSet<(u64, [u8; 16])>,
    /// The latest end of a ticket that was forgotten.
    forgotten_ms: u64,
}

impl UsedTickets {
    /// Uses a ticket up; `false` when it was used before.
    ///
    /// When there are too many the oldest are forgotten, and with them what is older still expires
    /// early. Nobody else is kept out.
    pub fn take(&mut self, expires_ms: u64, nonce: [u8; 16], now_ms: u64) -> Result<bool, Expired> {
        while let Some(&(end_ms, _)) = self.used.first()
            && (end_ms <= now_ms || self.used.len() >= TICKETS_MAX)
        {
            self.forgotten_ms = self.forgotten_ms.max(end_ms);
            self.used.pop_first();
        }
        if expires_ms <= now_ms.max(self.forgotten_ms) {
            return Err(Expired);
        }
        Ok(self.used.insert((expires_ms, nonce)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(n: usize) -> [u8; 16] {
        (n as u128).to_be_bytes()
    }

    #[test]
    fn a_jump_of_the_clock_makes_no_ticket_good_again() {
        let mut used = UsedTickets::default();
        assert!(used.take(1_030, nonce(1), 1_000).is_ok_and(|new| new));
        // Two minutes on, where another one comes, and back.
        assert!(used.take(121_030, nonce(2), 121_000).is_ok_and(|new| new));
        assert!(used.take(1_030, nonce(1), 1_000).is_err());
        assert!(used.take(1_031, nonce(3), 1_001).is_ok_and(|new| new));
        // And back from the start.
        assert!(used.take(1_031, nonce(3), 500).is_ok_and(|new| !new));
    }

    #[test]
    fn very_many_lock_nobody_out_and_none_is_good_twice() {
        let mut used = UsedTickets::default();
        let (now_ms, of) = (0, |n: usize| 1 + n as u64 / 1_000);
        for n in 0..2 * TICKETS_MAX {
            assert!(
                used.take(of(n), nonce(n), now_ms).is_ok_and(|new| new),
                "{n}"
            );
        }
        assert!(used.used.len() <= TICKETS_MAX);
        for n in (0..2 * TICKETS_MAX).step_by(997) {
            assert!(
                !used.take(of(n), nonce(n), now_ms).is_ok_and(|new| new),
                "{n}"
            );
        }
    }
}
