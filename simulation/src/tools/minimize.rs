//! Delta debugging over a plan: leaves out clients, acts and faults, then makes numbers smaller,
//! while what is left still fails in the same way.

mod parts;

use std::collections::BTreeSet;

use crate::{
    plan::Plan,
    tools::minimize::parts::{
        each_number, fits, for_nodes, last_moment, named_nodes, sides, tidy, without_document,
        without_hosts,
    },
};

/// Says whether a plan still fails in the same way.
pub trait Judge {
    fn fails(&mut self, plan: &Plan) -> bool;
}

impl<F: FnMut(&Plan) -> bool> Judge for F {
    fn fails(&mut self, plan: &Plan) -> bool {
        self(plan)
    }
}

pub struct Minimized {
    pub plan: Plan,
    pub tries: u32,
    /// Nothing more can be left out alone; else the tries ran out.
    pub complete: bool,
}

/// Cuts a failing plan down with at most so many tries.
pub fn minimize(plan: &Plan, tries: u32, judge: &mut dyn Judge) -> Minimized {
    let mut search = Search {
        best: plan.clone(),
        judge,
        left: tries,
        tried: BTreeSet::new(),
    };
    loop {
        let before = search.best.clone();
        search.lists();
        search.world();
        search.numbers();
        if search.left == 0 || search.best == before {
            break;
        }
    }
    Minimized {
        complete: search.left > 0,
        tries: tries - search.left,
        plan: search.best,
    }
}

struct Search<'a> {
    best: Plan,
    judge: &'a mut dyn Judge,
    left: u32,
    /// What was tried and does not fail.
    tried: BTreeSet<String>,
}

/// What can be left out: how many there are, and a plan without some of them.
type Count = fn(&Plan) -> usize;
type Without = fn(&mut Plan, usize, usize);

impl Search<'_> {
    /// Takes the plan if it fails in the same way.
    fn attempt(&mut self, mut candidate: Plan) -> bool {
        tidy(&mut candidate);
        if self.left == 0 || candidate == self.best || !fits(&candidate) {
            return false;
        }
        let spelled = serde_json::to_string(&candidate).unwrap_or_default();
        if self.tried.contains(&spelled) {
            return false;
        }
        self.left -= 1;
        let fails = self.judge.fails(&candidate);
        if fails {
            self.best = candidate;
        } else {
            self.tried.insert(spelled);
        }
        fails
    }

    fn lists(&mut self) {
        let lists: [(Count, Without); 5] = [
            (
                |plan| plan.faults.len(),
                |plan, from, to| {
                    plan.faults.drain(from..to);
                },
            ),
            (
                |plan| plan.clients.len(),
                |plan, from, to| {
                    plan.clients.drain(from..to);
                },
            ),
            (
                |plan| plan.clients.iter().map(|client| client.acts.len()).sum(),
                |plan, from, to| {
                    let mut n = 0;
                    for client in &mut plan.clients {
                        client.acts.retain(|_| {
                            n += 1;
                            !(from < n && n <= to)
                        });
                    }
                },
            ),
            (
                |plan| {
                    plan.faults
                        .iter()
                        .flat_map(|fault| sides(&fault.kind))
                        .sum()
                },
                without_hosts,
            ),
            (
                |plan| plan.documents.iter().map(|d| d.grants.len()).sum(),
                |plan, from, to| {
                    let mut n = 0;
                    for document in &mut plan.documents {
                        document.grants.retain(|_| {
                            n += 1;
                            !(from < n && n <= to)
                        });
                    }
                },
            ),
        ];
        for (count, without) in lists {
            self.thin(count, without);
        }
    }

    /// Leaves out all, halves, quarters… down to one at a time.
    fn thin(&mut self, count: Count, without: Without) {
        let mut chunk = count(&self.best);
        while chunk > 0 {
            let mut start = 0;
            while start < count(&self.best) && self.left > 0 {
                let end = (start + chunk).min(count(&self.best));
                let before = count(&self.best);
                let mut candidate = self.best.clone();
                without(&mut candidate, start, end);
                // What follows has moved up where something was left out.
                if !self.attempt(candidate) || count(&self.best) >= before {
                    start = end;
                }
            }
            if chunk == 1 {
                break;
            }
            chunk = chunk.div_ceil(2);
        }
    }

    /// Fewer nodes, routers, groups, documents; a shorter phase.
    fn world(&mut self) {
        while self.try_with(|plan| plan.world.nodes -= 1) {}
        // Those that faults name may stand in for lower ones.
        self.try_with(|plan| {
            let named = named_nodes(plan);
            plan.world.nodes = (named.len() as u32).clamp(3, plan.world.nodes);
            for_nodes(plan, &mut |id| {
                *id = named
                    .iter()
                    .position(|one| *one == *id)
                    .map_or(*id, |i| i as u32 + 1);
            });
        });
        while self.try_with(|plan| {
            plan.world.routers -= 1;
            for client in &mut plan.clients {
                client.router = client.router.min(plan.world.routers.max(1) - 1);
            }
        }) {}
        self.try_with(|plan| plan.world.groups = 1);
        while self.try_with(|plan| plan.world.groups /= 2) {}
        for i in (0..self.best.documents.len() as u32).rev() {
            self.try_with(|plan| without_document(plan, i));
        }
        self.try_with(|plan| {
            plan.world.safety_ms = plan.world.safety_ms.min(last_moment(plan) + 200)
        });
        for numerator in [1, 2, 3] {
            self.try_with(|plan| {
                let end = plan.world.safety_ms * numerator / 4;
                plan.world.safety_ms = end;
                plan.faults.retain(|fault| fault.at_ms < end);
                for client in &mut plan.clients {
                    client.acts.retain(|act| act.at_ms < end);
                }
            });
        }
    }

    fn try_with(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.attempt(candidate)
    }

    /// Each number to its least, else halfway there as often as it goes.
    fn numbers(&mut self) {
        let mut many = 0;
        each_number(&mut self.best.clone(), &mut |value, _| {
            many += 1;
            value
        });
        for which in 0..many {
            let towards = |search: &mut Self, to: fn(u64, u64) -> u64| {
                search.try_with(|plan| {
                    let mut n = 0;
                    each_number(plan, &mut |value, least| {
                        n += 1;
                        match n - 1 == which && value > least {
                            true => to(value, least),
                            false => value,
                        }
                    });
                })
            };
            if !towards(self, |_, least| least) {
                while towards(self, |value, least| least + (value - least) / 2) {}
            }
        }
    }
}

#[cfg(test)]
pub mod tests;
