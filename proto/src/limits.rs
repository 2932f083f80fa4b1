//! The limits of the edges, all of them configurable (`[limits]`). Those of documents and
//! operations are not here: they are judged in `apply` and must be the same on every replica.

use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// One frame of a client.
    pub frame_bytes: u32,
    /// Operations a second on a socket, and how many may come at once.
    pub ops_per_second: u32,
    /// Bytes a second on a socket.
    pub bytes_per_second: u32,
    /// What may wait for a socket that reads slowly.
    pub socket_queue_bytes: u32,
    pub sockets_per_user_and_document: u32,
    /// Sockets of one router.
    pub sockets: u32,
    /// From the upgrade to the first frame.
    pub hello_ms: u64,
    /// A body of the REST interface.
    pub body_bytes: u32,
    /// From a request's head to the end of its body.
    pub body_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: FRAME_BYTES,
            ops_per_second: 1_000,
            bytes_per_second: 1 << 20,
            socket_queue_bytes: SOCKET_QUEUE_BYTES,
            sockets_per_user_and_document: 64,
            sockets: 100_000,
            hello_ms: 5_000,
            body_bytes: 1 << 20,
            body_ms: 10_000,
        }
    }
}

impl Limits {
    /// Those of operations: not configurable, the same in every process.
    pub fn of_operations(&self) -> codraft_ot::Limits {
        codraft_ot::Limits::default()
    }
}

const FRAME_BYTES: u32 = 256 << 10;
const SOCKET_QUEUE_BYTES: u32 = 1 << 20;
// An operation that may come in must fit what may wait to go out.
const _: () = assert!(SOCKET_QUEUE_BYTES >= 2 * FRAME_BYTES);
