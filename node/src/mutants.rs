//! Planted bugs that take more than a line.

use codraft_proto::ids::{ClientId, DocId, Revision};
use codraft_raft::{
    command::{Command, Trim},
    group::{Group, Origin},
};

/// Whether an operation comes by another link than its client's own.
pub(crate) fn is_elsewhere(origin: Origin, client: ClientId) -> bool {
    (origin.link ^ u64::from(client.0[0])) & 1 == 1
}

/// Drops what is recorded of a document's clients.
pub(crate) fn forget_clients(group: &Group, origin: Origin, doc: DocId) {
    let tag = u64::MAX;
    let floor = Revision(0);
    let _ = group.submit(Command::Trim(Trim { doc, floor }), Origin { tag, ..origin });
}
