//! Threads of comments and names of versions: who may, what a repeat is told, and that a comment stays
//! on its words.

use codraft_proto::{event, ids::NoteId};
use proptest::prelude::*;

use super::{stored::reload, *};
use crate::{
    command::{Comment, Commenting, Trim, Version},
    machine::Moving,
};

fn note(n: u8) -> NoteId {
    NoteId([n; 16])
}

fn comment(by: &str, thread: u8, what: Commenting) -> Command {
    Command::Comment(Comment {
        doc: DOC,
        by: by.into(),
        thread: note(thread),
        what,
    })
}

fn open(by: &str, thread: u8, at: u64, start: u32, end: u32) -> Command {
    let (at, text) = (Revision(at), "why?".into());
    comment(
        by,
        thread,
        Commenting::Open {
            at,
            start,
            end,
            text,
        },
    )
}

fn reply(by: &str, thread: u8, id: u8, text: &str) -> Command {
    let (comment_id, text) = (note(id), text.into());
    comment(
        by,
        thread,
        Commenting::Reply {
            comment: comment_id,
            text,
        },
    )
}

fn name(by: &str, id: u8, version: Option<u64>, name: &str) -> Command {
    Command::Version(Version {
        doc: DOC,
        by: by.into(),
        id: note(id),
        version: version.map(Revision),
        name: name.into(),
    })
}

fn applied(rev: u64) -> Outcome {
    Outcome::Applied { rev: Revision(rev) }
}

fn already(rev: u64) -> Outcome {
    Outcome::Already {
        seq: Seq(0),
        rev: Revision(rev),
    }
}

/// "hello world" at revision 4: ada owns it, bob comments, eve reads.
fn world(limits: MachineLimits) -> World {
    let mut world = World::with(limits);
    world.grant(ADA, BOB, Some(Role::Commenter));
    world.grant(ADA, EVE, Some(Role::Viewer));
    assert_eq!(
        world.edit(ADA, 1, 1, 3, &insert(0, "hello world")),
        applied(4)
    );
    world
}

/// A thread that was answered and one that was deleted, and a version with a name.
pub(super) fn add_some(world: &mut World) {
    let head = world.head();
    let delete = comment(ADA, 2, Commenting::Delete { comment: note(2) });
    let notes = [
        open(BOB, 1, head, 1, 3),
        reply(ADA, 1, 3, "because"),
        comment(BOB, 1, Commenting::Resolve(true)),
        open(ADA, 2, head, 0, 1),
        delete,
        name(ADA, 1, None, "draft"),
    ];
    for (nth, note) in notes.into_iter().enumerate() {
        assert_eq!(world.apply(note).outcome, applied(head + 1 + nth as u64));
    }
}

/// Where a thread is at the head.
fn range(world: &World, thread: u8) -> (u32, u32) {
    let document = world.doc();
    let mut moving = Moving::of(document.comments());
    let from = moving.from().unwrap_or(document.rev());
    for event in document.events_after(from).unwrap() {
        moving.pass(event, &world.shard.limits.ot);
    }
    let anchor = document
        .comments()
        .iter()
        .find(|(id, _)| **id == note(thread));
    let anchor = anchor.unwrap().1.anchor;
    let moved = moving.finish().get(&note(thread)).copied();
    moved.unwrap_or((anchor.start, anchor.end))
}

fn words(world: &World, thread: u8) -> String {
    let (start, end) = range(world, thread);
    let units: Vec<u16> = world.text().encode_utf16().collect();
    String::from_utf16(&units[start as usize..end as usize]).unwrap()
}

#[test]
fn machine_a_thread_is_opened_answered_resolved_and_deleted() {
    let mut world = world(MachineLimits::default());
    let applied_now = world.apply(open(BOB, 1, 4, 6, 11));
    assert_eq!(applied_now.outcome, applied(5));
    let event = applied_now.event.unwrap();
    assert_eq!(u32::from(event.kind), event::COMMENT);
    let opened = event::read_comment(&event.body).unwrap();
    assert_eq!((opened.thread(), opened.name()), (note(1), "opened"));
    assert_eq!(world.apply(reply(ADA, 1, 2, "because")).outcome, applied(6));
    let resolve = |on| comment(ADA, 1, Commenting::Resolve(on));
    assert_eq!(world.apply(resolve(true)).outcome, applied(7));
    assert_eq!(world.apply(resolve(true)).outcome, already(7));
    assert_eq!(world.apply(resolve(false)).outcome, applied(8));
    let delete = |by, id| comment(by, 1, Commenting::Delete { comment: note(id) });
    assert_eq!(
        refused(&world.apply(delete(BOB, 2)).outcome),
        Some(Code::Forbidden)
    );
    assert_eq!(world.apply(delete(ADA, 2)).outcome, applied(9));
    assert_eq!(world.apply(delete(ADA, 2)).outcome, already(9));
    // What was said is there as said, and a late copy of it is no second one.
    assert_eq!(world.apply(reply(ADA, 1, 2, "because")).outcome, already(6));
    reload(&mut world.shard);
    let (_, thread) = world.doc().comments().iter().next().unwrap();
    let texts: Vec<_> = thread.comments.iter().map(|c| c.text.as_deref()).collect();
    assert_eq!(texts, [Some("why?"), None]);
    assert_eq!(words(&world, 1), "world");
}

