//! Links between hosts, spoilt by faults: what the network keeps on record is told to turmoil.

use std::time::Duration;

use turmoil::Sim;

use super::{Faults, Step};
use crate::{
    outside::network::{Link, Name},
    plan::{FaultKind, Host},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    On,
    Off,
}

/// Machines without power are cut off under a number of their own.
const POWER: usize = 1 << 32;

impl Faults {
    pub(super) fn spoil_links(&mut self, sim: &mut Sim<'_>, i: usize, change: Change) {
        let faults = self.faults.clone();
        let on = change == Change::On;
        match &faults[i].kind {
            FaultKind::Partition { a, b, one_way, .. } => self.cut(sim, i, a, b, *one_way, on),
            FaultKind::Flap { a, b, .. } => self.cut(sim, i, a, b, false, on),
            FaultKind::Delay { a, b, ms, .. } => self.link(sim, *a, *b, |link, _| {
                if on {
                    link.delays.insert(i, *ms);
                } else {
                    link.delays.remove(&i);
                }
            }),
            FaultKind::Loss {
                a, b, per_mille, ..
            } => self.link(sim, *a, *b, |link, _| {
                if on {
                    link.losses.insert(i, *per_mille);
                } else {
                    link.losses.remove(&i);
                }
            }),
            FaultKind::Pause { host, .. } => {
                let host: Name = host.to_string().as_str().into();
                self.hold(sim, i, &host, on);
            }
            _ => {}
        }
    }

    /// Everything to and from a host waits, by a reason of this number.
    pub(super) fn hold(&self, sim: &mut Sim<'_>, by: usize, host: &Name, on: bool) {
        for other in self.names().into_iter().filter(|other| other != host) {
            self.change(sim, host, &other, |link, _| {
                if on {
                    link.holds.insert(by);
                } else {
                    link.holds.remove(&by);
                }
            });
        }
    }

    fn cut(&self, sim: &mut Sim<'_>, i: usize, a: &[Host], b: &[Host], one_way: bool, on: bool) {
        for from in a {
            for to in b {
                self.link(sim, *from, *to, |link, direction| {
                    let back = if one_way { None } else { Some(1 - direction) };
                    for direction in [Some(direction), back].into_iter().flatten() {
                        if on {
                            link.blocks[direction].insert(i);
                        } else {
                            link.blocks[direction].remove(&i);
                        }
                    }
                });
            }
        }
    }

    pub(super) fn flap(&mut self, sim: &mut Sim<'_>, i: usize, cut: bool) {
        if !self.on.contains(&i) {
            return;
        }
        let FaultKind::Flap { period_ms, .. } = self.faults[i].kind else {
            return;
        };
        self.spoil_links(sim, i, if cut { Change::On } else { Change::Off });
        let next = sim.elapsed() + Duration::from_millis(period_ms);
        self.later(next, Step::Flap(i, !cut));
    }

    /// A machine without power hears and says nothing.
    pub(super) fn cut_off(&mut self, sim: &mut Sim<'_>, place: usize, off: bool) {
        let host = self.cluster.name(place);
        for other in self.names().into_iter().filter(|other| *other != host) {
            self.change(sim, &host, &other, |link, _| {
                for blocks in &mut link.blocks {
                    if off {
                        blocks.insert(POWER + place);
                    } else {
                        blocks.remove(&(POWER + place));
                    }
                }
            });
        }
    }

    fn link(&self, sim: &mut Sim<'_>, a: Host, b: Host, change: impl FnOnce(&mut Link, usize)) {
        if self.is_there(a) && self.is_there(b) {
            let (a, b): (Name, Name) =
                (a.to_string().as_str().into(), b.to_string().as_str().into());
            self.change(sim, &a, &b, change);
        }
    }

    /// Changes a link, and has turmoil do as it says.
    fn change(&self, sim: &mut Sim<'_>, a: &Name, b: &Name, change: impl FnOnce(&mut Link, usize)) {
        let ((a, b), before, now) = self.shared.network.change(a, b, change);
        let (a, b) = (&*a, &*b);
        let blocked = |link: &Link| [!link.blocks[0].is_empty(), !link.blocks[1].is_empty()];
        let held = |link: &Link| !link.holds.is_empty();
        if (blocked(&before), held(&before)) != (blocked(&now), held(&now)) {
            if held(&now) {
                sim.hold(a, b);
            } else if held(&before) {
                sim.release(a, b);
            }
            for (blocked, (from, to)) in blocked(&now).into_iter().zip([(a, b), (b, a)]) {
                if blocked {
                    sim.partition_oneway(from, to);
                } else if !held(&now) {
                    sim.repair_oneway(from, to);
                }
            }
        }
        // A lost message would make a cut link whole, as turmoil counts.
        let loss = |link: &Link| match blocked(link) {
            [false, false] => link.losses.values().copied().max().unwrap_or(0),
            _ => 0,
        };
        if loss(&before) != loss(&now) {
            sim.set_link_fail_rate(a, b, f64::from(loss(&now)) / 1_000.0);
        }
        let delay = |link: &Link| link.delays.values().copied().max().unwrap_or(0);
        if delay(&before) != delay(&now) {
            let (least, most) = self.shared.plan.world.latency_ms;
            let more = delay(&now);
            sim.set_link_latency(a, b, Duration::from_millis(least + more));
            sim.set_link_max_message_latency(a, b, Duration::from_millis(most + more));
        }
    }
}
