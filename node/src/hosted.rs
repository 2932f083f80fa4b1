//! A group as this node serves it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use codraft_proto::{
    ids::{DocId, GroupId},
    topology::Topology,
};
use codraft_raft::group::Group;

use crate::{followers::Followers, reads::Reads};

pub(crate) struct Hosted {
    pub group: Group,
    pub feed: Arc<Feed>,
    pub reads: Reads,
}

/// What the fan-out and the services share of a group; taken only for moments, mostly
/// under the group's own lock.
pub(crate) struct Feed {
    pub state: Mutex<FeedState>,
}

pub(crate) struct FeedState {
    /// Whether this node leads, as the fan-out was told: feeds exist only then. Read under
    /// the group's lock, so that nobody follows after the feeds were cut.
    pub leading: bool,
    pub followers: Followers,
}

/// All groups of this node.
pub(crate) struct HostedGroups {
    pub topology: Arc<dyn Topology>,
    pub hosted: BTreeMap<GroupId, Arc<Hosted>>,
}

impl HostedGroups {
    /// The group that a document belongs to, if it is here.
    pub fn of_doc(&self, doc: &DocId) -> Option<&Arc<Hosted>> {
        self.hosted.get(&self.topology.group_of(doc))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Hosted>> {
        self.hosted.values()
    }
}
