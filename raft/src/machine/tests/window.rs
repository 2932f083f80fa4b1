use super::*;
use crate::command::Trim;

#[test]
fn machine_the_window_is_cut_to_half() {
    let mut world = World::with(small_window());
    world.type_until(1, 8);
    assert_eq!(world.doc().floor(), 0);
    world.type_until(1, 9);
    assert_eq!(world.doc().floor(), 5);
    world.type_until(1, 13);
    assert_eq!(world.doc().floor(), 5);
    world.type_until(1, 14);
    assert_eq!(world.doc().floor(), 10);
}

#[test]
fn machine_the_window_is_cut_by_bytes_too() {
    let limits = MachineLimits {
        window_bytes: 1_000,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    for seq in 1..=30 {
        let head = world.head();
        world.edit(ADA, 1, seq, head, &insert(0, &"x".repeat(100)));
    }
    let held = world.doc().events_after(world.doc().floor()).unwrap();
    let bytes: usize = held.map(|event| event.body.len() + 64).sum();
    assert!(bytes <= 1_000 && bytes > 300, "{bytes}");
    // One event larger than the whole window leaves an empty one, and nothing breaks.
    let head = world.head();
    world.edit(ADA, 1, 31, head, &insert(0, &"x".repeat(2_000)));
    assert_eq!(world.doc().floor(), head + 1);
    assert_eq!(world.doc().events_after(head + 1).unwrap().len(), 0);
    assert_eq!(world.doc().hash_at(head + 1), Some(world.doc().hash()));
    assert_eq!(
        world.edit(ADA, 1, 32, head, &insert(0, "y")),
        Outcome::Rebase {
            floor: head + 1,
            head: head + 1
        }
    );
    assert_eq!(
        world.edit(ADA, 1, 32, head + 1, &insert(0, "y")),
        Outcome::Applied { rev: head + 2 }
    );
}

#[test]
fn machine_events_and_hashes_are_known_from_the_floor_to_the_head() {
    let mut world = World::with(small_window());
    assert_eq!(world.doc().hash_at(0), Some(codraft_ot::Chain::default()));
    let mut hashes = vec![world.doc().hash_at(0).unwrap(), world.doc().hash()];
    for rev in 2..=9 {
        world.type_until(1, rev);
        hashes.push(world.doc().hash());
    }
    let doc = world.doc();
    for rev in 0..=11u64 {
        let known = (5..=9).contains(&rev);
        assert_eq!(
            doc.hash_at(rev),
            known.then(|| hashes[rev as usize]),
            "{rev}"
        );
        let events = doc
            .events_after(rev)
            .map(|events| events.map(|e| e.rev).collect());
        assert_eq!(
            events,
            known.then(|| (rev + 1..=9).collect::<Vec<_>>()),
            "{rev}"
        );
    }
}

#[test]
fn machine_a_base_at_the_floor_is_transformed_and_one_below_is_not() {
    let mut world = World::with(small_window());
    world.type_until(1, 9);
    assert_eq!(
        world.edit(ADA, 2, 1, 4, &insert(0, "y")),
        Outcome::Rebase { floor: 5, head: 9 }
    );
    assert_eq!(
        world.edit(ADA, 2, 1, 5, &insert(4, "y")),
        Outcome::Applied { rev: 10 }
    );
    assert_eq!(world.text(), "xxxxxxxxy");
}

#[test]
fn machine_too_much_to_transform_is_a_rebase_that_holds() {
    let limits = MachineLimits {
        transform_effort: 12,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    world.type_until(1, 4);
    let far = edit(ADA, 2, 1, 1, &insert(0, "y"));
    // Two components of the operation (retain, insert) past three events of one.
    assert_eq!(
        world.apply(far.clone()).outcome,
        Outcome::Applied { rev: 5 }
    );
    world.type_until(1, 10);
    let far = edit(ADA, 3, 1, 1, &insert(0, "z"));
    for _ in 0..2 {
        let head = world.head();
        assert_eq!(
            world.apply(far.clone()).outcome,
            Outcome::Rebase { floor: 0, head }
        );
        world.type_until(1, head + 1);
    }
    let head = world.head();
    assert_eq!(
        world.edit(ADA, 3, 1, head, &insert(0, "z")),
        Outcome::Applied { rev: head + 1 }
    );
    assert_eq!(world.text().matches('z').count(), 1);
}

#[test]
fn machine_a_quiet_document_is_trimmed_by_command() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "a"));
    world.type_until(2, 6);
    assert_eq!(world.doc().client_records(), 2);
    let trim = |floor| Command::Trim(Trim { doc: DOC, floor });
    let done = world.apply(trim(4));
    assert_eq!(
        (done.outcome, done.event.is_none()),
        (Outcome::Applied { rev: 6 }, true)
    );
    assert_eq!(world.doc().floor(), 4);
    assert_eq!(world.doc().client_records(), 1);
    world.apply(trim(2));
    assert_eq!(world.doc().floor(), 4, "never back");
    world.apply(trim(u64::MAX));
    assert_eq!(world.doc().floor(), 6, "never past the head");
    assert_eq!(
        world.doc().client_records(),
        1,
        "touched at the floor itself: kept"
    );
    world.type_until(2, 7);
}
