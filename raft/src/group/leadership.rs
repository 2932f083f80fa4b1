//! Who leads, and handing it over.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use codraft_proto::{
    ids::{NodeId, Term},
    tasks::Tasks,
};
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;

use super::{Group, Inner, Leadership, ProposeError, Raft};
use crate::{limits::FULL_PAUSE, tap};

impl Inner {
    fn seen(&self, raft: &Raft) -> Leadership {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        Leadership {
            group: self.id,
            term: Term(metrics.vote.leader_id.term),
            node: metrics.current_leader.map(NodeId),
        }
    }

    /// The group cannot go on, and nobody asked it to stop. The other nodes see a healthy node,
    /// so the process has to end for somebody to notice.
    pub(super) fn fail(&self, why: String, tasks: &Tasks) {
        let mut core = self.core.lock();
        let why = core.unproven.get_or_insert(why);
        tracing::error!(group = %self.id, why, "a group stopped: this process must end");
        drop(core);
        tasks.fail("a group stopped");
    }

    /// Why the group answers no more.
    pub(super) fn stopped(&self) -> ProposeError {
        match &self.core.lock().unproven {
            Some(_) => ProposeError::Unproven,
            None => self.queue.closed().unwrap_or(ProposeError::Shutdown),
        }
    }

    /// Refuses what comes and answers what waits.
    pub(super) fn close(&self, why: ProposeError) {
        self.queue.close(why);
        self.answer_all(why);
        self.reads.fail(why.into());
    }

    /// Answers all that was submitted here and has no outcome. What of it is in the log may
    /// still be applied; who asks again with the same (client, seq) learns of it.
    fn answer_all(&self, error: ProposeError) {
        let mut core = self.core.lock();
        let waiting = std::mem::take(&mut core.waiting);
        let proposed = waiting.into_values().flat_map(|w| w.origins);
        for origin in proposed.chain(self.queue.drain()) {
            core.sinks.answered(origin, Err(error));
        }
    }

    fn tell(&self, lead: Leadership) {
        let was = std::mem::replace(&mut *self.leadership.lock(), lead);
        if was == lead {
            return;
        }
        tracing::info!(group = %self.id, term = %lead.term, leader = ?lead.node, "leader changed");
        if lead.node == Some(self.node) {
            tap::leads(self.id, lead.term);
        }
        self.core.lock().sinks.leadership_changed(lead);
        if was.node == Some(self.node) && lead.node != Some(self.node) {
            let hint = lead.node.map(|_| lead);
            self.answer_all(ProposeError::NotLeader(hint));
            self.reads.fail(super::ReadError::NotLeader(hint));
        }
    }

    /// See [`super::Group::transfer_leadership`].
    pub(super) async fn transfer(&self) -> bool {
        let Some(raft) = self.raft() else {
            return true;
        };
        if self.seen(&raft).node != Some(self.node) {
            return true;
        }
        let metrics = raft.metrics().borrow_watched().clone();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let followers = metrics.replication.into_iter().flatten();
        // Of equals not the one of last time: it may have handed back what it cannot do either.
        let last = self.handed_to.load(Relaxed);
        let best = followers
            .filter(|(node, _)| *node != self.node.0 && voters.contains(node))
            .max_by_key(|(node, matched)| (*matched, *node != last, *node));
        let Some((to, _)) = best else { return false };
        self.handed_to.store(to, Relaxed);
        if raft.trigger().transfer_leader(to).await.is_err() {
            return true;
        }
        let mut metrics = raft.server_metrics();
        let gone = async {
            while self.seen(&raft).node == Some(self.node) {
                if metrics.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_millis(500), gone)
            .await
            .is_ok()
    }
}

/// Tells of each change of leadership until the group's raft ends.
pub(super) async fn watch(group: &Inner, raft: &Raft) {
    let mut metrics = raft.server_metrics();
    loop {
        group.tell(group.seen(raft));
        if metrics.changed().await.is_err() {
            let last = *group.leadership.lock();
            return group.tell(Leadership { node: None, ..last });
        }
    }
}

/// A node whose disk is full, or whose archive cannot be written, refuses what others could take: so another
/// one should lead.
pub(super) async fn leave_while(mut cannot: watch::Receiver<bool>, groups: Vec<Group>) {
    while cannot.wait_for(|is| *is).await.is_ok() {
        for group in &groups {
            group.transfer_leadership().await;
        }
        // Where it is so everywhere somebody has to lead nevertheless, or nothing can be read.
        let _ = tokio::time::timeout(FULL_PAUSE, cannot.wait_for(|is| !*is)).await;
    }
}
