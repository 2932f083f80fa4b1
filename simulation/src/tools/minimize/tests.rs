use super::*;
use crate::plan::{Act, Client, Document, Fault, FaultKind, Host, Role, VERSION, What, World};

fn act(at_ms: u64, what: What) -> Act {
    Act {
        at_ms,
        seed: at_ms,
        what,
    }
}

fn fault(at_ms: u64, kind: FaultKind) -> Fault {
    Fault {
        at_ms,
        seed: at_ms,
        kind,
    }
}

/// Five nodes, two routers, eight clients with ten acts each, thirteen faults.
pub fn large() -> Plan {
    let client = |number: u32| Client {
        number,
        user: number,
        router: number % 2,
        document: number % 3,
        json: number.is_multiple_of(2),
        stubborn: false,
        joins_ms: 0,
        acts: (0..10)
            .map(|i| {
                let what = match i {
                    3 => What::Paste { units: 50 },
                    4 => What::Move { router: 1 },
                    _ => What::Type {
                        letters: 20,
                        gap_ms: 10,
                    },
                };
                act(i * 900 + u64::from(number), what)
            })
            .collect(),
    };
    let crash = |at_ms, nodes: &[u32]| {
        let kind = FaultKind::Crash {
            nodes: nodes.to_vec(),
            power: true,
            for_ms: 700,
        };
        fault(at_ms, kind)
    };
    let mut faults: Vec<_> = (0..10).map(|i| crash(i * 500, &[1, 2, 5])).collect();
    faults.push(fault(
        5_000,
        FaultKind::Partition {
            a: vec![Host::Node(1), Host::Client(3)],
            b: vec![Host::Node(2), Host::Node(3), Host::Router(1)],
            one_way: false,
            for_ms: 900,
        },
    ));
    faults.push(fault(
        6_000,
        FaultKind::RouterCrash {
            router: 1,
            for_ms: 400,
        },
    ));
    faults.push(fault(7_000, FaultKind::Wiped { node: 5 }));
    Plan {
        version: VERSION,
        seed: 7,
        scenario: None,
        mutant: None,
        world: World {
            nodes: 5,
            routers: 2,
            groups: 8,
            latency_ms: (1, 5),
            sync_us: (100, 900),
            window_events: 64,
            refusal_records: 8,
            tick_ms: 1,
            tail_commands: 100,
            round_bytes: 4 << 10,
            quiet_ms: 3_600_000,
            memory_kib: 64,
            unarchived_kib: 1 << 20,
            retention_ms: 0,
            socket_queue_bytes: 1 << 20,
            safety_ms: 12_000,
        },
        documents: (0..3)
            .map(|i| Document {
                rich: i == 1,
                owner: i,
                initial: 100,
                grants: vec![(i + 1, Role::Editor)],
            })
            .collect(),
        clients: (0..8).map(client).collect(),
        faults,
    }
}

/// Every list and reference of a plan that the judge sees must be in order.
fn assert_sound(plan: &Plan) {
    let mut tidied = plan.clone();
    tidy(&mut tidied);
    assert_eq!(&tidied, plan, "names what is not there");
    assert!(fits(plan));
}

#[test]
fn what_the_failure_needs_is_left_and_nothing_else() {
    // Fails where client 3 pastes at least 5 units while node 2 is down by a crash.
    let needs = |plan: &Plan| {
        assert_sound(plan);
        let pastes = plan.clients.iter().any(|client| {
            let paste = |act: &Act| matches!(act.what, What::Paste { units } if units >= 5);
            client.number == 3 && client.acts.iter().any(paste)
        });
        let crash = |fault: &Fault| {
            matches!(&fault.kind, FaultKind::Crash { nodes, for_ms, .. }
                if nodes.contains(&2) && *for_ms >= 300)
        };
        pastes && plan.faults.iter().any(crash)
    };
    let plan = large();
    let mut judge = needs;
    let found = minimize(&plan, 1_000, &mut judge);
    assert!(found.complete, "{} tries", found.tries);
    let small = found.plan;
    assert!(needs(&small));
    assert_eq!(small.clients.len(), 1);
    assert_eq!(small.clients[0].number, 3);
    assert_eq!(small.clients[0].acts.len(), 1);
    assert!(matches!(small.clients[0].acts[0].what, What::Paste { units } if units < 8));
    assert_eq!(small.faults.len(), 1);
    let FaultKind::Crash { nodes, for_ms, .. } = &small.faults[0].kind else {
        panic!("{:?}", small.faults);
    };
    assert_eq!(nodes, &[2]);
    assert!((300..450).contains(for_ms), "{for_ms}");
    let world = &small.world;
    assert_eq!((world.nodes, world.routers, world.groups), (3, 1, 1));
    assert_eq!(small.documents.len(), 1);
    assert!(small.documents[0].grants.is_empty());
    assert!(world.safety_ms < 6_000, "{}", world.safety_ms);
    assert_eq!(small.seed, plan.seed);
}

#[test]
fn two_faults_that_only_fail_together_both_stay() {
    let together = |plan: &Plan| {
        let wiped = |f: &Fault| matches!(f.kind, FaultKind::Wiped { .. });
        let cut = |f: &Fault| matches!(f.kind, FaultKind::Partition { .. });
        plan.faults.iter().any(wiped) && plan.faults.iter().any(cut)
    };
    let mut judge = together;
    let small = minimize(&large(), 1_000, &mut judge).plan;
    assert_eq!(small.faults.len(), 2);
    assert_eq!(small.world.nodes, 3, "another may be wiped than node 5");
    let FaultKind::Partition { a, b, .. } = &small.faults[0].kind else {
        panic!("{:?}", small.faults);
    };
    assert_eq!((a.len(), b.len()), (1, 1));
}

#[test]
fn tries_are_bounded_and_none_is_made_twice() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    let mut never = |plan: &Plan| {
        count += 1;
        assert!(seen.insert(serde_json::to_string(plan).expect("a plan")));
        false
    };
    let found = minimize(&large(), 40, &mut never);
    assert_eq!((found.tries, count), (40, 40));
    assert!(!found.complete);
    assert_eq!(found.plan, large());
    let mut always = |_: &Plan| true;
    let found = minimize(&large(), 1_000, &mut always);
    assert!(found.complete);
    assert!(found.plan.faults.is_empty());
    assert_eq!(found.plan.clients.len(), 1);
}
