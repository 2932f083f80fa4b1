//! Signals of the operating system, sent and heard.

/// Whether the signal could be sent; 0 only asks whether the process is there.
#[allow(unsafe_code)]
pub fn signal(pid: u32, number: i32) -> bool {
    // SAFETY: kill takes plain numbers; 0 and 1 are never a child of ours.
    pid > 1 && unsafe { libc::kill(pid as i32, number) == 0 }
}

/// Ctrl-C, or the polite signal of a service manager.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
