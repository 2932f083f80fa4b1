//! One node in the place of another, the smallest change of a group's members there is.
//!
//! Who wants it asks again and again, and each time the leader does what is due next: it makes the
//! new node a learner, waits until that has what the others have, and puts it in the place of the
//! old one. Nothing is remembered but the members themselves, which are in the log. So it goes on
//! wherever it was left, under whichever leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codraft_mutant::mutant;
use codraft_proto::ids::NodeId;
use openraft::{
    ChangeMembers, EmptyNode, Instant as _, RaftMetrics, async_runtime::watch::WatchReceiver as _,
};

use super::{Group, Inner, Leadership, Raft};
use crate::{
    limits::{PROMOTION_ENTRIES, PROMOTION_HEARD},
    tap,
    types::TypeConfig,
};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacing {
    /// The new node fetches what the others have: up to entry `has` by now, of `last`.
    CatchingUp {
        has: u64,
        last: u64,
    },
    /// It has what the others have, and the members change.
    Changing,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    #[error("this node does not lead the group")]
    NotLeader(Option<Leadership>),
    #[error("node {0} is no replica of the group")]
    NoReplica(NodeId),
    #[error(
        "there is no link to node {0}: start it, and give all nodes the cluster.toml that has it"
    )]
    NoLink(NodeId),
    #[error("another member of the group is being replaced: end that first")]
    Underway,
}

impl Group {
    /// Does what is due next to put `new` in the place of `old`, and says how far it is; to be asked
    /// again until it is done. Only a leader can tell.
    pub async fn replace(&self, old: NodeId, new: NodeId) -> Result<Replacing, ReplaceError> {
        let inner = &self.inner;
        let lead = self.leadership();
        if lead.node != Some(inner.node) {
            return Err(ReplaceError::NotLeader(lead.node.map(|_| lead)));
        }
        let raft = self.raft().ok_or(ReplaceError::NotLeader(None))?;
        let metrics = raft.metrics().borrow_watched().clone();
        let members = Members::of(&metrics);
        if members.are_without(old, new) {
            // Until then another leader may need the old one to end the change.
            let committed = metrics.committed_membership_config.log_id();
            return Ok(match committed == metrics.membership_config.log_id() {
                true => Replacing::Done,
                false => Replacing::Changing,
            });
        }
        if !members.voters.contains(&old.0) && !members.voters.contains(&new.0) {
            return Err(ReplaceError::NoReplica(old));
        }
        if members.is_changing && !members.voters.contains(&new.0) {
            return Err(ReplaceError::Underway);
        }
        // A leader that removes itself leads on for a while with nobody behind it.
        if old == inner.node {
            inner.transfer().await;
            return Err(ReplaceError::NotLeader(None));
        }
        // The new one may lead before the change is over.
        if new != inner.node && inner.peers.outbox(new).is_none() {
            return Err(ReplaceError::NoLink(new));
        }
        let has = progress(&metrics, new);
        let learns = members.nodes.contains(&new.0);
        if members.is_changing || learns && has.is_ready() {
            tap::promotes(inner.id, new);
            let target = members.target(old, new);
            inner.change(&raft, ChangeMembers::ReplaceAllVoters(target));
            return Ok(Replacing::Changing);
        }
        if !learns {
            let node = BTreeMap::from([(new.0, EmptyNode::new())]);
            inner.change(&raft, ChangeMembers::AddNodes(node));
        }
        Ok(has.catching_up)
    }
}

impl Inner {
    /// Changes the members, one change at a time; what comes of it the next question shows.
    fn change(self: &Arc<Self>, raft: &Raft, change: ChangeMembers<u64, EmptyNode>) {
        let Ok(turn) = self.changing.clone().try_lock_owned() else {
            return;
        };
        let (group, raft) = (self.clone(), raft.clone());
        self.tasks.spawn("members", async move {
            let _turn = turn;
            tracing::info!(group = %group.id, ?change, "the members change");
            // A voter that is gone does not stay as a learner.
            if let Err(error) = raft.change_membership(change, false).await {
                tracing::info!(group = %group.id, %error, "the members did not change");
            }
        });
    }
}

/// Who is in the group, committed or not.
struct Members {
    nodes: BTreeSet<u64>,
    /// Of one set, or of both while they change.
    voters: BTreeSet<u64>,
    /// There are two sets.
    is_changing: bool,
}

impl Members {
    fn of(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let latest = &metrics.membership_config;
        let sets = latest.membership().get_joint_config();
        Self {
            nodes: latest.nodes().map(|(node, _)| *node).collect(),
            voters: latest.voter_ids().collect(),
            is_changing: sets.len() > 1,
        }
    }

    fn are_without(&self, old: NodeId, new: NodeId) -> bool {
        !self.is_changing && self.voters.contains(&new.0) && !self.nodes.contains(&old.0)
    }

    fn target(&self, old: NodeId, new: NodeId) -> BTreeSet<u64> {
        let stays = |node: &u64| *node != old.0 || mutant!("replaced_voter_stays");
        let others = self.voters.iter().copied().filter(stays);
        others.chain([new.0]).collect()
    }
}

/// How far a node is, as the leader has seen it itself.
struct Progress {
    catching_up: Replacing,
    lags: u64,
    heard: bool,
}

impl Progress {
    /// A voter that lags or is not there would be one that the group waits for.
    fn is_ready(&self) -> bool {
        self.heard && self.lags <= PROMOTION_ENTRIES || mutant!("lagging_voter_promoted")
    }
}

fn progress(metrics: &RaftMetrics<TypeConfig>, node: NodeId) -> Progress {
    let last = metrics.last_log_index.unwrap_or(0);
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|all| all.get(&node.0));
    let has = matched.and_then(|log| log.as_ref()).map(|log| log.index);
    let beats = metrics.heartbeat.as_ref().and_then(|all| all.get(&node.0));
    let heard = beats.and_then(|beat| beat.as_ref());
    Progress {
        catching_up: Replacing::CatchingUp {
            has: has.unwrap_or(0),
            last,
        },
        // Of a node that has nothing it is not known what it has.
        lags: has.map_or(u64::MAX, |has| last.saturating_sub(has)),
        heard: heard.is_some_and(|at| at.elapsed() <= PROMOTION_HEARD),
    }
}
