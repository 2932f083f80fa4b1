//! The nodes' logs and votes as they are on their disks, from what nodes told of them.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::record::Hash;

pub type Shared = Rc<RefCell<Logs>>;

#[derive(Default)]
pub struct Logs {
    pub groups: BTreeMap<u32, Group>,
    pub nodes: BTreeMap<u64, Node>,
}

#[derive(Default)]
pub struct Node {
    pub life: u64,
    /// All that it tells is read from its disk.
    pub recovering: bool,
    /// In this life a sync failed.
    pub failed: bool,
    /// Another disk is in its place.
    pub wiped: bool,
}

#[derive(Default)]
pub struct Group {
    pub members: Members,
    pub replicas: BTreeMap<u64, Replica>,
    /// The committed entries, from index 0.
    pub chosen: Vec<Slot>,
    /// Under which term and leader each of them was found committed first.
    pub chosen_under: Vec<(u64, u64)>,
    /// By term and candidate, on whose disks that vote was; true: and their logs were not longer
    /// than the candidate's.
    pub votes: BTreeMap<(u64, u64), BTreeMap<u64, bool>>,
    /// By index, term and leader, the log up to there.
    pub known: BTreeMap<(u64, u64, u64), u128>,
}

#[derive(Default)]
pub struct Replica {
    /// From index 0.
    pub log: Vec<Slot>,
    /// How many of them are synced.
    pub synced: usize,
    pub vote: Option<Vote>,
    /// The last entry of the longest log that it ever had: term, leader, index.
    pub longest: Option<(u64, u64, u64)>,
    /// What must be there when it comes back: of the life before, or of the disk that was
    /// taken out.
    pub kept: Option<Kept>,
    /// The entry after which its disk has the state, whatever its log holds.
    pub state_at: Option<u64>,
    /// While its log is read: the first entry that was found.
    pub begins_at: Option<u64>,
    /// Up to which entry its log is gone.
    pub purged: Option<u64>,
    /// In this life.
    pub committed: Option<u64>,
    pub applied: Option<u64>,
}

pub struct Kept {
    pub log: Vec<Slot>,
    pub vote: Option<Vote>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    pub term: u64,
    pub candidate: u64,
    pub committed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub term: u64,
    pub leader: u64,
    /// Of the log up to here.
    pub prefix: u128,
}

impl Slot {
    /// `before`: the slot before it.
    pub fn after(before: Option<&Slot>, term: u64, leader: u64, hash: &Hash) -> Slot {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&before.map_or(0, |slot| slot.prefix).to_le_bytes());
        hasher.update(hash);
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Slot {
            term,
            leader,
            prefix: u128::from_le_bytes(half),
        }
    }
}

impl Replica {
    /// The state after the entry at `index` is on its disk: all that led there is as good as held.
    pub fn holds_state(&mut self, index: u64, chosen: &[Slot]) {
        let Some(known) = chosen.get(..=index as usize) else {
            return;
        };
        self.state_at = self.state_at.max(Some(index));
        let place = index as usize;
        let held = self.log.get(place).map(|slot| slot.prefix);
        if held != known.last().map(|slot| slot.prefix) {
            self.log = known.to_vec();
        }
        self.synced = self.synced.max(known.len());
    }

    /// Whether its log up to `slot`, which is at `index`, is on its disk.
    fn has_synced(&self, index: u64, slot: &Slot) -> bool {
        let holds = |log: &[Slot]| {
            log.get(index as usize)
                .is_some_and(|s| s.prefix == slot.prefix)
        };
        holds(&self.log[..self.synced.min(self.log.len())])
            || self.kept.as_ref().is_some_and(|kept| holds(&kept.log))
    }

    /// The process is another one: what was synced is all that is sure to come back.
    fn ends(&mut self) {
        self.synced = self.synced.min(self.log.len());
        self.log.truncate(self.synced);
        // A life that never got its disk read changes nothing of what must be there.
        if self.kept.is_none() {
            let (log, vote) = (std::mem::take(&mut self.log), self.vote.take());
            self.kept = Some(Kept { log, vote });
        }
        *self = Replica {
            kept: self.kept.take(),
            longest: self.longest,
            state_at: self.state_at,
            ..Replica::default()
        };
    }
}

impl Group {
    /// Whether a majority of the voters has its log up to `slot`, at `index`, on disk.
    pub fn is_on_majority(&self, index: u64, slot: &Slot) -> bool {
        self.members.majority_since(index, |node| {
            let replica = self.replicas.get(&node);
            replica.is_some_and(|replica| replica.has_synced(index, slot))
        })
    }
}

