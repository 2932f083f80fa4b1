//! The allocator. An operation makes and frees some hundred small objects, in whatever process it
//! is, which the system's is slow at.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often free memory is given back: documents leave memory when nobody uses them.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// Runs a service, and gives back what it does not need. The allocator does so by itself only
/// while there is much to do, and an idle process would keep all that it ever took.
pub async fn tended<R>(service: impl Future<Output = R>) -> R {
    let gives_back = async {
        loop {
            sleep(GIVE_BACK).await;
            give_back();
        }
    };
    tokio::select! {
        biased;
        result = service => result,
        () = gives_back => unreachable!("a loop without an end"),
    }
}

#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: it may be called at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
