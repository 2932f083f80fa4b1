use super::super::testing::*;
use crate::record::{DriverSeen, NodeSeen};

const LIFE: u64 = 2;

fn came_back(story: &mut Story, node: u64) {
    story.node(NodeSeen::Recovered {
        node,
        life: LIFE,
        damaged: false,
        cut: 0,
    });
}

#[test]
fn a_node_that_comes_back_with_all_passes() {
    let mut story = story();
    story.restart(2, LIFE, story.next_index());
    assert_clean(story);
}

#[test]
fn what_was_synced_must_come_back() {
    let mut story = story();
    story.restart(2, LIFE, story.next_index() - 1);
    assert_found(story, "O14 a node came back without what it had synced");
}

#[test]
fn a_vote_must_come_back() {
    let mut story = story();
    came_back(&mut story, 2);
    let found = found_in(story);
    assert!(!found.is_empty());
    let mut story = Story::new();
    story.forget_vote = true;
    story.restart(2, LIFE, story.next_index());
    assert_found(story, "O14 a node came back without its vote");
}

#[test]
fn what_was_not_synced_need_not_come_back() {
    let mut story = story();
    let index = story.next_index();
    story.append(2, index, 1, 1, b"lost");
    story.restart(2, LIFE, index);
    assert_clean(story);
}

#[test]
fn a_vote_that_goes_back_is_found() {
    let mut story = story();
    story.vote(3, 9, 3, false);
    story.vote(3, 8, 2, false);
    assert_found(story, "O14 a vote went back");
}

#[test]
fn a_leader_needs_votes_on_disks() {
    let mut story = story();
    story.vote(3, 9, 3, false);
    story.leads(3, 9);
    assert_found(story, "O14 a leader without a majority of votes on disk");
}

#[test]
fn a_leader_holds_all_that_is_committed() {
    let mut story = Story::new();
    let base = story.head();
    story.silent = Some(3);
    story.edit(ADA, 1, base, &[insert("x")]);
    story.vote(3, 9, 3, false);
    story.vote(2, 9, 3, false);
    story.leads(3, 9);
    assert_found(story, "O14 a leader without what was committed");
}

#[test]
fn a_commit_needs_a_majority_of_synced() {
    let mut story = Story::new();
    let base = story.head();
    story.unsynced = vec![2, 3];
    story.edit(ADA, 1, base, &[insert("x")]);
    assert_found(story, "O14 committed and not synced by a majority");
}

/// What openraft #1802 is about: the leader's own disk alone is no quorum.
#[test]
fn a_leader_that_commits_alone_is_found() {
    let mut story = story();
    let index = story.next_index();
    story.append(1, index, 1, 1, b"alone");
    for seen in [
        NodeSeen::Synced {
            node: 1,
            life: 1,
            group: GROUP,
            index,
        },
        NodeSeen::Committed {
            node: 1,
            life: 1,
            group: GROUP,
            index,
        },
    ] {
        story.node(seen);
    }
    assert_found(story, "O14 committed and not synced by a majority");
}

/// A leader that has not heard of the next one writes where that one has committed.
#[test]
fn what_a_deposed_leader_writes_is_not_another_entry_unless_it_displaces_one() {
    let mut apart = Story::new();
    let base = apart.head();
    apart.silent = Some(3);
    apart.edit(ADA, 1, base, &[insert("x")]);
    apart.append(3, apart.next_index() - 1, 0, 3, b"stale");
    assert_clean(apart);
    let mut over = story();
    over.append(2, over.next_index() - 1, 0, 3, b"stale");
    assert_found(over, "O14 another entry stands where one was committed");
}

#[test]
fn another_entry_at_a_committed_place_is_found() {
    let mut story = story();
    let index = story.next_index() - 1;
    story.append(2, index, 7, 2, b"another");
    assert_found(story, "O14 another entry stands where one was committed");
}

#[test]
fn a_committed_entry_stays() {
    let mut story = story();
    let index = story.next_index() - 1;
    story.node(NodeSeen::Truncated {
        node: 2,
        life: 1,
        group: GROUP,
        index,
    });
    assert_found(story, "O14 a committed entry was cut");
}

#[test]
fn logs_with_one_entry_are_one_before_it() {
    let mut story = story();
    let index = story.next_index();
    story.append(1, index, 1, 1, b"one");
    story.append(2, index, 1, 1, b"other");
    assert_found(story, "O14 two logs with one entry differ before it");
    let mut story = self::story();
    let index = story.next_index() + 1;
    story.append(1, index, 1, 1, b"behind a hole");
    assert_found(story, "O14 a log has a hole");
}

#[test]
fn only_what_is_committed_is_applied() {
    let mut story = story();
    let index = story.next_index();
    story.append(1, index, 1, 1, b"one");
    story.node(NodeSeen::Outcome {
        node: 1,
        life: 1,
        group: GROUP,
        index,
        doc: DOC,
        client: None,
        seq: 0,
        outcome: "applied 1".into(),
    });
    assert_found(story, "O14 an entry was applied that was not committed");
}

#[test]
fn a_wiped_disk_is_not_its_own() {
    let mut story = story();
    let disk = |wiped| DriverSeen::Disk { node: 2, wiped };
    story.driver(disk(true));
    came_back(&mut story, 2);
    story.driver(disk(false));
    story.restart(2, LIFE + 1, story.next_index());
    assert_clean(story);
}

#[test]
fn one_that_leads_in_a_term_that_is_over_may_lack_what_came_later() {
    let mut story = Story::new();
    let base = story.head();
    for voter in [2, 3] {
        story.vote(voter, 5, 3, false);
    }
    story.leads(3, 5);
    story.silent = Some(1);
    story.edit(ADA, 1, base, &[insert("x")]);
    story.leads(1, 1);
    assert_clean(story);
}

#[test]
fn a_leader_is_elected_by_logs_that_are_not_longer() {
    let mut story = story();
    let index = story.next_index();
    story.append(1, index, 1, 1, b"only here");
    let mut other = story.clone();
    // Two logs are no longer than its own; the leader's is.
    for voter in [2, 3] {
        story.vote(voter, 2, 3, false);
    }
    story.leads(3, 2);
    assert_clean(story);
    for voter in [1, 3] {
        other.vote(voter, 2, 3, false);
    }
    other.leads(3, 2);
    assert_found(other, "O14 a leader elected by logs longer than its own");
}
