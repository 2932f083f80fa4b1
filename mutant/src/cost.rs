//! What work costs, for the simulation: there nothing takes time by itself, so the places that
//! do the work say how much of it they do, and the simulation makes its host stand still for as
//! long as that takes on a machine. In every other build these are empty functions.

use std::task::Waker;

/// What is counted. A price for each is in `simulation/src/prices.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Work {
    /// A component that an operation is moved past, or that is moved.
    Transformed,
    /// A component, an attribute or a chunk of runs that an operation on a document touches.
    Applied,
    /// A component read from its binary form.
    Decoded,
    /// A component of an operation or of a document's state, written out.
    Spelled,
    /// A component written or read as JSON.
    Json,
    /// A byte that is copied, compared or hashed.
    Bytes,
    /// A message or chunk that is queued for a link or a socket.
    Sent,
}

pub const KINDS: usize = 7;

/// How much of each kind was done.
pub type Spent = [u64; KINDS];

#[cfg(not(codraft_mutants))]
mod meter {
    use super::{Spent, Waker, Work};

    #[inline(always)]
    pub fn spend(_: Work, _: usize) {}

    #[inline(always)]
    pub fn stands_still(_: &Waker) -> bool {
        false
    }

    #[inline(always)]
    pub fn unpaid<R>(f: impl FnOnce() -> R) -> R {
        f()
    }

    pub fn take_spent() -> Spent {
        Spent::default()
    }

    pub fn stand_still(_: bool) {}

    pub fn take_waiting() -> Vec<Waker> {
        Vec::new()
    }
}

#[cfg(codraft_mutants)]
mod meter {
    use std::cell::{Cell, RefCell};

    use super::{KINDS, Spent, Waker, Work};

    thread_local! {
        static SPENT: Cell<Spent> = const { Cell::new([0; KINDS]) };
        static STANDS: Cell<bool> = const { Cell::new(false) };
        static WAITING: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    }

    /// Something was done, so many times.
    pub fn spend(work: Work, count: usize) {
        let mut spent = SPENT.get();
        spent[work as usize] += count as u64;
        SPENT.set(spent);
    }

    /// Whether the host whose turn it is stands still: a task then does nothing, and is woken
    /// when the host goes on.
    pub fn stands_still(waker: &Waker) -> bool {
        if STANDS.get() {
            WAITING.with_borrow_mut(|waiting| waiting.push(waker.clone()));
        }
        STANDS.get()
    }

    /// Runs what a checker does and the product would not.
    pub fn unpaid<R>(f: impl FnOnce() -> R) -> R {
        let spent = SPENT.get();
        let result = f();
        SPENT.set(spent);
        result
    }

    /// What was done since this was asked last.
    pub fn take_spent() -> Spent {
        SPENT.take()
    }

    /// Says whether the host whose turn begins stands still.
    pub fn stand_still(stands: bool) {
        STANDS.set(stands);
    }

    /// The tasks that wanted to go on while their host stood still.
    pub fn take_waiting() -> Vec<Waker> {
        WAITING.take()
    }
}

pub use meter::{spend, stand_still, stands_still, take_spent, take_waiting, unpaid};
