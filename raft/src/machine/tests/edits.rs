//! Decision 4, row by row.

use super::*;
use codraft_proto::ids::{Revision, Seq};

#[test]
fn machine_any_sequence_starts_a_record() {
    let mut world = World::new();
    assert_eq!(
        world.edit(ADA, 1, 41, 1, &insert(0, "a")),
        Outcome::Applied { rev: Revision(2) }
    );
    assert_eq!(
        world.edit(ADA, 1, 42, 2, &insert(1, "b")),
        Outcome::Applied { rev: Revision(3) }
    );
    assert_eq!(world.text(), "ab");
    assert_eq!(
        world.doc().acked(&ADA.into(), id(1)),
        Some((Seq(42), Revision(3)))
    );
    assert_eq!(world.doc().acked(&ADA.into(), id(2)), None);
}

#[test]
fn machine_the_same_client_id_of_another_user_is_another_client() {
    let mut world = World::shared();
    world.edit(ADA, 1, 1, 2, &insert(0, "a"));
    // Bob has learnt Ada's id. His operations count by themselves, whatever hers are.
    assert_eq!(
        world.edit(BOB, 1, 1, 2, &insert(0, "b")),
        Outcome::Applied { rev: Revision(4) }
    );
    let skips = world.edit(BOB, 1, 9, 4, &insert(0, "b"));
    assert_eq!(refused(&skips), Some(Code::SeqGap));
    assert_eq!(
        world.doc().acked(&ADA.into(), id(1)),
        Some((Seq(1), Revision(3)))
    );
    assert_eq!(
        world.doc().acked(&BOB.into(), id(1)),
        Some((Seq(1), Revision(4)))
    );
    // And hers are as they were.
    assert_eq!(
        world.edit(ADA, 1, 1, 2, &insert(0, "a")),
        Outcome::Already {
            seq: Seq(1),
            rev: Revision(3)
        }
    );
    assert_eq!(
        world.edit(ADA, 1, 2, 4, &insert(0, "c")),
        Outcome::Applied { rev: Revision(5) }
    );
    assert_eq!(world.doc().client_records(), 2);
}

#[test]
fn machine_a_repeat_is_answered_and_not_applied() {
    let mut world = World::new();
    let first = edit(ADA, 1, 1, 1, &insert(0, "a"));
    assert_eq!(
        world.apply(first.clone()).outcome,
        Outcome::Applied { rev: Revision(2) }
    );
    let again = world.apply(first.clone());
    assert_eq!(
        again.outcome,
        Outcome::Already {
            seq: Seq(1),
            rev: Revision(2)
        }
    );
    assert!(again.event.is_none());
    world.edit(ADA, 1, 2, 2, &insert(1, "b"));
    // Older than the record: the revision is the last one applied.
    assert_eq!(
        world.apply(first).outcome,
        Outcome::Already {
            seq: Seq(1),
            rev: Revision(3)
        }
    );
    assert_eq!(world.text(), "ab");
    assert_eq!(world.head(), 3);
}

#[test]
fn machine_other_bytes_or_another_base_under_one_sequence_conflict() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "a"));
    let bytes = world.edit(ADA, 1, 1, 1, &insert(0, "b"));
    assert_eq!(refused(&bytes), Some(Code::SeqConflict));
    let base = world.edit(ADA, 1, 1, 2, &insert(0, "a"));
    assert_eq!(refused(&base), Some(Code::SeqConflict));
    assert_eq!(world.text(), "a");
    // The outcome of the sequence stands.
    assert_eq!(
        world.edit(ADA, 1, 1, 1, &insert(0, "a")),
        Outcome::Already {
            seq: Seq(1),
            rev: Revision(2)
        }
    );
}

#[test]
fn machine_a_late_copy_of_rebased_bytes_is_told_to_rebase() {
    let mut world = World::with(small_window());
    world.type_until(2, 10);
    let floor = world.doc().floor();
    assert!(floor > Revision(2));
    let old = edit(ADA, 1, 1, 2, &insert(0, "a"));
    let rebase = Outcome::Rebase {
        floor,
        head: Revision(10),
    };
    assert_eq!(world.apply(old.clone()).outcome, rebase);
    assert_eq!(world.doc().acked(&ADA.into(), id(1)), None, "not recorded");
    assert_eq!(
        world.edit(ADA, 1, 1, 10, &insert(0, "a")),
        Outcome::Applied { rev: Revision(11) }
    );
    let late = world.apply(old).outcome;
    assert_eq!(
        late,
        Outcome::Rebase {
            floor,
            head: Revision(11)
        }
    );
}

