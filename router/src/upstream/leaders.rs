//! Who leads which group, as far as this router has been told. A hint, never a truth: a
//! node that does not lead says so.

use std::collections::BTreeMap;

use codraft_proto::{
    ids::{GroupId, NodeId, Term},
    v1,
};
use tokio::time::{Duration, Instant};

/// A group whose leader has not been heard for so long may sit behind a partition: its
/// documents are *saving*. Leaders speak every 250 ms.
pub const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    pub term: Term,
    /// `None`: of this term nobody is known, or the link to them broke.
    pub node: Option<NodeId>,
    /// Who led in this term until the link broke.
    lost: Option<NodeId>,
    /// When the leader itself last said that it leads with a majority.
    pub heard: Instant,
    /// Silent for `SILENCE`.
    pub silent: bool,
}

#[derive(Default)]
pub struct Leaders {
    groups: BTreeMap<GroupId, Leader>,
}

impl Leaders {
    pub fn get(&self, group: GroupId) -> Option<Leader> {
        self.groups.get(&group).copied()
    }

    /// Takes in what a node said. `from` is whoever said it: only of itself does it count as
    /// a sign of life. `true` when the group's documents have to be moved.
    pub fn told(&mut self, from: NodeId, lead: &v1::Leadership, now: Instant) -> bool {
        let said = Some(NodeId(lead.node)).filter(|n| n.0 != 0);
        let group = GroupId(lead.group);
        let own = said == Some(from);
        let Some(known) = self.groups.get_mut(&group) else {
            let fresh = Leader {
                term: Term(lead.term),
                node: said,
                lost: None,
                heard: now,
                silent: false,
            };
            self.groups.insert(group, fresh);
            return said.is_some();
        };
        if lead.term < known.term.0 {
            return false;
        }
        // Hearsay of a term never names again a leader whose link broke in that term.
        let news = lead.term > known.term.0
            || (known.node.is_none() && (own || (said.is_some() && said != known.lost)));
        if news {
            let moved = known.node != said || lead.term > known.term.0;
            *known = Leader {
                term: Term(lead.term),
                node: said,
                lost: None,
                heard: now,
                silent: false,
            };
            return moved && said.is_some();
        }
        if own && known.node == said {
            known.heard = now;
            return std::mem::take(&mut known.silent);
        }
        false
    }

    /// The link to a node broke: the groups that it led have no known leader.
    pub fn lost(&mut self, node: NodeId) -> Vec<GroupId> {
        let mut led = Vec::new();
        for (group, leader) in &mut self.groups {
            if leader.node == Some(node) {
                leader.lost = leader.node.take();
                led.push(*group);
            }
        }
        led
    }

    /// Groups that fell silent since the last call.
    pub fn fell_silent(&mut self, now: Instant) -> Vec<GroupId> {
        let mut fell = Vec::new();
        for (group, leader) in &mut self.groups {
            if !leader.silent && now.saturating_duration_since(leader.heard) >= SILENCE {
                leader.silent = true;
                fell.push(*group);
            }
        }
        fell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(term: u64, node: u64) -> v1::Leadership {
        v1::Leadership {
            group: 1,
            term,
            node,
        }
    }
    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[tokio::test]
    async fn later_terms_win_and_only_the_leader_is_a_sign_of_life() {
        let (mut leaders, t) = (Leaders::default(), Instant::now());
        let group = GroupId(1);
        assert!(leaders.told(B, &lead(3, 1), t));
        assert_eq!(leaders.get(group).and_then(|l| l.node), Some(A));
        assert!(!leaders.told(A, &lead(3, 1), t), "nothing new");
        assert!(!leaders.told(B, &lead(2, 2), t), "an old term");
        let later = t + Duration::from_millis(900);
        assert!(!leaders.told(B, &lead(3, 1), later), "hearsay");
        assert_eq!(leaders.fell_silent(t + SILENCE), [group]);
        assert!(leaders.fell_silent(t + SILENCE * 2).is_empty(), "told once");
        assert!(leaders.told(A, &lead(3, 1), t + SILENCE * 2), "it is back");
        assert!(leaders.told(B, &lead(4, 2), t + SILENCE * 2));
        assert_eq!(leaders.get(group).and_then(|l| l.node), Some(B));
    }

    #[tokio::test]
    async fn a_leader_whose_link_broke_is_not_named_again_by_hearsay() {
        let (mut leaders, t) = (Leaders::default(), Instant::now());
        leaders.told(A, &lead(3, 1), t);
        assert_eq!(leaders.lost(A), [GroupId(1)]);
        assert!(!leaders.told(B, &lead(3, 1), t));
        assert_eq!(leaders.get(GroupId(1)).and_then(|l| l.node), None);
        assert!(
            leaders.told(A, &lead(3, 1), t),
            "it says so itself, on a new link"
        );
        assert!(!leaders.told(A, &lead(4, 0), t), "a term without a leader");
        assert_eq!(leaders.get(GroupId(1)).and_then(|l| l.node), None);
        assert!(
            leaders.told(A, &lead(4, 2), t),
            "hearsay of one that is linked"
        );
    }
}
