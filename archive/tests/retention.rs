//! Groups of three replicas that keep history for a time.
#![allow(clippy::unwrap_used)]

mod scene;

use std::sync::Arc;

use codraft_archive::{Archivist, History, HistoryError};
use codraft_proto::{disk::Disk, ids::Revision, transport::BoxFuture};
use codraft_raft::archive::Archive;
use scene::{
    common::{ARCHIVE, Cluster, G, Node, commit, create, doc, until},
    folder, manifest, mark, write,
};

const KEPT_MS: u64 = 5_000;
/// For each edit so far.
const LATER_MS: u64 = 1_000;

async fn retaining(disk: Arc<dyn Disk>) -> Archivist {
    folder(disk).await.retaining(KEPT_MS)
}

async fn start() -> Cluster {
    let archive = |disk: Arc<dyn Disk>| -> BoxFuture<'static, Arc<dyn Archive>> {
        Box::pin(async { Arc::new(retaining(disk).await) as Arc<dyn Archive> })
    };
    ARCHIVE.get_or_init(|| archive);
    Cluster::start(1, true).await
}

/// Time goes by, and eight rounds and more are archived after it. A clock begins anew with its process.
async fn later(cluster: &Cluster, written: &mut u64) {
    let ms = LATER_MS * *written;
    cluster.nodes.iter().for_each(|node| node.clock.jump(ms));
    let edits = *written + 1..=*written + 900;
    *written += 900;
    write(cluster, edits).await;
}

async fn history(cluster: &Cluster, node: usize) -> History {
    History::new(Arc::new(retaining(cluster.disks[node].clone()).await))
}

/// The first revision that a node tells.
async fn oldest(cluster: &Cluster, nth: usize) -> Revision {
    let node: &Node = &cluster.nodes[nth];
    let group = node.groups.group(G).unwrap();
    let history = history(cluster, nth).await;
    match history.at(group, doc(1), Revision(1)).await {
        Err(HistoryError::Erased { oldest }) => oldest,
        told => told.unwrap().rev,
    }
}

/// All that is told is what was, and nothing of what is gone.
async fn told(cluster: &Cluster, nth: usize, last: u64) {
    let group = cluster.nodes[nth].groups.group(G).unwrap();
    let (history, oldest) = (history(cluster, nth).await, oldest(cluster, nth).await);
    for version in [oldest.0, oldest.0 + 1, oldest.0 + 99, last] {
        let state = history.at(group, doc(1), Revision(version)).await.unwrap();
        assert_eq!(u64::from(state.content.units()), version - 1);
    }
    let first = history.at(group, doc(1), oldest).await.unwrap();
    let at = |ms| history.revision_at(group, doc(1), ms);
    let of_then = at(first.ts_ms).await.unwrap();
    assert!(of_then >= oldest);
    let of_then = history.at(group, doc(1), of_then).await.unwrap();
    assert_eq!(of_then.ts_ms, first.ts_ms);
    let erased = |error| matches!(error, HistoryError::Erased { oldest: told } if told == oldest);
    assert!(at(first.ts_ms - 1).await.is_err_and(erased));
    let events = |from: Revision| history.events(group, doc(1), from, Revision(last));
    assert!(events(oldest).await.is_err_and(erased));
    let kept = events(oldest + 1).await.unwrap();
    assert_eq!(kept.len() as u64, last - oldest.0);
    assert!(kept.iter().all(|event| event.ts_ms >= first.ts_ms));
}

#[tokio::test]
async fn replicas_let_go_of_the_same_history_and_one_that_lags_brings_what_is_kept() {
    let cluster = start().await;
    let mut written = 300;
    commit(&cluster, 1, create(1)).await;
    write(&cluster, 1..=written).await;
    for node in 0..3 {
        assert_eq!(oldest(&cluster, node).await, Revision(1));
    }
    later(&cluster, &mut written).await;
    for nth in 0..3 {
        until("its mark moves on", || {
            mark(&cluster.nodes[nth]).rounds > 14
        })
        .await;
    }
    cluster.equal(G).await;
    // What can be archived is, and nothing moves on.
    let cluster = cluster.restart(true).await;
    for nth in 0..3 {
        assert!((200..=1_000).contains(&oldest(&cluster, nth).await.0));
        told(&cluster, nth, written + 1).await;
    }

    let leader = cluster.leader(G).await;
    let lags = cluster.nodes.iter().position(|node| node.id != leader.id);
    let lags = lags.unwrap();
    let before = mark(&cluster.nodes[lags]).rounds;
    cluster.part(&cluster.nodes[lags]);
    later(&cluster, &mut written).await;
    until("the others archive on", || {
        mark(&leader).rounds > before + 10
    })
    .await;
    cluster.join(&cluster.nodes[lags]);
    cluster.equal(G).await;
    assert!(cluster.nodes[lags].groups.group(G).unwrap().installs() > 0);
    let cluster = cluster.restart(true).await;
    told(&cluster, lags, written + 1).await;
    assert!(oldest(&cluster, lags).await > Revision(1_000));

    cluster.stop().await;
    let mut marks = Vec::new();
    for disk in &cluster.disks {
        marks.push(manifest(disk.clone()).await.archived);
    }
    assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
}
