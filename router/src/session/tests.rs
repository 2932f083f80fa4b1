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
    assert_eq!(s.op(Seq(1), Revision(0), bytes("a"), 0), OpAction::Submit);
    assert_eq!(s.op(Seq(1), Revision(0), bytes("a"), 0), OpAction::Repeat);
    assert_eq!(
        s.op(Seq(1), Revision(0), bytes("b"), 0),
        OpAction::Refuse(Code::SeqConflict)
    );
    assert_eq!(
        s.op(Seq(1), Revision(1), bytes("a"), 0),
        OpAction::Refuse(Code::SeqConflict)
    );
    assert_eq!(
        s.op(Seq(2), Revision(0), bytes("a"), 0),
        OpAction::Refuse(Code::Busy)
    );
    let own = s.applied(Seq(1), Revision(7));
    assert_eq!(own.map(|o| o.seq), Some(Seq(1)));
    assert_eq!(
        s.op(Seq(1), Revision(0), bytes("a"), 0),
        OpAction::Submit,
        "a late repeat: the shard answers"
    );
}

#[test]
fn it_is_sent_once_a_link_and_again_on_the_next() {
    let mut s = session();
    s.op(Seq(1), Revision(0), bytes("a"), 0);
    assert!(s.unsent_on(LinkId(5)).is_some());
    s.sent(LinkId(5), 0);
    assert!(s.unsent_on(LinkId(5)).is_none());
    assert_eq!(s.unsent_on(LinkId(6)).map(|o| o.seq), Some(Seq(1)));
    s.unsent();
    assert!(s.unsent_on(LinkId(5)).is_some());
}

#[test]
fn answers_of_another_attempt_are_ignored() {
    let mut s = session();
    s.op(Seq(4), Revision(10), bytes("a"), 0);
    let rebase = Answer::Rebase {
        floor: Revision(12),
        head: Revision(20),
    };
    assert_eq!(
        s.answered(Seq(4), Revision(10), rebase.clone(), Revision(10)),
        AnswerAction::Client(rebase.clone())
    );
    assert_eq!(
        s.op(Seq(4), Revision(20), bytes("A"), 0),
        OpAction::Submit,
        "rebased, under the same seq"
    );
    assert_eq!(
        s.answered(Seq(4), Revision(10), rebase, Revision(20)),
        AnswerAction::Nothing
    );
    assert_eq!(
        s.answered(Seq(3), Revision(20), not_leader(), Revision(20)),
        AnswerAction::Nothing
    );
    assert_eq!(s.inflight().map(|o| o.base), Some(Revision(20)));
}

#[test]
fn a_lost_leader_is_not_the_clients_business() {
    let mut s = session();
    s.op(Seq(1), Revision(0), bytes("a"), 0);
    s.sent(LinkId(5), 0);
    assert_eq!(
        s.answered(Seq(1), Revision(0), not_leader(), Revision(0)),
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
        s.answered(Seq(1), Revision(0), ahead.clone(), Revision(0)),
        AnswerAction::Client(ahead)
    );
    assert!(s.inflight().is_none());
}

#[test]
fn already_waits_for_its_place_in_the_feed() {
    let mut s = session();
    s.op(Seq(1), Revision(0), bytes("a"), 0);
    assert_eq!(
        s.answered(
            Seq(1),
            Revision(0),
            Answer::Already { rev: Revision(9) },
            Revision(8)
        ),
        AnswerAction::Nothing
    );
    assert!(s.inflight().is_some());
    assert!(s.applied(Seq(1), Revision(9)).is_some());
    s.op(Seq(1), Revision(0), bytes("a"), 0);
    let already = Answer::Already { rev: Revision(9) };
    assert_eq!(
        s.answered(Seq(1), Revision(0), already.clone(), Revision(9)),
        AnswerAction::Client(already)
    );
}

#[test]
fn opening_tells_what_was_acknowledged() {
    let mut s = session();
    s.op(Seq(3), Revision(0), bytes("a"), 0);
    s.opened(Role::Editor, Some((Seq(2), Revision(5))));
    assert!(s.inflight().is_some());
    s.opened(Role::Editor, Some((Seq(3), Revision(6))));
    assert!(s.inflight().is_none());
}
