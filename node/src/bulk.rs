//! Links for what is large: pages of documents, fetched from another node. Each is a connection of its
//! own, so that no operation waits behind a page, and ends with the transfer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use codraft_proto::{
    ids::NodeId,
    link::{Dialled, Inbound, Lane, LinkError, LinkHandle, Outbox},
    tasks::Tasks,
    transport::BoxFuture,
    v1::{Fetch, Fetched, Hello, Message, PeerRole, message::Body},
};
use codraft_raft::group::{Borrowed, BulkLink};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

use crate::{members::Members, raft::Raft};

/// How long one request may take, the dialling included.
const DEADLINE: Duration = Duration::from_secs(20);
/// Requests of one link that are answered at once; more are refused.
const AT_ONCE: usize = 4;

/// One transfer's connection, on the side that fetches.
pub(crate) struct BulkPeer {
    handle: LinkHandle,
    session: Arc<Session>,
}

impl Drop for BulkPeer {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl BulkPeer {
    pub fn new(session: Arc<Session>, handle: LinkHandle) -> Self {
        Self { handle, session }
    }
}

impl BulkLink for BulkPeer {
    fn fetch(&self, request: Fetch) -> BoxFuture<'_, Result<Fetched, String>> {
        Box::pin(async move {
            let fetched = timeout(DEADLINE, self.session.fetch(request)).await;
            fetched.map_err(|_| format!("no answer within {} s", DEADLINE.as_secs()))?
        })
    }
}

/// What waits for the other side.
pub(crate) struct Session {
    node: NodeId,
    members: Arc<Members>,
    outbox: watch::Sender<Option<Outbox>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    by_id: BTreeMap<u64, oneshot::Sender<Fetched>>,
}

impl Session {
    pub fn new(node: NodeId, members: Arc<Members>) -> Arc<Self> {
        Arc::new(Self {
            node,
            members,
            outbox: watch::Sender::new(None),
            waiting: Mutex::default(),
        })
    }

    async fn fetch(&self, mut request: Fetch) -> Result<Fetched, String> {
        let mut watch = self.outbox.subscribe();
        let up = watch.wait_for(Option::is_some).await;
        let outbox = up.ok().and_then(|outbox| outbox.clone());
        let outbox = outbox.ok_or("the link ended")?;
        let (told, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.last += 1;
            request.id = waiting.last;
            waiting.by_id.insert(request.id, told);
        }
        let body = Some(Body::Fetch(request));
        let sent = outbox.send(Lane::Data, Message { body });
        sent.map_err(|error| error.to_string())?;
        answer.await.map_err(|_| "the link broke".into())
    }
}

/// The dialler's half of a session's link.
pub(crate) struct BulkDialled(pub Arc<Session>);

impl Dialled for BulkDialled {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        let node = self.0.node;
        if peer.role() != PeerRole::Node || peer.id != node.0 {
            return Err(LinkError::WrongPeer(format!("not node {node}")));
        }
        self.0.members.check(peer)?;
        self.0.outbox.send_replace(Some(outbox));
        Ok(self.0.clone())
    }

    fn down(&self, error: &LinkError) {
        tracing::debug!(peer = %self.0.node, %error, "no link for pages");
    }
}

impl Inbound for Session {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        for message in messages {
            match message.body {
                Some(Body::Fetched(fetched)) => {
                    // Nobody waits any more where it came too late.
                    if let Some(told) = self.waiting.lock().by_id.remove(&fetched.id) {
                        let _ = told.send(fetched);
                    }
                }
                _ => tracing::warn!(peer = %self.node, "unexpected message on a link for pages"),
            }
        }
    }

    fn closed(&self, _reason: &LinkError) {
        self.outbox.send_replace(None);
        self.waiting.lock().by_id.clear();
    }
}

/// The side that is asked.
pub(crate) struct BulkRequests {
    pub node: NodeId,
    pub raft: Arc<Raft>,
    pub pace: Arc<Pace>,
    pub outbox: Outbox,
    pub tasks: Tasks,
    pub underway: Arc<AtomicUsize>,
    pub borrowed: Arc<Borrowed>,
}

impl Inbound for BulkRequests {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        for message in messages {
            let Some(Body::Fetch(request)) = message.body else {
                tracing::warn!(peer = %self.node, "unexpected message on a link for pages");
                continue;
            };
            if self.underway.fetch_add(1, Relaxed) >= AT_ONCE {
                self.underway.fetch_sub(1, Relaxed);
                let error = "too many requests at once".into();
                let (id, pages) = (request.id, Vec::new());
                answer(&self.outbox, Fetched { id, pages, error });
                continue;
            }
            let (raft, pace, outbox) = (self.raft.clone(), self.pace.clone(), self.outbox.clone());
            let (underway, borrowed) = (self.underway.clone(), self.borrowed.clone());
            self.tasks.spawn("pages", async move {
                let fetched = raft.groups.fetch(request, &borrowed).await;
                let bytes = fetched.pages.iter().map(bytes::Bytes::len).sum();
                pace.turn(bytes).await;
                answer(&outbox, fetched);
                underway.fetch_sub(1, Relaxed);
            });
        }
    }

    fn closed(&self, _reason: &LinkError) {}
}

fn answer(outbox: &Outbox, fetched: Fetched) {
    let body = Some(Body::Fetched(fetched));
    // Without a link nobody waits for it.
    let _ = outbox.send(Lane::Data, Message { body });
}

/// How fast a node gives pages away, over all links.
pub(crate) struct Pace {
    bytes_per_s: u64,
    /// When the next one may go.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s: bytes_per_s.max(1),
            next: Mutex::new(None),
        }
    }

    /// Resolves when so many bytes may go.
    async fn turn(&self, bytes: usize) {
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_s);
        let turn = {
            let mut next = self.next.lock();
            let turn = next.unwrap_or_else(Instant::now).max(Instant::now());
            *next = Some(turn + takes);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}
