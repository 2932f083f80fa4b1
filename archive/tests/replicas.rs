//! Groups of three replicas whose events go on to archives.
#![allow(clippy::unwrap_used)]

mod scene;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use codraft_archive::History;
use codraft_ot::Chain;
use codraft_proto::{
    disk::Disk,
    ids::{Revision, Seq},
    transport::BoxFuture,
};
use codraft_raft::{
    archive::{Archive, RoundOptions, Rounds},
    machine::{Event, Outcome},
    oplog::{self, event_key},
    pages::{PageLog, PageOptions},
};
use scene::{
    common::{ARCHIVE, Cluster, G, commit, create, doc, edit, flip_pages, until},
    folder, manifest, mark, write,
};

async fn start() -> Cluster {
    let archive = |disk: Arc<dyn Disk>| -> BoxFuture<'static, Arc<dyn Archive>> {
        Box::pin(async { Arc::new(folder(disk).await) as Arc<dyn Archive> })
    };
    ARCHIVE.get_or_init(|| archive);
    Cluster::start(1, true).await
}

/// All that a node has archived of the document, proven by its chain of hashes.
async fn archived(cluster: &Cluster, node: usize) -> Vec<Event> {
    let archive = folder(cluster.disks[node].clone()).await;
    let mark = mark(&cluster.nodes[node]);
    let events = archive
        .events(G, mark, doc(1), Revision(1), Revision(u64::MAX))
        .await
        .unwrap();
    let (mut hash, mut canonical) = (Chain::default(), Vec::new());
    for (nth, event) in events.iter().enumerate() {
        assert_eq!(event.rev, Revision(nth as u64 + 1));
        event.canonical(&mut canonical);
        hash = hash.next(&canonical);
        assert_eq!(event.hash, hash);
    }
    events
}

fn bytes_below(cluster: &Cluster, node: usize, folder: &str) -> usize {
    let disk = &cluster.disks[node];
    let paths = disk.paths().into_iter();
    let paths = paths.filter(|path| path.starts_with(Path::new("/data").join(folder)));
    paths.map(|path| disk.contents(&path).unwrap().len()).sum()
}

#[tokio::test]
async fn what_the_op_log_lets_go_of_is_in_every_replicas_archive() {
    let cluster = start().await;
    commit(&cluster, 1, create(1)).await;
    write(&cluster, 1..=1_500).await;
    for node in &cluster.nodes {
        until("most of it is archived", || mark(node).rounds >= 20).await;
    }
    cluster.equal(G).await;
    for node in 0..3 {
        let archived = archived(&cluster, node).await.len();
        assert!(archived > 1_200, "{archived}");
        let (waiting, whole) = (
            bytes_below(&cluster, node, "events"),
            bytes_below(&cluster, node, "archive"),
        );
        assert!(
            waiting < 200 << 10,
            "{waiting} bytes are still in the op log"
        );
        assert!(whole > 0);
    }
    let before = [0, 1, 2].map(|node| mark(&cluster.nodes[node]));
    let cluster = cluster.restart(true).await;
    write(&cluster, 1_501..=1_700).await;
    for (node, before) in cluster.nodes.iter().zip(before) {
        until("it goes on", || mark(node).rounds > before.rounds).await;
    }
    for node in 0..3 {
        archived(&cluster, node).await;
    }
}

#[tokio::test]
async fn a_replica_that_lags_brings_the_archive_that_it_has_no_events_for() {
    let cluster = start().await;
    commit(&cluster, 1, create(1)).await;
    write(&cluster, 1..=200).await;
    cluster.equal(G).await;
    let leader = cluster.leader(G).await;
    let lags = cluster.nodes.iter().position(|node| node.id != leader.id);
    let lags = lags.unwrap();
    cluster.part(&cluster.nodes[lags]);
    let before = mark(&cluster.nodes[lags]);
    write(&cluster, 201..=1_000).await;
    until("the others archive on", || {
        mark(&leader).rounds > before.rounds + 10
    })
    .await;
    cluster.join(&cluster.nodes[lags]);
    cluster.equal(G).await;
    assert!(cluster.nodes[lags].groups.group(G).unwrap().installs() > 0);
    assert!(mark(&cluster.nodes[lags]).rounds > before.rounds + 10);
    archived(&cluster, lags).await;
    // What it has now is enough to go on by itself.
    let at = mark(&cluster.nodes[lags]).rounds;
    write(&cluster, 1_001..=1_400).await;
    until("it archives on", || mark(&cluster.nodes[lags]).rounds > at).await;
    cluster.equal(G).await;
    let again = commit(&cluster, 1, edit(1, 1, 1_400, 1_400)).await;
    let (seq, rev) = (Seq(1_400), Revision(1_401));
    assert_eq!(again, Outcome::Already { seq, rev });
    archived(&cluster, lags).await;
}

