//! All planted bugs. `tests.rs` checks that each is planted, and that nothing else is.

use crate::Mutant;

pub const ALL: &[Mutant] = &[
    Mutant {
        name: "surrogate_split_accepted",
        what: "An operation that cuts a surrogate pair is applied, at the place before the pair.",
        expect: &["fold", "convergence", "intention", "errors"],
    },
    Mutant {
        name: "client_drops_pending_at_reconnect",
        what: "At a reconnect or repeat the client forgets what was typed behind the operation under way.",
        expect: &[
            "read_your_writes",
            "heals",
            "convergence",
            "intention",
            "feed",
        ],
    },
    Mutant {
        name: "client_edits_what_is_under_way",
        what: "At a reconnect or repeat the client adds what was typed meanwhile to the operation under way and sends it under its old number.",
        expect: &["exactly_once", "truth", "convergence", "feed"],
    },
    Mutant {
        name: "client_resends_changed_bytes",
        what: "At a reconnect or repeat the client sends the operation moved past what arrived since, with a fresh base, under its old number.",
        expect: &["exactly_once", "truth", "convergence", "feed"],
    },
    Mutant {
        name: "client_rebases_without_moving",
        what: "Told to rebase, the client sends its operation with a fresh base but not moved.",
        expect: &["convergence", "intention", "fold"],
    },
    Mutant {
        name: "clients_keyed_without_user",
        what: "A client is known by its id alone: who says another's id in their own name has the other's count.",
        expect: &["exactly_once", "truth", "read_your_writes", "heals"],
    },
    Mutant {
        name: "json_forgets_removed_attributes",
        what: "In JSON an attribute that is taken away (null) is read as one that is not mentioned.",
        expect: &["convergence", "feed"],
    },
    Mutant {
        name: "transform_side_flipped",
        what: "Where a late operation and an earlier one insert at one place, the late one goes first on the replicas.",
        expect: &["fold", "convergence", "intention", "feed"],
    },
    Mutant {
        name: "compose_before_transform",
        what: "A late operation is moved past all later ones composed, not past one after the other.",
        expect: &["fold", "convergence", "intention", "feed"],
    },
    Mutant {
        name: "late_operation_copied_for_each_event",
        what: "A late operation is copied, with all its text, for each event that it is moved past.",
        expect: &["steady"],
    },
    Mutant {
        name: "record_forgotten_on_another_router",
        what: "What was recorded of the clients of a document is dropped when an operation comes by another link than its client's own (chosen by parity of the link's number: the machine knows no routers; a trim says it in the log).",
        expect: &["exactly_once", "read_your_writes", "causal"],
    },
    Mutant {
        name: "record_evicted_above_the_floor",
        what: "When the window is cut, client records up to the head are dropped, and not only those below the floor.",
        expect: &["exactly_once", "read_your_writes"],
    },
    Mutant {
        name: "refusal_not_recorded",
        what: "A final refusal leaves no record, so the same bytes are judged anew and the next number skips one.",
        expect: &["truth", "heals", "exactly_once"],
    },
    Mutant {
        name: "refusal_records_without_bound",
        what: "Client records that live by a refusal alone are kept without limit.",
        expect: &["bounded"],
    },
    Mutant {
        name: "same_sequence_with_other_bytes",
        what: "The last sequence number with other bytes is applied as if it were the next one.",
        expect: &["fold", "exactly_once", "causal"],
    },
    Mutant {
        name: "older_sequence_applied",
        what: "A late copy of an older operation is applied again.",
        expect: &["exactly_once", "causal"],
    },
    Mutant {
        name: "role_checked_at_join_only",
        what: "Whoever wrote once in a document may always write there, whatever their role is now (the check is in apply, so joining is: having a record).",
        expect: &["permissions"],
    },
    Mutant {
        name: "hash_map_order_in_apply",
        what: "The commands of one entry are applied in the order of a hash map with keys of its own.",
        expect: &["fold", "replicas", "convergence"],
    },
    Mutant {
        name: "wall_clock_in_apply",
        what: "An event has the time of the machine that applies it, not of the entry.",
        expect: &["replicas", "convergence"],
    },
    Mutant {
        name: "wrong_clock_believed",
        what: "A leader stamps with its own clock, however far that is from the others' median.",
        expect: &["times"],
    },
    Mutant {
        name: "quarantined_document_takes_edits",
        what: "A document that was set apart goes on taking edits.",
        expect: &["quarantine"],
    },
    Mutant {
        name: "stale_page_taken_for_current",
        what: "A page that was being written when its document changed is taken for the document as it is.",
        expect: &[
            "replicas",
            "fold",
            "convergence",
            "processes",
            "exactly_once",
            "never_blank",
        ],
    },
    Mutant {
        name: "records_left_out_of_pages",
        what: "The stored form of a document has no records of its clients.",
        expect: &["exactly_once", "replicas", "fold", "read_your_writes"],
    },
    Mutant {
        name: "manifest_before_its_pages",
        what: "A manifest is put in its place before the pages that it lists are durable.",
        expect: &["processes"],
    },
    Mutant {
        name: "sparse_file_removed_with_its_pages",
        what: "A file of pages of which little is needed is removed with what is needed of it.",
        expect: &["processes", "errors", "heals"],
    },
    Mutant {
        name: "applied_before_it_is_read",
        what: "Entries are applied though a document that they change is still on its way into memory.",
        expect: &["processes", "errors"],
    },
    Mutant {
        name: "cold_taken_for_missing",
        what: "Whoever opens a document that is not in memory is told that there is none.",
        expect: &["heals", "permissions", "truth"],
    },
    Mutant {
        name: "rolling_hash_forgotten",
        what: "A replica that begins with a kept state compares its hashes as if nothing had come before.",
        expect: &["processes", "errors"],
    },
    Mutant {
        name: "window_trimmed_differently",
        what: "Each replica keeps as many events more as its node's number says.",
        expect: &["replicas"],
    },
    Mutant {
        name: "acknowledged_before_fsync",
        what: "An append counts as on disk as soon as it is in the log's queue.",
        expect: &["durable", "raft"],
    },
    Mutant {
        name: "acknowledged_before_commit",
        what: "A leader counts an append as stored by the follower once it is sent.",
        expect: &["durable", "raft", "errors"],
    },
    Mutant {
        name: "vote_not_synced",
        what: "A vote is answered before it is on disk; it is written beside the next batch, within a second.",
        expect: &["raft"],
    },
    Mutant {
        name: "vote_forgotten_at_restart",
        what: "What is read from the log at a start leaves out the votes.",
        expect: &["raft", "durable"],
    },
    Mutant {
        name: "directory_not_synced",
        what: "The folder is not synced after a file of the log was made.",
        expect: &["processes", "durable", "heals", "errors", "disks"],
    },
    Mutant {
        name: "torn_tail_accepted",
        what: "Records are read without their checksum, so half of one passes for a record.",
        expect: &["raft", "processes", "durable", "errors", "heals"],
    },
    Mutant {
        name: "damage_cut_as_a_torn_tail",
        what: "A record that does not check below what was synced is cut, with all behind it.",
        expect: &["raft", "durable", "disks"],
    },
    Mutant {
        name: "sync_mark_written_early",
        what: "A batch ends with a mark that says it is synced, written with it (a mark that stands before its batch cannot speak of it).",
        expect: &["disks", "processes", "heals", "errors"],
    },
    Mutant {
        name: "sync_error_retried",
        what: "After a failed sync it is tried until it works, and that is believed.",
        expect: &["durable", "raft", "heals", "errors"],
    },
    Mutant {
        name: "quarantined_node_votes",
        what: "Damage is found and not told: the node takes part with what is left of its log.",
        expect: &["raft", "durable", "disks"],
    },
    Mutant {
        name: "wiped_node_votes",
        what: "A node is let in with another disk than the one on record.",
        expect: &["disks", "raft", "durable"],
    },
    Mutant {
        name: "older_copy_votes",
        what: "A node is let in with an older copy of its folder.",
        expect: &["disks", "raft", "durable", "errors"],
    },
    Mutant {
        name: "leadership_transfer_dropped",
        what: "Requests for votes do not say that they are a transfer of leadership, so voters refuse them within the old leader's lease.",
        expect: &["suspicion", "heals"],
    },
    Mutant {
        name: "shorter_log_elected",
        what: "A voter takes a candidate's log for longer than its own.",
        expect: &["raft", "durable"],
    },
    Mutant {
        name: "suspicion_without_quorum",
        what: "One node that takes the leader for dead takes over without asking a majority.",
        expect: &["suspicion"],
    },
    Mutant {
        name: "suspicion_without_own_evidence",
        what: "A node agrees that another is dead without having evidence of its own.",
        expect: &["suspicion"],
    },
    Mutant {
        name: "read_without_read_index",
        what: "A node that thinks it leads answers reads without asking a majority.",
        expect: &["read_your_writes", "monotonic"],
    },
    Mutant {
        name: "leadership_resumed",
        what: "A leader that was restarted goes on in its term, though it may have forgotten entries that its followers have.",
        expect: &["raft", "durable", "replicas", "convergence"],
    },
    Mutant {
        name: "state_and_subscription_in_two_steps",
        what: "A document is read first and followed a moment later, and the router does not look for the gap.",
        expect: &["revisions", "heals", "convergence", "feed"],
    },
    Mutant {
        name: "tail_off_by_one",
        what: "What a resume is given leaves out the first event.",
        expect: &["revisions", "convergence", "feed"],
    },
    Mutant {
        name: "bare_snapshot_to_unsent_work",
        what: "A client with unsent work that could be continued is given the document without the events between.",
        expect: &["read_your_writes"],
    },
    Mutant {
        name: "blank_document_after_a_failed_load",
        what: "A document that cannot be read right now is opened as an empty one.",
        expect: &["never_blank", "convergence", "feed"],
    },
    Mutant {
        name: "cold_left_out_of_manifest",
        what: "Documents that are not in memory are left out of a manifest.",
        expect: &[
            "replicas",
            "processes",
            "never_blank",
            "convergence",
            "heals",
        ],
    },
    Mutant {
        name: "old_events_removed_at_start",
        what: "A start takes the op log's first page for one that nobody needs.",
        expect: &["processes"],
    },
    Mutant {
        name: "events_not_written",
        what: "The events of applied entries never reach the op log.",
        expect: &["oplog"],
    },
    Mutant {
        name: "manifest_before_its_events",
        what: "A manifest takes its place before the events that it lists are on the disk.",
        expect: &["processes"],
    },
    Mutant {
        name: "page_checksum_ignored",
        what: "What lies where a document's page should be is taken for it, though its checksum is wrong.",
        expect: &[
            "replicas",
            "fold",
            "convergence",
            "exactly_once",
            "processes",
            "errors",
        ],
    },
    Mutant {
        name: "install_without_events",
        what: "A replica takes another one's state without the events that led there.",
        expect: &["oplog"],
    },
    Mutant {
        name: "rounds_end_with_pages",
        what: "A round of the archive ends where a page of the op log does.",
        expect: &["oplog"],
    },
    Mutant {
        name: "budget_ignored",
        what: "Documents are made and edited however much waits for an archive that cannot be written.",
        expect: &["bounded"],
    },
    Mutant {
        name: "round_without_its_last_entry",
        what: "A round of the archive leaves out the events of its last entry.",
        expect: &["oplog"],
    },
    Mutant {
        name: "events_let_go_beyond_the_archive",
        what: "The op log lets go of events that are not archived yet.",
        expect: &["oplog"],
    },
    Mutant {
        name: "restore_on_another_head",
        what: "A restore is moved past what came since it was made, like an edit, and applied.",
        expect: &["past"],
    },
    Mutant {
        name: "restored_text_is_the_restorers",
        what: "What a restore brings back is told as written by who restored it.",
        expect: &["past"],
    },
    Mutant {
        name: "checkpoint_forgets_who_wrote_it",
        what: "A document that is kept whole is kept as if one user had written it.",
        expect: &["past"],
    },
    Mutant {
        name: "history_told_from_before_the_grant",
        what: "Who was let in late is told what the document was before that.",
        expect: &["past"],
    },
    Mutant {
        name: "history_without_the_op_log",
        what: "History is told without the events that are neither archived nor in the window.",
        expect: &["errors"],
    },
    Mutant {
        name: "history_kept_half_as_long",
        what: "Rounds of the archive go when they are half as old as they may become.",
        expect: &["retention"],
    },
    Mutant {
        name: "carried_over_once",
        what: "What was carried over of a document goes when later rounds go, though it has nothing in them.",
        expect: &["errors", "proof", "retention"],
    },
    Mutant {
        name: "damaged_list_left_out",
        what: "A start goes on without the documents of a list that does not read back.",
        expect: &["replicas", "processes", "errors", "heals"],
    },
    Mutant {
        name: "install_without_archive",
        what: "A replica takes another one's state, whose first events are archived, without the archive.",
        expect: &["oplog"],
    },
    Mutant {
        name: "mark_taken_without_its_archive",
        what: "A replica takes the archive's mark with another one's state, and not what it stands for.",
        expect: &["oplog"],
    },
    Mutant {
        name: "installed_in_memory_alone",
        what: "A state that came from another replica is not put on the disk before the log below it goes.",
        expect: &["raft", "errors", "processes"],
    },
    Mutant {
        name: "install_forgets_the_rolling_hash",
        what: "A replica that took another one's state goes on hashing from where it was.",
        expect: &["errors"],
    },
    Mutant {
        name: "welcome_without_acknowledged",
        what: "A welcome does not say what was acknowledged last.",
        expect: &["read_your_writes", "exactly_once", "causal", "heals"],
    },
    Mutant {
        name: "feed_gap_let_through",
        what: "Where an entry has several events of a document the first is not told, and the router passes the gap on.",
        expect: &["revisions", "heals", "feed"],
    },
    Mutant {
        name: "feed_hash_of_another_revision",
        what: "The chain hash told with several events is that of the first of them.",
        expect: &["convergence", "monotonic"],
    },
    Mutant {
        name: "broadcast_out_of_order",
        what: "What is queued for a socket goes before what waits there already.",
        expect: &["revisions", "convergence", "errors", "feed"],
    },
    Mutant {
        name: "queue_without_bound",
        what: "A socket's queue grows without limit.",
        expect: &["bounded"],
    },
    Mutant {
        name: "document_spelled_for_each_reader",
        what: "Each reader that wants JSON has a copy of its own of the document that it opens.",
        expect: &["memory"],
    },
    Mutant {
        name: "two_sockets_with_one_client",
        what: "A second socket with the same client id does not replace the first; each sends for itself.",
        expect: &["exactly_once", "causal", "heals", "revisions", "feed"],
    },
    Mutant {
        name: "stale_role_refused_as_final",
        what: "The router refuses operations for good by the role of when the document was opened.",
        expect: &["permissions", "truth"],
    },
    Mutant {
        name: "revoked_feed_goes_on",
        what: "A socket whose user lost every role goes on hearing the document.",
        expect: &["permissions"],
    },
    Mutant {
        name: "resubmission_dropped",
        what: "What was sent to a leader once is not sent again to the next one.",
        expect: &["heals"],
    },
    Mutant {
        name: "acknowledged_before_the_feed",
        what: "A repeat is answered at once, before the events up to its own have been delivered.",
        expect: &["revisions", "monotonic", "causal", "feed"],
    },
    Mutant {
        name: "authors_by_user_not_tab",
        what: "Authors are told apart by user: two tabs of one user are one.",
        expect: &["convergence", "exactly_once", "causal", "feed"],
    },
    Mutant {
        name: "quiet_document_forgets_its_clients",
        what: "With the window of a quiet document go all records of its clients.",
        expect: &["exactly_once", "fold"],
    },
    Mutant {
        name: "list_without_the_latest",
        what: "A user's list has the documents that the latest manifest lists, and none that came since.",
        expect: &["lists"],
    },
    Mutant {
        name: "lists_without_what_changed",
        what: "A manifest lists users' documents as the one before did.",
        expect: &["lists", "proof"],
    },
    Mutant {
        name: "cold_without_its_time",
        what: "Of a document that is not in memory nobody knows when it changed last.",
        expect: &["proof", "replicas"],
    },
    Mutant {
        name: "ops_begin_one_too_late",
        what: "A page of events begins one revision behind the one that was asked for.",
        expect: &["feed"],
    },
    Mutant {
        name: "check_of_an_older_revision",
        what: "The router compares what a client says its document is with the digest that it has, whatever revision that is of.",
        expect: &["checks"],
    },
    Mutant {
        name: "divergence_ignored",
        what: "A client whose text is not the document's is counted, and goes on with it.",
        expect: &["heals"],
    },
    Mutant {
        name: "lagging_voter_promoted",
        what: "A new node becomes a voter before it has what the others have.",
        expect: &["members"],
    },
    Mutant {
        name: "replaced_voter_stays",
        what: "A voter whose place another node takes is a voter all the same.",
        expect: &["heals"],
    },
    Mutant {
        name: "viewer_comments",
        what: "A comment is taken from whoever may read.",
        expect: &["comments"],
    },
    Mutant {
        name: "anchors_left_behind",
        what: "Comments stay at the place where they were made, whatever was typed before them.",
        expect: &["comments"],
    },
    Mutant {
        name: "comments_left_out_of_pages",
        what: "What is kept of a document has no comments.",
        expect: &["comments", "replicas", "fold", "proof"],
    },
    Mutant {
        name: "presence_not_said_again",
        what: "A router that follows another leader does not say who is here, and hears of nobody.",
        expect: &["heals"],
    },
    Mutant {
        name: "presence_outlives_its_socket",
        what: "Whose socket ends is not told to be gone.",
        expect: &["heals"],
    },
];
