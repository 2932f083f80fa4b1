use codraft_proto::event;

use super::*;
use crate::{
    command::{Checkpoint, Restore},
    machine::Refusal,
};

impl World {
    fn restore(&mut self, user: &str, base: u64, version: u64, delta: &Delta) -> Outcome {
        let Command::Edit(edit) = edit(user, 9, 1, base, delta) else {
            unreachable!()
        };
        let (version, authors) = (Revision(version), Bytes::from_static(b"who"));
        self.apply(Command::Restore(Restore {
            edit,
            version,
            authors,
        }))
        .outcome
    }

    fn checkpoint(&mut self, by: &str) -> Outcome {
        let (doc, by) = (DOC, by.into());
        self.apply(Command::Checkpoint(Checkpoint { doc, by }))
            .outcome
    }
}

fn applied(rev: u64) -> Outcome {
    Outcome::Applied { rev: Revision(rev) }
}

#[test]
fn machine_a_restore_is_for_the_head_that_it_was_made_for() {
    let mut world = World::new();
    world.edit(ADA, 1, 1, 1, &insert(0, "one"));
    world.edit(ADA, 1, 2, 2, &insert(3, " two"));
    let stale = world.restore(ADA, 2, 1, &delete(0, 3));
    assert!(matches!(stale, Outcome::Rebase { .. }), "{stale:?}");
    assert_eq!(world.text(), "one two");
    // Nothing was recorded: it comes again, made for the head, and is one restore from then on.
    assert_eq!(world.restore(ADA, 3, 1, &delete(0, 7)), applied(4));
    let again = world.restore(ADA, 4, 1, &Delta::new());
    let (seq, rev) = (Seq(1), Revision(4));
    assert_eq!(again, Outcome::Already { seq, rev });
    let event = world
        .doc()
        .events_after(Revision(3))
        .unwrap()
        .next()
        .unwrap()
        .clone();
    let restored = event.restored().unwrap();
    assert_eq!(
        (restored.version, restored.authors),
        (Revision(1), &b"who"[..])
    );
    assert_eq!(event.operation(), Some(&delete(0, 7).to_bytes()[..]));
    // Whoever did not see it yet is moved past it like past any edit.
    assert_eq!(world.edit(ADA, 1, 3, 3, &insert(7, " three")), applied(5));
    assert_eq!(world.text(), " three");
    // Its window reads back, and goes on.
    let mut stored = Vec::new();
    world.doc().encode(&mut stored);
    let read = Document::decode(&stored.clone().into(), world.shard.limits()).unwrap();
    let mut again = Vec::new();
    read.encode(&mut again);
    assert_eq!(again, stored);
}

#[test]
fn machine_who_may_not_edit_restores_nothing() {
    let mut world = World::new();
    let refused = world.restore("mallory", 1, 1, &insert(0, "x"));
    assert!(matches!(
        refused,
        Outcome::Refused(Refusal {
            code: Code::Forbidden,
            ..
        })
    ));
    let refused = world.checkpoint("mallory");
    assert!(matches!(
        refused,
        Outcome::Refused(Refusal {
            code: Code::Forbidden,
            ..
        })
    ));
    assert_eq!((world.head(), world.text().as_str()), (1, ""));
}

#[test]
fn machine_a_checkpoint_takes_a_revision_unless_one_is_the_last() {
    let mut world = World::new();
    assert_eq!(world.checkpoint(ADA), applied(2));
    let (seq, rev) = (Seq(0), Revision(2));
    assert_eq!(world.checkpoint(ADA), Outcome::Already { seq, rev });
    world.edit(ADA, 1, 1, 2, &insert(0, "one"));
    assert_eq!(world.checkpoint(ADA), applied(4));
    let mut kinds = world
        .doc()
        .events_after(Revision(0))
        .unwrap()
        .map(|event| u32::from(event.kind));
    assert!(kinds.by_ref().eq([
        event::CREATE,
        event::CHECKPOINT,
        event::EDIT,
        event::CHECKPOINT
    ]));
    assert_eq!(world.text(), "one");
}
