//! Rare states that a campaign must have seen, found in the record: a campaign that never
//! reached one of them proves little about it.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{ClientSeen, DriverSeen, Entry, Id, NodeSeen, Seen};

/// Name and meaning, as runs count them in `Verdict::sometimes`.
pub const MARKS: &[(&str, &str)] = &[
    (
        "two_leaders_in_two_terms",
        "two nodes led one group at once, in two terms",
    ),
    ("fast_failover_won", "who suspected a dead leader took over"),
    ("fast_failover_lost", "and another one did"),
    ("wrong_suspicion", "a node that lived on was held for dead"),
    (
        "repeat_after_failover",
        "a repeated operation was known to another leader",
    ),
    ("already_answered", "a repeated operation was known"),
    ("rebase", "a client was told that its base is too old"),
    (
        "bases_expired",
        "records of refusals went to make room for another",
    ),
    (
        "refusal_applied",
        "an operation was refused for good, on the record",
    ),
    ("log_truncated", "a replica's log was cut back"),
    ("torn_tail_cut", "the torn end of a log was cut"),
    ("damage_quarantined", "a damaged log was set aside"),
    ("sync_failed", "a disk failed and its process ended"),
    (
        "disk_full",
        "a disk was full, or of what could not be archived",
    ),
    (
        "wiped_disk_refused",
        "an empty disk under an old id was refused",
    ),
    ("resync", "a feed was cut and begun anew"),
    ("conflict_copy", "work was handed back to its user"),
    ("role_revoked_live", "a role was taken from a user at work"),
    (
        "twin_sockets",
        "two sockets with one client id sent the same",
    ),
    ("leadership_handed_over", "a node ended in order"),
    ("whole_cluster_down", "no node was up"),
    (
        "power_lost_in_a_write",
        "a machine lost its power between a large write and its sync",
    ),
    (
        "slow_reader_let_go",
        "a socket was ended whose client did not read",
    ),
    (
        "state_below_the_head",
        "a document came with events behind it",
    ),
    (
        "client_id_stolen",
        "a user came in under the client id of another",
    ),
    ("late_paste", "a large text was sent when its base was old"),
    (
        "opened_in_a_loop",
        "a document was opened many times at once",
    ),
    ("document_set_apart", "an operation could not be applied"),
    (
        "quarantine_lifted",
        "a document that was set apart was let go on",
    ),
    ("state_kept", "a replica wrote its state to its disk"),
    (
        "state_restored",
        "a replica began with a state that was kept",
    ),
    ("document_cooled", "a document left memory"),
    (
        "files_proven",
        "all that nodes keep was gone through at the end",
    ),
    (
        "document_prefetched",
        "a document was read before an entry about it was applied",
    ),
    (
        "window_trimmed",
        "the window of a document in which nothing happened went",
    ),
    ("log_purged", "a replica let go of the beginning of its log"),
    (
        "state_installed",
        "a replica took the state that another one kept",
    ),
    ("events_archived", "a replica archived a round of events"),
    (
        "archive_adopted",
        "a replica took what another one had archived",
    ),
    (
        "history_told",
        "what a document was at a revision was told, and who wrote it",
    ),
    ("commented", "somebody commented on a range"),
    ("comments_told", "where all comments are was told"),
    ("listed", "all documents of a user were told, page by page"),
    (
        "erased",
        "a revision was older than history is kept, and its reader was told so",
    ),
    (
        "erased_base",
        "a client came back with work of before what history is kept of",
    ),
    ("restored", "a document was had back as it was"),
    (
        "snapshot_asked",
        "a document was kept whole because somebody asked for it",
    ),
    (
        "late_base",
        "a client read what it missed and went on from its own work",
    ),
    ("node_replaced", "a new node has the place of another one"),
    (
        "state_recovered",
        "a replica whose state was damaged took another one's",
    ),
    (
        "page_mended",
        "a page that was damaged was had from another replica",
    ),
];

/// What the record has told so far, as far as the marks need it.
#[derive(Default)]
pub struct Watch {
    /// By group: nodes that lead as far as they know, with the term.
    leading: BTreeMap<u32, BTreeMap<u64, u64>>,
    /// By group: how often a leader was made.
    reigns: BTreeMap<u32, u64>,
    /// By group: who began to take over.
    contenders: BTreeMap<u32, BTreeSet<u64>>,
    /// Held for dead, in which life.
    suspected: BTreeMap<u64, u64>,
    lives: BTreeMap<u64, u64>,
    /// By client and sequence: the reign under which it was applied.
    applied: BTreeMap<(Id, u64), u64>,
    /// By client id and document: the role that it had when it was told last.
    roles: BTreeMap<(Id, Id), u8>,
}

