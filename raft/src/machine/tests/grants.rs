use super::*;
use codraft_proto::ids::{Revision, Seq};

#[test]
fn machine_grants_take_revisions_and_move_nothing() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "abc"));
    assert_eq!(
        world.grant(ADA, BOB, Some(Role::Editor)),
        Outcome::Applied { rev: Revision(3) }
    );
    assert_eq!(
        world.edit(ADA, 1, 2, 2, &insert(3, "d")),
        Outcome::Applied { rev: Revision(4) }
    );
    assert_eq!(world.text(), "abcd");
    assert_eq!(world.doc().role(BOB), Some(Role::Editor));
    let grants: Vec<_> = world
        .doc()
        .grants()
        .map(|(user, grant)| (&**user, grant.role, grant.rev))
        .collect();
    assert_eq!(
        grants,
        [
            (ADA, Role::Owner, Revision(1)),
            (BOB, Role::Editor, Revision(3))
        ]
    );
}

#[test]
fn machine_a_grant_that_holds_takes_no_revision() {
    let mut world = World::shared();
    assert_eq!(
        world.grant(ADA, BOB, Some(Role::Editor)),
        Outcome::Already {
            seq: Seq(0),
            rev: Revision(2)
        }
    );
    assert_eq!(
        world.grant(ADA, EVE, None),
        Outcome::Already {
            seq: Seq(0),
            rev: Revision(2)
        }
    );
    assert_eq!(world.head(), 2);
}

#[test]
fn machine_only_owners_grant_and_anyone_may_leave() {
    let mut world = World::shared();
    assert_eq!(
        refused(&world.grant(BOB, EVE, Some(Role::Viewer))),
        Some(Code::Forbidden)
    );
    assert_eq!(
        refused(&world.grant(BOB, BOB, Some(Role::Owner))),
        Some(Code::Forbidden)
    );
    assert_eq!(refused(&world.grant(BOB, ADA, None)), Some(Code::Forbidden));
    assert_eq!(
        refused(&world.grant(EVE, EVE, Some(Role::Owner))),
        Some(Code::NotFound)
    );
    assert_eq!(refused(&world.grant(EVE, EVE, None)), Some(Code::NotFound));
    assert_eq!(
        world.grant(BOB, BOB, None),
        Outcome::Applied { rev: Revision(3) }
    );
    assert_eq!(world.doc().role(BOB), None);
}

#[test]
fn machine_the_last_owner_stays() {
    let mut world = World::shared();
    assert_eq!(refused(&world.grant(ADA, ADA, None)), Some(Code::Grant));
    assert_eq!(
        refused(&world.grant(ADA, ADA, Some(Role::Editor))),
        Some(Code::Grant)
    );
    assert_eq!(
        world.grant(ADA, BOB, Some(Role::Owner)),
        Outcome::Applied { rev: Revision(3) }
    );
    assert_eq!(&**world.doc().owner(), ADA);
    assert_eq!(
        world.grant(BOB, ADA, Some(Role::Viewer)),
        Outcome::Applied { rev: Revision(4) }
    );
    assert_eq!(&**world.doc().owner(), BOB);
    assert_eq!(refused(&world.grant(BOB, BOB, None)), Some(Code::Grant));
    assert_eq!(
        refused(&world.edit(ADA, 1, 1, 4, &insert(0, "a"))),
        Some(Code::Forbidden)
    );
}

#[test]
fn machine_grants_are_bounded() {
    let mut world = World::with(MachineLimits {
        grants: 3,
        ..MachineLimits::default()
    });
    world.grant(ADA, "u1", Some(Role::Viewer));
    world.grant(ADA, "u2", Some(Role::Viewer));
    assert_eq!(
        refused(&world.grant(ADA, "u3", Some(Role::Viewer))),
        Some(Code::Grant)
    );
    assert_eq!(
        world.grant(ADA, "u2", Some(Role::Editor)),
        Outcome::Applied { rev: Revision(4) }
    );
    assert_eq!(
        world.grant(ADA, "u1", None),
        Outcome::Applied { rev: Revision(5) }
    );
    assert_eq!(
        world.grant(ADA, "u3", Some(Role::Viewer)),
        Outcome::Applied { rev: Revision(6) }
    );
    for user in ["", &"u".repeat(129)] {
        assert_eq!(
            refused(&world.grant(ADA, user, Some(Role::Viewer))),
            Some(Code::Malformed)
        );
    }
}

/// O12: with r the revision of the revocation, nothing of that user's takes a later one,
/// whatever its base, and nothing below is undone.
#[test]
fn machine_permissions_are_ordered_with_operations() {
    let mut world = World::shared();
    assert_eq!(
        world.edit(BOB, 2, 1, 2, &insert(0, "b")),
        Outcome::Applied { rev: Revision(3) }
    );
    assert_eq!(
        world.grant(ADA, BOB, None),
        Outcome::Applied { rev: Revision(4) }
    );
    for (client, seq, base) in [(2, 2, 3), (3, 1, 2), (4, 1, 4)] {
        let outcome = world.edit(BOB, client, seq, base, &insert(0, "B"));
        assert_eq!(refused(&outcome), Some(Code::Forbidden));
    }
    assert_eq!((world.text().as_str(), world.head()), ("b", 4));
    // What was applied before is still his, and still answered so.
    assert_eq!(
        refused(&world.edit(BOB, 2, 2, 3, &insert(0, "B"))),
        Some(Code::Forbidden)
    );
    assert_eq!(
        world.edit(BOB, 2, 1, 2, &insert(0, "b")),
        Outcome::Already {
            seq: Seq(1),
            rev: Revision(3)
        }
    );
    // After a grant the very next operation is accepted, also with an older base.
    assert_eq!(
        world.grant(ADA, BOB, Some(Role::Editor)),
        Outcome::Applied { rev: Revision(5) }
    );
    assert_eq!(
        world.edit(BOB, 5, 1, 3, &insert(1, "c")),
        Outcome::Applied { rev: Revision(6) }
    );
    assert_eq!(world.text(), "bc");
}
