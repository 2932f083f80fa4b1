//! Delta debugging over a plan: leaves out clients, acts and faults, then makes numbers smaller,
//! while what is left still fails in the same way.

use std::collections::BTreeSet;

use crate::plan::{FaultKind, Host, Plan, What};

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

/// Gives `f` each number with its least value, and puts what it answers in its place.
fn each_number(plan: &mut Plan, f: &mut dyn FnMut(u64, u64) -> u64) {
    let mut short = |n: &mut u32, least| *n = f((*n).into(), least) as u32;
    for document in &mut plan.documents {
        short(&mut document.initial, 0);
    }
    for what in plan
        .clients
        .iter_mut()
        .flat_map(|c| &mut c.acts)
        .map(|act| &mut act.what)
    {
        match what {
            What::Type { letters, .. } => short(letters, 1),
            What::Paste { units } | What::Delete { units } | What::Format { units } => {
                short(units, 1);
            }
            What::Offline { letters, .. } => short(letters, 0),
            _ => {}
        }
    }
    for fault in &mut plan.faults {
        match &mut fault.kind {
            FaultKind::Crash { for_ms, .. }
            | FaultKind::RouterCrash { for_ms, .. }
            | FaultKind::SyncError { for_ms, .. }
            | FaultKind::Corrupt { for_ms, .. }
            | FaultKind::DiskFull { for_ms, .. }
            | FaultKind::DiskSlow { for_ms, .. }
            | FaultKind::Partition { for_ms, .. }
            | FaultKind::Flap { for_ms, .. }
            | FaultKind::Delay { for_ms, .. }
            | FaultKind::Loss { for_ms, .. }
            | FaultKind::Pause { for_ms, .. }
            | FaultKind::Clock { for_ms, .. }
            | FaultKind::Drain { for_ms, .. } => *for_ms = f(*for_ms, 100),
            FaultKind::Wiped { .. } => {}
        }
    }
}

/// Sizes of the lists of hosts that a fault names.
fn sides(kind: &FaultKind) -> Vec<usize> {
    match kind {
        FaultKind::Crash { nodes, .. } => vec![nodes.len()],
        FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => vec![a.len(), b.len()],
        _ => vec![],
    }
}

fn without_hosts(plan: &mut Plan, from: usize, to: usize) {
    let mut n = 0;
    let mut stays = || {
        n += 1;
        !(from < n && n <= to)
    };
    for fault in &mut plan.faults {
        match &mut fault.kind {
            FaultKind::Crash { nodes, .. } => nodes.retain(|_| stays()),
            FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => {
                a.retain(|_| stays());
                b.retain(|_| stays());
            }
            _ => {}
        }
    }
}

/// One that nobody opens; those behind it move up.
fn without_document(plan: &mut Plan, i: u32) {
    if plan.clients.iter().any(|client| client.document == i) || plan.documents.len() == 1 {
        return;
    }
    plan.documents.remove(i as usize);
    for client in plan.clients.iter_mut().filter(|client| client.document > i) {
        client.document -= 1;
    }
}

fn last_moment(plan: &Plan) -> u64 {
    let length = |what: &What| match what {
        What::Type { letters, gap_ms } => u64::from(*letters) * gap_ms,
        What::Offline { ms, .. } => *ms,
        _ => 0,
    };
    let acts = plan.clients.iter().flat_map(|client| &client.acts);
    let acts = acts.map(|act| act.at_ms + length(&act.what));
    let faults = plan.faults.iter().map(|fault| {
        let mut alone = Plan {
            documents: vec![],
            clients: vec![],
            faults: vec![fault.clone()],
            ..plan.clone()
        };
        let mut lasts = 0;
        each_number(&mut alone, &mut |value, _| {
            lasts = value;
            value
        });
        fault.at_ms + lasts
    });
    acts.chain(faults).max().unwrap_or_default()
}

/// Takes away what names a host that is not there any more.
fn tidy(plan: &mut Plan) {
    let (nodes, routers) = (plan.world.nodes, plan.world.routers);
    let numbers: BTreeSet<u32> = plan.clients.iter().map(|client| client.number).collect();
    let there = |host: &Host| match host {
        Host::Node(id) => *id <= nodes,
        Host::Router(index) => *index < routers,
        Host::Client(number) => numbers.contains(number),
    };
    plan.faults.retain_mut(|fault| match &mut fault.kind {
        FaultKind::Crash { nodes: list, .. } => {
            list.retain(|id| *id <= nodes);
            !list.is_empty()
        }
        FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => {
            a.retain(there);
            b.retain(there);
            !a.is_empty() && !b.is_empty()
        }
        FaultKind::RouterCrash { router, .. } => *router < routers,
        FaultKind::SyncError { node, .. }
        | FaultKind::Corrupt { node, .. }
        | FaultKind::DiskFull { node, .. }
        | FaultKind::DiskSlow { node, .. }
        | FaultKind::Wiped { node }
        | FaultKind::Drain { node, .. } => *node <= nodes,
        FaultKind::Delay { a, b, .. } | FaultKind::Loss { a, b, .. } => there(a) && there(b),
        FaultKind::Pause { host, .. } | FaultKind::Clock { host, .. } => there(host),
    });
    for client in &mut plan.clients {
        client.acts.retain(|act| match act.what {
            What::Move { router } => router < routers,
            _ => true,
        });
    }
}

/// Whether it is a plan at all.
fn fits(plan: &Plan) -> bool {
    let world = &plan.world;
    let clients = plan.clients.iter().all(|client| {
        client.router < world.routers && (client.document as usize) < plan.documents.len()
    });
    let sizes = world.nodes >= 3 && world.routers >= 1 && world.groups >= 1;
    sizes && clients && !plan.clients.is_empty() && world.safety_ms > 0
}

#[cfg(test)]
pub mod tests;
