//! The consensus of the groups, and the search for dead leaders: what links to other nodes carry.

use std::sync::Arc;

use codraft_raft::{group::Groups, suspect::Suspicion};

pub(crate) struct Raft {
    pub groups: Arc<Groups>,
    pub suspicion: Suspicion,
}
