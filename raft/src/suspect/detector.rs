//! Who is dead, who agrees, who takes over. Pure: times are milliseconds of one clock that
//! the caller hands in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use codraft_mutant::mutant;
use codraft_proto::ids::{GroupId, NodeId};

use super::{LogId, Vote};

/// Silence shorter than this is never evidence.
pub const SILENCE_MS: u64 = 600;
/// Nor is silence shorter than so many times the 99th percentile of the gaps between signs
/// of life.
pub const SILENCE_GAPS: u64 = 6;
/// Gaps remembered of a node.
const GAPS: usize = 128;
/// How long the best candidate has before the next one may act.
pub const TURN_MS: u64 = 150;
/// What others said is believed for so long.
const SAID_MS: u64 = 1_000;
/// For so long a process that came back is evidence against the one before it.
const REBORN_MS: u64 = 1_000;
/// When this node itself was away for so long, others' silence proves nothing.
const STALL_MS: u64 = 400;

/// Where a replica stands in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub group: GroupId,
    /// The vote it holds; the leader's when that is committed.
    pub vote: Vote,
    /// What of the log is safe on its disk.
    pub last: Option<LogId>,
}

impl Tail {
    fn led_by(&self, node: NodeId) -> bool {
        self.vote.committed && self.vote.leader_id.node_id == node.0
    }
}

/// A group as this node sees it.
#[derive(Debug, Clone)]
pub struct View {
    pub tail: Tail,
    /// One set of voters, or two while the membership changes.
    pub voters: Vec<Vec<NodeId>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Suspect {
        to: NodeId,
        about: NodeId,
        incarnation: u64,
        round: u64,
        tails: Vec<Tail>,
    },
    TakeOver {
        about: NodeId,
        tail: Tail,
    },
}

pub struct Detector {
    me: NodeId,
    nodes: BTreeMap<NodeId, Watched>,
    rounds: u64,
    last_tick: u64,
}

/// What is known of another node.
#[derive(Default)]
struct Watched {
    /// Of its last link; none before the first.
    incarnation: Option<u64>,
    broke: bool,
    refused: bool,
    /// When it came back as another process.
    reborn: Option<u64>,
    heard: u64,
    gaps: VecDeque<u64>,
    /// Who else says that this incarnation is dead, where they stand, and when they said it.
    said: BTreeMap<NodeId, (u64, Vec<Tail>)>,
    suspected: Option<Suspected>,
}

struct Suspected {
    since: u64,
    asked: u64,
    /// Per group the vote it was tried to take over from, and when.
    acted: BTreeMap<GroupId, (Vote, u64)>,
}

impl Watched {
    fn is_dead(&self, now: u64) -> bool {
        if self.incarnation.is_none() {
            return false;
        }
        let silent = now.saturating_sub(self.heard) > self.patience();
        (self.broke && self.refused) || silent || self.is_reborn(now)
    }

    /// The process is another one than before: what the old one led, it does not lead. It may
    /// take that up again itself, as Raft allows, but nobody waits for that.
    fn is_reborn(&self, now: u64) -> bool {
        self.reborn
            .is_some_and(|at| now.saturating_sub(at) <= REBORN_MS)
    }

    fn patience(&self) -> u64 {
        let mut gaps: Vec<u64> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let p99 = gaps
            .get(gaps.len().saturating_sub(1) * 99 / 100)
            .copied()
            .unwrap_or(0);
        SILENCE_MS.max(SILENCE_GAPS * p99)
    }

    fn lives(&mut self, now: u64) {
        self.broke = false;
        self.refused = false;
        self.heard = now;
        if !self.is_reborn(now) {
            self.said.clear();
            self.suspected = None;
        }
    }
}

