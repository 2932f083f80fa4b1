//! Titles: who may give one, and that each is an event of its document.

use super::*;
use codraft_proto::event;

impl World {
    fn title(&mut self, by: &str, title: &str) -> Applied {
        self.apply(Command::Title(command::Title {
            doc: DOC,
            by: by.into(),
            title: title.into(),
        }))
    }
}

#[test]
fn machine_a_title_takes_a_revision_and_moves_no_text() {
    let mut world = World::shared();
    world.edit(ADA, 1, 1, 2, &insert(0, "abc"));
    let titled = world.title(BOB, "Minutes");
    assert_eq!(titled.outcome, Outcome::Applied { rev: Revision(4) });
    let event = titled.event.unwrap();
    assert_eq!(
        (u32::from(event.kind), event.titled(), &*event.user),
        (event::TITLE, Some("Minutes"), BOB)
    );
    // One that was made before it goes on past it.
    let late = world.edit(ADA, 1, 2, 3, &insert(3, "d"));
    assert_eq!(late, Outcome::Applied { rev: Revision(5) });
    assert_eq!((world.doc().title(), &*world.text()), ("Minutes", "abcd"));
    // It is in what is known without a page, and in the page.
    assert_eq!(&*world.shard.summary(&DOC).unwrap().title, "Minutes");
    let digest = world.shard.digest();
    stored::reload(&mut world.shard);
    assert_eq!(
        (world.doc().title(), world.shard.digest()),
        ("Minutes", digest)
    );
}

#[test]
fn machine_the_title_that_it_has_takes_no_revision() {
    let mut world = World::shared();
    world.title(ADA, "Minutes");
    let again = world.title(BOB, "Minutes");
    let (seq, rev) = (Seq(0), Revision(3));
    assert_eq!(again.outcome, Outcome::Already { seq, rev });
    assert_eq!((again.event, world.head()), (None, 3));
}

#[test]
fn machine_who_may_edit_gives_titles_and_nobody_else() {
    let mut world = World::shared();
    let most = MachineLimits::default().title_bytes;
    for (role, code) in [
        (Some(Role::Viewer), Some(Code::Forbidden)),
        (Some(Role::Commenter), Some(Code::Forbidden)),
        (Some(Role::Editor), None),
        (Some(Role::Owner), None),
        (None, Some(Code::NotFound)),
    ] {
        world.grant(ADA, BOB, role);
        let before = world.head();
        let title = format!("by {role:?}");
        let told = world.title(BOB, &title).outcome;
        assert_eq!(refused(&told), code, "{role:?}");
        assert_eq!(world.head(), before + u64::from(code.is_none()));
        assert_eq!(world.doc().title() == title, code.is_none());
    }
    let long = world.title(ADA, &"t".repeat(most + 1)).outcome;
    assert_eq!(refused(&long), Some(Code::Malformed));
    let longest = world.title(ADA, &"t".repeat(most)).outcome;
    assert!(matches!(longest, Outcome::Applied { .. }));
}

#[test]
fn machine_a_repeated_create_does_not_undo_a_title() {
    let mut world = World::new();
    world.title(ADA, "Minutes");
    let again = world.apply(create(Kind::Text, ADA)).outcome;
    let (seq, rev) = (Seq(0), Revision(1));
    assert_eq!(again, Outcome::Already { seq, rev });
    assert_eq!(world.doc().title(), "Minutes");
}