#[test]
fn machine_a_skipped_sequence_stays_refused() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "a"));
    let third = edit(ADA, 1, 3, 2, &insert(1, "c"));
    assert_eq!(
        refused(&world.apply(third.clone()).outcome),
        Some(Code::SeqGap)
    );
    assert_eq!(
        world.edit(ADA, 1, 2, 2, &insert(1, "b")),
        Outcome::Applied { rev: Revision(3) }
    );
    // Refused for good means for good, also when the gap has closed.
    assert_eq!(refused(&world.apply(third).outcome), Some(Code::SeqGap));
    assert_eq!(world.text(), "ab");
}

#[test]
fn machine_a_base_ahead_is_not_final() {
    let mut world = World::new();
    let ahead = edit(ADA, 1, 1, 2, &insert(0, "a"));
    assert_eq!(
        world.apply(ahead.clone()).outcome,
        Outcome::Retry(Code::BaseAhead)
    );
    world.type_until(2, 2);
    assert_eq!(
        world.apply(ahead).outcome,
        Outcome::Applied { rev: Revision(3) }
    );
    // Nor is it beside a record.
    assert_eq!(
        world.edit(ADA, 1, 9, 99, &insert(0, "b")),
        Outcome::Retry(Code::BaseAhead)
    );
    assert_eq!(
        world.edit(EVE, 1, 1, 99, &insert(0, "b")),
        Outcome::Retry(Code::BaseAhead)
    );
}

#[test]
fn machine_roles_are_judged_and_the_refusal_is_recorded() {
    let mut world = World::new();
    let rows = [
        (BOB, Some(Role::Viewer)),
        (BOB, Some(Role::Commenter)),
        (EVE, None),
    ];
    for (client, (user, role)) in (10..).zip(rows) {
        world.grant(ADA, user, role);
        let head = world.head();
        let outcome = world.edit(user, client, 1, head, &insert(0, "b"));
        assert_eq!(refused(&outcome), Some(Code::Forbidden), "{role:?}");
    }
    let base = world.head();
    let early = edit(EVE, 9, 1, base, &insert(0, "e"));
    assert_eq!(
        refused(&world.apply(early.clone()).outcome),
        Some(Code::Forbidden)
    );
    world.grant(ADA, EVE, Some(Role::Editor));
    // The same bytes stay refused though the role would now do; the next sequence is taken.
    assert_eq!(refused(&world.apply(early).outcome), Some(Code::Forbidden));
    let head = world.head();
    assert_eq!(
        world.edit(EVE, 9, 2, head, &insert(0, "E")),
        Outcome::Applied {
            rev: Revision(head + 1)
        }
    );
    assert_eq!(world.text(), "E");
}

#[test]
fn machine_every_refusal_of_the_algebra_has_its_code_and_is_recorded() {
    let limits = MachineLimits {
        ot: codraft_ot::Limits {
            components: 4,
            document_units: 8,
            rich_bytes: usize::MAX,
            attributes: 1,
            attribute_bytes: 16,
            depth: 2,
            embed_bytes: 16,
        },
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    assert_eq!(
        world.edit(ADA, 1, 1, 1, &insert(0, "🦀")),
        Outcome::Applied { rev: Revision(2) }
    );
    let mut many = Delta::new();
    many.insert("a").retain(1);
    let mut many = many.to_bytes();
    for _ in 0..4 {
        // delete 1, retain 1
        many.extend_from_slice(&[1 << 2 | 1, 1 << 2]);
    }
    let rows: [(Bytes, Code); 7] = [
        (Bytes::from_static(&[0xff]), Code::Malformed),
        (Bytes::from_static(&[0]), Code::Malformed),
        (Bytes::from_static(&[3 << 2 | 1]), Code::LengthMismatch),
        (insert(1, "x").to_bytes().into(), Code::Surrogate),
        (many.into(), Code::TooManyComponents),
        (insert(0, "1234567").to_bytes().into(), Code::DocumentFull),
        // Retain 1 with {"b": true}, in a plain text.
        (
            Bytes::from_static(&[3, 2, 1, 1, b'b', 2]),
            Code::KindMismatch,
        ),
    ];
    for (at, (ops, code)) in rows.into_iter().enumerate() {
        let client = 10 + at as u8;
        let edit = edit_bytes(ADA, client, 1, 2, ops);
        let first = world.apply(edit.clone()).outcome;
        assert_eq!(refused(&first), Some(code), "{first:?}");
        assert_eq!(refused(&world.apply(edit).outcome), Some(code), "recorded");
        // And it is the outcome of that sequence: the next is 2.
        assert_eq!(
            refused(&world.edit(ADA, client, 3, 2, &insert(0, "x"))),
            Some(Code::SeqGap)
        );
    }
    assert_eq!((world.text().as_str(), world.head()), ("🦀", 2));
}

#[test]
fn machine_length_is_judged_at_the_base() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "abc"));
    // At revision 1 the text was empty, though it is longer now.
    let outcome = world.edit(ADA, 2, 1, 1, &delete(0, 1));
    assert_eq!(refused(&outcome), Some(Code::LengthMismatch));
    // And the other way round: it fits its base, and loses its object on the way.
    world.edit(ADA, 1, 2, 2, &delete(0, 3));
    assert_eq!(
        world.edit(ADA, 3, 1, 2, &delete(1, 2)),
        Outcome::Applied { rev: Revision(4) }
    );
    assert_eq!(world.text(), "");
}

