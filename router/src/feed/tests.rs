#![allow(clippy::unwrap_used)]

mod deleted;

use super::*;

mod followers;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const ANA: ReaderId = ReaderId(1);
const BO: ReaderId = ReaderId(2);

/// A feed, its time, and what it did last.
struct Scene {
    feed: Feed,
    now_ms: u64,
}

fn event(rev: u64) -> FeedEvent {
    FeedEvent {
        rev: Revision(rev),
        ts_ms: 1_000 + rev,
        ..FeedEvent::default()
    }
}

fn at(rev: u64) -> Position {
    Position {
        rev: Revision(rev),
        hash: [rev as u8; 32],
        ts_ms: 1_000 + rev,
    }
}

fn opened(rev: u64) -> Box<Opened> {
    Box::new(Opened {
        role: codraft_proto::ids::Role::Editor,
        kind: 1,
        algebra: String::new(),
        title: String::new(),
        head: at(rev),
        acked: None,
        start: Start::State {
            at: at(rev).at(),
            state: bytes::Bytes::new(),
            kept: None,
        },
        events: Vec::new(),
    })
}

/// The answer where the state that the router holds will do.
fn opened_held(revs: &[u64], rev: u64) -> Box<Opened> {
    Box::new(Opened {
        start: Start::Held,
        events: revs.iter().copied().map(event).collect(),
        ..*opened(rev)
    })
}

fn followed(revs: &[u64], rev: u64) -> Followed {
    Followed {
        rev: Revision(rev),
        hash: Some(at(rev).hash),
        resumed: true,
        events: revs.iter().copied().map(event).collect(),
    }
}

fn open(link: LinkId, tag: u64, reader: ReaderId) -> Action {
    open_with(link, tag, reader, None)
}

fn open_with(link: LinkId, tag: u64, reader: ReaderId, held: Option<u64>) -> Action {
    let message = Message::Open {
        tag: OpenTag(tag),
        reader,
        hello: Hello::default(),
        held: held.map(|rev| at(rev).at()),
        bring: held.is_none(),
    };
    Action::Send { link, message }
}

fn follow(link: LinkId, rev: u64) -> Action {
    let message = Message::Follow {
        after: at(rev).at(),
    };
    Action::Send { link, message }
}

fn unfollow(link: LinkId) -> Action {
    let message = Message::Unfollow;
    Action::Send { link, message }
}

fn welcome(reader: ReaderId, rev: u64) -> Action {
    Action::Welcome {
        reader,
        from: at(rev).at(),
        opened: opened_held(&[], rev),
    }
}

fn deliver(after: u64, revs: &[u64]) -> Action {
    Action::Deliver {
        before: at(after),
        events: revs.iter().copied().map(event).collect(),
    }
}

fn retry_at(at_ms: u64) -> Action {
    Action::WakeAt { at_ms }
}

fn submit(reader: ReaderId) -> Action {
    Action::Submit { reader }
}

fn hold() -> Action {
    let state = bytes::Bytes::new();
    Action::Hold { state, kept: None }
}

const BUSY_AT_MS: u64 = 10_000;

impl Scene {
    /// Nobody has it open.
    fn cold() -> Self {
        let (feed, now_ms) = (Feed::new(0), BUSY_AT_MS);
        Self { feed, now_ms }
    }

    /// Ana and Bo have it open at revision 3, by link A, for long enough that no state is held.
    fn live() -> Self {
        let mut scene = Self::cold();
        scene.joins(ANA, Some(A));
        scene.opens(A, 1, Ok(opened(3)));
        scene.joins(BO, Some(A));
        scene.opens(A, 2, Ok(opened_held(&[], 3)));
        scene.feed.held = None;
        scene
    }

    fn takes(&mut self, event: Event) -> Vec<Action> {
        let mut out = Actions::new();
        self.feed.handle(self.now_ms, event, &mut out);
        out.into()
    }

    fn joins(&mut self, reader: ReaderId, leader: Option<LinkId>) -> Vec<Action> {
        let hello = Hello::default();
        self.takes(Event::Joined {
            reader,
            hello,
            leader,
        })
    }

