//! A group from the moment it has a state to the end of its Raft, and again where it has to take another
//! replica's state in between.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{ids::NodeId, tasks::Tasks};
use openraft::{Config, EmptyNode, errors::RaftError};

use super::{Inner, Raft, StartError, leadership, start};
use crate::{applied::Machine, limits::INITIALIZE_AFTER, network::Network, store::LogStore};

/// What a group's Raft is opened with.
pub(super) struct Opening {
    pub times: Arc<Config>,
    pub network: Network,
    /// As it was made.
    pub replicas: Vec<NodeId>,
    /// Whose place each of its nodes has.
    pub seats: BTreeMap<NodeId, NodeId>,
}

impl Opening {
    /// Begins to take part in the group, from the state that is here.
    async fn open(&self, group: &Arc<Inner>) -> Result<Raft, StartError> {
        let store = LogStore::new(group.log.clone(), group.node);
        let machine = Machine::new(group.core.clone(), group.keeper.clone());
        let (times, network) = (self.times.clone(), self.network.clone());
        let raft = Raft::new(group.node.0, times, network, store, machine).await;
        let raft = raft.map_err(|error| StartError::Open {
            group: group.id,
            reason: error.to_string(),
        })?;
        *group.raft.write() = Some(raft.clone());
        if let Err(error) = start::same_seats(group, self) {
            let _ = raft.shutdown().await;
            return Err(error);
        }
        Ok(raft)
    }

    /// The same; none where the state here will not do, as may be found on the way.
    pub async fn open_or_lack(&self, group: &Arc<Inner>) -> Result<Option<Raft>, StartError> {
        if group.keeper.lacks().is_some() {
            return Ok(None);
        }
        match self.open(group).await {
            Err(_) if group.keeper.lacks().is_some() => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Takes another replica's state first. What this node promised is in its log, and holds.
    async fn recover(&self, group: &Arc<Inner>) -> Result<Option<Raft>, String> {
        // What the Raft before was writing is to be read by the next.
        let settled = group.log.settled().await;
        settled.map_err(|error| error.to_string())?;
        let recovered = group.keeper.recover().await;
        let last = recovered.map_err(|error| error.to_string())?;
        group.installing.recovered();
        tracing::warn!(group = %group.id, index = last.index, "goes on from another node's state");
        let opened = self.open_or_lack(group).await;
        opened.map_err(|error| error.to_string())
    }
}

/// As long as the group lives; `raft` is none where it lacks a state.
pub(super) async fn live(
    group: Arc<Inner>,
    opening: Opening,
    mut raft: Option<Raft>,
    tasks: Tasks,
) {
    loop {
        let Some(going) = raft.take() else {
            match opening.recover(&group).await {
                Ok(recovered) => raft = recovered,
                Err(why) => return group.fail(why, &tasks),
            }
            continue;
        };
        leadership::watch(&group, &going).await;
        // By shutdown, or because it cannot go on.
        if group.queue.closed().is_some() {
            return group.close(group.stopped());
        }
        if group.keeper.lacks().is_none() {
            group.fail("its raft ended".into(), &tasks);
            return group.close(group.stopped());
        }
        *group.raft.write() = None;
        let _ = going.shutdown().await;
    }
}

/// Makes a new group's first entry, its members. One replica does it, another one for each
/// group, so that first leaders are spread; the others only when it does not come. All of
/// them would write the same entry, so it does no harm when two do.
pub(super) async fn initialize(group: Arc<Inner>, raft: Raft, replicas: Vec<NodeId>) {
    let turn = (group.id.0 as usize) % replicas.len().max(1);
    let place = replicas
        .iter()
        .position(|node| *node == group.node)
        .unwrap_or(0);
    let after = (place + replicas.len() - turn) % replicas.len().max(1);
    tokio::time::sleep(INITIALIZE_AFTER * after as u32).await;
    match raft.is_initialized().await {
        Ok(false) => {}
        Ok(true) | Err(_) => return,
    }
    let members: BTreeMap<u64, EmptyNode> =
        replicas.iter().map(|n| (n.0, EmptyNode::new())).collect();
    match raft.initialize(members).await {
        Ok(()) => tracing::info!(group = %group.id, ?replicas, "new group"),
        // Another replica was faster.
        Err(RaftError::APIError(error)) => {
            tracing::info!(group = %group.id, %error, "not initialized here")
        }
        Err(RaftError::Fatal(error)) => tracing::error!(group = %group.id, %error, "group stopped"),
    }
}
