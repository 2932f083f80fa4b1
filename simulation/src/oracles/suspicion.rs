//! Nobody is replaced without a majority that has evidence of its own (O14: of what makes a
//! failover fast, what could make it wrong).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Notes, Oracle, logs::Members, named};
use crate::{
    record::{DriverSeen, Entry, NodeSeen, Seen},
    verdict::Violation,
};

/// What was said longer ago counts no more: it is believed for a second, and was on its way.
const SAID: Duration = Duration::from_millis(1_500);
/// The same while a fault may hold messages up.
const HELD_UP: Duration = Duration::from_secs(12);
/// A take-over that is not won by then was lost.
const WON: Duration = Duration::from_millis(450);
/// With fewer take-overs it may have been bad luck.
const ENOUGH: u32 = 2;

pub struct Suspicion {
    members: BTreeMap<u32, Members>,
    /// By suspect: who held it for dead, and when last.
    suspects: BTreeMap<u64, BTreeMap<u64, Duration>>,
    /// By group, the first attempt to take it over since somebody led it last; none where the
    /// network or a disk may be in its way.
    trying: BTreeMap<u32, Option<Duration>>,
    /// Faults that slow or cut off the living, as far as they are on.
    on: BTreeSet<String>,
    /// When one last was.
    troubled: Option<Duration>,
    tried: u32,
    won: u32,
    /// When the last one that was not won began.
    lost: Duration,
    notes: Notes,
}

impl Default for Suspicion {
    fn default() -> Self {
        let promised = "a leader is replaced by a majority that has evidence of its own, and \
                        then at once";
        Self {
            members: BTreeMap::new(),
            suspects: BTreeMap::new(),
            trying: BTreeMap::new(),
            on: BTreeSet::new(),
            troubled: None,
            tried: 0,
            won: 0,
            lost: Duration::ZERO,
            notes: Notes::new("suspicion", "O14", promised),
        }
    }
}

impl Suspicion {
    /// Whether those agree that a node goes by who takes over. One whose place another has by now may not
    /// have heard of it, and is elected by nobody.
    fn agree(&self, group: u32, node: u64, from: u64, at: Duration) -> bool {
        let said = self.suspects.get(&from);
        let lasts = if self.is_troubled(at) { HELD_UP } else { SAID };
        let lately = |node: &u64| {
            let told = said.and_then(|said| said.get(node));
            told.is_some_and(|told| at <= *told + lasts)
        };
        // Before its members are known nothing can be said.
        let members = self
            .members
            .get(&group)
            .filter(|members| !members.is_empty());
        members.is_none_or(|members| !members.has(node) || members.majority(|voter| lately(&voter)))
    }

    fn is_troubled(&self, at: Duration) -> bool {
        let lately = self
            .troubled
            .is_some_and(|then| at < then + Duration::from_secs(2));
        !self.on.is_empty() || lately
    }
}

/// Whether a fault, as the driver tells of it, may be in the way of those who take over for as
/// long as it lasts.
fn slows(what: &str) -> bool {
    let kinds = [
        "Partition",
        "Flap",
        "Delay",
        "Loss",
        "Pause",
        "DiskSlow",
        "DiskFull",
        "SyncError",
        "Corrupt",
        "Clock",
    ];
    kinds.iter().any(|kind| what.starts_with(kind))
}

