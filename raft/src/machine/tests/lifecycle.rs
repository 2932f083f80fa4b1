//! Deleting: what a deleted document answers, and that all of it comes back.

use super::*;
use crate::command::{Checkpoint, Comment, Commenting, Deletion, Expire, Quarantine, Title, Trim};
use codraft_proto::{event, ids::NoteId};

fn delete_by(by: &str) -> Command {
    Command::Delete(Deletion {
        doc: DOC,
        by: by.into(),
    })
}

fn undelete_by(by: &str) -> Command {
    Command::Undelete(Deletion {
        doc: DOC,
        by: by.into(),
    })
}

fn note(first: u8) -> NoteId {
    NoteId([first; 16])
}

fn comment(by: &str) -> Command {
    let (start, end) = (0, 3);
    let (at, text) = (Revision(3), "why?".into());
    Command::Comment(Comment {
        doc: DOC,
        by: by.into(),
        thread: note(1),
        what: Commenting::Open {
            at,
            start,
            end,
            text,
        },
    })
}

fn version(by: &str) -> Command {
    Command::Version(command::Version {
        doc: DOC,
        by: by.into(),
        id: note(2),
        version: None,
        name: "draft".into(),
    })
}

fn grant(by: &str, user: &str) -> Command {
    Command::Grant(command::Grant {
        doc: DOC,
        by: by.into(),
        user: user.into(),
        role: Some(Role::Viewer),
    })
}

fn title(by: &str) -> Command {
    Command::Title(Title {
        doc: DOC,
        by: by.into(),
        title: "Minutes".into(),
    })
}

fn checkpoint(by: &str) -> Command {
    Command::Checkpoint(Checkpoint {
        doc: DOC,
        by: by.into(),
    })
}

