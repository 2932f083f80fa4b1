//! O14: Raft, as told by what nodes have on their disks.
//!
//! More than one node may lead in a term here, one after the other: leaders are ordered by term
//! and node, and an entry's name is its index with its leader.

use std::time::Duration;

use super::{
    Notes, Oracle,
    logs::{Group, Logs, Shared, Slot, Vote},
    named,
};
use crate::{
    record::{DriverSeen, Entry, NodeSeen, Seen},
    verdict::Violation,
};

pub struct Raft {
    logs: Shared,
    notes: Notes,
}

/// What was found: the constant part, and the rest.
type Broken = Option<(&'static str, String)>;

impl Raft {
    pub fn new(logs: Shared) -> Self {
        let promised = "disks keep what they synced, votes and logs only grow, what is committed \
                        is synced by a majority and never another";
        Self {
            logs,
            notes: Notes::new("raft", "O14", promised),
        }
    }
}

impl Oracle for Raft {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let broken = match &entry.seen {
            Seen::Node(seen) => see(&mut self.logs.borrow_mut(), seen),
            Seen::Driver(DriverSeen::Disk { node, wiped }) => {
                self.logs.borrow_mut().disk(*node, *wiped);
                None
            }
            _ => None,
        };
        if let Some((what, rest)) = broken {
            self.notes.broken(found, entry.at, what, || rest);
        }
    }

    fn end(&mut self, at: Duration, found: &mut Vec<Violation>) {
        for (number, group) in &self.logs.borrow().groups {
            let Some(last) = group.chosen.last() else {
                continue;
            };
            let index = group.chosen.len() as u64 - 1;
            if !group.is_on_majority(index, last) {
                let what = "what was committed is on no majority at the end";
                let broken = || format!("group {number}, index {index}");
                self.notes.broken(found, at, what, broken);
            }
        }
    }
}

fn see(logs: &mut Logs, seen: &NodeSeen) -> Broken {
    let (node, life) = life_of(seen)?;
    logs.lives(node, life);
    if logs.is_wiped(node) {
        return None;
    }
    let recovering = logs.nodes.get(&node).is_some_and(|node| node.recovering);
    match seen {
        NodeSeen::Recovered { damaged, .. } => return recovered(logs, node, *damaged),
        NodeSeen::Voted {
            group,
            term,
            candidate,
            committed,
            ..
        } => {
            let vote = Vote {
                term: *term,
                candidate: *candidate,
                committed: *committed,
            };
            return voted(logs.group(*group), node, vote, recovering);
        }
        NodeSeen::Appended {
            group,
            index,
            term,
            leader,
            hash,
            voters,
            ..
        } => {
            let group = logs.groups.entry(*group).or_default();
            group.members.appended(*index, (*term, *leader), voters);
            return appended(group, node, *index, (*term, *leader), hash, recovering);
        }
        NodeSeen::SyncFailed { .. } => {
            logs.nodes.entry(node).or_default().failed = true;
        }
        NodeSeen::Synced { group, index, .. } => return synced(logs, *group, node, *index),
        NodeSeen::Truncated { group, index, .. } => {
            let group = logs.groups.entry(*group).or_default();
            return truncated(group, node, *index, recovering);
        }
        NodeSeen::Purged { group, index, .. } => {
            return purged(logs.group(*group), node, *index, recovering);
        }
        NodeSeen::Kept { group, index, .. } => logs.group(*group).kept(node, *index),
        NodeSeen::Installed { group, index, .. } => logs.group(*group).installed(node, *index),
        NodeSeen::Restored { group, index, .. } => logs.group(*group).restored(node, *index),
        NodeSeen::Leads { group, term, .. } => {
            return leads(logs.groups.entry(*group).or_default(), node, *term);
        }
        NodeSeen::Committed { group, index, .. } => {
            return committed(logs.groups.entry(*group).or_default(), node, *index);
        }
        NodeSeen::Applied { group, index, .. } | NodeSeen::Outcome { group, index, .. } => {
            return applied(logs.groups.entry(*group).or_default(), node, *index);
        }
        _ => {}
    }
    None
}

/// Of what is told by a node of its own log.
fn life_of(seen: &NodeSeen) -> Option<(u64, u64)> {
    match seen {
        NodeSeen::Voted { node, life, .. }
        | NodeSeen::Appended { node, life, .. }
        | NodeSeen::Synced { node, life, .. }
        | NodeSeen::SyncFailed { node, life }
        | NodeSeen::Truncated { node, life, .. }
        | NodeSeen::Purged { node, life, .. }
        | NodeSeen::Kept { node, life, .. }
        | NodeSeen::Installed { node, life, .. }
        | NodeSeen::Restored { node, life, .. }
        | NodeSeen::Recovered { node, life, .. }
        | NodeSeen::Leads { node, life, .. }
        | NodeSeen::Committed { node, life, .. }
        | NodeSeen::Applied { node, life, .. }
        | NodeSeen::Outcome { node, life, .. } => Some((*node, *life)),
        _ => None,
    }
}

