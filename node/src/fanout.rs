//! From what a group applied to the links that wait for it. Called with the group's lock
//! held, so that a feed has the order of the log and an answer to `Open` its exact place.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    v1::{self, answer::Verdict, message::Body},
};
use codraft_raft::{
    group::{AppliedSink, GroupEvents, Leadership, LogId, Origin, ProposeError, ProposeResult},
    machine::{Applied, Outcome, Shard},
};

use prometheus_client::metrics::histogram::Histogram;

use crate::{
    followers::Feed,
    metrics::Metrics,
    routers::{Pending, RouterLink, Routers},
    wire,
};

pub(crate) struct Fanout {
    node: NodeId,
    feed: Arc<Feed>,
    routers: Arc<Routers>,
    metrics: Arc<Metrics>,
    /// How long the group takes to apply an entry.
    applying: Histogram,
    /// The link of the last answer; they come in runs.
    last: Option<Arc<RouterLink>>,
    /// The events of one entry by document; kept to spare an allocation an entry.
    scratch: Vec<(DocId, usize)>,
}

impl Fanout {
    pub fn new(
        node: NodeId,
        group: GroupId,
        feed: Arc<Feed>,
        routers: Arc<Routers>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            applying: metrics.applying(group),
            node,
            feed,
            routers,
            metrics,
            last: None,
            scratch: Vec::new(),
        }
    }
}

impl AppliedSink for Fanout {
    fn applied(&mut self, _shard: &Shard, _log_id: LogId, applied: &[Applied]) {
        self.metrics.batch.observe(applied.len() as f64);
        let mut events = 0;
        let mut state = self.feed.state.lock();
        self.scratch.clear();
        for (index, applied) in applied.iter().enumerate() {
            if applied.event.is_some() {
                events += 1;
                if state.followers.follows(&applied.doc) {
                    self.scratch.push((applied.doc, index));
                }
            }
        }
        self.metrics.applied.inc_by(events);
        // Stable: within a document the order of the log stays.
        self.scratch.sort_by_key(|(doc, _)| *doc);
        let mut rest = self.scratch.as_slice();
        while let Some((doc, _)) = rest.first() {
            let (run, behind) = rest.split_at(rest.iter().take_while(|(d, _)| d == doc).count());
            let of_doc = || {
                run.iter()
                    .filter_map(|(_, i)| applied.get(*i)?.event.as_deref())
            };
            let last = match run.len() > 1 && mutant!("feed_hash_of_another_revision") {
                true => of_doc().next(),
                false => of_doc().next_back(),
            };
            let hash = last.map_or_else(Bytes::new, |e| Bytes::copy_from_slice(&e.hash.0));
            let left_out = run.len() > 1 && mutant!("feed_gap_let_through");
            let events = of_doc().skip(left_out.into()).map(wire::event).collect();
            state.followers.send(
                doc,
                v1::Events {
                    doc: doc.to_bytes(),
                    events,
                    hash,
                },
            );
            rest = behind;
        }
    }

    fn took(&mut self, time: Duration) {
        self.applying.observe(time.as_secs_f64());
    }

    fn leadership_changed(&mut self, lead: Leadership) {
        self.metrics.leader_changes.inc();
        let leads = lead.node == Some(self.node);
        let mut state = self.feed.state.lock();
        if state.leading != leads {
            self.metrics.leading.inc_by(if leads { 1 } else { -1 });
        }
        state.leading = leads;
        if !leads {
            let problem = wire::not_leader(&lead);
            state.followers.cut_all(lead.group, &problem);
            self.feed.presence.clear();
        }
        drop(state);
        if lead.node.is_some() {
            self.routers
                .tell_all(&Body::Leadership(wire::leadership(&lead)));
        }
    }
}

impl GroupEvents for Fanout {
    fn answered(&mut self, origin: Origin, answer: ProposeResult) {
        let known = self.last.take().filter(|link| link.id == origin.link);
        let Some(link) = known.or_else(|| self.routers.get(origin.link)) else {
            return;
        };
        match link.take(origin.tag) {
            Some(Pending::Edit {
                doc,
                user,
                client,
                seq,
                base,
            }) => {
                let verdict = match answer {
                    Ok(outcome) => {
                        self.count(&outcome);
                        wire::verdict(outcome)
                    }
                    Err(error) => Some(Verdict::Retry(self.retry(error))),
                };
                if verdict.is_some() {
                    let (doc, client) = (doc.to_bytes(), client.to_bytes());
                    link.push(Body::Answer(v1::Answer {
                        doc,
                        client,
                        user: user.to_string(),
                        seq: seq.0,
                        base: base.0,
                        verdict,
                    }));
                }
            }
            Some(Pending::Call(waits)) => {
                // The caller may have given up.
                let _ = waits.send(answer);
            }
            None => {}
        }
        self.last = Some(link);
    }
}

impl Fanout {
    fn retry(&self, error: ProposeError) -> v1::Problem {
        let problem = wire::proposing(error);
        self.metrics.refused_number(problem.code);
        problem
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Refused(refusal) => self.metrics.refused(refusal.code),
            Outcome::Retry(code) => self.metrics.refused(*code),
            // No code of its own: what a client is told is that its base is too old.
            Outcome::Rebase { .. } => {
                self.metrics.rebased.inc();
            }
            Outcome::Applied { .. } | Outcome::Already { .. } => {}
        }
    }
}