    fn opens(&mut self, link: LinkId, tag: u64, answer: Result<Box<Opened>, Code>) -> Vec<Action> {
        let tag = OpenTag(tag);
        self.takes(Event::Opened { link, tag, answer })
    }

    fn follows(&mut self, link: LinkId, answer: Result<Followed, Code>) -> Vec<Action> {
        self.takes(Event::Followed { link, answer })
    }

    fn brings(&mut self, link: LinkId, revs: &[u64]) -> Vec<Action> {
        let events = revs.iter().copied().map(event).collect();
        let hash = revs.last().map(|rev| at(*rev).hash);
        self.takes(Event::Events { link, events, hash })
    }

    /// Its timer, at the time that it asked for.
    fn timer(&mut self, leader: Option<LinkId>, other: Option<LinkId>) -> Vec<Action> {
        self.now_ms = self.feed.retry_at_ms.unwrap();
        self.takes(Event::Timer { leader, other })
    }
}

#[test]
fn the_first_answer_starts_the_feed_and_brings_the_state_for_all() {
    let mut s = Scene::cold();
    assert_eq!(s.joins(ANA, Some(A)), [open(A, 1, ANA)]);
    assert_eq!(s.joins(BO, Some(A)), [], "one state at a time");
    assert_eq!(s.brings(A, &[3]), [], "nothing is delivered before");
    let starts = [
        hold(),
        retry_at(s.now_ms + HOLD_MS),
        welcome(ANA, 3),
        submit(ANA),
        open_with(A, 2, BO, Some(3)),
    ];
    assert_eq!(s.opens(A, 1, Ok(opened(3))), starts);
    let answer = opened_held(&[], 3);
    let from = at(3).at();
    let joins = Action::Welcome {
        reader: BO,
        from,
        opened: answer.clone(),
    };
    assert_eq!(s.opens(A, 2, Ok(answer.clone())), [joins, submit(BO)]);
    assert_eq!(s.opens(A, 2, Ok(answer)), [], "said twice");
    assert_eq!(s.brings(A, &[4]), [deliver(3, &[4])]);
}

#[test]
fn a_reader_that_left_still_starts_the_feed() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    s.joins(BO, Some(A));
    s.takes(Event::Left { reader: ANA });
    let wake = retry_at(s.now_ms + HOLD_MS);
    let starts = [hold(), wake, open_with(A, 2, BO, Some(3))];
    assert_eq!(s.opens(A, 1, Ok(opened(3))), starts);
    assert_eq!(s.brings(A, &[4]), [deliver(3, &[4])]);
}

#[test]
fn what_neither_resume_nor_the_held_state_reaches_is_brought() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    s.opens(A, 1, Ok(opened(3)));
    // A resume goes at once, with what is held for the case that it is too old.
    let resume = Some(at(1).at());
    let hello = Hello {
        resume,
        unsent: true,
        follows: false,
    };
    let (reader, leader) = (BO, Some(A));
    let asks = s.takes(Event::Joined {
        reader,
        hello,
        leader,
    });
    let message = Message::Open {
        tag: OpenTag(2),
        reader,
        hello,
        held: Some(at(3).at()),
        bring: false,
    };
    assert_eq!(asks, [Action::Send { link: A, message }]);
    let nothing = Box::new(Opened {
        start: Start::Nothing,
        ..*opened(3)
    });
    let message = Message::Open {
        tag: OpenTag(3),
        reader,
        hello,
        held: None,
        bring: true,
    };
    let anew = [Action::Send { link: A, message }];
    assert_eq!(s.opens(A, 2, Ok(nothing.clone())), anew);
    // Nothing once more is no answer.
    let later = retry_at(s.now_ms + PAUSE_MIN_MS);
    assert_eq!(s.opens(A, 3, Ok(nothing)), [later]);
}

