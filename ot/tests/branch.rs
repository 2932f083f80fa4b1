//! A branch beside `transform` and `compose`, and what it costs.
#![allow(clippy::unwrap_used)]

mod common;

use codraft_ot::{Branch, Delta, Kind, OpError};
use common::*;
use proptest::prelude::*;

/// Own work or another's, how far into the document, and what there.
fn turns() -> impl Strategy<Value = Vec<(bool, u32, Vec<Step>)>> {
    prop::collection::vec((any::<bool>(), 0..12u32, steps()), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_branch_is_its_operations_one_by_one(
        (kind, start) in prop_oneof![Just(Kind::Text), Just(Kind::Rich)]
            .prop_flat_map(|kind| (Just(kind), document(kind))),
        begun in steps(),
        turns in turns(),
    ) {
        let mut theirs = content(kind, &start);
        let mut flat = fit(&theirs, &begun);
        let mut mine = applied(&theirs, &flat);
        let mut branch = Branch::new(flat.clone());
        for (is_own, skip, steps) in turns {
            let steps: Vec<Step> = std::iter::once(Step::Retain(skip)).chain(steps).collect();
            if is_own {
                let next = fit(&mine, &steps);
                mine = applied(&mine, &next);
                flat = flat.compose(&next).unwrap();
                branch.compose(&next).unwrap();
            } else {
                let earlier = fit(&theirs, &steps);
                theirs = applied(&theirs, &earlier);
                let moved = flat.transform(&earlier, false);
                mine = applied(&mine, &moved);
                flat = earlier.transform(&flat, true);
                prop_assert_eq!(branch.pass(&earlier), moved);
            }
            prop_assert_eq!(branch.is_empty(), flat.is_empty());
            prop_assert_eq!(&branch.clone().finish(), &flat);
        }
        prop_assert_eq!(applied(&theirs, &flat).to_delta(), mine.to_delta());
    }
}

#[test]
fn half_of_a_pair_is_refused_and_nothing_changes() {
    let mut written = Delta::new();
    written.retain(2).insert("a😀b");
    let mut branch = Branch::new(written.clone());
    for next in [
        Delta::new().retain(4).insert("x").clone(),
        Delta::new().retain(4).delete(1).clone(),
        Delta::new().delete(4).clone(),
    ] {
        let refused = written.compose(&next).unwrap_err();
        assert!(matches!(refused, OpError::SplitSurrogate { .. }));
        let refused = branch.compose(&next).unwrap_err();
        assert!(matches!(refused, OpError::SplitSurrogate { .. }));
        assert_eq!(branch.clone().finish(), written);
    }
}

/// So many letters here and there in a document of so many units; one in four is a deletion.
fn scattered(units: u64, operations: usize, seed: u64) -> Vec<Delta> {
    let (mut state, mut length) = (seed, units);
    let mut one = |number: usize| {
        // Knuth's generator; its high bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut delta = Delta::new();
        delta.retain(((state >> 33) % length) as u32);
        if number.is_multiple_of(4) {
            delta.delete(1);
            length -= 1;
        } else {
            delta.insert("x");
            length += 1;
        }
        delta
    };
    (0..operations).map(&mut one).collect()
}

/// A letter behind every second one, from the beginning on.
fn in_order(operations: u32) -> Vec<Delta> {
    let letter = |number: u32| Delta::new().retain(3 * number + 1).insert("x").clone();
    (0..operations).map(letter).collect()
}

/// What one operation costs in a branch of so many, and past so many.
fn effort(own: &[Delta], others: &[Delta]) -> u64 {
    let mut branch = Branch::default();
    for next in own {
        branch.compose(next).unwrap();
    }
    for earlier in others {
        branch.pass(earlier);
    }
    branch.effort() / (own.len() + others.len()) as u64
}

#[test]
fn what_an_operation_costs_grows_with_the_logarithm_of_the_branch() {
    let costs = |count: u32| {
        let some = |seed| scattered(1_000_000, count as usize, seed);
        [
            effort(&some(1), &some(2)),
            effort(&in_order(count), &some(3)),
            effort(&some(4), &in_order(count)),
        ]
    };
    for (short, long) in std::iter::zip(costs(1_000), costs(32_000)) {
        // Half as many levels again; to go through all would be 32 times as much.
        assert!(long < 2 * short, "{short} nodes, then {long}");
        assert!(long < 200, "{long} nodes");
    }
}
