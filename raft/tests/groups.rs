//! Groups of three replicas: they apply the same, survive restarts and lost leaders.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)] // it prints how long things took

mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use codraft_proto::{
    ids::{GroupId, NodeId, Revision, Seq},
    link::{Lane, Outbox},
    reject::Code,
    v1,
};
use codraft_raft::{
    command::{Command, Edit},
    group::{Origin, ProposeError, ReadError, ReplaceError, Replacing},
    machine::Outcome,
};
use common::{Cluster, G, NODES, Node, commit, create, damage_pages, doc, edit, text, until};

#[tokio::test]
async fn group_replicas_apply_equally_and_a_restart_goes_on() {
    let cluster = Cluster::start(2, true).await;
    assert_eq!(
        commit(&cluster, 1, create(1)).await,
        Outcome::Applied { rev: Revision(1) }
    );
    let leader = cluster.leader(G).await;
    let group = leader.groups.group(G).unwrap().clone();
    let mut answers = leader.answers(2);
    let before = leader
        .heard
        .batches
        .load(std::sync::atomic::Ordering::Relaxed);
    for client in 0..500 {
        group
            .submit(
                edit(1, client, 1, 1),
                Origin {
                    link: 2,
                    tag: client,
                },
            )
            .unwrap();
    }
    for client in 0..500 {
        let (origin, answer) = answers.recv().await.unwrap();
        assert_eq!(
            (origin.tag, answer),
            (
                client,
                Ok(Outcome::Applied {
                    rev: Revision(client + 2)
                })
            )
        );
    }
    let batches = leader
        .heard
        .batches
        .load(std::sync::atomic::Ordering::Relaxed)
        - before;
    assert!(batches < 100, "500 commands went as {batches} entries");
    let digest = cluster.equal(G).await;
    assert_eq!(text(&leader), "x".repeat(500));
    let journal = leader.journal(G);
    let events: usize = journal.iter().map(|(_, _, events)| events.len()).sum();
    assert_eq!(events, 501);
    assert!(cluster.nodes.iter().all(|node| node.journal(G) == journal));

    let cluster = cluster.restart(true).await;
    let leader = cluster.leader(G).await;
    let group = leader.groups.group(G).unwrap();
    group.read().await.unwrap();
    group.bring(doc(1)).await.unwrap();
    assert_eq!(
        text(&leader),
        "x".repeat(500),
        "a read sees all that was committed"
    );
    assert_eq!(cluster.equal(G).await, digest);
    let again = leader.journal(G);
    let nothing: &[_] = &[];
    assert_eq!(again, nothing, "an end in order leaves nothing to apply");
    assert_eq!(
        commit(&cluster, 3, edit(1, 3, 1, 1)).await,
        Outcome::Already {
            seq: Seq(1),
            rev: Revision(5)
        },
        "a repeat is known after a restart",
    );
}

#[tokio::test]
async fn group_replica_behind_the_log_takes_the_state_that_others_kept() {
    let cluster = Cluster::start(2, false).await;
    commit(&cluster, 1, create(1)).await;
    cluster.equal(G).await;
    let leader = cluster.leader(G).await;
    let lags = cluster.nodes.iter().find(|n| n.id != leader.id).unwrap();
    for round in 0..2 {
        cluster.part(lags);
        let log = leader.wal.group(G);
        let before = log.last_index().unwrap();
        for seq in 300 * round + 1..=300 * round + 250 {
            let outcome = commit(&cluster, 1, edit(1, 1, seq, seq)).await;
            let rev = Revision(seq + 1);
            assert_eq!(outcome, Outcome::Applied { rev });
        }
        let purged = || log.first_index() > before + 1;
        until("the log is purged", purged).await;
        cluster.join(lags);
        cluster.equal(G).await;
        for seq in 300 * round + 251..=300 * (round + 1) {
            commit(&cluster, 1, edit(1, 1, seq, seq)).await;
        }
    }
    let behind = lags.journal(G).len();
    assert!(behind < 550, "it applied {behind} entries one by one");
    let group = lags.groups.group(G).unwrap();
    while cluster.leader(G).await.id != lags.id {
        cluster
            .leader(G)
            .await
            .groups
            .group(G)
            .unwrap()
            .transfer_leadership()
            .await;
    }
    while group.read().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    group.bring(doc(1)).await.unwrap();
    assert_eq!(text(lags).len(), 600);
    assert_eq!(
        commit(&cluster, 3, edit(1, 1, 600, 600)).await,
        Outcome::Already {
            seq: Seq(600),
            rev: Revision(601)
        },
        "what was applied before is known to it"
    );
    cluster.equal(G).await;
}

