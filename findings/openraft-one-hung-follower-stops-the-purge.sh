#!/usr/bin/env bash
# openraft 0.10.0-alpha.37, openraft-memstore 0.10.0-alpha.37, tokio 1.54.1.
#
# Expected: a leader whose entries are committed, applied and in a snapshot may drop them; a
# follower that hangs is behind the purge then, and gets the snapshot. `purge_log` says Ok.
# What happens: while a replication call to any follower is under way, nothing is purged, not even
# what that call has no use for. The call of a node that took the request and never answers ends
# when the network code ends it (openraft gives a deadline and does not keep it); until then the
# log of the leader grows by all that is written. Each append needs a hard deadline in the network
# code, and `purged` in the metrics an alarm.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
openraft = "=0.10.0-alpha.37"
openraft-memstore = "=0.10.0-alpha.37"
tokio = { version = "=1.54.1", features = ["macros", "rt", "sync", "time"] }
END
cat >src/main.rs <<'END'
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::*;
use openraft::{Config, Raft, SnapshotPolicy};
use openraft_memstore::{new_mem_store, ClientRequest, MemStateMachine, TypeConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

type Node = Raft<TypeConfig, Arc<MemStateMachine>>;
type Snapshot = SnapshotOf<TypeConfig, Cursor<Vec<u8>>>;
type Metrics = openraft::RaftMetrics<TypeConfig>;
type Answer<T> = Result<T, RPCError<TypeConfig>>;

/// All nodes in one process; while `hung`, what is sent to node 3 waits for its answer.
#[derive(Clone)]
struct Network {
    nodes: Arc<Mutex<BTreeMap<u64, Node>>>,
    hung: watch::Receiver<bool>,
}

struct Link {
    network: Network,
    target: u64,
}

impl Link {
    async fn node(&mut self) -> Node {
        if self.target == 3 {
            self.network.hung.wait_for(|hung| !*hung).await.unwrap();
        }
        self.network.nodes.lock().unwrap()[&self.target].clone()
    }
}

fn failed(error: impl std::error::Error + 'static) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &()) -> Link {
        Link {
            network: self.clone(),
            target,
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Answer<AppendEntriesResponse<TypeConfig>> {
        self.node()
            .await
            .append_entries(request)
            .await
            .map_err(failed)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Answer<VoteResponse<TypeConfig>> {
        self.node().await.vote(request).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: Snapshot,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let installed = self
            .node()
            .await
            .install_full_snapshot(vote, snapshot)
            .await;
        installed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

/// Three nodes, of which the first leads.
async fn group(hung: watch::Receiver<bool>) -> Node {
    let config = Config {
        election_timeout_min: 60_000,
        election_timeout_max: 120_000,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 10_000,
        ..Config::default()
    };
    let config = Arc::new(config.validate().unwrap());
    let network = Network {
        nodes: Arc::default(),
        hung,
    };
    for id in 1..=3 {
        let (log, machine) = new_mem_store();
        let node = Node::new(id, config.clone(), network.clone(), log, machine)
            .await
            .unwrap();
        network.nodes.lock().unwrap().insert(id, node);
    }
    let leader = network.nodes.lock().unwrap()[&1].clone();
    leader.initialize(BTreeSet::from([1, 2, 3])).await.unwrap();
    leader
        .wait(PATIENCE)
        .current_leader(1, "elected")
        .await
        .unwrap();
    leader
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

/// The index of the last of `count` committed entries.
async fn write(leader: &Node, count: u64) -> u64 {
    let mut index = 0;
    for serial in 0..count {
        let request = ClientRequest {
            client: "probe".into(),
            serial,
            status: "set".into(),
        };
        index = leader.client_write(request).await.unwrap().log_id.index;
    }
    index
}

/// Writes, takes a snapshot of it and asks for the purge of all that is in it.
async fn purge(leader: &Node) -> u64 {
    let last = write(leader, 20).await;
    leader.trigger().snapshot().await.unwrap();
    let there = |at: Option<u64>| at.is_some_and(|at| at >= last);
    let taken = |m: &Metrics| there(m.snapshot.map(|snapshot| snapshot.index));
    leader
        .wait(PATIENCE)
        .metrics(taken, "snapshot")
        .await
        .unwrap();
    leader
        .trigger()
        .purge_log(last)
        .await
        .expect("the purge is accepted");
    last
}

async fn purged(leader: &Node, upto: u64) {
    let there = |at: Option<u64>| at.is_some_and(|at| at >= upto);
    let done = |m: &Metrics| there(m.purged.map(|purged| purged.index));
    leader
        .wait(PATIENCE)
        .metrics(done, "purged")
        .await
        .expect("the purge takes place");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (hang, hung) = watch::channel(false);
    let leader = group(hung).await;

    let first = purge(&leader).await;
    purged(&leader, first).await;
    println!("all answer:    purged up to {first}");

    hang.send(true).unwrap();
    let second = purge(&leader).await;
    let later = write(&leader, 500).await;
    let written = |m: &Metrics| m.last_log_index >= Some(later);
    let metrics = leader
        .wait(PATIENCE)
        .metrics(written, "written")
        .await
        .unwrap();
    let kept_at = metrics.purged.map(|purged| purged.index);
    println!("node 3 hangs:  purge up to {second} was Ok; at {later}, purged up to {kept_at:?}");
    assert_eq!(kept_at, Some(first));

    hang.send(false).unwrap();
    purged(&leader, second).await;
    println!("node 3 answers: purged up to {second}");
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