/// A text of ada's that bob edits, with a thread and a version that has a name; at revision 5.
fn written() -> World {
    let mut world = World::shared();
    world.edit(ADA, 1, 1, 2, &insert(0, "abc"));
    for command in [comment(BOB), version(ADA)] {
        let outcome = world.apply(command).outcome;
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
    world
}

fn stored(world: &World) -> Vec<u8> {
    let mut out = Vec::new();
    world.doc().encode(&mut out);
    out
}

#[test]
fn machine_owners_delete_and_nobody_else() {
    for (role, code) in [
        (None, Some(Code::NotFound)),
        (Some(Role::Viewer), Some(Code::Forbidden)),
        (Some(Role::Commenter), Some(Code::Forbidden)),
        (Some(Role::Editor), Some(Code::Forbidden)),
        (Some(Role::Owner), None),
    ] {
        let mut world = written();
        world.grant(ADA, BOB, role);
        let before = world.head();
        let deleted = world.apply(delete_by(BOB));
        assert_eq!(refused(&deleted.outcome), code, "{role:?}");
        assert_eq!(world.head(), before + u64::from(code.is_none()));
        let since_ms = code.is_none().then_some(1_000);
        assert_eq!(world.doc().deleted_ms(), since_ms);
        let kind = deleted.event.map(|event| u32::from(event.kind));
        assert_eq!(kind, code.is_none().then_some(event::DELETE));
    }
}

/// Whatever is asked of it: as of one that is missing, and it stays as it is.
#[test]
fn machine_a_deleted_document_answers_as_a_missing_one() {
    let mut world = written();
    world.apply(delete_by(ADA));
    let before = stored(&world);
    let of: [fn(&str) -> Command; 7] = [
        delete_by,
        comment,
        version,
        title,
        checkpoint,
        |by: &str| grant(by, EVE),
        |by: &str| grant(by, by),
    ];
    for (nth, command) in of.iter().enumerate() {
        for by in [ADA, BOB, EVE] {
            let told = world.apply(command(by)).outcome;
            let mut without = World::empty(MachineLimits::default());
            assert_eq!(told, without.apply(command(by)).outcome, "{nth} by {by}");
        }
    }
    for by in [BOB, EVE] {
        let told = world.apply(undelete_by(by)).outcome;
        assert_eq!(refused(&told), Some(Code::NotFound), "by {by}");
    }
    assert_eq!(stored(&world), before);
    for user in [ADA, BOB, EVE] {
        let summary = world.shard.summary(&DOC).unwrap();
        assert_eq!((world.doc().role(user), summary.role(user)), (None, None));
    }
}

#[test]
fn machine_an_edit_of_a_deleted_document_is_refused_on_the_record() {
    let mut world = written();
    world.apply(delete_by(ADA));
    for base in [5, 6] {
        let (client, typed) = (base as u8, insert(0, "x"));
        let told = world.edit(BOB, client, 1, base, &typed);
        assert_eq!(refused(&told), Some(Code::Deleted));
        let told = world.edit(EVE, client + 10, 1, base, &typed);
        assert_eq!(refused(&told), Some(Code::Forbidden));
    }
    // What was applied before is known to be.
    let again = world.edit(ADA, 1, 1, 2, &insert(0, "abc"));
    let (seq, rev) = (Seq(1), Revision(3));
    assert_eq!(again, Outcome::Already { seq, rev });
    world.apply(undelete_by(ADA));
    let again = world.edit(BOB, 5, 1, 5, &insert(0, "x"));
    assert_eq!(refused(&again), Some(Code::Deleted));
    let next = world.edit(BOB, 5, 2, 5, &insert(3, "d"));
    assert_eq!(next, Outcome::Applied { rev: Revision(8) });
    assert_eq!(world.text(), "abcd");
}

#[test]
fn machine_an_undeleted_document_is_as_it_was() {
    let mut world = written();
    let before = world.doc().clone();
    world.apply(delete_by(ADA));
    // What nobody asked for goes on meanwhile.
    let (doc, floor, below) = (DOC, Revision(2), Revision(2));
    for command in [
        Command::Trim(Trim { doc, floor }),
        Command::Expire(Expire { doc, below }),
    ] {
        let outcome = world.apply(command).outcome;
        assert_eq!(outcome, Outcome::Applied { rev: Revision(6) });
    }
    let back = world.apply(undelete_by(ADA));
    assert_eq!(back.outcome, Outcome::Applied { rev: Revision(7) });
    let kind = back.event.map(|event| u32::from(event.kind));
    assert_eq!(kind, Some(event::UNDELETE));
    let again = world.apply(undelete_by(ADA)).outcome;
    let (seq, rev) = (Seq(0), Revision(7));
    assert_eq!(again, Outcome::Already { seq, rev });
    let now = world.doc();
    assert_eq!(now.deleted_ms(), None);
    assert_eq!(now.content().text(), before.content().text());
    for user in [ADA, BOB, EVE] {
        assert_eq!(now.grant_of(user), before.grant_of(user));
    }
    assert_eq!(now.comments().iter().count(), 1);
    assert!(now.comments().iter().eq(before.comments().iter()));
    assert!(now.versions().iter().eq(before.versions().iter()));
    // An operation from before it was deleted goes on past it.
    let late = world.edit(BOB, 9, 1, 4, &insert(3, "d"));
    assert_eq!(late, Outcome::Applied { rev: Revision(8) });
    assert_eq!(world.text(), "abcd");
}

/// Of the page and of what is known without it, beside a quarantine and alone.
#[test]
fn machine_a_deletion_is_part_of_the_state() {
    let quarantine = |on| Command::Quarantine(Quarantine { doc: DOC, on });
    for (is_apart, is_deleted) in [(false, true), (true, true), (true, false), (false, false)] {
        let mut world = written();
        world.ts_ms = 5_000;
        world.apply(quarantine(is_apart));
        world.ts_ms = 7_000;
        if is_deleted {
            world.apply(delete_by(ADA));
        }
        let right = (
            is_apart.then_some(5_000),
            is_deleted.then_some(7_000),
            world.shard.digest(),
        );
        super::stored::reload(&mut world.shard);
        let document = world.doc();
        let since = (document.quarantined_ms(), document.deleted_ms());
        assert_eq!((since.0, since.1, world.shard.digest()), right);
        let summary = document.summary();
        let mut spelled = Vec::new();
        summary.encode(&mut spelled);
        let spelled = Bytes::from(spelled);
        let read = super::super::Summary::decode(&mut command::Input::new(&spelled)).unwrap();
        assert!(read.is_of(document));
        assert_eq!((read.quarantined_ms, read.deleted_ms), since);
        // An owner has it back all the same.
        let back = world.apply(undelete_by(ADA)).outcome;
        assert_eq!(refused(&back), None);
        assert_eq!(world.doc().role(BOB), Some(Role::Editor));
    }
}

#[test]
fn machine_a_repeated_create_does_not_bring_it_back() {
    let mut world = written();
    world.apply(delete_by(ADA));
    let again = world.apply(create(Kind::Text, ADA)).outcome;
    let (seq, rev) = (Seq(0), Revision(1));
    assert_eq!(again, Outcome::Already { seq, rev });
    assert_eq!(world.doc().deleted_ms(), Some(1_000));
}
