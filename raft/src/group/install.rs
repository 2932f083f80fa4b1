//! A replica that lags behind its leader's log takes the state that the leader kept.
//!
//! The leader asks again and again how far it is, so an answer that is lost costs nothing; the replica
//! fetches what it lacks by itself, over a connection of its own, and what it has fetched it keeps for
//! the next attempt.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use codraft_proto::{ids::NodeId, v1};
use openraft::{Snapshot, SnapshotMeta, async_runtime::watch::WatchReceiver as _};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify};

use super::Group;
use crate::{
    keeper::{Partial, Received},
    network::wire,
    types::{LogId, Vote},
};

/// What is being taken by one group.
#[derive(Default)]
pub(super) struct Installing {
    attempt: Mutex<Option<Arc<Attempt>>>,
    /// One attempt at a time.
    partial: tokio::sync::Mutex<Partial>,
    done: AtomicU64,
}

/// It takes one by itself then.
pub(super) const LACKS: &str = "it waits for another replica's state";

struct Attempt {
    from: NodeId,
    /// The leader's that asked for it.
    vote: Vote,
    last: LogId,
    /// Another state is to be taken in place of this one.
    replaced: Notify,
    /// Bytes that came.
    progress: AtomicU64,
    /// The vote here once it is installed, or why it is not.
    outcome: Mutex<Option<Result<Vote, String>>>,
}

impl Installing {
    /// States that were installed.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// One was installed that no leader asked for.
    pub(super) fn recovered(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    /// This replica came as far by the log: what was fetched of an earlier state is not wanted.
    pub(super) fn reached(&self, index: u64) {
        let mut attempt = self.attempt.lock();
        if attempt.as_ref().is_some_and(|a| a.last.index > index) {
            return;
        }
        if let Ok(mut partial) = self.partial.try_lock() {
            *attempt = None;
            *partial = Partial::default();
        }
    }
}

/// Where the state stands that a leader wants to be taken.
///
/// # Errors
/// Why the attempt failed; asked again, another one begins.
pub(super) fn install(
    group: &Group,
    from: NodeId,
    install: &v1::Install,
) -> Result<v1::InstallReply, String> {
    let vote = install.ballot.as_ref().map(wire::to_vote);
    let vote = vote.ok_or("a ballot is missing")?;
    let last = install.last.as_ref().map(wire::to_log_id);
    let last = last.ok_or("nothing to install")?;
    let raft = group.raft().ok_or(LACKS)?;
    let own = raft.server_metrics().borrow_watched().vote;
    if own > vote {
        return Ok(installed(&own));
    }
    let mut current = group.inner.installing.attempt.lock();
    // What came of it in another term is no answer: that state may not have been taken.
    if let Some(attempt) = current.take_if(|a| (a.from, a.vote, a.last) == (from, vote, last)) {
        let outcome = attempt.outcome.lock().take();
        return match outcome {
            Some(Ok(vote)) => Ok(installed(&vote)),
            Some(Err(why)) => Err(why),
            None => {
                let bytes = attempt.progress.load(Relaxed);
                *current = Some(attempt);
                let result = Some(v1::install_reply::Result::Bytes(bytes));
                Ok(v1::InstallReply { result })
            }
        };
    }
    if current.as_ref().is_some_and(|a| a.vote > vote) {
        return Err("a later leader's state is being taken".into());
    }
    let attempt = Arc::new(Attempt {
        from,
        vote,
        last,
        replaced: Notify::new(),
        progress: AtomicU64::new(0),
        outcome: Mutex::new(None),
    });
    if let Some(before) = current.replace(attempt.clone()) {
        before.replaced.notify_one();
    }
    let going = group.clone();
    group.inner.tasks.spawn("install", async move {
        let group = going;
        let outcome = attempt.run(&group).await;
        if let Err(why) = &outcome {
            tracing::warn!(group = %group.id(), %from, why, "a state was not installed");
        }
        *attempt.outcome.lock() = Some(outcome);
    });
    let result = Some(v1::install_reply::Result::Bytes(0));
    Ok(v1::InstallReply { result })
}

fn installed(vote: &Vote) -> v1::InstallReply {
    let result = Some(v1::install_reply::Result::Installed(wire::ballot(vote)));
    v1::InstallReply { result }
}

impl Attempt {
    async fn run(&self, group: &Group) -> Result<Vote, String> {
        let inner = &group.inner;
        // Whom it comes from may not answer for long, and another leader's state is not to wait for
        // that. What came so far stays.
        let taken = tokio::select! {
            biased;
            () = self.replaced.notified() => Err("another one is asked for".into()),
            taken = self.take(group) => taken,
        };
        let (mut partial, received) = taken?;
        let manifest = Arc::new(received.manifest.clone());
        let meta = SnapshotMeta {
            last_log_id: Some(manifest.last),
            last_membership: manifest.membership.clone(),
        };
        let snapshot = Snapshot {
            meta,
            snapshot: manifest,
        };
        let raft = inner.raft().ok_or(LACKS)?;
        let response = raft.install_full_snapshot(self.vote, snapshot).await;
        let response = response.map_err(|error| error.to_string())?;
        // A later leader is known here: nothing was taken.
        if response.vote != self.vote {
            return Ok(response.vote);
        }
        let (index, bytes) = (self.last.index, self.progress.load(Relaxed));
        tracing::info!(group = %inner.id, index, bytes, "a state from another node is installed");
        *partial = Partial::default();
        inner.installing.done.fetch_add(1, Relaxed);
        Ok(response.vote)
    }

    async fn take<'a>(
        &self,
        group: &'a Group,
    ) -> Result<(MutexGuard<'a, Partial>, Received), String> {
        let inner = &group.inner;
        let mut partial = inner.installing.partial.lock().await;
        let (id, from, index) = (inner.id, self.from, self.last.index);
        tracing::warn!(group = %id, %from, index, "no log reaches back to here: taking another node's state");
        let link = inner.peers.bulk(from).ok_or("no such node")?;
        let received = inner
            .keeper
            .receive(from, &*link, self.last, &mut partial, &self.progress)
            .await;
        let received = received.map_err(|error| error.to_string())?;
        Ok((partial, received))
    }
}