#[test]
fn machine_late_operations_are_moved_one_by_one() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "0123456789"));
    world.edit(ADA, 1, 2, 2, &insert(6, "x"));
    world.edit(ADA, 1, 3, 3, &delete(4, 2));
    let applied = world.apply(edit(ADA, 2, 1, 2, &insert(5, "A")));
    assert_eq!(world.text(), "0123Ax6789");
    let event = applied.event.unwrap();
    assert_eq!(event.body, insert(4, "A").to_bytes());
    // At one place the earlier in the log stands first.
    world.edit(ADA, 1, 4, 5, &insert(0, "p"));
    world.edit(ADA, 3, 1, 5, &insert(0, "q"));
    assert_eq!(world.text(), "pq0123Ax6789");
}

#[test]
fn machine_missing_document() {
    let mut world = World::empty(MachineLimits::default());
    assert_eq!(
        refused(&world.edit(ADA, 1, 1, 0, &insert(0, "a"))),
        Some(Code::NotFound)
    );
    assert_eq!(refused(&world.grant(ADA, BOB, None)), Some(Code::NotFound));
    assert!(world.shard.document(&DOC).present().is_none());
}

#[test]
fn machine_records_living_by_refusals_are_bounded() {
    let limits = MachineLimits {
        refusal_records: 3,
        ..small_window()
    };
    let mut world = World::with(limits);
    for client in 10..13 {
        let outcome = world.edit(EVE, client, 1, 1, &insert(0, "e"));
        assert_eq!(refused(&outcome), Some(Code::Forbidden));
    }
    let fourth = edit(EVE, 13, 1, 1, &insert(0, "e"));
    assert_eq!(
        world.apply(fourth.clone()).outcome,
        Outcome::Retry(Code::Busy)
    );
    // Those that have a record are still refused; those that may edit still do.
    assert_eq!(
        refused(&world.edit(EVE, 10, 2, 1, &insert(0, "e"))),
        Some(Code::Forbidden)
    );
    assert_eq!(world.doc().client_records(), 3);
    world.type_until(1, 10);
    assert!(world.doc().floor() > Revision(1));
    assert_eq!(
        world.doc().client_records(),
        1,
        "the floor has passed the refusals"
    );
    // Its base is below the floor now: it can never be applied, so this is not final either.
    assert!(matches!(
        world.apply(fourth).outcome,
        Outcome::Rebase { .. }
    ));
    let outcome = world.edit(EVE, 13, 1, 10, &insert(0, "e"));
    assert_eq!(refused(&outcome), Some(Code::Forbidden));
}

