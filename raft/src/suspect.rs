//! A dead leader is found by its connections; Raft's timers are the backstop.
//!
//! [`detector`] decides, on numbers alone; this shell feeds it with what the node's links
//! tell, sends what it says and hands leadership over where it says so. A wrong suspicion
//! costs an election and nothing else: votes and logs are judged by Raft as ever.

mod detector;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codraft_proto::{
    ids::{GroupId, NodeId},
    link::{Lane, Outbox},
    tasks::Tasks,
    v1::{self, Message, Pulse, message::Body},
};
use openraft::raft::TransferLeaderRequest;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    events::Peers,
    group::{Group, Groups},
    network::wire,
    tap,
    types::{LogId, Vote},
};
use detector::{Action, Detector, Tail, View};

/// How often a node asks each other for a sign of life.
const PULSE: Duration = Duration::from_millis(100);
/// Every so many pulses, once a second, it says where its replicas stand.
const HASHES_EVERY: u64 = 10;
/// How long a node whose clock is off waits before it hands over once more.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(5);

/// Watches the other nodes and takes over from those that are dead. Cheap to clone.
#[derive(Clone)]
pub struct Suspicion {
    inner: Arc<Inner>,
}

struct Inner {
    detector: Mutex<Detector>,
    groups: Arc<Groups>,
    peers: Arc<dyn Peers>,
    started: Instant,
    tasks: Tasks,
}

impl Suspicion {
    pub fn start(groups: Arc<Groups>, peers: Arc<dyn Peers>, tasks: &Tasks) -> Self {
        let inner = Arc::new(Inner {
            detector: Mutex::new(Detector::new(groups.node())),
            groups,
            peers,
            started: Instant::now(),
            tasks: tasks.clone(),
        });
        tasks.spawn("pulses", pulses(inner.clone()));
        Self { inner }
    }

    /// A link that this node dialled is up; so the peer lives, as this incarnation.
    pub fn link_up(&self, node: NodeId, incarnation: u64) {
        self.inner
            .step(|detector, now, view| detector.link_up(now, node, incarnation, view));
    }

    /// A dialled link broke.
    pub fn link_broke(&self, node: NodeId, incarnation: u64) {
        self.inner.groups.peer_lost(node);
        self.inner
            .step(|detector, now, view| detector.link_broke(now, node, incarnation, view));
    }

    /// Nobody listens where the node was.
    pub fn redial_refused(&self, node: NodeId) {
        self.inner
            .step(|detector, now, view| detector.refused(now, node, view));
    }

    /// Another node asks for a sign of life; answered on `reply`.
    pub fn handle_pulse(&self, from: NodeId, mut pulse: Pulse, reply: &Outbox) {
        let groups = &self.inner.groups;
        groups.clocks().heard(from, pulse.wall_ms);
        pulse.hashes.retain_mut(|asked| {
            let group = groups.group(GroupId(asked.group));
            let ours = group.and_then(|group| group.digests().at(asked.index));
            asked.hash = ours.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(&hash));
            ours.is_some()
        });
        let body = Some(Body::PulseBack(pulse));
        // Without room for an answer silence is the truth.
        let _ = reply.send(Lane::Control, Message { body });
    }

    /// The node answered a pulse.
    pub fn pulse_received(&self, node: NodeId, pulse: &Pulse) {
        for hash in &pulse.hashes {
            self.inner.groups.compare(node, hash);
        }
        self.inner
            .step(|detector, now, _| detector.heard(now, node));
    }

    /// Another node suspects a third one; answered on `reply`.
    pub fn handle(&self, from: NodeId, suspect: v1::Suspect, reply: &Outbox) {
        let about = NodeId(suspect.node);
        let theirs = tails(&suspect.groups);
        let mut answer = None;
        self.inner.step(|detector, now, view| {
            // Of this moment: what follows from agreeing may be the end of it.
            let evidence = tap::listening() && detector.has_evidence(now, about);
            let (agreed, mine, actions) =
                detector.suspected(now, from, about, suspect.incarnation, theirs, view);
            if agreed {
                tap::suspects(about, evidence);
            }
            answer = Some(v1::SuspectReply {
                round: suspect.round,
                node: suspect.node,
                incarnation: suspect.incarnation,
                agreed,
                groups: mine.iter().map(to_wire).collect(),
            });
            actions
        });
        let body = answer.map(Body::SuspectReply);
        // Without room the finder asks again.
        let _ = reply.send(Lane::Control, Message { body });
    }

    /// What another node says to our suspicion.
    pub fn handle_reply(&self, from: NodeId, reply: v1::SuspectReply) {
        if reply.agreed {
            let theirs = tails(&reply.groups);
            let about = NodeId(reply.node);
            self.inner.step(|detector, now, view| {
                detector.agreed(now, from, about, reply.incarnation, theirs, view)
            });
        }
    }
}

