//! What each host holds in memory: every allocation is counted for the host whose turn it was,
//! for as long as it lives, whoever frees it. What the simulation itself keeps (the record, the
//! trace, disks, what oracles remember) is nobody's.
#![allow(unsafe_code)] // an allocator around the system's

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    task::{Context, Poll},
};

use base2histogram::Histogram;

/// Hosts that are told apart; those behind share the last place. Place 0 is nobody's.
const OWNERS: usize = 64;
/// Before each allocation, with its owner; as wide as the widest alignment that is common.
const HEAD: usize = 16;

thread_local! {
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

static LIVE: [AtomicI64; OWNERS] = [const { AtomicI64::new(0) }; OWNERS];
static PEAK: [AtomicI64; OWNERS] = [const { AtomicI64::new(0) }; OWNERS];

/// From here on what this thread allocates is this host's.
pub fn belongs_to(number: u64) {
    let owner = usize::try_from(number).unwrap_or(usize::MAX);
    OWNER.set(owner.min(OWNERS - 1));
}

/// Makes what a library makes once a process, at its first use: tables of 27 MB, which all of
/// openraft's histograms share. They would count for the first node that starts.
pub fn prepare() {
    aside(|| drop(Histogram::<()>::new()));
}

/// Runs what belongs to the simulation and not to the host whose turn it is.
pub fn aside<R>(f: impl FnOnce() -> R) -> R {
    let owner = OWNER.replace(0);
    let result = f();
    OWNER.set(owner);
    result
}

/// A future of the simulation's, made and polled in a host's turn.
pub fn quietly<F: Future + Unpin>(make: impl FnOnce() -> F) -> Aside<F> {
    Aside(aside(make))
}

pub struct Aside<F>(F);

impl<F: Future + Unpin> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        aside(|| Pin::new(&mut self.0).poll(cx))
    }
}

/// Bytes that a host holds, and the most since this was asked last.
pub fn held_by(number: u64) -> (u64, u64) {
    let owner = usize::try_from(number)
        .unwrap_or(usize::MAX)
        .min(OWNERS - 1);
    let live = LIVE[owner].load(Relaxed);
    let peak = PEAK[owner].swap(live, Relaxed);
    (live.max(0) as u64, peak.max(live).max(0) as u64)
}

/// One thread runs the simulation; the others allocate for nobody. So no two add at once.
fn count(owner: usize, bytes: i64) {
    let live = LIVE[owner].load(Relaxed) + bytes;
    LIVE[owner].store(live, Relaxed);
    if live > PEAK[owner].load(Relaxed) {
        PEAK[owner].store(live, Relaxed);
    }
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// The layout with room for the head, and how much that is.
fn with_head(layout: Layout) -> Option<(Layout, usize)> {
    let align = layout.align().max(HEAD);
    let size = layout.size().checked_add(align)?;
    Some((Layout::from_size_align(size, align).ok()?, align))
}

/// # Safety
/// `pointer` has at least `HEAD` bytes of the same allocation before it.
unsafe fn head(pointer: *mut u8) -> *mut usize {
    // SAFETY: within the allocation, and aligned as `pointer` is, to 16 at least.
    unsafe { pointer.sub(HEAD).cast() }
}

// SAFETY: all memory comes from the system's allocator, `HEAD` bytes or an alignment larger.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, before)) = with_head(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: its size is not zero.
        let base = unsafe { System.alloc(whole) };
        // SAFETY: as told.
        unsafe { Self::hand_out(base, before, layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((whole, before)) = with_head(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: its size is not zero.
        let base = unsafe { System.alloc_zeroed(whole) };
        // SAFETY: as told.
        unsafe { Self::hand_out(base, before, layout.size()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, before)) = with_head(layout) else {
            return;
        };
        // SAFETY: it was handed out with a head.
        unsafe {
            count(*head(pointer), -(layout.size() as i64));
            System.dealloc(pointer.sub(before), whole);
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = Layout::from_size_align(size, layout.align()).ok();
        let (Some((whole, before)), Some((new, _))) = (with_head(layout), new.and_then(with_head))
        else {
            return std::ptr::null_mut();
        };
        // SAFETY: it was handed out with a head, which moves with it.
        unsafe {
            let owner = *head(pointer);
            let base = System.realloc(pointer.sub(before), whole, new.size());
            if base.is_null() {
                return base;
            }
            count(owner, size as i64 - layout.size() as i64);
            base.add(before)
        }
    }
}

impl Counting {
    /// # Safety
    /// `base` is null, or has `before` bytes and more.
    unsafe fn hand_out(base: *mut u8, before: usize, size: usize) -> *mut u8 {
        if base.is_null() {
            return base;
        }
        let owner = OWNER.try_with(Cell::get).unwrap_or(0);
        count(owner, size as i64);
        // SAFETY: `before` is `HEAD` at least.
        unsafe {
            let pointer = base.add(before);
            *head(pointer) = owner;
            pointer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_holds_is_its_own_until_it_is_freed() {
        let host = 40;
        belongs_to(host);
        let mut held: Vec<u8> = Vec::with_capacity(100_000);
        let kept = aside(|| vec![1u8; 50_000]);
        belongs_to(0);
        assert_eq!(held_by(host).0, 100_000);
        held.reserve_exact(300_000);
        let (live, peak) = held_by(host);
        assert_eq!(live, 300_000, "it grew in nobody's turn");
        assert!(peak >= 300_000);
        drop((held, kept));
        assert_eq!(held_by(host).0, 0);
    }
}