#[tokio::test]
async fn a_damaged_archive_is_put_right_from_the_others() {
    let cluster = start().await;
    commit(&cluster, 1, create(1)).await;
    write(&cluster, 1..=600).await;
    cluster.equal(G).await;
    // The next rounds read indices and packs: nothing of them is in memory any more.
    let cluster = cluster.restart(true).await;
    let disk = cluster.disks[0].clone();
    let objects = disk.paths().into_iter();
    let objects: Vec<_> = objects
        .filter(|path| path.starts_with("/data/archive"))
        .collect();
    assert!(objects.len() > 5);
    for path in &objects {
        let length = disk.contents(path).unwrap().len();
        disk.flip(path, length / 2);
    }
    let before = mark(&cluster.nodes[0]).rounds;
    write(&cluster, 601..=1_400).await;
    let group = cluster.nodes[0].groups.group(G).unwrap().clone();
    until("it archives on", || {
        mark(&cluster.nodes[0]).rounds > before + 3
    })
    .await;
    cluster.equal(G).await;
    assert!(group.mended() > 0);
    // What nobody needed for that is put right when somebody asks for it.
    let history = History::new(Arc::new(folder(disk.clone()).await));
    for version in [1, 77, 300, 601, 1_000] {
        let state = history.at(&group, doc(1), Revision(version)).await.unwrap();
        assert_eq!(state.content.units() as u64, version - 1);
    }
}

/// Of a leader and of a follower, all that waits to be archived, again and again; where nobody can be asked
/// for some time the others have archived it by then.
#[tokio::test]
async fn damaged_events_are_had_again_while_typing_goes_on() {
    let cluster = start().await;
    commit(&cluster, 1, create(1)).await;
    write(&cluster, 1..=200).await;
    let leader = cluster.leader(G).await.id;
    let place = |leads: bool| (0..3).find(|i| (cluster.nodes[*i].id == leader) == leads);
    let mut seq = 200;
    for (leads, alone) in [(true, false), (false, true), (true, true), (false, false)] {
        let hurt = place(leads).unwrap();
        let node = &cluster.nodes[hurt];
        let group = node.groups.group(G).unwrap();
        let (mended, rounds) = (group.mended(), mark(node).rounds);
        let damaged = flip_pages(&cluster.disks[hurt], "/data/events", false);
        assert!(damaged > 0);
        if alone {
            node.links.alone.store(true, Ordering::Relaxed);
            write(&cluster, seq + 1..=seq + 400).await;
            seq += 400;
            assert_eq!(group.mended(), mended);
            node.links.alone.store(false, Ordering::Relaxed);
        }
        while group.mended() == mended || mark(node).rounds < rounds + 3 {
            assert!(seq < 20_000, "{} {:?}", group.mended(), mark(node));
            write(&cluster, seq + 1..=seq + 50).await;
            seq += 50;
        }
    }
    cluster.equal(G).await;
    assert!(cluster.nodes.iter().all(|node| {
        let group = node.groups.group(G).unwrap();
        (group.installs(), group.lacks()) == (0, None)
    }));
    // They have the same events, in their archives and behind them.
    cluster.stop().await;
    let least = cluster.nodes.iter().map(|node| mark(node).rounds).min();
    assert!(least > Some(3));
    let mut all = Vec::new();
    for node in 0..3 {
        let mut events = archived(&cluster, node).await;
        let group = cluster.nodes[node].groups.group(G).unwrap();
        let last = events.last().map_or(Revision(0), |event| event.rev);
        let waiting = group.unarchived(doc(1), last, Revision(u64::MAX)).await;
        events.extend(waiting.unwrap().iter().map(|event| Event::clone(event)));
        assert_eq!(events.len() as u64, seq + 1);
        all.push(events);
    }
    assert!(all[0] == all[1] && all[1] == all[2]);
}

/// Whether a complete round is not archived, of those that the manifest on a disk covers.
async fn waits(disk: Arc<dyn Disk>) -> bool {
    let manifest = manifest(disk.clone()).await;
    let log = PageLog::open(disk, "/data/events".into(), PageOptions::default()).await;
    let (log, mut events) = (log.unwrap(), Vec::new());
    for page in &manifest.events {
        let spelled = log.read(&event_key(G, page.to), page.place).await.unwrap();
        events.extend(oplog::decode(&spelled, page.from).unwrap());
    }
    events.sort_by_key(|logged| logged.log_id.index);
    let options = RoundOptions {
        bytes: 16 << 10,
        ..RoundOptions::default()
    };
    let mut rounds = Rounds::after(manifest.archived.index, options);
    rounds.push(&events);
    rounds.next().is_some_and(|to| to <= manifest.index())
}

#[tokio::test]
async fn a_node_that_ends_in_order_has_archived_every_round_that_is_complete() {
    let mut cluster = start().await;
    commit(&cluster, 1, create(1)).await;
    let mut rounds = 0;
    for nth in 0..5 {
        write(&cluster, nth * 90 + 1..=(nth + 1) * 90).await;
        cluster.stop().await;
        for disk in &cluster.disks {
            assert!(!waits(disk.clone()).await, "after {} edits", (nth + 1) * 90);
            rounds = manifest(disk.clone()).await.archived.rounds;
        }
        cluster = cluster.restart(true).await;
    }
    assert!(rounds >= 5, "{rounds}");
}
