//! A command that panics costs its document, not its group.

use codraft_proto::ids::{Revision, Seq};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::{
    command::Quarantine,
    machine::mutants::{POISON, POISON_AMID},
};

const OTHER: DocId = DocId([8; 16]);

fn set(doc: DocId, on: bool) -> Command {
    Command::Quarantine(Quarantine { doc, on })
}

fn in_other(command: Command) -> Command {
    match command {
        Command::Edit(edit) => Command::Edit(Edit { doc: OTHER, ..edit }),
        Command::Create(create) => Command::Create(Create {
            doc: OTHER,
            ..create
        }),
        other => other,
    }
}

/// Two documents, and in one batch: an edit of each around one that panics.
fn struck() -> (World, Vec<Applied>) {
    let mut world = World::shared();
    world.apply(in_other(create(Kind::Text, ADA)));
    assert_eq!(
        world.edit(ADA, 1, 1, 2, &insert(0, "before")),
        Outcome::Applied { rev: Revision(3) }
    );
    let commands = vec![
        in_other(edit(ADA, 2, 1, 1, &insert(0, "one"))),
        edit(BOB, 3, 1, 3, &insert(0, POISON)),
        edit(ADA, 1, 2, 3, &insert(0, "after")),
        in_other(edit(ADA, 2, 2, 2, &insert(0, "two "))),
    ];
    world.index += 1;
    let batch = Batch {
        ts_ms: 2_000,
        commands,
    };
    let applied = world.shard.apply(world.index, &batch);
    (world, applied)
}

#[test]
fn machine_a_command_that_panics_costs_its_document_alone() {
    let (mut world, applied) = struck();
    let outcomes: Vec<_> = applied.iter().map(|one| &one.outcome).collect();
    assert_eq!(*outcomes[0], Outcome::Applied { rev: Revision(2) });
    assert_eq!(refused(outcomes[1]), Some(Code::Fault));
    assert_eq!(*outcomes[2], Outcome::Retry(Code::Quarantined));
    assert_eq!(*outcomes[3], Outcome::Applied { rev: Revision(3) });
    // In the state from before it.
    assert_eq!(world.text(), "before");
    assert_eq!(world.head(), 3);
    assert_eq!(world.doc().quarantined_ms(), Some(2_000));
    assert_eq!(world.shard.quarantined().collect::<Vec<_>>(), [DOC]);
    let heap: u64 = world.shard.documents().map(|doc| doc.heap_bytes()).sum();
    assert_eq!(world.shard.heap_bytes(), heap);
    // Roles can be taken away meanwhile.
    assert_eq!(
        world.grant(ADA, BOB, None),
        Outcome::Applied { rev: Revision(4) }
    );
    // A client that tries again is told the same, and what waited is applied once it is lifted.
    let again = |world: &mut World| world.edit(BOB, 3, 1, 3, &insert(0, POISON));
    assert_eq!(refused(&again(&mut world)), Some(Code::Fault));
    let lifted = world.apply(set(DOC, false)).outcome;
    assert_eq!(lifted, Outcome::Applied { rev: Revision(4) });
    assert_eq!(refused(&again(&mut world)), Some(Code::Fault));
    assert_eq!(world.shard.quarantined().len(), 0);
    assert_eq!(
        world.edit(ADA, 1, 2, 3, &insert(0, "after ")),
        Outcome::Applied { rev: Revision(5) }
    );
    assert_eq!(world.text(), "after before");
}

/// Whatever the bound of records says: else the same bytes would come again and again.
#[test]
fn machine_what_panicked_is_on_the_record_beyond_the_bound() {
    let limits = MachineLimits {
        refusal_records: 0,
        ..MachineLimits::default()
    };
    let mut world = World::with(limits);
    for _ in 0..2 {
        let poisoned = world.edit(ADA, 1, 1, 1, &insert(0, POISON));
        assert_eq!(refused(&poisoned), Some(Code::Fault));
        world.apply(set(DOC, false));
    }
    assert_eq!(world.shard.quarantined().len(), 0, "the second was known");
}

#[test]
fn machine_a_create_that_panics_creates_nothing() {
    let mut world = World::empty(MachineLimits::default());
    let create = create_with(Kind::Text, ADA, Some(&insert(0, POISON)));
    assert_eq!(refused(&world.apply(create).outcome), Some(Code::Fault));
    assert_eq!(world.shard.documents().count(), 0);
    assert_eq!(world.shard.quarantined().len(), 0);
    let missing = world.apply(set(DOC, false)).outcome;
    assert_eq!(refused(&missing), Some(Code::NotFound));
}

/// Between two states there is none to go on from: the group stops.
#[test]
fn machine_a_panic_amid_a_change_is_not_contained() {
    let mut world = World::new();
    let edit = edit(ADA, 1, 1, 1, &insert(0, POISON_AMID));
    let applied = catch_unwind(AssertUnwindSafe(|| world.apply(edit)));
    assert!(applied.is_err());
}

/// Every replica comes to the same, however the commands were gathered, and after a restart from
/// what is stored.
#[test]
fn machine_a_quarantine_is_part_of_the_state() {
    let (mut one, _) = struck();
    let (mut two, _) = struck();
    assert_eq!(one.shard.digest(), two.shard.digest());
    let before = two.shard.digest();
    let stored = {
        let mut out = Vec::new();
        two.doc().encode(&mut out);
        Bytes::from(out)
    };
    let read = Document::decode(&stored, two.shard.limits()).unwrap();
    assert_eq!(read.quarantined_ms(), Some(2_000));
    for world in [&mut one, &mut two] {
        world.apply(set(DOC, false));
        let again = world.apply(set(DOC, false)).outcome;
        assert_eq!(
            again,
            Outcome::Already {
                seq: Seq(0),
                rev: Revision(3)
            }
        );
    }
    assert_ne!(two.shard.digest(), before);
    assert_eq!(one.shard.digest(), two.shard.digest());
    // An operator's word does the same.
    let on = one.apply(set(DOC, true)).outcome;
    assert_eq!(on, Outcome::Applied { rev: Revision(3) });
    assert_eq!(
        one.edit(ADA, 1, 2, 3, &insert(0, "x")),
        Outcome::Retry(Code::Quarantined)
    );
}
