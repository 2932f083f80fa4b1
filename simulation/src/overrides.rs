//! The machine's randomness and clock, taken over on the simulation's thread.
//!
//! Libraries ask the C library by themselves: `RandomState` for its keys, tokio for the order
//! of `select!`, WebSockets for masks, HTTP for its `date` header. None of them can be handed a
//! seed, so the three functions below stand in the program's symbol table before those of the
//! C library. On any other thread, and before [`take_over`], they ask the kernel.
#![allow(unsafe_code)] // the C library's functions are replaced, which nothing safe can do

use std::{cell::Cell, ffi::c_void, time::Duration};

/// 2026-01-01T00:00:00Z, when every simulation starts.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// How long the machine has been up by then; anything but so little that a subtraction fails.
const UPTIME: Duration = Duration::from_secs(1_000_000);

thread_local! {
    static TAKEN: Cell<bool> = const { Cell::new(false) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    static ELAPSED_NS: Cell<u64> = const { Cell::new(0) };
}

/// From here on this thread draws its randomness from `seed` and has time stand still but for
/// [`set_elapsed`]. Before anything else on the thread: what drew keys earlier keeps them.
pub fn take_over(seed: u64) {
    RANDOM.set(seed);
    TAKEN.set(true);
}

/// Sets the time since the simulation's start.
pub fn set_elapsed(elapsed: Duration) {
    ELAPSED_NS.set(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
}

/// The time since the simulation's start.
pub fn elapsed() -> Duration {
    Duration::from_nanos(ELAPSED_NS.get())
}

/// Eight bytes from the kernel, whatever was taken over.
pub fn kernel_random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for the length given.
    unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
    u64::from_le_bytes(bytes)
}

/// The machine's own monotonic clock, whatever was taken over: for figures about wall time.
pub fn kernel_clock() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid for writing.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// SplitMix64.
fn next() -> u64 {
    let state = RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(state);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fill(out: &mut [u8]) {
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
}

/// As `getrandom(2)`.
///
/// # Safety
/// `buffer` is valid for `length` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: u32) -> isize {
    // A probe with no length, and perhaps no buffer, only asks whether the call is there.
    if !TAKEN.get() || length == 0 {
        // SAFETY: the caller's buffer and length, passed on.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize };
    }
    // SAFETY: the caller says that the buffer is valid for that length.
    fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) });
    length as isize
}

/// As `getentropy(3)`.
///
/// # Safety
/// `buffer` is valid for `length` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> i32 {
    // SAFETY: the caller's buffer and length, passed on.
    let got = unsafe { getrandom(buffer, length, 0) };
    if got == length as isize { 0 } else { -1 }
}

/// As `clock_gettime(2)`.
///
/// # Safety
/// `time` is valid for writing.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> i32 {
    if !TAKEN.get() {
        // SAFETY: the caller's pointer, passed on.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as i32 };
    }
    let start = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH,
        _ => UPTIME,
    };
    let now = start + elapsed();
    // SAFETY: the caller says that it is valid for writing.
    unsafe {
        (*time).tv_sec = now.as_secs() as libc::time_t;
        (*time).tv_nsec = libc::c_long::from(now.subsec_nanos());
    }
    0
}
