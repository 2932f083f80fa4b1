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
        if number % 4 == 0 {
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

/// What one operation costs in a branch of so many, and past so many.
fn effort_of(operations: usize) -> u64 {
    let mut branch = Branch::default();
    for own in scattered(1_000_000, operations, 1) {
        branch.compose(&own).unwrap();
    }
    for earlier in scattered(1_000_000, operations, 2) {
        branch.pass(&earlier);
    }
    branch.effort() / (2 * operations as u64)
}

#[test]
fn what_an_operation_costs_grows_with_the_logarithm_of_the_branch() {
    let [short, long] = [1_000, 32_000].map(effort_of);
    // Five times as many levels, and each level costs a few nodes; to go through it would be 32.
    assert!(long < 2 * short, "{short} nodes, then {long}");
    assert!(long < 200, "{long} nodes");
}
