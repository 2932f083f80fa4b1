//! Every task of a process, by name: nothing is left running when its owner has gone, and a
//! panic in one of them is seen instead of lost.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

/// A set of tasks with one end. Cheap to clone; clones are the same set.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    parent: Option<Tasks>,
    state: Mutex<State>,
    /// How many run; watched by `shutdown`.
    running: watch::Sender<usize>,
    failed: watch::Sender<Option<&'static str>>,
}

#[derive(Default)]
struct State {
    closed: bool,
    next: u64,
    handles: BTreeMap<u64, Option<AbortHandle>>,
    children: Vec<Weak<Inner>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    pub fn new() -> Self {
        Self::with_parent(None)
    }

    fn with_parent(parent: Option<Tasks>) -> Self {
        let state = Mutex::new(State::default());
        let (running, failed) = (watch::Sender::new(0), watch::Sender::new(None));
        Self {
            inner: Arc::new(Inner {
                parent,
                state,
                running,
                failed,
            }),
        }
    }

    /// A set that ends with this one, or before it. What fails in it fails here too.
    pub fn child(&self) -> Tasks {
        let child = Self::with_parent(Some(self.clone()));
        let mut state = self.inner.state.lock();
        child.inner.state.lock().closed = state.closed;
        state.children.retain(|c| c.strong_count() > 0);
        state.children.push(Arc::downgrade(&child.inner));
        drop(state);
        child
    }

    /// Runs a future until it ends or the set does. After `shutdown` it never starts. A panic in
    /// it fails the set: see [`Tasks::failed`].
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_as(Kind::Essential, name, future);
    }

    /// [`Tasks::spawn`] for a task on behalf of one client: a panic in it ends that task alone.
    /// What it leaves behind must be given back by guards, and be valid at every step.
    pub fn spawn_contained(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_as(Kind::Contained, name, future);
    }

    fn spawn_as(
        &self,
        kind: Kind,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = {
            let mut state = self.inner.state.lock();
            if state.closed {
                return;
            }
            state.next += 1;
            let id = state.next;
            state.handles.insert(id, None);
            self.inner.running.send_modify(|n| *n += 1);
            id
        };
        let registration = Registration {
            tasks: self.clone(),
            id,
        };
        let watched = Watched {
            future: Box::pin(future),
            name,
            kind,
            registration,
        };
        // Not under the lock: a runtime that shuts down drops the future inside `spawn`.
        #[allow(clippy::disallowed_methods)] // the one owner
        let handle = tokio::spawn(watched).abort_handle();
        let mut state = self.inner.state.lock();
        if state.closed {
            handle.abort();
        } else if let Some(slot) = state.handles.get_mut(&id) {
            *slot = Some(handle);
        }
    }

    /// Says that the process cannot go on, as a panic of a task would.
    pub fn fail(&self, what: &'static str) {
        self.inner.failed.send_if_modified(|f| {
            let first = f.is_none();
            f.get_or_insert(what);
            first
        });
        if let Some(parent) = &self.inner.parent {
            parent.fail(what);
        }
    }

    /// Resolves with the name of the first task that panicked (or what `fail` was told);
    /// never while all is well.
    pub fn failed(&self) -> impl Future<Output = &'static str> + Send + 'static {
        let mut watch = self.inner.failed.subscribe();
        async move {
            // The sender lives in `Inner`; when it is gone nothing can fail any more.
            let first = watch.wait_for(Option::is_some).await.ok().and_then(|f| *f);
            match first {
                Some(name) => name,
                None => std::future::pending().await,
            }
        }
    }

    /// Ends every task of this set and of its children, and waits until all are gone.
    /// Not from within one of them: it would wait for itself.
    pub async fn shutdown(&self) {
        for set in self.close() {
            let _ = set.running.subscribe().wait_for(|n| *n == 0).await;
        }
    }

    /// `shutdown` without the waiting.
    pub fn abort(&self) {
        self.close();
    }

    /// This set and all below it, closed and told to end.
    fn close(&self) -> Vec<Arc<Inner>> {
        let mut sets = vec![self.inner.clone()];
        let mut next = 0;
        while let Some(set) = sets.get(next).cloned() {
            next += 1;
            let mut state = set.state.lock();
            state.closed = true;
            sets.extend(state.children.iter().filter_map(Weak::upgrade));
            let handles: Vec<_> = state.handles.values().flatten().cloned().collect();
            drop(state);
            handles.iter().for_each(AbortHandle::abort);
        }
        sets
    }
}

/// For hyper, which spawns the streams of a connection itself.
#[derive(Clone)]
pub(crate) struct Executor(pub Tasks, pub &'static str);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(self.1, async move {
            future.await;
        });
    }
}

/// A task's place in its set; given back when the task ends, however it ends.
struct Registration {
    tasks: Tasks,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tasks.inner.state.lock().handles.remove(&self.id);
        self.tasks.inner.running.send_modify(|n| *n -= 1);
    }
}

/// What a panic of a task means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The process cannot go on.
    Essential,
    /// Only this task ends.
    Contained,
}

struct Watched {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    name: &'static str,
    kind: Kind,
    registration: Registration,
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if codraft_mutant::cost::stands_still(cx.waker()) {
            return Poll::Pending;
        }
        let future = &mut self.future;
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(_) => {
                tracing::error!(task = self.name, "a task panicked");
                if self.kind == Kind::Essential {
                    self.registration.tasks.fail(self.name);
                }
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn shutdown_ends_children_too_and_waits() {
        let tasks = Tasks::new();
        let child = tasks.child();
        let alive = Arc::new(());
        for set in [&tasks, &child] {
            let held = alive.clone();
            set.spawn("sleeper", async move {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                drop(held);
            });
        }
        assert_eq!(Arc::strong_count(&alive), 3);
        tasks.shutdown().await;
        assert_eq!(Arc::strong_count(&alive), 1);
        let held = alive.clone();
        child.spawn("late", async move { drop(held) });
        assert_eq!(Arc::strong_count(&alive), 1, "nothing starts afterwards");
    }

    #[tokio::test]
    async fn a_panic_is_seen_by_the_parent() {
        let tasks = Tasks::new();
        tasks.child().spawn("faulty", async { panic!("planted") });
        assert_eq!(tasks.failed().await, "faulty");
    }

    #[tokio::test]
    async fn a_contained_panic_ends_its_task_alone() {
        let tasks = Tasks::new();
        let held = Arc::new(());
        let guard = held.clone();
        tasks.spawn_contained("one of many", async move {
            let _guard = guard;
            panic!("planted");
        });
        let none = |n: &usize| *n == 0;
        let _ = tasks.inner.running.subscribe().wait_for(none).await;
        assert_eq!(Arc::strong_count(&held), 1, "its guards are dropped");
        assert!(tasks.inner.failed.borrow().is_none());
        // The set goes on, and a panic of what all need is still seen.
        tasks.spawn("faulty", async { panic!("planted") });
        assert_eq!(tasks.failed().await, "faulty");
    }

    #[tokio::test]
    async fn what_ended_leaves_nothing_behind() {
        let tasks = Tasks::new();
        for _ in 0..10 {
            tasks.spawn("short", async {});
        }
        tasks
            .inner
            .running
            .subscribe()
            .wait_for(|n| *n == 0)
            .await
            .unwrap();
        assert!(tasks.inner.state.lock().handles.is_empty());
    }
}