impl Oracle for Suspicion {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let at = entry.at;
        match &entry.seen {
            Seen::Node(NodeSeen::Appended {
                group,
                index,
                term,
                leader,
                voters,
                ..
            }) => {
                let members = self.members.entry(*group).or_default();
                members.appended(*index, (*term, *leader), voters);
            }
            Seen::Node(NodeSeen::Suspects {
                node,
                about,
                evidence,
                ..
            }) => {
                if *evidence {
                    self.suspects.entry(*about).or_default().insert(*node, at);
                } else {
                    let what = "a node agreed to a suspicion without evidence of its own";
                    self.notes
                        .broken(found, at, what, || format!("node {node} about {about}"));
                }
            }
            Seen::Node(NodeSeen::TakesOver {
                node, group, from, ..
            }) => {
                if !self.agree(*group, *node, *from, at) {
                    let what = "a group was taken over without a majority that suspects";
                    let broken = || format!("node {node}, group {group}, from {from}");
                    self.notes.broken(found, at, what, broken);
                }
                let clean = (!self.is_troubled(at)).then_some(at);
                self.trying.entry(*group).or_insert(clean);
            }
            Seen::Node(NodeSeen::Leads { group, .. }) => {
                if let Some(Some(since)) = self.trying.remove(group)
                    && !self.is_troubled(at)
                {
                    self.tried += 1;
                    match at <= since + WON {
                        true => self.won += 1,
                        false => self.lost = since,
                    }
                }
            }
            // The node that was about to take over, or to vote, may be the next to die.
            Seen::Driver(DriverSeen::Fault { what, begins: true }) if !slows(what) => {
                self.trying.values_mut().for_each(|since| *since = None);
            }
            Seen::Driver(DriverSeen::Fault { what, begins }) if slows(what) => {
                self.troubled = Some(at);
                if *begins {
                    self.on.insert(what.clone());
                } else {
                    self.on.remove(what);
                }
            }
            Seen::Driver(DriverSeen::Healing) => {
                self.on.clear();
                self.troubled = Some(at);
            }
            _ => {}
        }
    }

    fn end(&mut self, _: Duration, found: &mut Vec<Violation>) {
        if self.tried >= ENOUGH && self.won == 0 {
            let tried = self.tried;
            let what = "not one leader that died was replaced at once";
            let broken = || format!("{tried} were tried, this is the last");
            self.notes.broken(found, self.lost, what, broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::{DriverSeen, NodeSeen};

    fn suspects(node: u64, evidence: bool) -> NodeSeen {
        NodeSeen::Suspects {
            node,
            life: 1,
            about: 1,
            evidence,
        }
    }

    const TAKES_OVER: NodeSeen = NodeSeen::TakesOver {
        node: 2,
        life: 1,
        group: GROUP,
        from: 1,
    };

    fn elect(story: &mut Story, term: u64) {
        story.vote(2, term, 2, false);
        story.vote(3, term, 2, false);
        story.leads(2, term);
    }

    #[test]
    fn a_majority_takes_over() {
        let mut story = story();
        story.node(suspects(2, true));
        story.node(suspects(3, true));
        story.node(TAKES_OVER);
        elect(&mut story, 2);
        assert_clean(story);
    }

    #[test]
    fn one_alone_is_found() {
        let mut story = story();
        story.node(suspects(2, true));
        story.node(TAKES_OVER);
        assert_found(
            story,
            "O14 a group was taken over without a majority that suspects",
        );
    }

    /// It has not heard that another node has its seat, goes by the members of before and is elected by nobody.
    #[test]
    fn who_is_no_voter_any_more_goes_by_those_it_knows() {
        let mut story = story();
        story.node(NodeSeen::Appended {
            node: 3,
            life: 1,
            group: GROUP,
            index: 1_000,
            term: 1,
            leader: 1,
            hash: [0; 32],
            voters: vec![vec![1, 3, 4]],
        });
        story.node(suspects(2, true));
        story.node(TAKES_OVER);
        let found = found_by(&mut super::Suspicion::default(), story);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn agreeing_without_evidence_is_found() {
        let mut story = story();
        story.node(suspects(3, false));
        assert_found(
            story,
            "O14 a node agreed to a suspicion without evidence of its own",
        );
    }

    #[test]
    fn take_overs_that_are_never_won_are_found() {
        let fault = |what: &str| DriverSeen::Fault {
            what: what.to_owned(),
            begins: true,
        };
        for (wait_ms, trouble, death, expected) in [
            (1_500, false, false, 1),
            (100, false, false, 0),
            (1_500, true, false, 0),
            (1_500, false, true, 0),
        ] {
            let mut oracle = super::Suspicion::default();
            let mut story = Story::new();
            if trouble {
                story.driver(fault("Partition {}"));
            }
            for term in 2..6 {
                story.node(suspects(2, true));
                story.node(suspects(3, true));
                story.node(TAKES_OVER);
                if death {
                    story.driver(fault("Crash {}"));
                }
                story.wait(wait_ms);
                elect(&mut story, term);
            }
            assert_eq!(
                found_by(&mut oracle, story).len(),
                expected,
                "{wait_ms} {trouble} {death}"
            );
        }
    }
}
