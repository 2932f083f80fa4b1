//! A plan in words.

use std::collections::BTreeMap;

use crate::plan::{Act, Client, FaultKind, Host, Plan, What};

/// One line a thing: what the plan says of the world, its documents, clients and faults. The
/// same thing is the same line in a plan that was cut down, so that two can stand side by side.
pub fn lines(plan: &Plan) -> Vec<String> {
    let world = &plan.world;
    let mut out = vec![
        format!("{} nodes", world.nodes),
        format!("{} routers", world.routers),
        format!("{} groups", world.groups),
        format!("safety phase {}", seconds(world.safety_ms)),
        format!(
            "latency {}–{} ms, sync {}–{} µs, turns of {} ms",
            world.latency_ms.0, world.latency_ms.1, world.sync_us.0, world.sync_us.1, world.tick_ms
        ),
        format!(
            "window {} events, {} records by refusal, {} bytes a socket's queue",
            world.window_events, world.refusal_records, world.socket_queue_bytes
        ),
        format!(
            "state kept after {} commands, {} KiB of documents in memory, rounds of {} bytes archived",
            world.tail_commands, world.memory_kib, world.round_bytes
        ),
    ];
    if world.retention_ms > 0 {
        out.push(format!("history kept for {}", seconds(world.retention_ms)));
    }
    if let Some(mutant) = &plan.mutant {
        out.push(format!("planted bug {mutant}"));
    }
    for (i, document) in plan.documents.iter().enumerate() {
        let kind = if document.rich { "rich" } else { "plain" };
        out.push(format!(
            "document {i}: {kind}, of user {}, {} units, {} grants",
            document.owner,
            document.initial,
            document.grants.len()
        ));
    }
    for client in &plan.clients {
        out.push(format!(
            "client-{}: user {}, document {}, router-{}, {}{}, comes at {}",
            client.number,
            client.user,
            client.document,
            client.router + 1,
            if client.json { "JSON" } else { "binary" },
            if client.stubborn { ", stubborn" } else { "" },
            seconds(client.joins_ms)
        ));
        out.extend(acts(client));
    }
    for fault in &plan.faults {
        out.push(format!(
            "at {} {}",
            seconds(fault.at_ms),
            strikes(&fault.kind)
        ));
    }
    out
}

/// Few acts a line each; many as counts.
fn acts(client: &Client) -> Vec<String> {
    const FEW: usize = 12;
    if client.acts.len() <= FEW {
        let line = |act: &Act| format!("    at {} {}", seconds(act.at_ms), does(&act.what));
        return client.acts.iter().map(line).collect();
    }
    let mut counts = BTreeMap::<&str, u64>::new();
    for act in &client.acts {
        *counts.entry(verb(&act.what)).or_default() += 1;
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(verb, n)| format!("{verb} × {n}"))
        .collect();
    vec![format!(
        "    {} acts: {}",
        client.acts.len(),
        parts.join(", ")
    )]
}

fn verb(what: &What) -> &'static str {
    match what {
        What::Type { .. } => "type",
        What::Paste { .. } => "paste",
        What::Delete { .. } => "delete",
        What::Format { .. } => "format",
        What::Embed => "embed",
        What::Offline { .. } => "offline",
        What::Reload => "reload",
        What::Reopen => "reopen",
        What::Move { .. } => "move",
        What::Grant { .. } => "grant",
        What::Resend => "resend",
        What::Mute { .. } => "mute",
        What::Doze { .. } => "doze",
        What::LatePaste { .. } => "late paste",
        What::Shapes { .. } => "shapes",
        What::Opens { .. } => "opens",
        What::Steal => "steal",
        What::Poison => "poison",
        What::LookBack => "look back",
        What::Restore => "restore",
        What::Snapshot => "snapshot",
        What::Comment => "comment",
        What::Twin => "twin",
    }
}