#[tokio::test]
async fn group_window_of_a_quiet_document_goes_and_its_clients_stay_known() {
    let cluster = Cluster::start(1, false).await;
    commit(&cluster, 1, create(1)).await;
    for seq in 1..=20 {
        commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    }
    let floor = |node: &Node| {
        node.groups.group(G).unwrap().with(|shard| {
            let document = shard.document(&doc(1)).present();
            document.map_or(0, |document| document.floor().0)
        })
    };
    assert!(cluster.nodes.iter().all(|node| floor(node) < 21));
    for node in &cluster.nodes {
        node.clock.jump(10_000);
    }
    for node in &cluster.nodes {
        until("its window has gone", || floor(node) == 21).await;
    }
    let known = Outcome::Already {
        seq: Seq(20),
        rev: Revision(21),
    };
    assert_eq!(commit(&cluster, 1, edit(1, 1, 20, 20)).await, known);
    let next = commit(&cluster, 1, edit(1, 1, 21, 21)).await;
    assert_eq!(next, Outcome::Applied { rev: Revision(22) });
    cluster.equal(G).await;
}

/// Asks whoever leads until one node has the place of another; returns what was said on the way.
async fn replace(cluster: &Cluster, old: NodeId, new: NodeId) -> Vec<Replacing> {
    let mut said = Vec::new();
    let whole = async {
        loop {
            let leader = cluster.leader(G).await;
            let group = leader.groups.group(G).unwrap();
            match group.replace(old, new).await {
                Ok(Replacing::Done) => return said,
                Ok(step) => said.push(step),
                Err(ReplaceError::NotLeader(_)) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(30), whole).await;
    said.expect("it is not replaced")
}

/// One disk is lost for good; a new node has all that was acknowledged, and then the group outlives the
/// loss of one more.
#[tokio::test]
async fn group_node_takes_the_place_of_one_that_is_lost() {
    let mut cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    for seq in 1..=200 {
        commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    }
    let lost = cluster.leader(G).await;
    let log = lost.wal.group(G);
    until("the log is purged", || log.first_index() > 1).await;
    cluster.kill(&lost, true);
    let leader = cluster.leader(G).await;
    let group = leader.groups.group(G).unwrap();
    let nobody = group.replace(lost.id, NodeId(4)).await;
    assert_eq!(nobody, Err(ReplaceError::NoLink(NodeId(4))));
    let stranger = group.replace(NodeId(8), NodeId(9)).await;
    assert_eq!(stranger, Err(ReplaceError::NoReplica(NodeId(8))));
    cluster.add(NodeId(4), lost.id).await;
    let said = replace(&cluster, lost.id, NodeId(4)).await;
    assert!(
        matches!(said[0], Replacing::CatchingUp { has: 0, last } if last > 0),
        "{said:?}"
    );
    assert_eq!(
        replace(&cluster, lost.id, NodeId(4)).await,
        [],
        "it is done once"
    );
    cluster.equal(G).await;
    // A majority needs the new one now.
    let second = cluster
        .nodes
        .iter()
        .find(|n| n.id != lost.id && n.id != NodeId(4));
    cluster.kill(second.unwrap(), true);
    let outcome = commit(&cluster, 1, edit(1, 1, 201, 201)).await;
    assert_eq!(outcome, Outcome::Applied { rev: Revision(202) });
    assert_eq!(
        commit(&cluster, 1, edit(1, 1, 201, 201)).await,
        Outcome::Already {
            seq: Seq(201),
            rev: Revision(202)
        },
        "what was applied before is known to it"
    );
}

/// The leader itself is replaced while it lives, and another replica leads from then on.
#[tokio::test]
async fn group_leader_is_replaced_by_handing_over_first() {
    let mut cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let old = cluster.leader(G).await;
    let new = cluster.add(NodeId(4), old.id).await;
    replace(&cluster, old.id, new.id).await;
    let leader = cluster.leader(G).await;
    assert_ne!(leader.id, old.id);
    let voice = |from: &Node| from.groups.group(G).unwrap().leadership().node;
    until("the new one follows", || voice(&new) == Some(leader.id)).await;
    // What the old one asks nobody hears any more.
    let outcome = commit(&cluster, 1, edit(1, 1, 1, 1)).await;
    assert_eq!(outcome, Outcome::Applied { rev: Revision(2) });
    until("the new one has it", || text(&new).len() == 1).await;
    assert_eq!(text(&old).len(), 0, "the old one is told nothing more");
}

/// A node that cannot be reached does not become a voter: the group would wait for it.
#[tokio::test]
async fn group_promotes_nobody_who_is_away() {
    let mut cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let leader = cluster.leader(G).await;
    let old = cluster.nodes.iter().find(|n| n.id != leader.id).unwrap().id;
    let new = cluster.add(NodeId(4), old).await;
    let group = leader.groups.group(G).unwrap();
    let learner = group.replace(old, new.id).await;
    assert!(
        matches!(learner, Ok(Replacing::CatchingUp { .. })),
        "{learner:?}"
    );
    until("it learns", || {
        new.heard.applied.load(Ordering::Relaxed) > 0
    })
    .await;
    // There is a link, and nobody answers on it.
    cluster.part(&new);
    let silent = Outbox::detached();
    leader.links.outboxes.lock().insert(new.id, silent.clone());
    for seq in 1..=100 {
        commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    }
    let said = group.replace(old, new.id).await;
    assert!(matches!(said, Ok(Replacing::CatchingUp { .. })), "{said:?}");
    silent.close();
    cluster.join(&new);
    replace(&cluster, old, new.id).await;
    until("the new one has it all", || text(&new).len() == 100).await;
}

/// A leader that stands still in the middle of it holds nobody up: its successor's state is taken.
#[tokio::test]
async fn group_state_is_taken_from_the_next_leader_when_one_stands_still() {
    let cluster = Cluster::start(1, false).await;
    commit(&cluster, 1, create(1)).await;
    cluster.equal(G).await;
    let leader = cluster.leader(G).await;
    let lags = cluster.nodes.iter().find(|n| n.id != leader.id).unwrap();
    let before = lags.wal.group(G).last_index().unwrap();
    cluster.part(lags);
    for seq in 1..=250 {
        commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    }
    for node in cluster.nodes.iter().filter(|n| n.id != lags.id) {
        let log = node.wal.group(G);
        until("all logs are purged", || log.first_index() > before + 1).await;
    }
    *lags.links.silent.lock() = Some(leader.id);
    cluster.join(lags);
    let asked = || lags.links.unanswered.load(Ordering::Relaxed) > 0;
    until("the leader is asked", asked).await;
    // The same state in a later term is to be taken anew: what comes of the first attempt may be that
    // its term was over.
    let mut install = lags.links.asked.lock().unwrap();
    install.ballot.as_mut().unwrap().term += 1;
    let body = Some(v1::raft_call::Body::Install(install));
    let (id, group) = (u64::MAX, G.0);
    let call = v1::RaftCall { id, group, body };
    cluster.kill(&leader, false);
    let before = lags.links.unanswered.load(Ordering::Relaxed);
    let nobody = Outbox::detached();
    lags.groups.handle(leader.id, Lane::Data, call, &nobody);
    let again = || lags.links.unanswered.load(Ordering::Relaxed) > before;
    until("it is asked again", again).await;
    until("the next leader's state is here", || {
        lags.groups.group(G).unwrap().installs() == 1
    })
    .await;
    let seq = Seq(250);
    let rev = Revision(251);
    assert_eq!(
        commit(&cluster, 2, edit(1, 1, 250, 250)).await,
        Outcome::Already { seq, rev }
    );
    cluster.equal(G).await;
}

#[tokio::test]
async fn group_goes_on_where_the_pages_of_one_disk_are_damaged() {
    let cluster = Cluster::start(1, false).await;
    commit(&cluster, 1, create(1)).await;
    for seq in 1..=5 {
        commit(&cluster, 1, edit(1, 1, seq, seq)).await;
    }
    cluster.equal(G).await;
    let cluster = cluster.restart(false).await;
    let leader = cluster.leader(G).await;
    let places = 0..cluster.nodes.len();
    let hurt = places.clone().find(|i| cluster.nodes[*i].id != leader.id);
    let hurt = hurt.unwrap();
    assert!(damage_pages(&cluster.disks[hurt]) > 0);
    let outcome = commit(&cluster, 2, edit(1, 1, 6, 6)).await;
    assert_eq!(outcome, Outcome::Applied { rev: Revision(7) });
    cluster.equal(G).await;
    assert_eq!(text(&cluster.nodes[hurt]).len(), 6);
    let mended = places.map(|i| cluster.nodes[i].groups.group(G).unwrap().mended());
    let mended: Vec<u64> = mended.collect();
    assert_eq!((mended[hurt], mended.iter().sum()), (1, 1));
}

#[tokio::test]
async fn group_stops_with_the_words_for_a_page_that_is_damaged_everywhere() {
    let cluster = Cluster::start(1, false).await;
    commit(&cluster, 1, create(1)).await;
    cluster.equal(G).await;
    let cluster = cluster.restart(false).await;
    cluster.leader(G).await;
    cluster.disks.iter().for_each(|disk| {
        damage_pages(disk);
    });
    let leader = cluster.leader(G).await;
    let group = leader.groups.group(G).unwrap();
    // Who reads it stops nothing.
    let error = group.bring(doc(1)).await.unwrap_err().to_string();
    assert!(error.contains("does not have it"), "{error}");
    assert_eq!(group.stopped(), None);
    let origin = Origin { link: 9, tag: 1 };
    group.submit(edit(1, 1, 1, 1), origin).unwrap();
    until("the group stops", || group.stopped().is_some()).await;
    let why = group.stopped().unwrap();
    for part in ["00000001.pages", &doc(1).to_string(), "does not have it"] {
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn group_followers_say_who_leads() {
    let cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let leader = cluster.leader(G).await;
    cluster.equal(G).await;
    let follower = cluster.nodes.iter().find(|n| n.id != leader.id).unwrap();
    let group = follower.groups.group(G).unwrap();
    let error = group
        .submit(edit(1, 1, 1, 1), Origin { link: 1, tag: 1 })
        .unwrap_err();
    let ProposeError::NotLeader(Some(lead)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(lead.node, Some(leader.id));
    assert!(matches!(
        group.read().await,
        Err(ReadError::NotLeader(Some(_)))
    ));
    assert!(leader.groups.group(G).unwrap().is_leading_with_quorum());
    assert!(!group.is_leading_with_quorum());
}

#[tokio::test]
async fn group_first_leaders_are_spread() {
    let cluster = Cluster::start(3, true).await;
    let mut leaders = Vec::new();
    for group in 0..3 {
        leaders.push(cluster.leader(GroupId(group)).await.id);
    }
    leaders.sort_unstable();
    assert_eq!(leaders, common::NODES);
}

#[tokio::test]
async fn group_leadership_is_handed_over() {
    let cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let old = cluster.leader(G).await;
    let started = Instant::now();
    assert!(old.groups.group(G).unwrap().transfer_leadership().await);
    assert_eq!(
        commit(&cluster, 2, edit(1, 1, 1, 1)).await,
        Outcome::Applied { rev: Revision(2) }
    );
    println!("handed over, next commit after {:?}", started.elapsed());
    assert_ne!(cluster.leader(G).await.id, old.id);
    assert!(started.elapsed() < Duration::from_millis(500));
}

async fn next_commit_after_kill(suspicion: bool) -> Duration {
    let cluster = Cluster::start(1, suspicion).await;
    commit(&cluster, 1, create(1)).await;
    cluster.equal(G).await;
    // As in life: the leader was there for a while.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let dead = cluster.leader(G).await;
    let started = Instant::now();
    cluster.kill(&dead, suspicion);
    assert_eq!(
        commit(&cluster, 2, edit(1, 1, 1, 1)).await,
        Outcome::Applied { rev: Revision(2) }
    );
    let took = started.elapsed();
    cluster.equal(G).await;
    let leader = cluster.leader(G).await;
    leader.groups.group(G).unwrap().read().await.unwrap();
    assert_eq!(text(&leader), "x");
    for node in &cluster.nodes {
        node.groups.shutdown().await;
    }
    took
}

#[tokio::test]
async fn group_dead_leader_is_replaced_at_once() {
    for _ in 0..5 {
        let took = next_commit_after_kill(true).await;
        println!("dead leader, next commit after {took:?}");
        assert!(took < Duration::from_millis(600), "{took:?}");
    }
}

#[tokio::test]
async fn group_timers_replace_a_leader_that_nobody_suspects() {
    let took = next_commit_after_kill(false).await;
    println!("dead leader, by timers alone: next commit after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn group_wrong_suspicion_is_harmless() {
    let cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let leader = cluster.leader(G).await;
    for node in cluster.nodes.iter().filter(|n| n.id != leader.id) {
        let suspicion = node.suspicion.get().unwrap();
        suspicion.link_broke(leader.id, leader.incarnation);
        suspicion.redial_refused(leader.id);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        commit(&cluster, 2, edit(1, 1, 1, 1)).await,
        Outcome::Applied { rev: Revision(2) }
    );
    assert_ne!(cluster.leader(G).await.id, leader.id);
    cluster.equal(G).await;
}

/// An edit by one who may not.
#[tokio::test]
async fn group_that_stopped_is_a_reason_for_its_process_to_end() {
    let cluster = Cluster::start(2, true).await;
    commit(&cluster, 1, create(1)).await;
    let leader = cluster.leader(G).await;
    let follower = cluster.nodes.iter().find(|n| n.id != leader.id).unwrap();
    follower.heard.faulty.store(true, Ordering::Relaxed);
    commit(&cluster, 1, edit(1, 7, 1, 1)).await;
    let failed = tokio::time::timeout(Duration::from_secs(10), follower.tasks.failed());
    assert_eq!(failed.await.unwrap(), "a group stopped");
    let stopped = |group| follower.groups.group(group).unwrap().stopped();
    assert_eq!(stopped(G).as_deref(), Some("a fault while applying"));
    assert_eq!(stopped(GroupId(1)), None, "the others go on until then");
}

#[tokio::test]
async fn group_leader_with_a_wrong_clock_stamps_with_the_median_and_hands_over() {
    let cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let leader = cluster.leader(G).await;
    until("the clock is told", || {
        leader.groups.clocks().ahead_ms().is_some()
    })
    .await;
    leader.clock.jump(86_400_000);
    assert_eq!(
        commit(&cluster, 1, edit(1, 7, 1, 1)).await,
        Outcome::Applied { rev: Revision(2) }
    );
    let group = leader.groups.group(G).unwrap();
    let elsewhere = || group.leadership().node.filter(|node| *node != leader.id);
    until("another leads", || elsewhere().is_some()).await;
    let updated_ms = group.with(|shard| shard.document(&doc(1)).present().map(|d| d.updated_ms()));
    assert!(updated_ms < Some(80_000_000), "{updated_ms:?}");
}

#[tokio::test]
async fn group_replica_that_differs_from_the_others_stops() {
    let cluster = Cluster::with_an_odd_one(NODES[2]).await;
    commit(&cluster, 1, create(1)).await;
    let odd = cluster.nodes.iter().find(|n| n.id == NODES[2]).unwrap();
    for client in 1..20 {
        commit(&cluster, 1, edit(1, client, 1, 1)).await;
    }
    let failed = tokio::time::timeout(Duration::from_secs(20), odd.tasks.failed());
    assert_eq!(failed.await.unwrap(), "a group stopped");
    let stopped = odd.groups.group(G).unwrap().stopped().unwrap();
    assert!(
        stopped.contains("not that of the other replicas"),
        "{stopped}"
    );
    let others = cluster.nodes.iter().filter(|n| n.id != odd.id);
    assert!(
        others
            .into_iter()
            .all(|n| n.groups.group(G).unwrap().stopped().is_none())
    );
}

fn trespass(client: u64, base: u64) -> Command {
    let Command::Edit(edit) = edit(1, client, 1, base) else {
        unreachable!("an edit")
    };
    Command::Edit(Edit {
        user: "eve".into(),
        ..edit
    })
}

/// Whom the leader has no room to refuse is refused in the end, though nobody edits.
#[tokio::test]
async fn group_room_for_refusals_comes_back_in_a_quiet_document() {
    let cluster = Cluster::start(1, true).await;
    commit(&cluster, 1, create(1)).await;
    let most = codraft_raft::machine::MachineLimits::default().refusal_records as u64;
    let leader = cluster.leader(G).await;
    let group = leader.groups.group(G).unwrap().clone();
    let mut answers = leader.answers(2);
    for client in 0..most {
        let origin = Origin {
            link: 2,
            tag: client,
        };
        group.submit(trespass(client, 1), origin).unwrap();
    }
    for _ in 0..most {
        let (_, answer) = answers.recv().await.unwrap();
        assert!(matches!(answer, Ok(Outcome::Refused(_))), "{answer:?}");
    }
    let mut base = 1;
    let mut told = Vec::new();
    loop {
        match commit(&cluster, 3, trespass(most, base)).await {
            Outcome::Rebase { head, .. } => base = head.0,
            Outcome::Refused(refusal) => break assert_eq!(refusal.code, Code::Forbidden),
            outcome => assert_eq!(outcome, Outcome::Retry(Code::Busy)),
        }
        told.push(base);
    }
    assert!(!told.is_empty(), "there was room from the start");
    cluster.equal(G).await;
    let records = group.with(|shard| shard.document(&doc(1)).present().unwrap().client_records());
    assert_eq!(records, 1);
}
