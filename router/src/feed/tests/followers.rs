//! Readers that are told the head alone.

use super::*;

#[test]
fn a_follower_needs_no_state_and_keeps_the_feed() {
    let mut s = Scene::cold();
    let hello = Hello {
        follows: true,
        ..Hello::default()
    };
    let joined = |leader| Event::Joined {
        reader: ANA,
        hello,
        leader,
    };
    let message = |tag| Message::Open {
        tag: OpenTag(tag),
        reader: ANA,
        hello,
        held: None,
        bring: false,
    };
    let opens = |link, tag| Action::Send {
        link,
        message: message(tag),
    };
    assert_eq!(s.takes(joined(Some(A))), [opens(A, 1)]);
    let nothing = Box::new(Opened {
        start: Start::Nothing,
        ..*opened(3)
    });
    assert_eq!(s.opens(A, 1, Ok(nothing)), [welcome(ANA, 3), submit(ANA)]);
    assert_eq!(s.brings(A, &[4]), [deliver(3, &[4])]);
    // Another leader goes on where the last one was.
    let goes_on = s.takes(Event::Leader { link: B });
    assert!(goes_on.contains(&follow(B, 4)), "{goes_on:?}");
    let found = s.follows(B, Ok(followed(&[5], 5)));
    assert!(found.contains(&deliver(4, &[5])), "{found:?}");
}