/// In a quiet document no event of its own would ever move the floor past the refusals.
#[test]
fn machine_refusals_go_when_older_bases_expire() {
    let limits = MachineLimits {
        refusal_records: 3,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    world.type_until(1, 4);
    let refuse = |world: &mut World, client: u8, base: u64| {
        world.edit(EVE, client, 1, base, &insert(0, "e"))
    };
    for client in 10..13 {
        assert_eq!(
            refused(&refuse(&mut world, client, 4)),
            Some(Code::Forbidden)
        );
    }
    assert_eq!(refuse(&mut world, 13, 4), Outcome::Retry(Code::Busy));
    let below = world.doc().expirable_below();
    assert_eq!(below, Revision(5), "all were touched at the head");
    let expire = Command::Expire(command::Expire { doc: DOC, below });
    let done = world.apply(expire.clone());
    assert_eq!(done.outcome, Outcome::Applied { rev: Revision(5) });
    assert_eq!(done.event.map(|event| event.rev), Some(Revision(5)));
    assert_eq!(world.doc().client_records(), 1, "the writer's");
    assert_eq!(
        world.doc().acked(&ADA.into(), id(1)),
        Some((Seq(3), Revision(4))),
        "a welcome tells it"
    );
    // Nobody who follows loses the thread, and what was refused is still not applied.
    assert_eq!(
        world
            .doc()
            .events_after(Revision(1))
            .map(|events| events.len()),
        Some(4)
    );
    world.grant(ADA, EVE, Some(Role::Editor));
    for client in 10..14 {
        let rebase = Outcome::Rebase {
            floor: Revision(5),
            head: Revision(6),
        };
        assert_eq!(refuse(&mut world, client, 4), rebase);
    }
    // Once more does nothing.
    assert!(world.apply(expire).event.is_none());
    assert_eq!(world.head(), 6);
    assert_eq!(
        refuse(&mut world, 10, 6),
        Outcome::Applied { rev: Revision(7) }
    );
}

/// As little as makes room: who is not far behind is not told to rebase.
#[test]
fn machine_half_of_the_refusals_go_where_they_are_older() {
    let limits = MachineLimits {
        refusal_records: 4,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    for client in 10..14u8 {
        let head = world.head();
        world.edit(EVE, client, 1, head, &insert(0, "e"));
        world.type_until(1, head + 1);
    }
    let below = world.doc().expirable_below();
    let done = world.apply(Command::Expire(command::Expire { doc: DOC, below }));
    assert!(done.event.is_none());
    assert_eq!(
        world.doc().client_records(),
        2 + 1,
        "two refusals and the writer"
    );
    assert_eq!(
        world.edit(ADA, 2, 1, below.0, &insert(0, "late")),
        Outcome::Applied { rev: Revision(6) }
    );
}

#[test]
fn machine_a_repeat_after_eviction_is_never_applied() {
    let mut world = World::with(small_window());
    let mut sent = Vec::new();
    for client in 1..40u8 {
        let base = world.head();
        let command = edit(ADA, client, 1, base, &insert(0, "x"));
        assert_eq!(
            world.apply(command.clone()).outcome,
            Outcome::Applied {
                rev: Revision(base + 1)
            }
        );
        sent.push(command);
        let head = world.head();
        for old in &sent {
            let outcome = world.apply(old.clone()).outcome;
            let proper = matches!(outcome, Outcome::Already { .. } | Outcome::Rebase { .. });
            assert!(proper, "{outcome:?}");
        }
        assert_eq!(world.head(), head);
        // Exactly those at or above the floor have a record.
        let floor = world.doc().floor();
        assert_eq!(
            world.doc().client_records() as u64,
            head - floor.0.max(2) + 1
        );
    }
    assert_eq!(world.text().len(), 39);
}

/// The proof in `clients` needs every final answer to keep the record until its base is
/// below the floor.
#[test]
fn machine_a_final_answer_outlives_the_record_it_was_given_from() {
    for (user, seq, code) in [
        (ADA, 5, Some(Code::SeqConflict)),
        (ADA, 7, Some(Code::SeqGap)),
        (ADA, 4, None),
    ] {
        let mut world = World::with(small_window());
        world.grant(ADA, EVE, Some(Role::Editor));
        world.edit(ADA, 1, 5, 2, &insert(0, "a"));
        world.type_until(2, 6);
        let odd = edit(user, 1, seq, 6, &insert(0, "o"));
        let first = world.apply(odd.clone()).outcome;
        assert_eq!(refused(&first), code);
        for rev in 7..30 {
            world.type_until(2, rev);
            let outcome = world.apply(odd.clone()).outcome;
            assert!(!matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
        assert!(!world.text().contains('o'));
        assert_eq!(world.doc().client_records(), 1, "and then it went");
    }
}
