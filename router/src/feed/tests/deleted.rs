//! A document is deleted while it is open.

use super::*;

const CY: ReaderId = ReaderId(3);

fn deletion(rev: u64) -> FeedEvent {
    FeedEvent {
        kind: event::DELETE,
        ..event(rev)
    }
}

fn ended(reader: ReaderId, code: Code) -> Action {
    Action::End { reader, code }
}

impl Scene {
    fn deletes(&mut self, link: LinkId, rev: u64) -> Vec<Action> {
        let (events, hash) = (vec![deletion(rev)], Some(at(rev).hash));
        self.takes(Event::Events { link, events, hash })
    }
}

#[test]
fn who_reads_a_document_that_is_deleted_is_told_behind_the_last_event() {
    let mut s = Scene::live();
    let (before, events) = (at(3), vec![deletion(4)]);
    let told = [
        Action::Deliver { before, events },
        ended(ANA, Code::Deleted),
        ended(BO, Code::Deleted),
        unfollow(A),
    ];
    assert_eq!(s.deletes(A, 4), told);
    // What is delivered is looked up by the position.
    assert_eq!(s.feed.position(), Some(at(4)));
    assert_eq!((s.feed.fed_by(), s.feed.takes_operations()), (None, None));
    assert_eq!(s.brings(A, &[5]), [], "nobody reads it");
    // It is there again, for who opens it then.
    assert_eq!(s.joins(CY, Some(A)), [open(A, 3, CY)]);
    s.opens(A, 3, Ok(opened(6)));
    assert_eq!(s.brings(A, &[7]), [deliver(6, &[7])]);
}

/// Answered before the router said that it listens no more, it would have no feed.
#[test]
fn an_open_on_its_way_past_a_deletion_is_asked_once_more() {
    let mut s = Scene::live();
    assert_eq!(s.joins(CY, Some(A)), [open(A, 3, CY)]);
    let told = s.deletes(A, 4);
    assert_eq!(told[3..], [unfollow(A), open(A, 4, CY)]);
    assert_eq!(s.opens(A, 3, Ok(opened(5))), []);
    let gone = s.opens(A, 4, Err(Code::NotFound));
    assert_eq!(gone, [ended(CY, Code::NotFound)]);
}

#[test]
fn a_feed_that_finds_its_document_deleted_ends_who_read_along() {
    let mut s = Scene::live();
    s.takes(Event::Leader { link: B });
    let gap_ms = Some(0);
    let told = [
        ended(ANA, Code::Deleted),
        ended(BO, Code::Deleted),
        unfollow(B),
        Action::Found { gap_ms },
    ];
    assert_eq!(s.follows(B, Err(Code::Deleted)), told);
    // In what was missed, too.
    let mut s = Scene::live();
    s.takes(Event::Leader { link: B });
    let missed = Followed {
        events: vec![deletion(4), event(5)],
        ..followed(&[], 5)
    };
    let told = s.follows(B, Ok(missed));
    assert_eq!(
        told[1..3],
        [ended(ANA, Code::Deleted), ended(BO, Code::Deleted)]
    );
    assert_eq!(s.feed.takes_operations(), None);
}
