use super::*;

fn session() -> Session {
    Session::new(ClientId([1; 16]), "ana".into())
}
fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
fn not_leader() -> Answer {
    Answer::Retry {
        code: Code::NotLeader,
        message: String::new(),
        retry_after_ms: 0,
    }
}

#[test]
fn one_in_flight_and_its_repeat() {
    let mut s = session();
    assert_eq!(s.op(1, 0, bytes("a"), 0), OpAction::Submit);
    assert_eq!(s.op(1, 0, bytes("a"), 0), OpAction::Repeat);
    assert_eq!(
        s.op(1, 0, bytes("b"), 0),
        OpAction::Refuse(Code::SeqConflict)
    );
    assert_eq!(
        s.op(1, 1, bytes("a"), 0),
        OpAction::Refuse(Code::SeqConflict)
    );
    assert_eq!(s.op(2, 0, bytes("a"), 0), OpAction::Refuse(Code::Busy));
    let own = s.applied(1, 7);
    assert_eq!(own.map(|o| o.seq), Some(1));
    assert_eq!(
        s.op(1, 0, bytes("a"), 0),
        OpAction::Submit,
        "a late repeat: the shard answers"
    );
}

#[test]
fn it_is_sent_once_a_link_and_again_on_the_next() {
    let mut s = session();
    s.op(1, 0, bytes("a"), 0);
    assert!(s.unsent_on(LinkId(5)).is_some());
    s.sent(LinkId(5), 0);
    assert!(s.unsent_on(LinkId(5)).is_none());
    assert_eq!(s.unsent_on(LinkId(6)).map(|o| o.seq), Some(1));
    s.unsent();
    assert!(s.unsent_on(LinkId(5)).is_some());
}

#[test]
fn answers_of_another_attempt_are_ignored() {
    let mut s = session();
    s.op(4, 10, bytes("a"), 0);
    let rebase = Answer::Rebase {
        floor: 12,
        head: 20,
    };
    assert_eq!(
        s.answered(4, 10, rebase.clone(), 10),
        AnswerAction::Client(rebase.clone())
    );
    assert_eq!(
        s.op(4, 20, bytes("A"), 0),
        OpAction::Submit,
        "rebased, under the same seq"
    );
    assert_eq!(s.answered(4, 10, rebase, 20), AnswerAction::Nothing);
    assert_eq!(s.answered(3, 20, not_leader(), 20), AnswerAction::Nothing);
    assert_eq!(s.inflight().map(|o| o.base), Some(20));
}

#[test]
fn a_lost_leader_is_not_the_clients_business() {
    let mut s = session();
    s.op(1, 0, bytes("a"), 0);
    s.sent(LinkId(5), 0);
    assert_eq!(
        s.answered(1, 0, not_leader(), 0),
        AnswerAction::Again(Code::NotLeader)
    );
    assert!(
        s.unsent_on(LinkId(5)).is_some(),
        "still in flight, to be sent again"
    );
    let ahead = Answer::Retry {
        code: Code::BaseAhead,
        message: String::new(),
        retry_after_ms: 0,
    };
    assert_eq!(
        s.answered(1, 0, ahead.clone(), 0),
        AnswerAction::Client(ahead)
    );
    assert!(s.inflight().is_none());
}

#[test]
fn already_waits_for_its_place_in_the_feed() {
    let mut s = session();
    s.op(1, 0, bytes("a"), 0);
    assert_eq!(
        s.answered(1, 0, Answer::Already { rev: 9 }, 8),
        AnswerAction::Nothing
    );
    assert!(s.inflight().is_some());
    assert!(s.applied(1, 9).is_some());
    s.op(1, 0, bytes("a"), 0);
    let already = Answer::Already { rev: 9 };
    assert_eq!(
        s.answered(1, 0, already.clone(), 9),
        AnswerAction::Client(already)
    );
}

#[test]
fn opening_tells_what_was_acknowledged() {
    let mut s = session();
    s.op(3, 0, bytes("a"), 0);
    s.opened(Role::Editor, Some((2, 5)));
    assert!(s.inflight().is_some());
    s.opened(Role::Editor, Some((3, 6)));
    assert!(s.inflight().is_none());
}
