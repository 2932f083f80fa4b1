//! Placement against `tests/vectors/placement.json`: a document that moves is a document lost.
//! A change of this table is a change of every cluster's data; there is no writer for it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId, Slot},
    placement::{REPLICATION, SLOTS, group_of, replicas, routers, slot_of},
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/placement.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect()
}

#[test]
fn slots_are_as_pinned() {
    for row in vectors()["slots"].as_array().unwrap() {
        let doc: DocId = row["doc"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            u64::from(slot_of(&doc).0),
            row["slot"].as_u64().unwrap(),
            "{row}"
        );
        for (groups, group) in row["groups"].as_object().unwrap() {
            let found = group_of(slot_of(&doc), groups.parse().unwrap());
            assert_eq!(u64::from(found.0), group.as_u64().unwrap(), "{row}");
        }
    }
}

#[test]
fn replicas_are_as_pinned() {
    for row in vectors()["replicas"].as_array().unwrap() {
        let nodes: Vec<NodeId> = numbers(&row["nodes"]).into_iter().map(NodeId).collect();
        let mut reversed = nodes.clone();
        reversed.reverse();
        for (group, expected) in row["groups"].as_array().unwrap().iter().enumerate() {
            let found = replicas(GroupId(group as u32), &nodes);
            assert_eq!(
                found,
                replicas(GroupId(group as u32), &reversed),
                "order of the file"
            );
            let found: Vec<u64> = found.into_iter().map(|n| n.0).collect();
            assert_eq!(found, numbers(expected), "group {group} of {row}");
        }
    }
}

#[test]
fn replicas_are_distinct_and_as_many_as_there_can_be() {
    for count in 0..12 {
        let nodes: Vec<NodeId> = (1..=count).map(NodeId).collect();
        for group in 0..64 {
            let found = replicas(GroupId(group), &nodes);
            let distinct: BTreeSet<_> = found.iter().collect();
            assert_eq!(distinct.len(), found.len());
            assert_eq!(found.len(), REPLICATION.min(nodes.len()));
        }
    }
}

#[test]
fn slots_and_groups_share_evenly() {
    let mut of_slot = vec![0u32; usize::from(SLOTS)];
    for n in 0..200_000u128 {
        of_slot[usize::from(slot_of(&DocId(n.to_le_bytes())).0)] += 1;
    }
    let (least, most) = (of_slot.iter().min().unwrap(), of_slot.iter().max().unwrap());
    assert!(*least > 15 && *most < 95, "{least} to {most} of about 49");
    for groups in [1, 4, 7, 256] {
        let mut of_group = vec![0u32; groups as usize];
        (0..SLOTS).for_each(|slot| of_group[group_of(Slot(slot), groups).0 as usize] += 1);
        assert!(of_group.iter().max().unwrap() - of_group.iter().min().unwrap() <= 1);
    }
}

/// Three nodes hold every group; the preferred leaders take turns.
#[test]
fn leaders_are_spread() {
    let nodes = [1, 2, 3].map(NodeId);
    let leaders: Vec<u64> = (0..6).map(|g| replicas(GroupId(g), &nodes)[0].0).collect();
    assert_eq!(leaders, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn routers_are_as_pinned_in_whatever_order_they_are_told() {
    for row in vectors()["routers"].as_array().unwrap() {
        let doc: DocId = row["doc"].as_str().unwrap().parse().unwrap();
        let expected = row["order"].as_array().unwrap().iter();
        let expected: Vec<_> = expected.map(|address| address.as_str().unwrap()).collect();
        let (mut up, mut down) = (expected.clone(), expected.clone());
        up.sort_unstable();
        down.sort_unstable_by(|a, b| b.cmp(a));
        down.extend(up.clone());
        assert_eq!(routers(&doc, up), expected, "{row}");
        assert_eq!(routers(&doc, down), expected, "each once: {row}");
    }
}

/// A router that comes takes its share and moves nothing else.
#[test]
fn documents_stay_where_they_are_when_another_router_comes() {
    let addresses: Vec<_> = (1..=4).map(|n| format!("http://router-{n}.test")).collect();
    let four = || addresses.iter().map(String::as_str);
    let mut of = BTreeMap::new();
    for n in 0..4_000u128 {
        let doc = DocId(n.to_le_bytes());
        let (before, after) = (routers(&doc, four().take(3)), routers(&doc, four()));
        *of.entry(after[0]).or_insert(0) += 1;
        assert!(after[0] == before[0] || after[0] == addresses[3]);
        let rest: Vec<_> = after.into_iter().filter(|a| *a != addresses[3]).collect();
        assert_eq!(rest, before, "who comes next stays so, too");
    }
    assert!(
        of.values().all(|n| (850..=1_150).contains(n)),
        "{of:?} of about 1,000"
    );
}