/// The disk was read: all that was synced must be there, and the last vote.
fn recovered(logs: &mut Logs, node: u64, damaged: bool) -> Broken {
    if let Some(of) = logs.nodes.get_mut(&node) {
        of.recovering = false;
    }
    // It says so itself, and takes no part.
    if damaged {
        return None;
    }
    let mut broken = None;
    for (number, group) in &mut logs.groups {
        let Some(replica) = group.replicas.get_mut(&node) else {
            continue;
        };
        let begins_at = replica.begins_at.unwrap_or(0);
        if begins_at > replica.purged.map_or(0, |purged| purged + 1) {
            let purged = replica.purged;
            let rest = format!(
                "node {node}, group {number}: it begins at {begins_at}, and is gone up to {purged:?}"
            );
            broken = Some(("a log has a hole", rest));
        }
        if let Some(index) = replica.state_at {
            replica.holds_state(index, &group.chosen);
        }
        let Some(kept) = replica.kept.take() else {
            continue;
        };
        let wanted = kept.log.last().map(|slot| slot.prefix);
        let place = kept.log.len().wrapping_sub(1);
        let there = replica.log.get(place).map(|slot| slot.prefix);
        if wanted.is_some() && there != wanted {
            let rest = format!(
                "node {node}, group {number}: {} entries were synced, {} came back",
                kept.log.len(),
                replica.log.len()
            );
            broken = Some(("a node came back without what it had synced", rest));
        } else if replica.vote < kept.vote {
            let rest = format!(
                "node {node}, group {number}: {:?} was on its disk, {:?} came back",
                kept.vote, replica.vote
            );
            broken = Some(("a node came back without its vote", rest));
        }
    }
    broken
}

fn voted(group: &mut Group, node: u64, vote: Vote, recovering: bool) -> Broken {
    let theirs = group.replicas.get(&vote.candidate);
    let longest = theirs.and_then(|replica| replica.longest);
    let mine = group.replicas.get(&node).and_then(|replica| {
        let slot = replica.log.last()?;
        Some((slot.term, slot.leader, replica.log.len() as u64 - 1))
    });
    let of = group.votes.entry((vote.term, vote.candidate)).or_default();
    // A vote for one who leads already is none that it was elected by.
    of.entry(node).or_insert(!vote.committed && mine <= longest);
    let replica = group.replicas.entry(node).or_default();
    let before = replica.vote.replace(vote);
    if !recovering && before > Some(vote) {
        let rest = format!("node {node}: {before:?}, then {vote:?}");
        return Some(("a vote went back", rest));
    }
    None
}

fn appended(
    group: &mut Group,
    node: u64,
    index: u64,
    (term, leader): (u64, u64),
    hash: &[u8; 32],
    recovering: bool,
) -> Broken {
    let replica = group.replicas.entry(node).or_default();
    let place = index as usize;
    // The first that is read of a log whose beginning is gone.
    if recovering
        && replica.begins_at.is_none()
        && let Some(known) = group.chosen.get(..place)
    {
        replica.begins_at = Some(index);
        replica.log = known.to_vec();
    }
    if place > replica.log.len() {
        let rest = format!(
            "node {node}: {} entries, then index {index}",
            replica.log.len()
        );
        return Some(("a log has a hole", rest));
    }
    let before = place.checked_sub(1).and_then(|at| replica.log.get(at));
    let slot = Slot::after(before, term, leader, hash);
    let held = replica.log.get(place).map(|old| old.prefix);
    // The same entry once more is as durable as it was.
    let same = held == Some(slot.prefix);
    replica.synced = replica.synced.min(place + usize::from(same));
    replica.log.truncate(place);
    replica.log.push(slot);
    replica.longest = replica.longest.max(Some((term, leader, index)));
    let known = group
        .known
        .entry((index, term, leader))
        .or_insert(slot.prefix);
    if *known != slot.prefix {
        let rest = format!("node {node}, index {index}, term {term}, leader {leader}");
        return Some(("two logs with one entry differ before it", rest));
    }
    // One that has not heard that its term is over may write on, where nothing chosen goes for it.
    let under = group.chosen_under.get(place);
    let apart = |chosen: &Slot| {
        let stale = under.is_some_and(|under| (term, leader) < *under);
        chosen.prefix != slot.prefix && !(stale && held != Some(chosen.prefix))
    };
    if !recovering && group.chosen.get(place).is_some_and(apart) {
        let rest = format!("node {node}, index {index}, term {term}, leader {leader}");
        return Some(("another entry stands where one was committed", rest));
    }
    None
}

fn synced(logs: &mut Logs, group: u32, node: u64, index: u64) -> Broken {
    let replica = logs.group(group).replicas.entry(node).or_default();
    let upto = (index as usize + 1).min(replica.log.len());
    replica.synced = replica.synced.max(upto);
    if logs.nodes.get(&node).is_some_and(|node| node.failed) {
        let rest = format!("node {node}, index {index}");
        return Some(("a log went on after a failed sync", rest));
    }
    None
}

