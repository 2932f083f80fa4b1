//! One wrong clock among three or more does not get into a document.

use std::{collections::BTreeSet, time::Duration};

use super::{Notes, Oracle, named};
use crate::{
    overrides,
    plan::{FaultKind, Host, Plan},
    record::{Entry, NodeSeen, Seen},
    verdict::Violation,
};

/// How far from the median a clock is believed (2 s), and what an entry may be late.
const OFF: Duration = Duration::from_millis(2_500);
/// A node that has just started knows no other clock yet.
const SETTLES: Duration = Duration::from_secs(2);

pub struct Times {
    /// Where more break than one clock, a leader may know of too few to judge by.
    judges: bool,
    notes: Notes,
}

impl Times {
    pub fn new(plan: &Plan) -> Self {
        let kinds = || plan.faults.iter().map(|fault| &fault.kind);
        let node = |kind: &FaultKind| match kind {
            FaultKind::Clock {
                host: Host::Node(n),
                ..
            } => Some(*n),
            _ => None,
        };
        let wrong: BTreeSet<u32> = kinds().filter_map(node).collect();
        let promised = "a stamp lies no more than 2 s ahead of most clocks";
        Self {
            judges: wrong.len() == 1 && kinds().all(|kind| node(kind).is_some()),
            notes: Notes::new("times", "times", promised),
        }
    }
}

impl Oracle for Times {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Node(NodeSeen::Applied {
            group,
            index,
            ts_ms,
            ..
        }) = &entry.seen
        else {
            return;
        };
        let now = overrides::EPOCH + entry.at;
        let ahead = Duration::from_millis(*ts_ms).saturating_sub(now);
        if self.judges && entry.at > SETTLES && ahead > OFF {
            let broken = || format!("group {group}, index {index}: {ahead:?} ahead");
            let what = "a stamp from a clock that is far ahead of the others";
            self.notes.broken(found, entry.at, what, broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Oracle, *};
    use crate::{
        oracles::testing::{DOC, GROUP},
        plan::Fault,
    };

    fn found(faults: Vec<FaultKind>, ahead: Duration) -> usize {
        let mut plan = Plan::from_seed(1);
        let fault = |kind| Fault {
            at_ms: 0,
            seed: 0,
            kind,
        };
        plan.faults = faults.into_iter().map(fault).collect();
        let at = Duration::from_secs(60);
        let seen = NodeSeen::Applied {
            node: 1,
            life: 1,
            group: GROUP,
            index: 9,
            doc: DOC,
            rev: 1,
            kind: "edit".into(),
            user: "user-1".into(),
            client: None,
            seq: 1,
            ts_ms: (overrides::EPOCH + at + ahead).as_millis() as u64,
            edit: None,
            restores: None,
            grant: None,
            chain: [0; 32],
        };
        let mut found = Vec::new();
        let entry = Entry {
            at,
            seen: Seen::Node(seen),
        };
        Times::new(&plan).see(&entry, &mut found);
        found.len()
    }

    #[test]
    fn a_stamp_from_a_wrong_clock_is_found_where_two_others_are_right() {
        let wrong = |node| FaultKind::Clock {
            host: Host::Node(node),
            ms: 60_000,
            for_ms: 1_000,
        };
        let hour = Duration::from_secs(3_600);
        assert_eq!(found(vec![wrong(1), wrong(1)], hour), 1);
        assert_eq!(found(vec![wrong(1)], Duration::from_secs(2)), 0);
        assert_eq!(found(vec![wrong(1), wrong(2)], hour), 0);
    }
}