#[test]
fn a_held_state_is_let_go_when_it_is_old() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    s.opens(A, 1, Ok(opened(3)));
    s.now_ms += HOLD_MS - 1;
    assert!(!s.feed.is_due(s.now_ms));
    assert_eq!(s.joins(BO, Some(A)), [open_with(A, 2, BO, Some(3))]);
    s.now_ms += 1;
    assert!(s.feed.is_due(s.now_ms));
    let (leader, other) = (Some(A), None);
    let released = s.takes(Event::Timer { leader, other });
    assert_eq!(released, [Action::Release]);
    // What was asked with it is asked without.
    let anew = [open(A, 3, BO)];
    assert_eq!(s.opens(A, 2, Ok(opened_held(&[], 3))), anew);
    s.opens(A, 3, Ok(opened(3)));
    // It will do for the next, too, though the document goes on meanwhile.
    s.brings(A, &[4]);
    let cy = ReaderId(3);
    assert_eq!(s.joins(cy, Some(A)), [open_with(A, 4, cy, Some(3))]);
}

#[test]
fn a_state_below_the_head_comes_with_what_was_missed() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    s.joins(BO, Some(A));
    let behind = Box::new(Opened {
        head: at(5),
        events: vec![event(4), event(5)],
        ..*opened(3)
    });
    let starts = s.opens(A, 1, Ok(behind));
    let welcomed = Action::Welcome {
        reader: ANA,
        from: at(3).at(),
        opened: opened_held(&[4, 5], 5),
    };
    assert!(starts.contains(&hold()) && starts.contains(&welcomed));
    assert_eq!(starts.last(), Some(&open_with(A, 2, BO, Some(3))));
    assert_eq!(s.feed.position(), Some(at(5)), "the feed goes on there");
    assert_eq!(s.brings(A, &[6]), [deliver(5, &[6])]);
}

#[test]
fn who_cannot_be_told_opens_again() {
    let mut s = Scene::live();
    let readers = vec![BO];
    let again = [Action::Resync {
        reader: BO,
        reason: BROKE,
    }];
    assert_eq!(s.takes(Event::Unreadable { readers }), again);
    assert!(s.feed.awaits_hello(BO) && !s.feed.awaits_hello(ANA));
}

#[test]
fn whose_text_is_another_one_starts_from_nothing_that_is_held() {
    let mut s = Scene::live();
    s.feed.held = Some((at(3).at(), u64::MAX));
    let (reader, reason) = (BO, DIVERGED);
    let again = [Action::Release, Action::Resync { reader, reason }];
    assert_eq!(s.takes(Event::Diverged { reader }), again);
    assert!(s.feed.awaits_hello(BO) && !s.feed.awaits_hello(ANA));
    assert_eq!(s.joins(BO, Some(A)), [open(A, 3, BO)]);
}

#[test]
fn an_answer_that_is_not_in_its_place_is_asked_for_again() {
    let mut s = Scene::live();
    let cy = ReaderId(3);
    assert_eq!(s.joins(cy, Some(A)), [open(A, 3, cy)]);
    let found_again = [Action::Broke, Action::Lost, follow(A, 3)];
    assert_eq!(s.opens(A, 3, Ok(opened(5))), found_again);
    let back = [
        deliver(3, &[4, 5]),
        Action::Found { gap_ms: Some(0) },
        Action::SubmitAll,
        open(A, 4, cy),
    ];
    assert_eq!(s.follows(A, Ok(followed(&[4, 5], 5))), back);
}

#[test]
fn an_answer_to_an_earlier_hello_is_for_nobody() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    s.now_ms += STUCK_MS;
    s.takes(Event::Unstick { operations: false });
    assert_eq!(s.timer(Some(A), None), [open(A, 2, ANA)]);
    assert_eq!(s.opens(A, 1, Ok(opened(3))), []);
    assert!(s.opens(A, 2, Ok(opened(3))).contains(&welcome(ANA, 3)));
}

#[test]
fn resumed_from_nothing_is_no_answer() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    let start = Start::Resume;
    let answer = Box::new(Opened {
        start,
        ..*opened(3)
    });
    let later = retry_at(s.now_ms + PAUSE_MIN_MS);
    assert_eq!(s.opens(A, 1, Ok(answer)), [later]);
    assert_eq!(s.timer(Some(A), None), [Action::SubmitAll, open(A, 2, ANA)]);
}

