use super::detector::{Action, Detector, SILENCE_MS, TURN_MS, Tail, View};
use crate::types::{LeaderId, LogId, Vote};
use codraft_proto::ids::{GroupId, NodeId};

const X: NodeId = NodeId(1);
const ME: NodeId = NodeId(2);
const OTHER: NodeId = NodeId(3);

fn tail(index: u64) -> Tail {
    let leader_id = LeaderId {
        term: 4,
        node_id: X.0,
    };
    let last = Some(LogId { leader_id, index });
    Tail {
        group: GroupId(0),
        vote: Vote {
            leader_id,
            committed: true,
        },
        last,
    }
}

fn view(index: u64, nodes: u64) -> impl Fn() -> Vec<View> {
    let voters = vec![(1..=nodes).map(NodeId).collect()];
    move || {
        vec![View {
            tail: tail(index),
            voters: voters.clone(),
        }]
    }
}

fn up() -> Detector {
    let mut detector = Detector::new(ME);
    detector.tick(0, &view(9, 3));
    detector.link_up(0, X, 7, &view(9, 3));
    detector
}

fn takes_over(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::TakeOver { .. }))
}

fn asks(actions: &[Action]) -> Vec<NodeId> {
    let to = |a: &Action| match a {
        Action::Suspect { to, .. } => Some(*to),
        Action::TakeOver { .. } => None,
    };
    actions.iter().filter_map(to).collect()
}

/// Both halves of the evidence, at `now`.
fn dies(detector: &mut Detector, now: u64, view: &dyn Fn() -> Vec<View>) -> Vec<Action> {
    assert_eq!(
        detector.link_broke(now, X, 7, view),
        [],
        "a broken stream alone is no evidence"
    );
    detector.refused(now, X, view)
}

#[test]
fn a_majority_takes_over_at_once() {
    let mut detector = up();
    let view = view(9, 3);
    let actions = dies(&mut detector, 10, &view);
    assert_eq!(asks(&actions), [OTHER]);
    assert!(!takes_over(&actions), "one of three is no majority");
    let actions = detector.agreed(11, OTHER, X, 7, vec![tail(9)], &view);
    assert!(
        !takes_over(&actions),
        "the other one is the better by its id"
    );
    let mut detector = up();
    dies(&mut detector, 10, &view);
    let actions = detector.agreed(11, OTHER, X, 7, vec![tail(8)], &view);
    assert_eq!(
        actions,
        [Action::TakeOver {
            about: X,
            tail: tail(9)
        }]
    );
    assert_eq!(detector.tick(12, &view), [], "only once");
}

#[test]
fn of_five_two_are_not_enough() {
    let mut detector = up();
    let view = view(9, 5);
    dies(&mut detector, 10, &view);
    assert!(!takes_over(&detector.agreed(
        11,
        OTHER,
        X,
        7,
        vec![tail(8)],
        &view
    )));
    assert!(takes_over(&detector.agreed(
        12,
        NodeId(4),
        X,
        7,
        vec![tail(8)],
        &view
    )));
}

#[test]
fn both_configurations_must_agree_while_joint() {
    let mut detector = up();
    let sets = vec![vec![X, ME, OTHER], vec![X, NodeId(4), NodeId(5)]];
    let view = move || {
        vec![View {
            tail: tail(9),
            voters: sets.clone(),
        }]
    };
    dies(&mut detector, 10, &view);
    assert!(!takes_over(&detector.agreed(
        11,
        OTHER,
        X,
        7,
        vec![tail(8)],
        &view
    )));
    assert!(!takes_over(&detector.agreed(
        11,
        NodeId(4),
        X,
        7,
        vec![tail(8)],
        &view
    )));
    assert!(takes_over(&detector.agreed(
        11,
        NodeId(5),
        X,
        7,
        vec![tail(8)],
        &view
    )));
}

#[test]
fn evidence_must_be_our_own() {
    let mut detector = up();
    let view = view(9, 3);
    let (agreed, tails, actions) = detector.suspected(10, OTHER, X, 7, vec![tail(8)], &view);
    assert!(!agreed && tails.is_empty() && actions.is_empty());
    // What was said is kept, and counts the moment we see it too.
    assert!(takes_over(&dies(&mut detector, 11, &view)));
    let (agreed, tails, _) = detector.suspected(12, OTHER, X, 7, vec![tail(8)], &view);
    assert!(agreed);
    assert_eq!(tails, [tail(9)]);
}

#[test]
fn the_shorter_log_waits_for_the_longer_one() {
    let mut detector = up();
    let view = view(9, 3);
    dies(&mut detector, 10, &view);
    assert!(!takes_over(&detector.agreed(
        11,
        OTHER,
        X,
        7,
        vec![tail(10)],
        &view
    )));
    assert!(!takes_over(&detector.tick(10 + TURN_MS - 1, &view)));
    assert!(
        takes_over(&detector.tick(10 + TURN_MS, &view)),
        "it did not act in its turn"
    );
}