fn does(what: &What) -> String {
    let verb = verb(what);
    match what {
        What::Type { letters, gap_ms } => format!("{verb} {letters} letters, {gap_ms} ms apart"),
        What::Paste { units } | What::Delete { units } | What::Format { units } => {
            format!("{verb} {units} units")
        }
        What::Mute { ms } | What::Doze { ms } => format!("{verb} for {ms} ms"),
        What::Offline { ms, letters } => format!("{verb} for {ms} ms, typing {letters} letters"),
        What::Move { router } => format!("{verb} to router-{}", router + 1),
        What::Grant { user, role } => match role {
            Some(role) => format!("{verb} user {user} {role:?}").to_lowercase(),
            None => format!("{verb} user {user} nothing"),
        },
        What::LatePaste { units, ms } => format!("{verb} of {units} units, sent after {ms} ms"),
        What::Shapes { letters } => format!("{verb} of {letters} letters"),
        What::Opens { times } => format!("{verb} × {times}"),
        What::Embed
        | What::Reload
        | What::Reopen
        | What::Resend
        | What::Steal
        | What::Poison
        | What::LookBack
        | What::Restore
        | What::Snapshot
        | What::Comment
        | What::Twin => verb.into(),
    }
}

pub fn strikes(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Crash {
            nodes,
            power,
            for_ms,
        } => {
            let how = if *power { "power lost" } else { "killed" };
            let nodes = nodes.iter().map(|id| Host::Node(*id));
            format!("{} {how}, back after {for_ms} ms", hosts(nodes))
        }
        FaultKind::RouterCrash { router, for_ms } => {
            format!("{} killed, back after {for_ms} ms", Host::Router(*router))
        }
        FaultKind::SyncError { node, for_ms } => {
            format!("node-{node}'s next sync fails, back after {for_ms} ms")
        }
        FaultKind::Corrupt { node, tail, for_ms } => {
            let place = ["a flipped bit", "a torn tail"][usize::from(*tail)];
            format!("node-{node} down with {place} in its log for {for_ms} ms")
        }
        FaultKind::PageDamage { node } => format!("bits flip in node-{node}'s pages"),
        FaultKind::StateDamage { node, .. } => format!("bits flip in what node-{node} keeps"),
        FaultKind::DiskFull { archive: true, .. } => full("archive", kind),
        FaultKind::DiskFull { .. } => full("disk", kind),
        FaultKind::DiskSlow {
            node,
            times,
            for_ms,
        } => format!("node-{node}'s syncs {times} times slower for {for_ms} ms"),
        FaultKind::Wiped { node } => format!("node-{node} back with an empty disk"),
        FaultKind::Replace { node, .. } => format!("a new node in the place of node-{node}"),
        FaultKind::FolderPutBack { node, for_ms } => {
            format!("node-{node} back with its disk of {for_ms} ms before")
        }
        FaultKind::Partition {
            a,
            b,
            one_way,
            for_ms,
        } => {
            let parts = sides(a, b, if *one_way { "⇸" } else { "⇹" });
            format!("partition {parts} for {for_ms} ms")
        }
        FaultKind::Flap {
            a,
            b,
            period_ms,
            for_ms,
        } => {
            let parts = sides(a, b, "⇹");
            format!("partition {parts} comes and goes every {period_ms} ms for {for_ms} ms")
        }
        FaultKind::Delay { a, b, ms, for_ms } => {
            format!("{a} ↔ {b} {ms} ms later for {for_ms} ms")
        }
        FaultKind::Loss {
            a,
            b,
            per_mille,
            for_ms,
        } => format!("{a} ↔ {b} loses {per_mille} ‰ for {for_ms} ms"),
        FaultKind::Pause { host, for_ms } => format!("{host} paused for {for_ms} ms"),
        FaultKind::Clock { host, ms, for_ms } => {
            format!("{host}'s clock {ms:+} ms off for {for_ms} ms")
        }
        FaultKind::Drain { node, for_ms } => format!("node-{node} drained for {for_ms} ms"),
    }
}

fn full(what: &str, kind: &FaultKind) -> String {
    let nodes = hosts(kind.hosts().into_iter());
    format!("{nodes}'s {what} full for {} ms", kind.for_ms())
}

fn sides(a: &[Host], b: &[Host], arrow: &str) -> String {
    let [a, b] = [a, b].map(|side| hosts(side.iter().copied()));
    format!("{a} {arrow} {b}")
}

fn hosts(hosts: impl Iterator<Item = Host>) -> String {
    hosts
        .map(|host| host.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// How a plan is sized, on one line.
pub fn size(plan: &Plan) -> String {
    let acts: usize = plan.clients.iter().map(|client| client.acts.len()).sum();
    format!(
        "{} nodes, {} clients, {acts} acts, {} faults, {}",
        plan.world.nodes,
        plan.clients.len(),
        plan.faults.len(),
        seconds(plan.world.safety_ms)
    )
}
