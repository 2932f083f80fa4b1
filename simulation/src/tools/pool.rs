//! Many runs at a time: threads that each wait for one process.

use std::{sync::mpsc, thread, time::Duration};

use parking_lot::Mutex;
/// How often at least `each` is called, so that progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// Does `work` on all tasks with `jobs` threads; `each` gets what came of them as it comes, and
/// nothing now and then.
pub fn spread<T: Send, R: Send>(
    jobs: usize,
    tasks: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> R + Sync,
    mut each: impl FnMut(Option<R>),
) {
    let tasks = Mutex::new(tasks);
    let next = || tasks.lock().next();
    thread::scope(|scope| {
        let (done, came) = mpsc::sync_channel(jobs);
        for _ in 0..jobs.max(1) {
            let done = done.clone();
            let (next, work) = (&next, &work);
            scope.spawn(move || {
                while let Some(task) = next() {
                    if done.send(work(task)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        loop {
            match came.recv_timeout(TICK) {
                Ok(result) => each(Some(result)),
                Err(mpsc::RecvTimeoutError::Timeout) => each(None),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        let mut got = Vec::new();
        spread(3, 0..100, |n| n * 2, |r| got.extend(r));
        got.sort_unstable();
        assert_eq!(got, (0..100).map(|n| n * 2).collect::<Vec<_>>());
    }
}
