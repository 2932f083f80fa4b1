//! Whose turn it is, what a turn came to in work and memory, and which hosts stand still.

use std::{cell::RefCell, collections::BTreeMap, task::Waker, time::Duration};

use codraft_mutant::cost;

use crate::{memory, prices};

#[derive(Default)]
struct Host {
    /// Work that the driver has not asked for yet.
    spent: Duration,
    /// How many reasons there are for it to stand still.
    stands: u32,
    /// Tasks that wanted to go on meanwhile.
    waiting: Vec<Waker>,
}

thread_local! {
    /// By the number that the tracer gives a host.
    static HOSTS: RefCell<BTreeMap<u64, Host>> = const { RefCell::new(BTreeMap::new()) };
}

fn with<R>(number: u64, f: impl FnOnce(&mut Host) -> R) -> R {
    memory::aside(|| HOSTS.with_borrow_mut(|hosts| f(hosts.entry(number).or_default())))
}

/// A host's turn begins.
pub fn begin(number: u64) {
    // What ran between the turns (a start, an end) is nobody's work.
    cost::take_spent();
    cost::stand_still(with(number, |host| host.stands > 0));
    memory::belongs_to(number);
}

pub fn end(number: u64) {
    memory::belongs_to(0);
    let spent = prices::time(&cost::take_spent());
    let waiting = cost::take_waiting();
    cost::stand_still(false);
    with(number, |host| {
        host.spent += spent;
        host.waiting.extend(waiting);
    });
}

/// What a host worked since this was asked last.
pub fn take_spent(number: u64) -> Duration {
    with(number, |host| std::mem::take(&mut host.spent))
}

/// From here on a host does nothing in its turns, until as often as it was told to stand still
/// it was told not to. Then its tasks find what is due.
pub fn stand_still(number: u64, begins: bool) {
    let waiting = with(number, |host| {
        if begins {
            host.stands += 1;
            return Vec::new();
        }
        host.stands = host.stands.saturating_sub(1);
        match host.stands {
            0 => std::mem::take(&mut host.waiting),
            _ => Vec::new(),
        }
    });
    waiting.into_iter().for_each(Waker::wake);
}

/// The host's process has ended: nobody waits and nothing is owed.
pub fn forget(number: u64) {
    let waiting = with(number, |host| {
        host.spent = Duration::ZERO;
        std::mem::take(&mut host.waiting)
    });
    drop(waiting);
}
