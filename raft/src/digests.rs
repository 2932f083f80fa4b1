//! Whether this replica's state is that of the others, compared while the group runs.
//!
//! Each applied entry goes into a rolling hash of all that was applied before it, so replicas
//! that agree at one entry agree on everything below. Once a second a node tells the others its
//! hash at an entry that they have applied by now, and they answer with theirs. A replica that
//! differs from a majority is the odd one out.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use codraft_proto::ids::NodeId;
use parking_lot::Mutex;

use crate::{
    events::{AppliedSink, Leadership, LogId},
    machine::{Applied, Outcome, Shard},
};

/// The entries whose hashes are kept.
const KEPT: usize = 1_024;

pub type Hash = [u8; 32];

/// The hashes of one group here. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Digests {
    state: Arc<Mutex<State>>,
}

struct State {
    replicas: usize,
    /// By index, rising.
    hashes: VecDeque<(u64, Hash)>,
    /// What is asked next: the newest entry when was asked last.
    next: Option<(u64, Hash)>,
    /// Those whose hash was another one.
    differ: BTreeSet<NodeId>,
}

impl Digests {
    /// `replicas`: how many the group has, this one included.
    pub fn new(replicas: usize) -> Self {
        let state = State {
            replicas,
            hashes: VecDeque::new(),
            next: None,
            differ: BTreeSet::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Goes on from a state that was kept after an entry.
    pub fn resume(&self, at: (u64, Hash)) {
        self.state.lock().hashes.push_back(at);
    }

    /// The hash at the newest entry; none before the first.
    pub fn newest(&self) -> Option<(u64, Hash)> {
        self.state.lock().hashes.back().copied()
    }

    /// What to tell the others: where this replica stood when this was called last.
    pub fn told(&self) -> Option<(u64, Hash)> {
        let mut state = self.state.lock();
        let newest = state.hashes.back().copied();
        std::mem::replace(&mut state.next, newest)
    }

    /// This replica's hash at an entry; none where it is not there yet, or no more.
    pub fn at(&self, index: u64) -> Option<Hash> {
        let state = self.state.lock();
        let place = state.hashes.binary_search_by_key(&index, |(at, _)| *at);
        Some(state.hashes.get(place.ok()?)?.1)
    }

    /// Another replica's hash at an entry. Returns whether this replica is the odd one out.
    pub fn heard(&self, node: NodeId, index: u64, theirs: &[u8]) -> Verdict {
        match self.at(index) {
            Some(ours) if ours != theirs => {}
            _ => return Verdict::Same,
        }
        let mut state = self.state.lock();
        if !state.differ.insert(node) {
            return Verdict::Same;
        }
        match state.differ.len() * 2 > state.replicas {
            true => Verdict::OddOneOut,
            false => Verdict::Differs,
        }
    }
}

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    Same,
    /// One of the two is wrong; told once for each other replica.
    Differs,
    /// A majority differs from this replica.
    OddOneOut,
}

impl AppliedSink for Digests {
    fn applied(&mut self, _shard: &Shard, log_id: LogId, applied: &[Applied]) {
        let mut state = self.state.lock();
        let before = state.hashes.back().map_or([0; 32], |(_, hash)| *hash);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&before);
        hasher.update(&log_id.index.to_le_bytes());
        for applied in applied {
            hasher.update(&applied.doc.0);
            hasher.update(&number(&applied.outcome).to_le_bytes());
            if let Some(event) = &applied.event {
                hasher.update(&event.hash.0);
            }
        }
        if state.hashes.len() == KEPT {
            state.hashes.pop_front();
        }
        let hash = *hasher.finalize().as_bytes();
        state.hashes.push_back((log_id.index, hash));
    }

    fn leadership_changed(&mut self, _lead: Leadership) {}
}

fn number(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Applied { rev } => rev.0,
        Outcome::Already { seq, rev } => 1 << 60 | (seq.0 ^ rev.0),
        Outcome::Refused(refusal) => 2 << 60 | refusal.code as u64,
        Outcome::Rebase { floor, head } => 3 << 60 | (floor.0 ^ head.0),
        Outcome::Retry(code) => 4 << 60 | *code as u64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codraft_proto::ids::{DocId, GroupId, Revision};

    use super::*;
    use crate::{machine::MachineLimits, types::LeaderId};

    fn apply(digests: &mut Digests, index: u64, rev: u64) {
        let shard = Shard::new(GroupId(0), MachineLimits::default());
        let leader_id = LeaderId {
            term: 1,
            node_id: 1,
        };
        let log_id = LogId { leader_id, index };
        let applied = Applied {
            doc: DocId::default(),
            outcome: Outcome::Applied { rev: Revision(rev) },
            event: None,
        };
        digests.applied(&shard, log_id, &[applied]);
    }

    #[test]
    fn the_odd_one_out_learns_it_and_the_others_go_on() {
        let mut replicas = [Digests::new(3), Digests::new(3), Digests::new(3)];
        for index in 1..2_000 {
            for (i, replica) in replicas.iter_mut().enumerate() {
                let wrong = i == 1 && index == 1_500;
                apply(replica, index, index + u64::from(wrong));
            }
        }
        let [good, odd, other] = &replicas;
        assert_eq!(good.at(1_499), odd.at(1_499));
        let theirs = |of: &Digests| of.at(1_999).unwrap();
        assert_eq!(good.heard(NodeId(3), 1_999, &theirs(other)), Verdict::Same);
        assert_eq!(good.heard(NodeId(2), 1_999, &theirs(odd)), Verdict::Differs);
        assert_eq!(good.heard(NodeId(2), 1_999, &theirs(odd)), Verdict::Same);
        assert_eq!(odd.heard(NodeId(1), 1_999, &theirs(good)), Verdict::Differs);
        let last = odd.heard(NodeId(3), 1_999, &theirs(other));
        assert_eq!(last, Verdict::OddOneOut);
    }

    #[test]
    fn what_is_not_known_says_nothing_and_what_is_told_is_a_while_ago() {
        let mut digests = Digests::new(3);
        assert_eq!(digests.told(), None);
        apply(&mut digests, 7, 1);
        assert_eq!(digests.told(), None);
        apply(&mut digests, 8, 2);
        assert_eq!(digests.told(), digests.at(7).map(|hash| (7, hash)));
        assert_eq!(digests.heard(NodeId(2), 9, &[1; 32]), Verdict::Same);
        for index in 9..2_000 {
            apply(&mut digests, index, index);
        }
        assert_eq!(digests.at(7), None);
        assert_eq!(digests.heard(NodeId(2), 7, &[1; 32]), Verdict::Same);
    }
}