#[test]
fn events_lead_on_without_a_gap_or_not_at_all() {
    let gap = || vec![Action::Broke, Action::Lost, follow(A, 3)];
    let rows: [(&[u64], Vec<Action>); 7] = [
        (&[4, 5], vec![deliver(3, &[4, 5])]),
        (&[2, 3, 4], vec![deliver(3, &[4])]), // repeats are left out
        (&[2, 3], vec![]),
        (&[5], gap()),
        (&[4, 6], gap()),
        (&[4, 4], gap()),
        (&[3, 5], gap()),
    ];
    for (revs, actions) in rows {
        assert_eq!(Scene::live().brings(A, revs), actions, "{revs:?}");
    }
    let mut s = Scene::live();
    let (events, hash) = (vec![event(4)], None);
    let not_a_hash = s.takes(Event::Events {
        link: A,
        events,
        hash,
    });
    assert_eq!(not_a_hash, gap());
    assert_eq!(s.brings(A, &[4]), [], "not until it is followed again");
}

#[test]
fn the_feed_goes_on_by_another_link_and_readers_do_not_notice() {
    let mut s = Scene::live();
    s.brings(A, &[4]);
    let retry = retry_at(s.now_ms + PAUSE_MIN_MS);
    let leader = None;
    let lost = s.takes(Event::LinkLost { link: A, leader });
    assert_eq!(lost, [Action::Lost, Action::Unsubmit, retry]);
    assert_eq!(s.feed.takes_operations(), None);
    // Nobody knows who leads: any node is asked, and gets no operations for that.
    assert_eq!(s.timer(None, Some(B)), [follow(B, 4)]);
    assert_eq!(s.feed.takes_operations(), None);
    // It leads: operations need not wait for its answer.
    assert_eq!(s.takes(Event::Leader { link: B }), [Action::SubmitAll]);
    assert_eq!(s.feed.takes_operations(), Some(B));
    s.now_ms += 30;
    let back = [
        deliver(4, &[5]),
        Action::Found {
            gap_ms: Some(30 + PAUSE_MIN_MS),
        },
        Action::SubmitAll,
    ];
    assert_eq!(s.follows(A, Ok(followed(&[5, 6], 6))), [], "another link's");
    assert_eq!(s.follows(B, Ok(followed(&[4, 5], 5))), back);
    assert_eq!(
        s.brings(A, &[6]),
        [],
        "the old link brings nothing any more"
    );
    assert_eq!(s.brings(B, &[6]), [deliver(5, &[6])]);
}

#[test]
fn another_leader_is_followed_at_once() {
    let mut s = Scene::live();
    let moves = [
        unfollow(A),
        Action::Lost,
        Action::Unsubmit,
        follow(B, 3),
        Action::SubmitAll,
    ];
    assert_eq!(s.takes(Event::Leader { link: B }), moves);
    assert_eq!(s.takes(Event::Leader { link: B }), [], "known already");
}

#[test]
fn a_leader_that_stepped_down_is_left() {
    let mut s = Scene::live();
    let (link, code) = (A, Code::NotLeader);
    let retry = retry_at(s.now_ms + PAUSE_MIN_MS);
    let cut = s.takes(Event::Cut { link, code });
    assert_eq!(cut, [Action::Lost, Action::Unsubmit, retry]);
    // A reader that joins meanwhile waits for the same.
    assert_eq!(s.joins(ReaderId(3), None), []);
    let moves = [follow(B, 3), Action::SubmitAll];
    assert_eq!(s.takes(Event::Leader { link: B }), moves);
}

#[test]
fn a_cold_feed_asks_elsewhere_when_who_was_asked_does_not_lead() {
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    let retry = retry_at(s.now_ms + PAUSE_MIN_MS);
    let unopened = s.opens(A, 1, Err(Code::NotLeader));
    assert_eq!(unopened, [Action::Unsubmit, retry]);
    assert_eq!(s.timer(None, Some(B)), [open(B, 2, ANA)]);
    let end = Action::End {
        reader: ANA,
        code: Code::NotFound,
    };
    assert_eq!(s.opens(B, 2, Err(Code::NotFound)), [end]);
}