#[test]
fn another_vote_does_not_count() {
    let mut detector = up();
    let view = view(9, 3);
    dies(&mut detector, 10, &view);
    let mut moved_on = tail(8);
    moved_on.vote.leader_id.term += 1;
    assert!(!takes_over(&detector.agreed(
        11,
        OTHER,
        X,
        7,
        vec![moved_on],
        &view
    )));
}

#[test]
fn what_was_said_of_an_old_incarnation_is_void() {
    let mut detector = up();
    let view = view(9, 3);
    dies(&mut detector, 10, &view);
    detector.link_up(20, X, 8, &view);
    let late = detector.agreed(21, OTHER, X, 7, vec![tail(8)], &view);
    assert!(!takes_over(&late));
    assert!(!detector.suspected(22, OTHER, X, 7, vec![tail(8)], &view).0);
    assert_eq!(
        detector.link_broke(23, X, 7, &view),
        [],
        "a late word of the old link"
    );
    assert_eq!(detector.refused(23, X, &view), []);
}

#[test]
fn a_new_incarnation_is_evidence_against_what_the_old_one_led() {
    let mut detector = up();
    let leads = view(9, 3);
    assert_eq!(asks(&detector.link_up(20, X, 8, &leads)), [OTHER]);
    // Alive as it is, one other that saw the same is a majority.
    detector.heard(25, X);
    assert!(takes_over(&detector.agreed(
        26,
        OTHER,
        X,
        8,
        vec![tail(8)],
        &leads
    )));
}

#[test]
fn a_new_incarnation_that_led_nothing_is_no_evidence() {
    let mut detector = up();
    let none = Vec::new;
    assert_eq!(detector.link_up(20, X, 8, &none), []);
    let leads_now = view(9, 3);
    assert_eq!(
        detector.tick(21, &leads_now),
        [],
        "what it leads from now on it leads itself"
    );
    assert!(
        !detector
            .suspected(22, OTHER, X, 8, vec![tail(8)], &leads_now)
            .0
    );
}

#[test]
fn being_reborn_is_forgotten() {
    let mut detector = up();
    let leads = view(9, 3);
    detector.link_up(20, X, 8, &leads);
    for now in (100..1_200).step_by(100) {
        detector.heard(now, X);
        detector.tick(now, &leads);
    }
    assert_eq!(detector.tick(1_250, &leads), []);
    assert!(
        !detector
            .suspected(1_251, OTHER, X, 8, vec![tail(8)], &leads)
            .0
    );
}

#[test]
fn silence_is_evidence_unless_it_is_ours() {
    let mut detector = up();
    let view = view(9, 3);
    let mut now = 0;
    while now < 1_000 {
        now += 100;
        detector.heard(now, X);
        assert_eq!(detector.tick(now, &view), []);
    }
    let silent = now;
    loop {
        now += 100;
        let actions = detector.tick(now, &view);
        if now - silent <= SILENCE_MS {
            assert_eq!(actions, [], "too early at {} ms", now - silent);
        } else {
            assert_eq!(asks(&actions), [OTHER]);
            break;
        }
    }
    let mut detector = up();
    assert_eq!(detector.tick(5_000, &view), [], "we slept, not they");
}

#[test]
fn uneven_pulses_make_it_patient() {
    let mut detector = up();
    let view = view(9, 3);
    let mut now = 0;
    for _ in 0..20 {
        now += 300;
        detector.heard(now, X);
        detector.tick(now, &view);
    }
    for silence in [300, 600, 900, 1_200, 1_500, 1_800] {
        assert_eq!(
            detector.tick(now + silence, &view),
            [],
            "after {silence} ms"
        );
    }
    assert_eq!(asks(&detector.tick(now + 1_801, &view)), [OTHER]);
}

#[test]
fn who_leads_nothing_is_left_alone() {
    let mut detector = up();
    let elsewhere = || {
        let mut view = view(9, 3)();
        view[0].tail.vote.leader_id.node_id = OTHER.0;
        view
    };
    assert_eq!(dies(&mut detector, 10, &elsewhere), []);
    let (agreed, tails, _) = detector.suspected(11, OTHER, X, 7, vec![], &elsewhere);
    assert!(agreed && tails.is_empty());
}

#[test]
fn a_node_never_seen_is_not_suspected() {
    let mut detector = Detector::new(ME);
    let view = view(9, 3);
    assert_eq!(detector.refused(10, X, &view), []);
    assert_eq!(detector.tick(10_000, &view), []);
    assert!(
        !detector
            .suspected(10_001, OTHER, X, 7, vec![tail(8)], &view)
            .0
    );
}
