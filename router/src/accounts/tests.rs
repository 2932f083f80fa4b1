#![allow(clippy::unwrap_used)]

use super::*;

fn limits() -> EdgeLimits {
    EdgeLimits {
        ops_per_second: 100,
        bytes_per_second: 1_000,
        opens_per_second: 2,
        tickets_per_second: 3,
        requests_per_second: 4,
        sockets_per_user: 3,
        sockets_per_user_and_document: 2,
        ..EdgeLimits::default()
    }
}

fn account() -> Arc<Account> {
    Arc::new(Account::new(&limits(), 0))
}

#[test]
fn each_budget_from_both_sides() {
    let account = account();
    for _ in 0..100 {
        assert_eq!(account.operation(1, 0, 0), Ok(()));
    }
    assert_eq!(account.operation(1, 0, 0), Err(10));
    assert_eq!(account.operation(1, 0, 10), Ok(()));
    for (what, most, wait_ms) in [
        (One::Open, 20, 500),
        (One::Ticket, 30, 334),
        (One::Request, 40, 250),
    ] {
        for _ in 0..most {
            assert_eq!(account.one(what, 0), Ok(()), "{what:?}");
        }
        assert_eq!(account.one(what, 0), Err(wait_ms), "{what:?}");
        assert_eq!(account.one(what, u64::from(wait_ms)), Ok(()), "{what:?}");
    }
}

#[test]
fn bytes_of_operations_and_requests_are_one_budget() {
    let account = account();
    assert_eq!(account.bytes(600, 0), Ok(()));
    assert_eq!(account.operation(400, 0, 0), Ok(()));
    assert_eq!(account.operation(1, 0, 0), Err(1));
    assert_eq!(account.bytes(5_000, 500), Err(500), "a full one is enough");
    assert_eq!(account.bytes(5_000, 1_000), Ok(()));
}

#[test]
fn an_operation_that_is_far_behind_costs_more() {
    let account = account();
    let late = 4 * EVENTS_AN_OPERATION;
    for _ in 0..20 {
        assert_eq!(account.operation(0, late, 0), Ok(()));
    }
    assert_eq!(account.operation(0, 0, 0), Err(10));
    assert_eq!(
        account.operation(0, u64::MAX, 999),
        Err(1),
        "but not for ever"
    );
    assert_eq!(account.operation(0, u64::MAX, 1_000), Ok(()));
}

#[test]
fn what_is_refused_takes_nothing() {
    let account = account();
    assert_eq!(account.bytes(1_000, 0), Ok(()));
    for _ in 0..200 {
        assert!(account.operation(1, 0, 0).is_err());
    }
    assert_eq!(
        account.operation(0, 0, 0),
        Ok(()),
        "the operations are there"
    );
}

#[test]
fn frames_may_be_four_times_as_many() {
    let account = account();
    assert_eq!(account.message(4_000, 0), Ok(()));
    account.more_frames(398);
    assert_eq!(account.message(0, 0), Ok(()));
    assert_eq!(account.message(0, 0), Err(3));
}

#[test]
fn one_users_budget_is_nobody_elses_and_the_idle_are_forgotten() {
    let accounts = Accounts::new(&limits());
    let of = |user: &str, now_ms| accounts.of(&user.into(), now_ms).unwrap();
    while of("ana", 0).one(One::Ticket, 0).is_ok() {}
    assert!(of("bo", 0).one(One::Ticket, 0).is_ok());
    let held = of("held", 0);
    for n in 0..10 * ACCOUNTS_MIN {
        of(&format!("user {n}"), 5_000);
    }
    let left = (0..30).filter(|_| of("ana", 5_000).one(One::Ticket, 5_000).is_ok());
    assert_eq!(left.count(), 15, "not a new account");
    assert!(accounts.table.lock().of.len() <= 2 * ACCOUNTS_MIN);
    assert!(Arc::ptr_eq(&held, &of("held", 100_000)));
}

#[test]
fn half_messages_are_counted_over_all_sockets() {
    let account = account();
    let most = UNFINISHED * EdgeLimits::default().frame_bytes as usize;
    assert!(account.unfinished(most - 1));
    assert!(account.unfinished(1));
    assert!(!account.unfinished(1));
    account.finished(1);
    account.finished(most);
    assert!(account.unfinished(most));
}

fn queue() -> Arc<Queue> {
    Arc::new(Queue::new(1_000))
}

fn sit(account: &Arc<Account>, doc: u8, client: u8, now_ms: u64) -> Result<Sitting, Code> {
    account.sit(DocId([doc; 16]), ClientId([client; 16]), &queue(), now_ms)
}

#[test]
fn sockets_of_a_user_from_both_sides() {
    let account = account();
    let first = sit(&account, 1, 1, 0).unwrap();
    let _second = sit(&account, 1, 2, 0).unwrap();
    assert_eq!(sit(&account, 1, 3, 0).err(), Some(Code::TooManySockets));
    let _elsewhere = sit(&account, 2, 4, 0).unwrap();
    assert_eq!(sit(&account, 3, 5, 0).err(), Some(Code::TooManySockets));
    drop(first);
    let _third = sit(&account, 1, 3, 0).unwrap();
}

#[test]
fn the_newest_takes_the_place_of_the_longest_silent_one() {
    let account = account();
    let (first, second) = (queue(), queue());
    let place = |client: u8, queue: &Arc<Queue>, now_ms| {
        account.sit(DocId([1; 16]), ClientId([client; 16]), queue, now_ms)
    };
    let one = place(1, &first, 0).unwrap();
    let other = place(2, &second, 1_000).unwrap();
    one.pinged(30_000);
    other.pinged(31_000);
    other.heard(31_001);
    let at = 30_000 + SILENT_MS;
    assert!(place(3, &queue(), at - 1).is_err(), "it may still answer");
    let _third = place(3, &queue(), at).unwrap();
    assert_eq!(
        first.ended().map(|end| end.code),
        Some(Code::TooManySockets)
    );
    assert_eq!(second.ended(), None);
    drop(one);
    assert!(
        place(4, &queue(), at).is_err(),
        "nobody's place is free twice"
    );
}

#[test]
fn a_client_that_comes_back_takes_its_own_place() {
    let account = account();
    let gone = sit(&account, 1, 1, 0).unwrap();
    let _other = sit(&account, 1, 2, 0).unwrap();
    let _again = sit(&account, 1, 1, 1).unwrap();
    drop(gone);
    assert!(sit(&account, 1, 3, 1).is_err());
}
