//! What observers see and hash.

use codraft_proto::ids::{Revision, Seq};
use std::collections::BTreeMap;

use codraft_ot::Chain;

use super::*;
use crate::{
    command::Level,
    machine::{Event, Lookup},
};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/chain.json");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The chain of a short document, byte for byte: what clients and exports verify. After an
/// intended change `CODRAFT_WRITE_VECTORS=1 cargo test -p codraft-raft golden` writes it anew.
#[test]
fn machine_golden_chain() {
    let pinned = std::fs::read_to_string(VECTORS).unwrap();
    let mut vectors: serde_json::Value = serde_json::from_str(&pinned).unwrap();
    let mut world = World::empty(MachineLimits::default());
    world.ts_ms = 1_764_000_000_123;
    let mut initial = Delta::new();
    initial.insert("hello\n");
    let mut events = vec![
        world.apply(create_with(Kind::Rich, ADA, Some(&initial))),
        world.apply(Command::Grant(command::Grant {
            doc: DOC,
            by: ADA.into(),
            user: BOB.into(),
            role: Some(Role::Editor),
        })),
        world.apply(edit(BOB, 0xb0, 300, 2, &insert(5, " 🦀"))),
    ];
    // An older stamp does not turn time back.
    world.ts_ms -= 50;
    events.push(world.apply(edit(ADA, 0xa0, 1, 2, &delete(0, 5))));
    events.push(world.apply(Command::Grant(command::Grant {
        doc: DOC,
        by: ADA.into(),
        user: BOB.into(),
        role: None,
    })));
    let expected = vectors["events"].as_array_mut().unwrap();
    assert_eq!(expected.len(), events.len());
    let mut chain = Chain::default();
    for (applied, expected) in events.into_iter().zip(expected) {
        let event = applied.event.expect("an event");
        let mut canonical = Vec::new();
        event.canonical(&mut canonical);
        chain = chain.next(&canonical);
        assert_eq!(event.hash, chain);
        expected["rev"] = event.rev.0.into();
        expected["canonical"] = hex(&canonical).into();
        expected["hash"] = hex(&chain.0).into();
    }
    let now = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
    if std::env::var_os("CODRAFT_WRITE_VECTORS").is_some() {
        #[allow(clippy::disallowed_methods)] // the writer of the vectors
        std::fs::write(VECTORS, &now).unwrap();
    } else {
        assert_eq!(pinned, now);
    }
    assert_eq!(world.text(), " 🦀\n");
}

#[test]
fn machine_time_is_monotone_in_a_document() {
    let mut world = World::new();
    let mut seen = Vec::new();
    for (seq, ts_ms) in [(1, 2_000), (2, 1_500), (3, 2_500), (4, 0)] {
        world.ts_ms = ts_ms;
        let base = world.head();
        seen.push(
            world
                .apply(edit(ADA, 1, seq, base, &insert(0, "a")))
                .event
                .unwrap()
                .ts_ms,
        );
    }
    assert_eq!(seen, [2_000, 2_000, 2_500, 2_500]);
    assert_eq!(
        (world.doc().created_ms(), world.doc().updated_ms()),
        (1_000, 2_500)
    );
}

#[test]
fn machine_create() {
    let mut world = World::empty(MachineLimits::default());
    let mut initial = Delta::new();
    initial.insert("hi\n");
    let create = create_with(Kind::Rich, ADA, Some(&initial));
    assert_eq!(
        world.apply(create.clone()).outcome,
        Outcome::Applied { rev: Revision(1) }
    );
    let doc = world.doc();
    assert_eq!(
        (doc.kind(), doc.title(), &**doc.owner()),
        (Kind::Rich, "Notes", ADA)
    );
    assert_eq!(
        (doc.algebra(), doc.rev(), doc.floor()),
        (Algebra::Delta1, Revision(1), Revision(0))
    );
    assert_eq!(world.text(), "hi\n");
    // The same again, also when the document has moved on.
    world.edit(ADA, 1, 1, 1, &insert(0, "x"));
    assert_eq!(
        world.apply(create).outcome,
        Outcome::Already {
            seq: Seq(0),
            rev: Revision(1)
        }
    );
    for other in [
        create_with(Kind::Rich, BOB, Some(&initial)),
        create_with(Kind::Rich, ADA, None),
        create_with(Kind::Text, ADA, Some(&initial)),
    ] {
        assert_eq!(refused(&world.apply(other).outcome), Some(Code::Exists));
    }
    assert_eq!(world.text(), "xhi\n");
}