impl Detector {
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            nodes: BTreeMap::new(),
            rounds: 0,
            last_tick: 0,
        }
    }

    /// A new incarnation is another process: what was said of the one before is void, and what
    /// that one led has no leader.
    pub fn link_up(
        &mut self,
        now: u64,
        node: NodeId,
        incarnation: u64,
        view: &dyn Fn() -> Vec<View>,
    ) -> Vec<Action> {
        let watched = self.nodes.entry(node).or_default();
        let before = watched.incarnation.replace(incarnation);
        watched.reborn = None;
        watched.lives(now);
        if before.is_some_and(|before| before != incarnation) {
            watched.gaps.clear();
            watched.reborn = Some(now);
        }
        self.judge(now, node, view)
    }

    pub fn heard(&mut self, now: u64, node: NodeId) -> Vec<Action> {
        if let Some(watched) = self.nodes.get_mut(&node) {
            // A late word of a link that broke says nothing about now.
            if watched.incarnation.is_some() && !watched.broke {
                if watched.gaps.len() == GAPS {
                    watched.gaps.pop_front();
                }
                watched.gaps.push_back(now.saturating_sub(watched.heard));
                watched.lives(now);
            }
        }
        Vec::new()
    }

    pub fn has_evidence(&self, now: u64, about: NodeId) -> bool {
        let watched = self.nodes.get(&about);
        watched.is_some_and(|watched| watched.is_dead(now))
    }

    pub fn link_broke(
        &mut self,
        now: u64,
        node: NodeId,
        incarnation: u64,
        view: &dyn Fn() -> Vec<View>,
    ) -> Vec<Action> {
        match self.nodes.get_mut(&node) {
            // Of an older link: the newer one says more.
            Some(watched) if watched.incarnation == Some(incarnation) => watched.broke = true,
            _ => return Vec::new(),
        }
        self.judge(now, node, view)
    }

    pub fn refused(&mut self, now: u64, node: NodeId, view: &dyn Fn() -> Vec<View>) -> Vec<Action> {
        match self.nodes.get_mut(&node) {
            Some(watched) if watched.broke => watched.refused = true,
            _ => return Vec::new(),
        }
        self.judge(now, node, view)
    }

    pub fn tick(&mut self, now: u64, view: &dyn Fn() -> Vec<View>) -> Vec<Action> {
        if now.saturating_sub(self.last_tick) > STALL_MS {
            self.nodes
                .values_mut()
                .for_each(|watched| watched.heard = now);
        }
        self.last_tick = now;
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        nodes
            .into_iter()
            .flat_map(|node| self.judge(now, node, view))
            .collect()
    }

    /// `from` says that `about` is dead. Whether this node agrees, from evidence of its own,
    /// and where it stands.
    pub fn suspected(
        &mut self,
        now: u64,
        from: NodeId,
        about: NodeId,
        incarnation: u64,
        tails: Vec<Tail>,
        view: &dyn Fn() -> Vec<View>,
    ) -> (bool, Vec<Tail>, Vec<Action>) {
        if !self.note(now, from, about, incarnation, tails) {
            return (false, Vec::new(), Vec::new());
        }
        // Kept even where we do not agree: our own evidence may be a moment away.
        let agreed = self
            .nodes
            .get(&about)
            .is_some_and(|watched| watched.is_dead(now));
        if !agreed && !mutant!("suspicion_without_own_evidence") {
            return (false, Vec::new(), Vec::new());
        }
        let actions = self.judge(now, about, view);
        let led = view()
            .into_iter()
            .map(|v| v.tail)
            .filter(|tail| tail.led_by(about));
        (true, led.collect(), actions)
    }

    /// `from` agrees with this node.
    pub fn agreed(
        &mut self,
        now: u64,
        from: NodeId,
        about: NodeId,
        incarnation: u64,
        tails: Vec<Tail>,
        view: &dyn Fn() -> Vec<View>,
    ) -> Vec<Action> {
        if !self.note(now, from, about, incarnation, tails) {
            return Vec::new();
        }
        self.judge(now, about, view)
    }

    fn note(
        &mut self,
        now: u64,
        from: NodeId,
        about: NodeId,
        incarnation: u64,
        tails: Vec<Tail>,
    ) -> bool {
        let Some(watched) = self.nodes.get_mut(&about) else {
            return false;
        };
        if watched.incarnation != Some(incarnation) || from == about || from == self.me {
            return false;
        }
        watched.said.insert(from, (now, tails));
        true
    }

    /// Asks around and takes over, where there is evidence against a node.
    fn judge(&mut self, now: u64, about: NodeId, view: &dyn Fn() -> Vec<View>) -> Vec<Action> {
        let me = self.me;
        let Some(watched) = self.nodes.get_mut(&about) else {
            return Vec::new();
        };
        if !watched.is_dead(now) {
            watched.suspected = None;
            return Vec::new();
        }
        let mut led = view();
        led.retain(|v| v.tail.led_by(about));
        if led.is_empty() {
            watched.suspected = None;
            watched.reborn = None;
            return Vec::new();
        }
        let mut actions = Vec::new();
        let first = watched.suspected.is_none();
        let suspected = watched.suspected.get_or_insert_with(|| Suspected {
            since: now,
            asked: now,
            acted: BTreeMap::new(),
        });
        if first || now.saturating_sub(suspected.asked) >= TURN_MS {
            suspected.asked = now;
            self.rounds += 1;
            let tails: Vec<Tail> = led.iter().map(|v| v.tail.clone()).collect();
            let incarnation = watched.incarnation.unwrap_or_default();
            let round = self.rounds;
            let others = voters_but(&led, [me, about]);
            actions.extend(others.into_iter().map(|to| Action::Suspect {
                to,
                about,
                incarnation,
                round,
                tails: tails.clone(),
            }));
        }
        watched
            .said
            .retain(|_, (at, _)| now.saturating_sub(*at) <= SAID_MS);
        let turn = now.saturating_sub(suspected.since) / TURN_MS;
        for View { tail, voters } in led {
            let ours = |t: &&Tail| t.group == tail.group && t.vote == tail.vote;
            let said = watched.said.iter();
            let mut agree: Vec<(Option<LogId>, NodeId)> = said
                .filter_map(|(node, (_, tails))| Some((tails.iter().find(ours)?.last, *node)))
                .collect();
            agree.push((tail.last, me));
            let majority = |set: &Vec<NodeId>| {
                agree.iter().filter(|(_, node)| set.contains(node)).count() > set.len() / 2
            };
            let voter = voters.iter().any(|set| set.contains(&me));
            let quorum = voters.iter().all(majority);
            if !voter || voters.is_empty() || !(quorum || mutant!("suspicion_without_quorum")) {
                continue;
            }
            let ahead = |other: &&(Option<LogId>, NodeId)| **other > (tail.last, me);
            let better = agree.iter().filter(ahead).count() as u64;
            let tried = suspected.acted.get(&tail.group).copied();
            let again = tried.is_none_or(|(vote, at)| {
                vote != tail.vote || now.saturating_sub(at) >= TURN_MS * agree.len() as u64
            });
            if better <= turn && again {
                suspected.acted.insert(tail.group, (tail.vote, now));
                actions.push(Action::TakeOver { about, tail });
            }
        }
        actions
    }
}

/// All voters of these groups but two.
fn voters_but(groups: &[View], but: [NodeId; 2]) -> BTreeSet<NodeId> {
    let voters = groups.iter().flat_map(|v| v.voters.iter().flatten());
    voters.filter(|node| !but.contains(node)).copied().collect()
}