impl Inner {
    /// Where this node's replicas stood a second ago.
    fn hashes(&self) -> Vec<v1::StateHash> {
        let hash = |group: &Group| {
            let (index, hash) = group.digests().told()?;
            Some(v1::StateHash {
                group: group.id().0,
                index,
                hash: Bytes::copy_from_slice(&hash),
            })
        };
        self.groups.iter().filter_map(hash).collect()
    }

    /// A node whose clock is off leaves leading to one that has the time.
    fn leave_leading_if_off(&self, left: &mut Option<Instant>) {
        let waits = left.is_some_and(|at| at.elapsed() < HAND_OVER_PAUSE);
        if waits || !self.groups.clocks().is_off() {
            return;
        }
        *left = Some(Instant::now());
        let ahead_ms = self.groups.clocks().ahead_ms();
        tracing::warn!(
            ahead_ms,
            "this node's clock is not that of the others: stamping with theirs, and handing over"
        );
        let groups = self.groups.clone();
        self.tasks.spawn("clock is off", async move {
            groups.transfer_leadership().await;
        });
    }

    fn step(&self, step: impl FnOnce(&mut Detector, u64, &dyn Fn() -> Vec<View>) -> Vec<Action>) {
        let now = self.started.elapsed().as_millis() as u64;
        let view = || self.groups.iter().filter_map(view_of).collect();
        let actions = step(&mut self.detector.lock(), now, &view);
        actions.into_iter().for_each(|action| self.perform(action));
    }

    fn perform(&self, action: Action) {
        match action {
            Action::Suspect {
                to,
                about,
                incarnation,
                round,
                tails,
            } => {
                if tap::listening() {
                    let now = self.started.elapsed().as_millis() as u64;
                    tap::suspects(about, self.detector.lock().has_evidence(now, about));
                }
                let groups = tails.iter().map(to_wire).collect();
                let suspect = v1::Suspect {
                    round,
                    node: about.0,
                    incarnation,
                    groups,
                };
                if let Some(outbox) = self.peers.outbox(to) {
                    // Without room it is said again at a later tick.
                    let _ = outbox.send(
                        Lane::Control,
                        Message {
                            body: Some(Body::Suspect(suspect)),
                        },
                    );
                }
            }
            Action::TakeOver { about, tail } => {
                let Some(group) = self.groups.group(tail.group).cloned() else {
                    return;
                };
                tap::takes_over(tail.group, about);
                tracing::warn!(group = %tail.group, dead = %about, "taking over from a dead leader");
                self.tasks.spawn("take over", async move {
                    let Some(raft) = group.raft() else { return };
                    let me = raft.node_id();
                    let request = TransferLeaderRequest::new(tail.vote, *me, tail.last);
                    match raft.handle_transfer_leader(request).await {
                        Ok(Ok(())) => {}
                        // The group moved on meanwhile.
                        Ok(Err(error)) => {
                            tracing::info!(group = %group.id(), %error, "not taken over")
                        }
                        Err(error) => tracing::warn!(group = %group.id(), %error, "not taken over"),
                    }
                });
            }
        }
    }
}

/// One task a node: pulses out, and the detector's clock.
async fn pulses(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    let mut left = None;
    loop {
        ticks.tick().await;
        number += 1;
        let pulse = Pulse {
            number,
            wall_ms: inner.groups.clocks().own_ms(),
            synced: Some(inner.groups.wal().synced().into()),
            hashes: if number % HASHES_EVERY == 0 {
                inner.hashes()
            } else {
                Vec::new()
            },
        };
        for outbox in inner.peers.linked() {
            let body = Some(Body::Pulse(pulse.clone()));
            // A full queue is silence, which is what it is.
            let _ = outbox.send(Lane::Control, Message { body });
        }
        inner.step(|detector, now, view| detector.tick(now, view));
        inner.leave_leading_if_off(&mut left);
    }
}

fn view_of(group: &Group) -> Option<View> {
    let (vote, last) = group.tail()?;
    Some(View {
        tail: Tail {
            group: group.id(),
            vote,
            last,
        },
        voters: group.voters(),
    })
}

fn to_wire(tail: &Tail) -> v1::GroupTail {
    v1::GroupTail {
        group: tail.group.0,
        ballot: Some(wire::ballot(&tail.vote)),
        last_log: tail.last.as_ref().map(wire::log_id),
    }
}

fn tails(wire: &[v1::GroupTail]) -> Vec<Tail> {
    let tail = |t: &v1::GroupTail| {
        Some(Tail {
            group: GroupId(t.group),
            vote: t.ballot.as_ref().map(wire::to_vote)?,
            last: t.last_log.as_ref().map(wire::to_log_id),
        })
    };
    wire.iter().filter_map(tail).collect()
}