fn truncated(group: &mut Group, node: u64, keep: u64, recovering: bool) -> Broken {
    let chosen = group.chosen.get(keep as usize).map(|slot| slot.prefix);
    let replica = group.replicas.entry(node).or_default();
    let held = replica.log.get(keep as usize).map(|slot| slot.prefix);
    replica.log.truncate(keep as usize);
    replica.synced = replica.synced.min(keep as usize);
    if !recovering && chosen.is_some() && held == chosen {
        let rest = format!("node {node} cut its log to below {keep}");
        return Some(("a committed entry was cut", rest));
    }
    None
}

/// The beginning of a log went: the state that it made must be on the disk.
fn purged(group: &mut Group, node: u64, index: u64, recovering: bool) -> Broken {
    let Group {
        replicas, chosen, ..
    } = group;
    let replica = replicas.entry(node).or_default();
    replica.purged = replica.purged.max(Some(index));
    if recovering {
        if replica.log.len() <= index as usize
            && let Some(known) = chosen.get(..=index as usize)
        {
            replica.log = known.to_vec();
            replica.synced = replica.synced.max(known.len());
        }
    } else if replica.state_at < Some(index) {
        let rest = format!("node {node}, up to {index}: it has {:?}", replica.state_at);
        return Some(("a log was purged beyond the state that was kept", rest));
    }
    None
}

fn leads(group: &mut Group, node: u64, term: u64) -> Broken {
    let voters = group.votes.get(&(term, node));
    let by = |voter: u64| voters.and_then(|voters| voters.get(&voter)).copied();
    if !group.members.majority(|voter| by(voter).is_some()) {
        let rest = format!("node {node}, term {term}: its vote is on the disks of {voters:?}");
        return Some(("a leader without a majority of votes on disk", rest));
    }
    // One that comes back may still lead in a term that is over.
    let until = group
        .chosen_under
        .iter()
        .rposition(|under| *under <= (term, node));
    if let Some(last) = until {
        let held = group
            .replicas
            .get(&node)
            .and_then(|replica| replica.log.get(last));
        if held.map(|slot| slot.prefix) != group.chosen.get(last).map(|slot| slot.prefix) {
            let rest =
                format!("node {node}, term {term}: {last} is committed, and it holds {held:?}");
            return Some(("a leader without what was committed", rest));
        }
    }
    if !group.members.majority(|voter| by(voter) == Some(true)) {
        let rest = format!("node {node}, term {term}: not longer are the logs of {voters:?}");
        return Some(("a leader elected by logs longer than its own", rest));
    }
    None
}

fn committed(group: &mut Group, node: u64, index: u64) -> Broken {
    let replica = group.replicas.entry(node).or_default();
    let from = replica.committed.map_or(0, |before| before + 1);
    if replica.committed.is_some_and(|before| before > index) {
        let rest = format!("node {node}: {:?}, then {index}", replica.committed);
        return Some(("a committed position went back", rest));
    }
    replica.committed = Some(index);
    let Some(slot) = replica.log.get(index as usize).copied() else {
        let rest = format!("node {node}, index {index}");
        return Some(("a node commits what it does not hold", rest));
    };
    let known = group.chosen.len() as u64;
    if let Some(last) = known.checked_sub(1).map(|last| last.min(index))
        && last >= from
    {
        let replica = group.replicas.get(&node);
        let mine = replica.and_then(|replica| replica.log.get(last as usize));
        if mine.map(|slot| slot.prefix) != group.chosen.get(last as usize).map(|s| s.prefix) {
            let rest = format!("node {node}, index {last}");
            return Some(("two nodes committed different entries", rest));
        }
    }
    if index < known {
        return None;
    }
    let safe = group.is_on_majority(index, &slot);
    let log = group.replicas.get(&node).map(|replica| &replica.log[..]);
    let new = log.and_then(|log| log.get(known as usize..=index as usize));
    group.chosen.extend(new.unwrap_or_default().to_vec());
    let vote = group.replicas.get(&node).and_then(|replica| replica.vote);
    let under = vote.map_or((0, 0), |vote| (vote.term, vote.candidate));
    group.chosen_under.resize(group.chosen.len(), under);
    if !safe {
        let rest = format!("node {node}, index {index}");
        return Some(("committed and not synced by a majority", rest));
    }
    None
}

fn applied(group: &mut Group, node: u64, index: u64) -> Broken {
    let chosen = group.chosen.get(index as usize).map(|slot| slot.prefix);
    let replica = group.replicas.entry(node).or_default();
    let before = replica.applied.replace(index);
    if before.is_some_and(|before| before > index) {
        return Some((
            "an entry was applied after a later one",
            format!("node {node}, {index}"),
        ));
    }
    let held = replica.log.get(index as usize).map(|slot| slot.prefix);
    if chosen.is_none() || held != chosen {
        let rest = format!("node {node}, index {index}");
        return Some(("an entry was applied that was not committed", rest));
    }
    None
}

#[cfg(test)]
mod tests;