#[test]
fn machine_create_is_judged() {
    let mut world = World::empty(MachineLimits::default());
    let bad = |change: &dyn Fn(&mut Create)| {
        let Command::Create(mut bad) = create(Kind::Text, ADA) else {
            unreachable!()
        };
        change(&mut bad);
        Command::Create(bad)
    };
    let rows: Vec<(Command, Code)> = vec![
        (bad(&|c| c.owner = "".into()), Code::Malformed),
        (bad(&|c| c.owner = "o".repeat(129).into()), Code::Malformed),
        (
            bad(&|c| c.title = "t".repeat(1_025).into()),
            Code::Malformed,
        ),
        (
            bad(&|c| c.initial = Some(Bytes::from_static(&[0xff]))),
            Code::Malformed,
        ),
        (
            bad(&|c| c.initial = Some(delete(0, 1).to_bytes().into())),
            Code::Malformed,
        ),
        (
            create_with(Kind::Rich, ADA, Some(&insert(0, "no break"))),
            Code::KindMismatch,
        ),
    ];
    for (command, code) in rows {
        let applied = world.apply(command);
        assert_eq!(
            refused(&applied.outcome),
            Some(code),
            "{:?}",
            applied.outcome
        );
        assert!(applied.event.is_none() && matches!(world.shard.document(&DOC), Lookup::Missing));
    }
    let empty = bad(&|c| c.initial = Some(Bytes::new()));
    assert_eq!(
        world.apply(empty).outcome,
        Outcome::Applied { rev: Revision(1) }
    );
}

#[test]
fn machine_level_is_raised_and_never_lowered() {
    let mut world = World::new();
    assert_eq!(world.shard.level(), 0);
    world.apply(Command::Level(Level { level: 1 }));
    assert_eq!(world.shard.level(), 1);
    let applied = world.apply(Command::Level(Level { level: 0 }));
    assert_eq!(
        (applied.outcome, applied.doc),
        (Outcome::Applied { rev: Revision(0) }, DocId([0; 16]))
    );
    assert_eq!(world.shard.level(), 1);
}

#[test]
fn machine_entries_without_commands_only_count() {
    let mut world = World::new();
    let digest = world.shard.digest();
    world.shard.skip(12);
    world.shard.skip(11);
    assert_eq!((world.shard.applied(), world.shard.digest()), (12, digest));
}

#[test]
#[should_panic(expected = "entry 1 comes after entry 1")]
fn machine_no_entry_is_applied_twice() {
    let mut world = World::new();
    world.shard.apply(1, &Batch::default());
}

/// O7: revisions 1..n, every event one, and nothing but events takes one.
#[test]
fn machine_revisions_have_no_gap() {
    let mut world = World::shared();
    let mut events: BTreeMap<u64, std::sync::Arc<Event>> = BTreeMap::new();
    for step in 0..60u64 {
        let head = world.head();
        let applied = match step % 5 {
            0 => world.apply(edit(ADA, 1, step + 1, head, &insert(0, "a"))),
            1 => world.apply(edit(BOB, 2, step / 5 + 1, head - 1, &insert(0, "b"))),
            2 => world.apply(edit(EVE, 3, step + 1, head, &insert(0, "e"))),
            3 => world.apply(Command::Grant(command::Grant {
                doc: DOC,
                by: ADA.into(),
                user: EVE.into(),
                role: (step % 2 == 0).then_some(Role::Viewer),
            })),
            _ => world.apply(edit(ADA, 4, 1, head + 5, &insert(0, "z"))),
        };
        if let Some(event) = applied.event {
            assert_eq!(applied.outcome, Outcome::Applied { rev: event.rev });
            assert!(events.insert(event.rev.0, event).is_none());
        }
    }
    let revisions: Vec<u64> = events.keys().copied().collect();
    assert_eq!(revisions, (3..=world.head()).collect::<Vec<_>>());
    assert!(revisions.len() > 15);
}
