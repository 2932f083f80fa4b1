//! Work takes time: a host that did more in a turn than the turn is long stands still for the
//! rest of it. Its links, its disk and its tasks (but for those of libraries) wait.

use std::time::Duration;

use turmoil::Sim;

use super::Faults;
use crate::{
    record::{DriverSeen, Seen},
    tracer, turns,
};

/// Hosts that stand still hold their links under a number of their own.
const STALL: usize = 2 << 32;
/// A shorter stall is not told of.
const TOLD: Duration = Duration::from_millis(20);

/// What one host owes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Debt {
    /// When it is done with what it has taken on.
    free_at: Duration,
    stands: bool,
}

impl Faults {
    /// After each turn of all hosts.
    pub(super) fn charge(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let tick = Duration::from_millis(self.shared.plan.world.tick_ms);
        for place in 0..self.debts.len() {
            let name = self.cluster.name(place);
            let spent = turns::take_spent(tracer::number_of(&name));
            let is_down = self.down.contains_key(&place);
            let debt = &mut self.debts[place];
            debt.free_at = match is_down {
                true => Duration::ZERO,
                false => debt.free_at.max(now.saturating_sub(tick)) + spent,
            };
            let (stands, stood) = (debt.free_at > now, debt.stands);
            debt.stands = stands;
            let owes = debt.free_at.saturating_sub(now);
            if owes >= TOLD && spent > Duration::ZERO {
                let told = DriverSeen::LongTurn {
                    host: name.to_string(),
                    ms: owes.as_millis() as u64,
                    serves: self.cluster.serves(place) || place >= self.cluster.nodes().end,
                };
                self.shared.recorder.note(Seen::Driver(told));
                self.shared.recorder.mark("long_turn");
            }
            if stands != stood {
                self.hold(sim, STALL + place, &name, stands);
                self.cluster.pause(place, stands);
            }
        }
    }
}
