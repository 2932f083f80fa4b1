//! Rare states that a campaign must have seen; a soak says which it never reached.

/// Name and meaning, as runs count them in `Verdict::sometimes`.
pub const MARKS: &[(&str, &str)] = &[
    (
        "two_leaders_in_two_terms",
        "two nodes led one group at once, in two terms",
    ),
    ("fast_failover_won", "a suspicion made a new leader"),
    ("fast_failover_lost", "a suspicion lost to a competitor"),
    ("wrong_suspicion", "a leader that lives was suspected"),
    (
        "repeat_after_failover",
        "a repeated operation was answered by another leader",
    ),
    ("rebase", "a client was told that its base is too old"),
    ("record_evicted", "a client's record was evicted"),
    ("torn_tail_cut", "a torn tail of the log was cut"),
    ("damage_quarantined", "a damaged log was set aside"),
    ("sync_failed", "a sync failed and the process ended"),
    ("disk_full_refused", "edits were refused for want of disk"),
    ("resync", "a feed was cut and begun anew"),
    ("conflict_copy", "work was handed back to its user"),
    ("role_revoked_live", "a role was taken from a user at work"),
    (
        "wiped_disk_refused",
        "an empty disk under an old id was refused",
    ),
    ("resumed_leader", "a leader came back after a pause"),
    (
        "already_answered",
        "a repeated operation got its first answer",
    ),
    (
        "twin_sockets",
        "two sockets with one client id sent the same",
    ),
    ("leadership_handed_over", "a leader handed over in order"),
    ("whole_cluster_down", "no node was up"),
];