#[test]
fn silence_is_told_and_forgotten() {
    let mut s = Scene::live();
    let on = [Action::Lost, Action::Saving { on: true }];
    assert_eq!(s.takes(Event::LeaderSilent), on);
    assert_eq!(s.takes(Event::LeaderSilent), [], "once");
    s.now_ms += 700;
    let off = [
        Action::Found { gap_ms: Some(700) },
        Action::Saving { on: false },
    ];
    assert_eq!(s.takes(Event::Leader { link: A }), off);
    // Nobody waits for it, and the next reader must not be told that nothing is saved.
    for reader in [ANA, BO] {
        s.takes(Event::Left { reader });
    }
    let on = [Action::Saving { on: true }];
    assert_eq!(s.takes(Event::LeaderSilent), on);
    let off = [Action::Saving { on: false }];
    assert_eq!(s.takes(Event::Leader { link: A }), off);
    assert!(!s.feed.is_saving());
}

#[test]
fn what_cannot_be_continued_is_opened_again() {
    let wrong: [fn(&mut Followed); 3] = [
        |f| f.resumed = false,
        |f| f.hash = None,
        |f| f.events = vec![event(5)],
    ];
    for spoil in wrong {
        let mut s = Scene::live();
        let cy = ReaderId(3);
        s.takes(Event::Leader { link: B });
        s.joins(cy, Some(B));
        let mut answer = followed(&[4, 5], 5);
        spoil(&mut answer);
        let again = [
            Action::Broke,
            Action::Resync {
                reader: ANA,
                reason: BROKE,
            },
            Action::Resync {
                reader: BO,
                reason: BROKE,
            },
            open(B, 3, cy),
        ];
        assert_eq!(s.follows(B, Ok(answer)), again);
        assert!(s.feed.awaits_hello(ANA) && !s.feed.awaits_hello(cy));
        assert_eq!(s.joins(ANA, Some(B)), [], "when the state is there");
        assert!(!s.feed.awaits_hello(ANA));
        let answers = s.opens(B, 3, Ok(opened(5)));
        assert!(answers.contains(&open_with(B, 4, ANA, Some(5))));
    }
}

#[test]
fn delivered_bytes_are_credited_in_steps() {
    let mut s = Scene::live();
    let mut brings = |rev: u64, bytes: u64| {
        let body = vec![0; bytes as usize].into();
        let events = vec![FeedEvent { body, ..event(rev) }];
        let (link, hash) = (A, Some(at(rev).hash));
        let actions = s.takes(Event::Events { link, events, hash });
        let credit = |a: &Action| match a {
            Action::Send {
                message: Message::Credit { bytes },
                ..
            } => Some(*bytes),
            _ => None,
        };
        let credit = actions.iter().find_map(credit);
        if rev == 5 {
            // The link did not take it: it is added to the next one.
            let bytes = credit.unwrap();
            assert_eq!(s.takes(Event::NotSent(Message::Credit { bytes })), []);
        }
        credit
    };
    let half = CREDIT_STEP / 2 - event_cost(0);
    assert_eq!(brings(4, half), None);
    assert_eq!(brings(5, half), Some(CREDIT_STEP));
    assert_eq!(brings(6, 0), Some(CREDIT_STEP + event_cost(0)));
    assert_eq!(brings(7, 0), None);
}

#[test]
fn a_feed_out_of_credit_is_followed_again() {
    let mut s = Scene::live();
    let (link, code) = (A, Code::Busy);
    let again = [Action::Broke, Action::Lost, follow(A, 3)];
    assert_eq!(s.takes(Event::Cut { link, code }), again);
    assert_eq!(s.feed.uncredited, 0);
}

#[test]
fn a_final_refusal_ends_all() {
    for code in [Code::NotFound, Code::Unproven] {
        let mut s = Scene::live();
        let ends = [Action::EndAll { code }];
        assert_eq!(s.takes(Event::Cut { link: A, code }), ends);
        let mut s = Scene::live();
        s.takes(Event::Leader { link: B });
        assert_eq!(s.follows(B, Err(code)), ends);
    }
}

