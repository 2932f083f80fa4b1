//! What a plan consists of, as far as it can be left out or made smaller.

use std::collections::BTreeSet;

use crate::plan::{FaultKind, Host, Plan, What};

/// Gives `f` each number with its least value, and puts what it answers in its place.
pub fn each_number(plan: &mut Plan, f: &mut dyn FnMut(u64, u64) -> u64) {
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
        if let Some(for_ms) = fault.kind.for_ms_mut() {
            *for_ms = f(*for_ms, 100);
        }
    }
}

/// Sizes of the lists of hosts that a fault names.
pub fn sides(kind: &FaultKind) -> Vec<usize> {
    match kind {
        FaultKind::Crash { nodes, .. } => vec![nodes.len()],
        FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => vec![a.len(), b.len()],
        _ => vec![],
    }
}

pub fn without_hosts(plan: &mut Plan, from: usize, to: usize) {
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

/// The nodes that faults name, each once, in order.
pub fn named_nodes(plan: &Plan) -> Vec<u32> {
    let mut named = BTreeSet::new();
    for_nodes(&mut plan.clone(), &mut |id| {
        named.insert(*id);
    });
    named.into_iter().collect()
}

/// Does it to each place in the faults that names a node.
pub fn for_nodes(plan: &mut Plan, f: &mut dyn FnMut(&mut u32)) {
    fn host(host: &mut Host, f: &mut dyn FnMut(&mut u32)) {
        if let Host::Node(id) = host {
            f(id);
        }
    }
    for fault in &mut plan.faults {
        match &mut fault.kind {
            FaultKind::Partition { a, b, .. } | FaultKind::Flap { a, b, .. } => {
                a.iter_mut().chain(b).for_each(|at| host(at, &mut *f));
            }
            FaultKind::Delay { a, b, .. } | FaultKind::Loss { a, b, .. } => {
                host(a, f);
                host(b, f);
            }
            FaultKind::Pause { host: at, .. } | FaultKind::Clock { host: at, .. } => host(at, f),
            FaultKind::Crash { nodes, .. } => nodes.iter_mut().for_each(&mut *f),
            FaultKind::SyncError { node, .. }
            | FaultKind::Corrupt { node, .. }
            | FaultKind::PageDamage { node }
            | FaultKind::StateDamage { node, .. }
            | FaultKind::DiskFull { node, .. }
            | FaultKind::DiskSlow { node, .. }
            | FaultKind::Wiped { node }
            | FaultKind::Replace { node, .. }
            | FaultKind::FolderPutBack { node, .. }
            | FaultKind::Drain { node, .. } => f(node),
            FaultKind::RouterCrash { .. } => {}
        }
    }
}

/// One that nobody opens; those behind it move up.
pub fn without_document(plan: &mut Plan, i: u32) {
    if plan.clients.iter().any(|client| client.document == i) || plan.documents.len() == 1 {
        return;
    }
    plan.documents.remove(i as usize);
    for client in plan.clients.iter_mut().filter(|client| client.document > i) {
        client.document -= 1;
    }
}

pub fn last_moment(plan: &Plan) -> u64 {
    let length = |what: &What| match what {
        What::Type { letters, gap_ms } => u64::from(*letters) * gap_ms,
        What::Offline { ms, .. }
        | What::Mute { ms }
        | What::Doze { ms }
        | What::LatePaste { ms, .. } => *ms,
        _ => 0,
    };
    let acts = plan.clients.iter().flat_map(|client| &client.acts);
    let acts = acts.map(|act| act.at_ms + length(&act.what));
    let faults = plan.faults.iter();
    let faults = faults.map(|fault| fault.at_ms + fault.kind.for_ms());
    acts.chain(faults).max().unwrap_or_default()
}

/// Takes away what names a host that is not there any more.
pub fn tidy(plan: &mut Plan) {
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
        | FaultKind::PageDamage { node }
        | FaultKind::StateDamage { node, .. }
        | FaultKind::DiskFull { node, .. }
        | FaultKind::DiskSlow { node, .. }
        | FaultKind::Wiped { node }
        | FaultKind::Replace { node, .. }
        | FaultKind::FolderPutBack { node, .. }
        | FaultKind::Drain { node, .. } => *node <= nodes,
        FaultKind::Delay { a, b, .. } | FaultKind::Loss { a, b, .. } => there(a) && there(b),
        FaultKind::Pause { host, .. } | FaultKind::Clock { host, .. } => there(host),
    });
    for client in &mut plan.clients {
        client.joins_ms = client.joins_ms.min(plan.world.safety_ms);
        client.acts.retain(|act| match act.what {
            What::Move { router } => router < routers,
            _ => true,
        });
    }
}

/// Whether it can be played, and somebody is in it.
pub fn fits(plan: &Plan) -> bool {
    plan.check().is_ok() && !plan.clients.is_empty()
}
