#![allow(clippy::unwrap_used)]
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::*;
use crate::{
    outside::{Entropy, Outside, SystemClock},
    tasks::Tasks,
    transport::{Remote, Tcp, Transport},
    v1::{Credit, Message, PeerRole, Pulse, message::Body},
};

struct NoEntropy;
impl Entropy for NoEntropy {
    fn fill(&self, _bytes: &mut [u8]) {}
}

fn outside() -> Outside {
    Outside {
        transport: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        seed: 7,
        entropy: Arc::new(NoEntropy),
    }
}

fn hello(role: PeerRole, id: u64) -> Hello {
    Hello {
        cluster: "test".into(),
        role: role as i32,
        id,
        incarnation: 1,
        ..Hello::default()
    }
}

fn pulse(number: u64) -> Message {
    Message {
        body: Some(Body::Pulse(Pulse {
            number,
            ..Pulse::default()
        })),
    }
}

fn large(bytes: usize) -> Message {
    Message {
        body: Some(Body::Credit(Credit {
            doc: vec![7; bytes].into(),
            bytes: 0,
        })),
    }
}

/// One end: records what happens and lets a test wait for it.
#[derive(Default)]
struct End {
    numbers: Mutex<Vec<(Lane, u64)>>,
    batches: AtomicUsize,
    bytes: AtomicUsize,
    outboxes: Mutex<VecDeque<Outbox>>,
    peers: Mutex<Vec<Hello>>,
    closed: AtomicUsize,
    errors: Mutex<Vec<LinkError>>,
    changed: Notify,
}

struct Ear(Arc<End>);

impl Inbound for Ear {
    fn batch(&self, lane: Lane, messages: Vec<Message>) {
        self.0.batches.fetch_add(1, Ordering::SeqCst);
        for message in messages {
            match message.body {
                Some(Body::Pulse(p)) => self.0.numbers.lock().push((lane, p.number)),
                Some(Body::Credit(c)) => {
                    self.0.bytes.fetch_add(c.doc.len(), Ordering::SeqCst);
                }
                _ => {}
            }
        }
        self.0.changed.notify_waiters();
    }
    fn closed(&self, _: &LinkError) {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

struct Open(Arc<End>);

impl Open {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        self.0.outboxes.lock().push_back(outbox);
        self.0.peers.lock().push(peer.clone());
        self.0.changed.notify_waiters();
        Ok(Arc::new(Ear(self.0.clone())))
    }
}
impl Accept for Open {
    fn accept(
        &self,
        peer: &Hello,
        remote: &Remote,
        outbox: Outbox,
    ) -> Result<Arc<dyn Inbound>, LinkError> {
        assert!(remote.address.starts_with("127.0.0.1:"), "{remote:?}");
        if peer.id == 666 {
            return Err(LinkError::WrongPeer("not you".into()));
        }
        self.up(peer, outbox)
    }
}
impl Dialled for Open {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        Open::up(self, peer, outbox)
    }
    fn down(&self, error: &LinkError) {
        self.0.errors.lock().push(error.clone());
        self.0.changed.notify_waiters();
    }
}