/// The voters of a group, as its logs say.
#[derive(Default)]
pub struct Members {
    /// By the index of the entry.
    entries: BTreeMap<u64, Membership>,
}

struct Membership {
    /// The term and the leader.
    under: (u64, u64),
    /// Two sets while they change.
    voters: Vec<Vec<u64>>,
}

impl Members {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry is in a log; `voters` is empty where it is no membership.
    pub fn appended(&mut self, index: u64, under: (u64, u64), voters: &[Vec<u64>]) {
        let held = self.entries.get(&index).map(|held| held.under);
        match held {
            Some(held) if held >= under => {}
            // Another one stands where a membership was that nobody committed.
            Some(_) if voters.is_empty() => {
                self.entries.remove(&index);
            }
            None if voters.is_empty() => {}
            _ => {
                let voters = voters.to_vec();
                self.entries.insert(index, Membership { under, voters });
            }
        }
    }

    /// Whether a majority does, of the voters when the entry at `index` was appended or of any since:
    /// which of them a leader went by is not told.
    pub fn majority_since(&self, index: u64, holds: impl Fn(u64) -> bool) -> bool {
        let then = self.entries.range(..=index).next_back();
        let since = self.entries.range(index + 1..);
        then.into_iter()
            .chain(since)
            .any(|(_, held)| held.voters.iter().all(|set| most(set, &holds)))
    }

    /// The same of the latest voters or of those before: not all logs have the latest.
    pub fn majority(&self, holds: impl Fn(u64) -> bool) -> bool {
        let before = self.entries.keys().rev().nth(1);
        let latest = self.entries.keys().next_back();
        let since = before.or(latest).copied().unwrap_or(0);
        self.majority_since(since, holds)
    }

    /// Whether a node is one of the latest voters.
    pub fn has(&self, node: u64) -> bool {
        let latest = self.entries.values().next_back();
        latest.is_some_and(|held| held.voters.iter().flatten().any(|voter| *voter == node))
    }
}

fn most(set: &[u64], holds: impl Fn(u64) -> bool) -> bool {
    let count = set.iter().filter(|node| holds(**node)).count();
    count > set.len() / 2
}

impl Group {
    /// A replica's disk has the state after the entry at `index`.
    pub fn kept(&mut self, node: u64, index: u64) {
        let replica = self.replicas.entry(node).or_default();
        replica.state_at = replica.state_at.max(Some(index));
    }

    /// A replica begins with the state that is on its disk. The process before may have died after it
    /// was there, and before that was told.
    pub fn restored(&mut self, node: u64, index: u64) {
        let replica = self.replicas.entry(node).or_default();
        if replica.state_at < Some(index) {
            replica.holds_state(index, &self.chosen);
        }
    }

    /// A replica goes on with the state of another one.
    pub fn installed(&mut self, node: u64, index: u64) {
        let replica = self.replicas.entry(node).or_default();
        replica.holds_state(index, &self.chosen);
        let last = self.chosen.get(index as usize);
        let last = last.map(|slot| (slot.term, slot.leader, index));
        replica.longest = replica.longest.max(last);
        (replica.committed, replica.applied) = (Some(index), Some(index));
    }
}

impl Logs {
    pub fn group(&mut self, group: u32) -> &mut Group {
        self.groups.entry(group).or_default()
    }

    /// Takes note of a node's life; a new one begins with reading its disk.
    pub fn lives(&mut self, node: u64, life: u64) {
        let of = self.nodes.entry(node).or_default();
        if life <= of.life {
            return;
        }
        let first = of.life == 0;
        (of.life, of.recovering, of.failed) = (life, true, false);
        if !first {
            let groups = self.groups.values_mut();
            let replicas = groups.filter_map(|group| group.replicas.get_mut(&node));
            replicas.for_each(Replica::ends);
        }
    }

    pub fn is_wiped(&self, node: u64) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.wiped)
    }

    /// A node's disk is taken out, or put back.
    pub fn disk(&mut self, node: u64, wiped: bool) {
        let of = self.nodes.entry(node).or_default();
        if !std::mem::replace(&mut of.wiped, wiped) && wiped {
            let groups = self.groups.values_mut();
            let replicas = groups.filter_map(|group| group.replicas.get_mut(&node));
            replicas.for_each(Replica::ends);
        }
    }
}