#[test]
fn machine_comments_are_for_commenters_and_what_cannot_be_has_its_code() {
    let mut world = world(MachineLimits::default());
    let code = |world: &mut World, command| refused(&world.apply(command).outcome);
    assert_eq!(
        code(&mut world, open(EVE, 1, 4, 0, 5)),
        Some(Code::Forbidden)
    );
    assert_eq!(
        code(&mut world, open("mallory", 1, 4, 0, 5)),
        Some(Code::NotFound)
    );
    assert_eq!(
        code(&mut world, open(BOB, 1, 4, 5, 5)),
        Some(Code::LengthMismatch)
    );
    assert_eq!(
        code(&mut world, open(BOB, 1, 4, 5, 12)),
        Some(Code::LengthMismatch)
    );
    assert_eq!(
        code(&mut world, open(BOB, 1, 3, 0, 1)),
        Some(Code::LengthMismatch)
    );
    assert_eq!(
        code(&mut world, reply(BOB, 1, 2, "?")),
        Some(Code::NoComment)
    );
    let ahead = world.apply(open(BOB, 1, 5, 0, 5)).outcome;
    assert_eq!(ahead, Outcome::Retry(Code::BaseAhead));
    assert_eq!(world.apply(open(BOB, 1, 4, 0, 5)).outcome, applied(5));
    assert_eq!(world.apply(open(BOB, 1, 4, 0, 5)).outcome, already(5));
    assert_eq!(code(&mut world, open(ADA, 1, 4, 0, 5)), Some(Code::Exists));
    let long = "x".repeat(world.shard.limits.comment_bytes + 1);
    assert_eq!(
        code(&mut world, reply(BOB, 1, 2, &long)),
        Some(Code::Malformed)
    );
    assert_eq!(
        code(&mut world, reply(BOB, 1, 2, "")),
        Some(Code::Malformed)
    );
    let some = "x".repeat(world.shard.limits.comment_bytes);
    let mut n = 2;
    let full = loop {
        match world.apply(reply(BOB, 1, n, &some)).outcome {
            Outcome::Applied { .. } => n += 1,
            other => break other,
        }
    };
    assert_eq!(refused(&full), Some(Code::DocumentFull));
    assert!((100..200).contains(&n), "{n}");
    // Nothing of it takes anything from who edits.
    let head = world.head();
    assert_eq!(
        world.edit(ADA, 1, 2, head, &insert(0, "x")),
        applied(head + 1)
    );
}

#[test]
fn machine_threads_of_a_document_are_bounded() {
    let mut world = world(MachineLimits {
        threads: 3,
        ..MachineLimits::default()
    });
    for n in 0..3 {
        assert_eq!(
            world.apply(open(BOB, n, 4, 0, 5)).outcome,
            applied(5 + u64::from(n))
        );
    }
    let more = world.apply(open(BOB, 9, 4, 0, 5)).outcome;
    assert_eq!(refused(&more), Some(Code::DocumentFull));
}

/// Also when the window has been cut since, and where the words themselves go.
#[test]
fn machine_a_comment_stays_on_its_words() {
    let mut world = world(small_window());
    world.apply(open(BOB, 1, 4, 6, 11));
    world.apply(open(BOB, 2, 4, 0, 5));
    let before = world.head();
    world.type_until(1, before + 20);
    assert!(world.doc().floor() > Revision(before), "the window was cut");
    assert_eq!(
        (words(&world, 1), words(&world, 2)),
        ("world".into(), "hello".into())
    );
    let (start, end) = range(&world, 1);
    let head = world.head();
    // Text at its very ends is not part of it, text within is.
    world.edit(ADA, 2, 1, head, &insert(start, "<"));
    world.edit(ADA, 2, 2, head + 1, &insert(end + 1, ">"));
    world.edit(ADA, 2, 3, head + 2, &insert(start + 3, "-"));
    assert_eq!(words(&world, 1), "wo-rld");
    let at = range(&world, 1).0;
    world.edit(ADA, 2, 4, head + 3, &delete(at, 6));
    world.edit(ADA, 2, 5, head + 4, &insert(at, "other"));
    assert_eq!(words(&world, 1), "");
    reload(&mut world.shard);
    let head = world.head();
    world.type_until(1, head + 20);
    assert_eq!(
        (words(&world, 1), words(&world, 2)),
        ("".into(), "hello".into())
    );
}