impl Watch {
    /// The rare states that this entry completes.
    pub fn see(&mut self, entry: &Entry, mut mark: impl FnMut(&'static str)) {
        match &entry.seen {
            Seen::Client(seen) => self.client(seen, mark),
            Seen::Driver(seen) => self.driver(seen, mark),
            Seen::Node(seen) => self.node(seen, &mut mark),
        }
    }

    fn driver(&mut self, seen: &DriverSeen, mut mark: impl FnMut(&'static str)) {
        match seen {
            DriverSeen::Started { node, life, .. } => {
                self.lives.insert(*node, *life);
                self.leading.values_mut().for_each(|nodes| {
                    nodes.remove(node);
                });
            }
            DriverSeen::Proven => mark("files_proven"),
            DriverSeen::ErrorLine { line, .. }
                if line.contains("disk is full") || line.contains("events are not archived") =>
            {
                mark("disk_full");
            }
            DriverSeen::ErrorLine { line, .. } if line.contains("the log cannot be written") => {
                mark("sync_failed");
            }
            DriverSeen::ErrorLine { line, .. } if line.contains("and comes with") => {
                mark("wiped_disk_refused");
            }
            _ => {}
        }
    }

    fn node(&mut self, seen: &NodeSeen, mark: &mut impl FnMut(&'static str)) {
        match seen {
            NodeSeen::Voted {
                node, group, term, ..
            } => {
                self.alive(*node, mark);
                let leading = self.leading.entry(*group).or_default();
                // A node that has seen a later term leads no more.
                if leading.get(node).is_some_and(|led| led < term) {
                    leading.remove(node);
                }
            }
            NodeSeen::Leads {
                node, group, term, ..
            } => {
                self.alive(*node, mark);
                *self.reigns.entry(*group).or_default() += 1;
                let leading = self.leading.entry(*group).or_default();
                if leading.iter().any(|(n, t)| n != node && t != term) {
                    mark("two_leaders_in_two_terms");
                }
                leading.insert(*node, *term);
                let mut contenders = self.contenders.remove(group).unwrap_or_default();
                if contenders.remove(node) {
                    mark("fast_failover_won");
                }
                if !contenders.is_empty() {
                    mark("fast_failover_lost");
                }
            }
            NodeSeen::TakesOver { node, group, .. } => {
                self.contenders.entry(*group).or_default().insert(*node);
            }
            NodeSeen::Suspects {
                about,
                evidence: true,
                ..
            } => {
                let life = self.lives.get(about).copied().unwrap_or(0);
                self.suspected.insert(*about, life);
            }
            NodeSeen::Truncated { .. } => mark("log_truncated"),
            NodeSeen::Kept { .. } => mark("state_kept"),
            NodeSeen::Restored { .. } => mark("state_restored"),
            NodeSeen::Recovers { .. } => mark("state_recovered"),
            NodeSeen::Mended { .. } => mark("page_mended"),
            NodeSeen::Cooled { .. } => mark("document_cooled"),
            NodeSeen::Prefetched { .. } => mark("document_prefetched"),
            NodeSeen::Trims { .. } => mark("window_trimmed"),
            NodeSeen::Purged { .. } => mark("log_purged"),
            NodeSeen::Installed { .. } => mark("state_installed"),
            NodeSeen::Archived { .. } => mark("events_archived"),
            NodeSeen::Adopted { .. } => mark("archive_adopted"),
            NodeSeen::Recovered { damaged: true, .. } => mark("damage_quarantined"),
            NodeSeen::Recovered { cut: 1.., .. } => mark("torn_tail_cut"),
            NodeSeen::Applied { kind, .. } if kind == "expire" => mark("bases_expired"),
            NodeSeen::Applied {
                group,
                client: Some(client),
                seq,
                ..
            } => {
                let reign = self.reigns.get(group).copied().unwrap_or(0);
                self.applied.entry((*client, *seq)).or_insert(reign);
            }
            NodeSeen::Outcome {
                group,
                client: Some(client),
                seq,
                outcome,
                ..
            } if outcome.starts_with("already") => {
                mark("already_answered");
                let reign = self.reigns.get(group).copied().unwrap_or(0);
                if self
                    .applied
                    .get(&(*client, *seq))
                    .is_some_and(|r| *r < reign)
                {
                    mark("repeat_after_failover");
                }
            }
            NodeSeen::Outcome { outcome, .. } => match &**outcome {
                "refused fault" => mark("document_set_apart"),
                "lifted" => mark("quarantine_lifted"),
                refused if refused.starts_with("refused") => mark("refusal_applied"),
                _ => {}
            },
            _ => {}
        }
    }

    fn client(&mut self, seen: &ClientSeen, mut mark: impl FnMut(&'static str)) {
        match seen {
            ClientSeen::Rebase { .. } => mark("rebase"),
            ClientSeen::Erased { .. } => mark("erased"),
            ClientSeen::Resynced { .. } => mark("resync"),
            ClientSeen::HandedBack { .. } => mark("conflict_copy"),
            ClientSeen::Opened {
                resumed: false,
                rev,
                head,
                ..
            } if head > rev => mark("state_below_the_head"),
            ClientSeen::RoleTold {
                client, doc, role, ..
            } => {
                let now = rank(role.as_deref());
                let before = self.roles.insert((*client, *doc), now);
                if before.is_some_and(|before| now < before) {
                    mark("role_revoked_live");
                }
            }
            // Whoever comes in is told its role first.
            ClientSeen::Closed { client, doc, .. } => drop(self.roles.remove(&(*client, *doc))),
            _ => {}
        }
    }

    /// A node does something: whoever held this life of it for dead was wrong.
    fn alive(&mut self, node: u64, mark: &mut impl FnMut(&'static str)) {
        let life = self.lives.get(&node).copied().unwrap_or(0);
        if self.suspected.remove(&node) == Some(life) {
            mark("wrong_suspicion");
        }
    }
}

/// Higher ones may do more.
fn rank(role: Option<&str>) -> u8 {
    let roles = ["viewer", "commenter", "editor", "owner"];
    let place = roles.iter().position(|name| role == Some(name));
    place.map_or(0, |place| place as u8 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn marks(seen: Vec<Seen>) -> Vec<&'static str> {
        let (mut watch, mut marks) = (Watch::default(), Vec::new());
        for seen in seen {
            let at = Duration::ZERO;
            watch.see(&Entry { at, seen }, |mark| marks.push(mark));
        }
        marks
    }

    fn leads(node: u64, term: u64) -> Seen {
        let (life, group) = (1, 0);
        Seen::Node(NodeSeen::Leads {
            node,
            life,
            group,
            term,
        })
    }

    fn voted(node: u64, term: u64) -> Seen {
        Seen::Node(NodeSeen::Voted {
            node,
            life: 1,
            group: 0,
            term,
            candidate: 9,
            committed: false,
        })
    }

    #[test]
    fn two_lead_at_once_only_where_the_first_knows_of_no_other() {
        assert!(marks(vec![leads(1, 1), voted(1, 2), leads(2, 2)]).is_empty());
        let both = marks(vec![leads(1, 1), leads(2, 2)]);
        assert_eq!(both, ["two_leaders_in_two_terms"]);
    }

    #[test]
    fn a_suspicion_is_wrong_where_the_same_life_goes_on() {
        let suspects = || {
            Seen::Node(NodeSeen::Suspects {
                node: 2,
                life: 1,
                about: 1,
                evidence: true,
            })
        };
        let started = Seen::Driver(DriverSeen::Started {
            node: 1,
            life: 2,
            refused: None,
        });
        assert_eq!(marks(vec![suspects(), voted(1, 2)]), ["wrong_suspicion"]);
        assert!(marks(vec![suspects(), started, voted(1, 2)]).is_empty());
    }

    #[test]
    fn who_takes_over_wins_or_loses() {
        let takes_over = |node| {
            Seen::Node(NodeSeen::TakesOver {
                node,
                life: 1,
                group: 0,
                from: 3,
            })
        };
        assert_eq!(
            marks(vec![takes_over(1), leads(1, 2)]),
            ["fast_failover_won"]
        );
        assert_eq!(
            marks(vec![takes_over(1), leads(2, 2)]),
            ["fast_failover_lost"]
        );
    }
}