#[test]
fn pauses_grow_and_are_short_again_after_a_success() {
    let mut s = Scene::live();
    let mut pause = |event: Option<Event>| {
        event.into_iter().for_each(|event| drop(s.takes(event)));
        s.takes(Event::OperationRetried);
        let pause_ms = s.feed.retry_at_ms.unwrap() - s.now_ms;
        assert_eq!(s.takes(Event::OperationRetried), [], "one timer");
        assert_eq!(s.timer(Some(A), None), [Action::SubmitAll]);
        pause_ms
    };
    for expected in [20, 40, 80, 160, 320, 500, 500] {
        assert_eq!(pause(None), expected);
    }
    assert_eq!(pause(Some(Event::OperationApplied)), PAUSE_MIN_MS);
    assert_eq!(pause(None), 2 * PAUSE_MIN_MS);
    assert_eq!(pause(Some(Event::LeaderSilent)), 4 * PAUSE_MIN_MS);
    assert_eq!(pause(Some(Event::Leader { link: A })), PAUSE_MIN_MS);
}

#[test]
fn a_timer_that_is_early_or_of_something_else_does_nothing() {
    let mut s = Scene::live();
    let (leader, other) = (Some(B), None);
    assert_eq!(s.takes(Event::Timer { leader, other }), []);
    s.takes(Event::OperationRetried);
    s.now_ms += PAUSE_MIN_MS - 1;
    assert!(!s.feed.is_due(s.now_ms));
    assert_eq!(s.takes(Event::Timer { leader, other }), []);
}

#[test]
fn a_full_link_is_tried_again() {
    let mut s = Scene::cold();
    let Action::Send { message, .. } = s.joins(ANA, Some(A)).remove(0) else {
        panic!("an open");
    };
    let retry = retry_at(s.now_ms + PAUSE_MIN_MS);
    assert_eq!(s.takes(Event::NotSent(message)), [retry]);
    assert_eq!(s.timer(Some(A), None), [open(A, 2, ANA)]);

    let mut s = Scene::live();
    s.takes(Event::Leader { link: B });
    let after = at(3).at();
    s.takes(Event::NotSent(Message::Follow { after }));
    assert_eq!(s.feed.takes_operations(), None);
    let again = [follow(B, 3), Action::SubmitAll];
    assert_eq!(s.timer(Some(B), None), again);
}

#[test]
fn what_is_not_answered_is_asked_again() {
    let unstick = |s: &mut Scene| {
        s.now_ms += STUCK_MS - 1;
        assert_eq!(s.takes(Event::Unstick { operations: false }), []);
        s.now_ms += 1;
        let retry = retry_at(s.now_ms + PAUSE_MIN_MS);
        assert_eq!(s.takes(Event::Unstick { operations: false }), [retry]);
        s.timer(Some(A), None)
    };
    let mut s = Scene::cold();
    s.joins(ANA, Some(A));
    assert_eq!(unstick(&mut s), [open(A, 2, ANA)]);
    let mut s = Scene::live();
    s.takes(Event::Cut {
        link: A,
        code: Code::Busy,
    });
    assert_eq!(unstick(&mut s), [follow(A, 3), Action::SubmitAll]);
    let mut s = Scene::live();
    let retry = retry_at(s.now_ms + PAUSE_MIN_MS);
    assert_eq!(s.takes(Event::Unstick { operations: true }), [retry]);
}

#[test]
fn a_feed_nobody_reads_is_forgotten() {
    let mut s = Scene::live();
    s.takes(Event::LeaderSilent);
    for reader in [ANA, BO] {
        assert_eq!(s.takes(Event::Left { reader }), []);
    }
    let ends = [unfollow(A), Action::Found { gap_ms: None }];
    assert_eq!(s.takes(Event::Closed), ends);
}

#[test]
fn a_feed_without_readers_starts_anew_elsewhere() {
    let mut s = Scene::live();
    for reader in [ANA, BO] {
        s.takes(Event::Left { reader });
    }
    let moves = [unfollow(A), Action::Unsubmit];
    assert_eq!(s.takes(Event::Leader { link: B }), moves);
    assert_eq!(s.feed.position(), None);
    assert_eq!(s.joins(ANA, Some(B)), [open(B, 3, ANA)]);
}