impl End {
    async fn until(&self, what: &str, holds: impl Fn(&End) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        assert!(
            timeout(Duration::from_secs(10), wait).await.is_ok(),
            "never: {what}"
        );
    }
    async fn outbox(&self) -> Outbox {
        self.until("a link", |e| !e.outboxes.lock().is_empty())
            .await;
        self.outboxes.lock().pop_front().unwrap()
    }
    fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

async fn listen(tasks: &Tasks, address: &str, end: &Arc<End>, options: &LinkOptions) -> String {
    let listener = Tcp.listen(address).await.unwrap();
    let address = listener.local_address().unwrap();
    let accept = Arc::new(Open(end.clone()));
    serve(
        tasks,
        listener,
        hello(PeerRole::Node, 1),
        accept,
        options.clone(),
    );
    address
}

struct Pair {
    server_tasks: Tasks,
    client_tasks: Tasks,
    server: Arc<End>,
    client: Arc<End>,
    address: String,
    handle: LinkHandle,
}

async fn pair(options: LinkOptions) -> Pair {
    let (server_tasks, client_tasks) = (Tasks::new(), Tasks::new());
    let (server, client) = (Arc::new(End::default()), Arc::new(End::default()));
    let address = listen(&server_tasks, "127.0.0.1:0", &server, &options).await;
    let handle = dial(
        &client_tasks,
        &outside(),
        address.clone(),
        hello(PeerRole::Router, 9),
        Arc::new(Open(client.clone())),
        options,
    );
    Pair {
        server_tasks,
        client_tasks,
        server,
        client,
        address,
        handle,
    }
}

#[tokio::test]
async fn both_ways_on_both_lanes_in_order() {
    let p = pair(LinkOptions::default()).await;
    let (to_server, to_client) = (p.client.outbox().await, p.server.outbox().await);
    for n in 0..1000 {
        let lane = if n % 5 == 0 {
            Lane::Control
        } else {
            Lane::Data
        };
        to_server.send(lane, pulse(n)).unwrap();
        to_client.send(lane, pulse(n)).unwrap();
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for end in [&p.server, &p.client] {
        end.until("all arrive", |e| e.numbers.lock().len() == 1000)
            .await;
        let numbers = end.numbers.lock().clone();
        for lane in [Lane::Control, Lane::Data] {
            let of_lane: Vec<_> = numbers
                .iter()
                .filter(|n| n.0 == lane)
                .map(|n| n.1)
                .collect();
            assert!(of_lane.is_sorted(), "{lane:?} out of order");
        }
        let control = numbers.iter().filter(|n| n.0 == Lane::Control).count();
        assert_eq!(control, 200);
        assert_eq!(end.closed(), 0);
    }
    assert_eq!(p.server.peers.lock()[0].id, 9);
    assert_eq!(p.client.peers.lock()[0].id, 1);
    assert_eq!(p.client.peers.lock()[0].version_max, *VERSIONS.end());
}

#[tokio::test]
async fn what_waits_together_travels_together() {
    let p = pair(LinkOptions::default()).await;
    let outbox = p.client.outbox().await;
    // All in one go, so that they wait together.
    for n in 0..10_000 {
        outbox.send(Lane::Data, pulse(n)).unwrap();
    }
    p.server
        .until("all arrive", |e| e.numbers.lock().len() == 10_000)
        .await;
    let batches = p.server.batches.load(Ordering::SeqCst);
    assert!(batches <= 12, "{batches} batches");
}

#[tokio::test]
async fn large_messages_pass_whole() {
    let p = pair(LinkOptions::default()).await;
    let outbox = p.client.outbox().await;
    for bytes in [1 << 20, 20 << 20, 300] {
        outbox.send(Lane::Data, large(bytes)).unwrap();
    }
    let all = (1 << 20) + (20 << 20) + 300;
    p.server
        .until("all arrive", |e| e.bytes.load(Ordering::SeqCst) == all)
        .await;
    assert_eq!(outbox.queued_bytes(Lane::Data), 0);
}

#[tokio::test]
async fn a_server_that_dies_is_seen_and_found_again() {
    let p = pair(LinkOptions::default()).await;
    let old = p.client.outbox().await;
    p.server_tasks.shutdown().await;
    p.client.until("closed", |e| e.closed() == 1).await;
    assert!(old.is_closed());
    assert_eq!(old.send(Lane::Data, pulse(1)), Err(SendError::Closed));
    let refused = |e: &End| {
        e.errors
            .lock()
            .iter()
            .any(|e| matches!(e, LinkError::Refused { .. }))
    };
    p.client.until("refused", refused).await;

    let tasks = Tasks::new();
    listen(&tasks, &p.address, &p.server, &LinkOptions::default()).await;
    p.handle.redial_now();
    let new = p.client.outbox().await;
    new.send(Lane::Data, pulse(5)).unwrap();
    p.server
        .until("heard again", |e| {
            e.numbers.lock().contains(&(Lane::Data, 5))
        })
        .await;
    assert_eq!(p.client.closed(), 1, "once a link");
}

#[tokio::test]
async fn a_client_that_dies_is_seen_by_the_server() {
    let p = pair(LinkOptions::default()).await;
    p.server.outbox().await;
    p.client_tasks.shutdown().await;
    p.server.until("closed", |e| e.closed() == 1).await;
}

#[tokio::test]
async fn either_side_may_close() {
    let p = pair(LinkOptions::default()).await;
    let (client, server) = (p.client.outbox().await, p.server.outbox().await);
    server.close();
    p.client.until("closed", |e| e.closed() == 1).await;
    p.server.until("closed", |e| e.closed() == 1).await;
    assert!(client.is_closed());
    // It comes back, until the handle is closed.
    p.client.outbox().await;
    p.server.outbox().await;
    p.handle.close();
    p.client.until("closed", |e| e.closed() == 2).await;
    p.server.until("closed", |e| e.closed() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(p.client.outboxes.lock().is_empty(), "not dialled again");
}

#[tokio::test]
async fn strangers_are_refused() {
    let (tasks, server) = (Tasks::new(), Arc::new(End::default()));
    let address = listen(&tasks, "127.0.0.1:0", &server, &LinkOptions::default()).await;
    let other_cluster = Hello {
        cluster: "other".into(),
        ..hello(PeerRole::Router, 9)
    };
    let no_role = hello(PeerRole::Unspecified, 9);
    let not_accepted = hello(PeerRole::Router, 666);
    for (what, hello) in [
        ("cluster", other_cluster),
        ("role", no_role),
        ("not you", not_accepted),
    ] {
        let client = Arc::new(End::default());
        let dialled = Arc::new(Open(client.clone()));
        let handle = dial(
            &tasks,
            &outside(),
            address.clone(),
            hello,
            dialled,
            LinkOptions::default(),
        );
        let refused = |e: &End| {
            e.errors
                .lock()
                .iter()
                .any(|e| matches!(e, LinkError::WrongPeer(why) if why.contains(what)))
        };
        client.until(what, refused).await;
        assert!(client.outboxes.lock().is_empty());
        handle.close();
    }
    assert!(server.outboxes.lock().is_empty());
}

#[tokio::test]
async fn a_silent_connection_is_dropped() {
    use tokio::io::AsyncReadExt;
    let (tasks, server) = (Tasks::new(), Arc::new(End::default()));
    let options = LinkOptions {
        handshake: Duration::from_millis(50),
        ..LinkOptions::default()
    };
    let address = listen(&tasks, "127.0.0.1:0", &server, &options).await;
    let mut silent = Tcp.dial(&address).await.unwrap();
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(5), silent.read_to_end(&mut bytes))
        .await
        .unwrap()
        .ok();

    // And the other way round: who accepts and says nothing.
    let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
    let client = Arc::new(End::default());
    let address = listener.local_address().unwrap();
    let dialled = Arc::new(Open(client.clone()));
    dial(
        &tasks,
        &outside(),
        address,
        hello(PeerRole::Router, 9),
        dialled,
        options,
    );
    let deadline = |e: &End| {
        e.errors
            .lock()
            .iter()
            .any(|e| matches!(e, LinkError::Deadline(50)))
    };
    client.until("deadline", deadline).await;
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let options = LinkOptions {
        queue_bytes: 10_000,
        queue_messages: 100,
        ..LinkOptions::default()
    };
    let p = pair(options).await;
    let outbox = p.client.outbox().await;
    p.server.outbox().await;
    // Nothing is awaited here, so nothing leaves.
    for _ in 0..100 {
        outbox.send(Lane::Data, pulse(1)).unwrap();
    }
    assert_eq!(outbox.send(Lane::Data, pulse(1)), Err(SendError::Full));
    outbox.send(Lane::Control, large(9_000)).unwrap();
    assert_eq!(
        outbox.send(Lane::Control, large(9_000)),
        Err(SendError::Full)
    );
    p.server
        .until("all arrive", |e| e.numbers.lock().len() == 100)
        .await;
    outbox.send(Lane::Data, large(1 << 20)).unwrap();
    assert_eq!(
        outbox.send(Lane::Data, pulse(1)),
        Err(SendError::Full),
        "behind a large one"
    );
    p.server
        .until("the large one", |e| {
            e.bytes.load(Ordering::SeqCst) == 9_000 + (1 << 20)
        })
        .await;
}