#[test]
fn machine_a_thread_that_was_deleted_goes_with_the_window() {
    let mut world = world(small_window());
    world.apply(open(BOB, 1, 4, 0, 5));
    let gone = comment(BOB, 1, Commenting::Delete { comment: note(1) });
    assert_eq!(world.apply(gone).outcome, applied(6));
    assert_eq!(world.doc().comments().len(), 1);
    world.type_until(1, 8);
    let trim = Command::Trim(Trim {
        doc: DOC,
        floor: Revision(8),
    });
    world.apply(trim);
    assert_eq!(
        (
            world.doc().comments().len(),
            world.doc().comments().heap_bytes()
        ),
        (0, 0)
    );
    // A late copy of what opened it is too old to do so again.
    let late = world.apply(open(BOB, 1, 4, 0, 5)).outcome;
    let (floor, head) = (Revision(8), Revision(8));
    assert_eq!(late, Outcome::Rebase { floor, head });
}

#[test]
fn machine_versions_have_names() {
    let mut world = world(MachineLimits {
        versions: 2,
        ..MachineLimits::default()
    });
    let code = |world: &mut World, command| refused(&world.apply(command).outcome);
    assert_eq!(
        code(&mut world, name(BOB, 1, None, "draft")),
        Some(Code::Forbidden)
    );
    assert_eq!(
        code(&mut world, name("mallory", 1, None, "draft")),
        Some(Code::NotFound)
    );
    assert_eq!(
        code(&mut world, name(ADA, 1, Some(5), "draft")),
        Some(Code::NoVersion)
    );
    assert_eq!(
        code(&mut world, name(ADA, 1, Some(0), "draft")),
        Some(Code::NoVersion)
    );
    assert_eq!(
        code(&mut world, name(ADA, 1, None, "a\nb")),
        Some(Code::Malformed)
    );
    let named = world.apply(name(ADA, 1, None, "draft"));
    assert_eq!(named.outcome, applied(5));
    let body = named.event.unwrap().body.clone();
    let told = event::read_version(&body).unwrap();
    assert_eq!(
        (told.id, told.version, told.name),
        (note(1), Revision(4), "draft")
    );
    assert_eq!(world.apply(name(ADA, 1, None, "draft")).outcome, already(5));
    assert_eq!(
        code(&mut world, name(ADA, 1, None, "other")),
        Some(Code::Exists)
    );
    assert_eq!(
        world.apply(name(ADA, 2, Some(2), "early")).outcome,
        applied(6)
    );
    assert_eq!(
        code(&mut world, name(ADA, 3, None, "more")),
        Some(Code::DocumentFull)
    );
    reload(&mut world.shard);
    let all: Vec<_> = world
        .doc()
        .versions()
        .iter()
        .map(|(_, v)| v.version.0)
        .collect();
    assert_eq!(all, [4, 2]);
}

proptest! {
    /// However it was typed and cut, ranges are where each end was moved on its own, event by event.
    #[test]
    fn machine_anchors_are_where_their_ends_were_moved(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u32..6, 1u32..6), 1..60),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let mut world = world(small_window());
        let mut expected: Vec<(u32, u32)> = Vec::new();
        for (nth, (at, cut, typed)) in edits.iter().enumerate() {
            let units = world.doc().content().units();
            if nth % 3 == 0 && let Some((from, to)) = ranges.get(nth / 3) && units > 1 {
                let start = from.index(units as usize - 1) as u32;
                let end = start + 1 + to.index((units - start) as usize) as u32;
                let end = end.min(units);
                let head = world.head();
                let id = expected.len() as u8;
                prop_assert_eq!(world.apply(open(BOB, id, head, start, end)).outcome, applied(head + 1));
                expected.push((start, end));
            }
            let at = at.index(units as usize + 1) as u32;
            let mut delta = insert(at, &"y".repeat(*typed as usize));
            let cut = (*cut).min(units - at);
            if cut > 0 {
                delta.delete(cut);
            }
            let head = world.head();
            prop_assert_eq!(world.edit(ADA, 1, nth as u64 + 2, head, &delta), applied(head + 1));
            for (start, end) in &mut expected {
                let moved = delta.transform_position(*end, true);
                *start = delta.transform_position(*start, false);
                *end = moved;
            }
        }
        for (id, (start, end)) in expected.into_iter().enumerate() {
            // An empty range has one place, whichever way its ends would go.
            let (is_start, is_end) = range(&world, id as u8);
            if start <= end {
                prop_assert_eq!((is_start, is_end), (start, end));
            } else {
                prop_assert_eq!(is_start, is_end);
            }
        }
    }
}
