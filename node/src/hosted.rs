//! A group as this node serves it.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{DocId, GroupId},
    topology::Topology,
};
use codraft_raft::group::Group;

use crate::{followers::Feed, reads::Reads};

pub(crate) struct Hosted {
    pub group: Group,
    pub feed: Arc<Feed>,
    pub reads: Arc<Reads>,
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
