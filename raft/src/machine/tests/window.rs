use super::*;
use crate::command::Trim;
use codraft_proto::ids::Revision;

#[test]
fn machine_the_window_is_cut_to_half() {
    let mut world = World::with(small_window());
    world.type_until(1, 8);
    assert_eq!(world.doc().floor(), Revision(0));
    world.type_until(1, 9);
    assert_eq!(world.doc().floor(), Revision(5));
    world.type_until(1, 13);
    assert_eq!(world.doc().floor(), Revision(5));
    world.type_until(1, 14);
    assert_eq!(world.doc().floor(), Revision(10));
}

#[test]
fn machine_the_window_is_cut_by_bytes_too() {
    let limits = MachineLimits {
        window_bytes: 4_000,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    for seq in 1..=30 {
        let head = world.head();
        world.edit(ADA, 1, seq, head, &insert(0, &"x".repeat(100)));
    }
    let held = world.doc().events_after(world.doc().floor()).unwrap();
    let bytes: usize = held.map(|event| event.window_bytes()).sum();
    assert!(bytes <= 4_000 && bytes > 1_200, "{bytes}");
    // One event larger than the whole window leaves an empty one, and nothing breaks.
    let head = world.head();
    world.edit(ADA, 1, 31, head, &insert(0, &"x".repeat(8_000)));
    assert_eq!(world.doc().floor(), Revision(head + 1));
    assert_eq!(
        world.doc().events_after(Revision(head + 1)).unwrap().len(),
        0
    );
    assert_eq!(
        world.doc().hash_at(Revision(head + 1)),
        Some(world.doc().hash())
    );
    assert_eq!(
        world.edit(ADA, 1, 32, head, &insert(0, "y")),
        Outcome::Rebase {
            floor: Revision(head + 1),
            head: Revision(head + 1)
        }
    );
    assert_eq!(
        world.edit(ADA, 1, 32, head + 1, &insert(0, "y")),
        Outcome::Applied {
            rev: Revision(head + 2)
        }
    );
}

/// What a late operation is transformed past is bounded in components, not in events alone.
#[test]
fn machine_the_window_is_cut_by_components_too() {
    let limits = MachineLimits {
        window_components: 100,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    let mut many = Delta::new();
    for _ in 0..10 {
        many.insert("x").retain(1);
    }
    let many = many.chop();
    world.edit(ADA, 1, 1, 1, &insert(0, &"y".repeat(10)));
    for seq in 2..=40 {
        let head = world.head();
        let done = world.edit(ADA, 1, seq, head, &many);
        assert_eq!(
            done,
            Outcome::Applied {
                rev: Revision(head + 1)
            }
        );
        let held = world.doc().events_after(world.doc().floor()).unwrap().len();
        assert!(held <= 7, "{held}");
    }
    assert!(world.doc().floor() > Revision(30));
}

/// The sum of what documents take follows each change, and says what each says.
#[test]
fn machine_the_account_of_memory_is_a_running_total() {
    let mut world = World::shared();
    let sum = |world: &World| -> u64 { world.shard.documents().map(|d| d.heap_bytes()).sum() };
    let before = world.shard.heap_bytes();
    assert_eq!(before, sum(&world));
    let head = world.head();
    world.edit(ADA, 1, 1, head, &insert(0, &"x".repeat(100_000)));
    assert!(
        world.shard.heap_bytes() > before + 200_000,
        "text and history"
    );
    let trim = Trim {
        doc: DOC,
        floor: Revision(u64::MAX),
    };
    world.apply(Command::Trim(trim));
    let head = world.head();
    world.edit(ADA, 1, 2, head, &delete(0, 100_000));
    world.edit(EVE, 9, 1, head, &insert(0, "refused"));
    assert_eq!(world.shard.heap_bytes(), sum(&world));
    assert!(world.shard.heap_bytes() < before + 5_000);
}

#[test]
fn machine_events_and_hashes_are_known_from_the_floor_to_the_head() {
    let mut world = World::with(small_window());
    assert_eq!(
        world.doc().hash_at(Revision(0)),
        Some(codraft_ot::Chain::default())
    );
    let mut hashes = vec![
        world.doc().hash_at(Revision(0)).unwrap(),
        world.doc().hash(),
    ];
    for rev in 2..=9 {
        world.type_until(1, rev);
        hashes.push(world.doc().hash());
    }
    let doc = world.doc();
    for rev in 0..=11u64 {
        let known = (5..=9).contains(&rev);
        assert_eq!(
            doc.hash_at(Revision(rev)),
            known.then(|| hashes[rev as usize]),
            "{rev}"
        );
        let events = doc
            .events_after(Revision(rev))
            .map(|events| events.map(|e| e.rev.0).collect());
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
        Outcome::Rebase {
            floor: Revision(5),
            head: Revision(9)
        }
    );
    assert_eq!(
        world.edit(ADA, 2, 1, 5, &insert(4, "y")),
        Outcome::Applied { rev: Revision(10) }
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
        Outcome::Applied { rev: Revision(5) }
    );
    world.type_until(1, 10);
    let far = edit(ADA, 3, 1, 1, &insert(0, "z"));
    for _ in 0..2 {
        let head = world.head();
        assert_eq!(
            world.apply(far.clone()).outcome,
            Outcome::Rebase {
                floor: Revision(0),
                head: Revision(head)
            }
        );
        world.type_until(1, head + 1);
    }
    let head = world.head();
    assert_eq!(
        world.edit(ADA, 3, 1, head, &insert(0, "z")),
        Outcome::Applied {
            rev: Revision(head + 1)
        }
    );
    assert_eq!(world.text().matches('z').count(), 1);
}

/// A frame's worth of text, and as many components as there may be, past a full window.
#[test]
fn machine_what_fits_a_frame_is_applied_however_late() {
    let mut world = World::empty(MachineLimits::default());
    let initial = insert(0, &"i".repeat(6_000));
    world.apply(create_with(Kind::Text, ADA, Some(&initial)));
    for seq in 1..=4_000 {
        let (head, at) = (world.head(), seq as u32 * 7_919 % 6_000);
        let typed = world.edit(ADA, 1, seq, head, &insert(at, "x"));
        assert_eq!(
            typed,
            Outcome::Applied {
                rev: Revision(head + 1)
            }
        );
    }
    assert_eq!(world.doc().floor(), Revision(0));
    let paste = insert(3_000, &"p".repeat(250 << 10));
    let (mut many, mut deletes) = (Delta::new(), Delta::new());
    for _ in 0..2_500 {
        many.retain(1).insert("m").delete(1).insert("n");
        deletes.retain(1).delete(1);
    }
    for (client, late) in [(2, &paste), (3, &many), (4, &deletes)] {
        let head = world.head();
        let outcome = world.edit(ADA, client, 1, 1, late);
        assert_eq!(
            outcome,
            Outcome::Applied {
                rev: Revision(head + 1)
            }
        );
    }
    assert_eq!(world.text().matches('m').count(), 2_500);
}

#[test]
fn machine_a_quiet_document_is_trimmed_by_command() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "a"));
    world.type_until(2, 6);
    assert_eq!(world.doc().client_records(), 2);
    let trim = |floor| Command::Trim(Trim { doc: DOC, floor });
    let done = world.apply(trim(Revision(4)));
    assert_eq!(
        (done.outcome, done.event.is_none()),
        (Outcome::Applied { rev: Revision(6) }, true)
    );
    assert_eq!(world.doc().floor(), Revision(4));
    assert_eq!(world.doc().client_records(), 1);
    world.apply(trim(Revision(2)));
    assert_eq!(world.doc().floor(), Revision(4), "never back");
    world.apply(trim(Revision(u64::MAX)));
    assert_eq!(world.doc().floor(), Revision(6), "never past the head");
    assert_eq!(
        world.doc().client_records(),
        1,
        "touched at the floor itself: kept"
    );
    world.type_until(2, 7);
}
