use codraft_ot::{Attributes, Value};

use super::*;
use crate::{
    command::{Anchor, Anchored},
    machine::Refusal,
};

impl World {
    /// An edit of ada's that is anchored at one part of the document at `base`.
    fn anchored(
        &mut self,
        client: u8,
        base: u64,
        delta: &Delta,
        start: u32,
        units: u32,
    ) -> Outcome {
        let Command::Edit(edit) = edit(ADA, client, 1, base, delta) else {
            unreachable!()
        };
        let anchors = vec![Anchor { start, units }];
        self.apply(Command::Anchored(Anchored { edit, anchors }))
            .outcome
    }

    /// `one two three` at revision 2.
    fn with_words() -> World {
        let mut world = World::new();
        world.edit(ADA, 1, 1, 1, &insert(0, "one two three"));
        world
    }
}

fn replace(at: u32, units: u32, text: &str) -> Delta {
    let mut delta = Delta::new();
    delta.retain(at).insert(text).delete(units);
    delta
}

fn is_touched(outcome: &Outcome) -> bool {
    let touched = Code::Touched;
    matches!(outcome, Outcome::Refused(Refusal { code, .. }) if *code == touched)
}

#[test]
fn machine_an_anchored_edit_goes_past_what_leaves_its_text_alone() {
    let mut world = World::with_words();
    // Before it, at both of its edges, and behind it.
    world.edit(ADA, 1, 2, 2, &insert(0, "> "));
    world.edit(ADA, 1, 3, 3, &insert(6, "["));
    world.edit(ADA, 1, 4, 4, &insert(10, "]"));
    world.edit(ADA, 1, 5, 5, &delete(12, 2));
    let two = replace(4, 3, "2");
    let applied = world.anchored(7, 2, &two, 4, 3);
    assert_eq!(applied, Outcome::Applied { rev: Revision(7) });
    assert_eq!(world.text(), "> one [2] ree");
    // The same bytes are the same edit, whatever came since.
    let (seq, rev) = (Seq(1), Revision(7));
    let again = world.anchored(7, 2, &two, 4, 3);
    assert_eq!(again, Outcome::Already { seq, rev });
}

#[test]
fn machine_an_anchored_edit_is_refused_for_good_where_its_text_was_touched() {
    let mut bold = Attributes::new();
    bold.insert("bold".into(), Value::Bool(true));
    let mut formats = Delta::new();
    formats.retain(6).retain_with(1, bold);
    for (kind, touches) in [
        (Kind::Text, insert(5, "x")),
        (Kind::Text, delete(6, 1)),
        (Kind::Text, delete(0, 5)),
        (Kind::Rich, formats),
    ] {
        let mut world = World::with_kind(MachineLimits::default(), kind);
        world.edit(ADA, 1, 1, 1, &insert(0, "one two three"));
        world.edit(ADA, 1, 2, 2, &touches);
        let before = world.text();
        // What moved it before somebody touched it moves the question as well.
        let two = replace(4, 3, "2");
        let refused = world.anchored(7, 2, &two, 4, 3);
        assert!(is_touched(&refused), "{touches:?}: {refused:?}");
        assert!(is_touched(&world.anchored(7, 2, &two, 4, 3)));
        assert_eq!(world.text(), before);
    }
}

#[test]
fn machine_what_moved_an_anchor_is_minded_when_it_is_touched_later() {
    let mut world = World::with_words();
    world.edit(ADA, 1, 2, 2, &insert(0, "12345"));
    world.edit(ADA, 1, 3, 3, &delete(10, 1));
    assert!(is_touched(&world.anchored(7, 2, &replace(4, 3, "2"), 4, 3)));
    // The place where the text was before it moved is nobody's.
    let mut world = World::with_words();
    world.edit(ADA, 1, 2, 2, &insert(0, "12345"));
    world.edit(ADA, 1, 3, 3, &delete(3, 3));
    world.anchored(7, 2, &replace(4, 3, "2"), 4, 3);
    assert_eq!(world.text(), "123ne 2 three");
}
