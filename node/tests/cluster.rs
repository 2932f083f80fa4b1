//! Three nodes in one process, on one thread, over real sockets and real disks, and a
//! router's side of their links.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use codraft_node::{Node, NodeConfig, Outside};
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::{
    event,
    ids::{ClientId, DocId, GroupId, NodeId, Role},
    link::{self, Dialled, Inbound, Lane, LinkError, LinkOptions, Outbox},
    outside::{OsEntropy, SystemClock},
    reject::Code,
    tasks::Tasks,
    topology::{FileTopology, Topology},
    transport::{Tcp, Transport},
    v1::{self, Hello, Message, PeerRole, answer::Verdict, call, message::Body, reply},
};
use codraft_raft::disk::OsDisk;
use tokio::{sync::Notify, time::timeout};

fn outside() -> codraft_proto::outside::Outside {
    codraft_proto::outside::Outside {
        transport: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        seed: 11,
        entropy: Arc::new(OsEntropy),
    }
}

struct Cluster {
    topology: Arc<FileTopology>,
    root: PathBuf,
    nodes: BTreeMap<NodeId, Node>,
}

impl Cluster {
    async fn start(name: &str, groups: u32) -> Self {
        let mut text = format!("cluster = \"{name}\"\ngroups = {groups}\n");
        let mut held = Vec::new();
        for id in 1..=3 {
            let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
            let address = listener.local_address().unwrap();
            text += &format!("[[node]]\nid = {id}\naddress = \"{address}\"\n");
            held.push(listener);
        }
        drop(held);
        let root = std::env::temp_dir().join(format!("codraft-{name}-{}", std::process::id()));
        let topology = Arc::new(FileTopology::parse(&text).unwrap());
        let mut cluster = Self {
            topology,
            root,
            nodes: BTreeMap::new(),
        };
        for id in 1..=3 {
            cluster.start_node(NodeId(id)).await;
        }
        cluster
    }

    async fn start_node(&mut self, id: NodeId) {
        let address = self.topology.address(id).unwrap();
        let data = self.root.join(id.to_string());
        let config = NodeConfig::new(id, address, data, self.topology.clone());
        let outside = Outside {
            common: outside(),
            disk: Arc::new(OsDisk::start().unwrap()),
        };
        let node = Node::start(config, outside).await.unwrap();
        self.nodes.insert(id, node);
    }

    async fn stop_node(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().shutdown().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The router's side: all links, and what came on them.
struct Router {
    topology: Arc<FileTopology>,
    _tasks: Tasks,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    outboxes: BTreeMap<NodeId, Outbox>,
    leads: BTreeMap<GroupId, v1::Leadership>,
    beats: usize,
    data: VecDeque<(NodeId, Body)>,
}

struct Road(NodeId, Arc<Heard>);

impl Heard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn until<R>(&self, what: &str, mut find: impl FnMut(&mut State) -> Option<R>) -> R {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = find(&mut self.state()) {
                    return found;
                }
                changed.await;
            }
        };
        match timeout(Duration::from_secs(20), wait).await {
            Ok(found) => found,
            Err(_) => panic!("never: {what}; heard {:?}", self.state().data),
        }
    }
}

impl Dialled for Road {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        assert_eq!(peer.id, self.0.0);
        self.1.state().outboxes.insert(self.0, outbox);
        self.1.changed.notify_waiters();
        Ok(Arc::new(Road(self.0, self.1.clone())))
    }
    fn down(&self, _error: &LinkError) {}
}

impl Inbound for Road {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        let mut state = self.1.state();
        for message in messages {
            match message.body.unwrap() {
                Body::Leadership(lead) => {
                    state.beats += 1;
                    let known = state.leads.entry(GroupId(lead.group)).or_insert(lead);
                    if known.term <= lead.term {
                        *known = lead;
                    }
                }
                body => state.data.push_back((self.0, body)),
            }
        }
        drop(state);
        self.1.changed.notify_waiters();
    }
    fn closed(&self, _reason: &LinkError) {
        self.1.state().outboxes.remove(&self.0);
        self.1.changed.notify_waiters();
    }
}

impl Router {
    fn start(topology: Arc<FileTopology>) -> Self {
        let (tasks, heard) = (Tasks::new(), Arc::new(Heard::default()));
        let hello = Hello::new(&*topology, PeerRole::Router, 77, 1);
        for (node, address) in topology.nodes() {
            let road = Arc::new(Road(node, heard.clone()));
            let options = LinkOptions::default();
            link::dial(&tasks, &outside(), address, hello.clone(), road, options);
        }
        Self {
            topology,
            _tasks: tasks,
            heard,
        }
    }

    /// The leader of a document's group, once there is one that is not `except`.
    async fn leader(&self, doc: &DocId, except: Option<NodeId>) -> NodeId {
        let group = self.topology.group_of(doc);
        let leader = |state: &mut State| {
            let node = NodeId(state.leads.get(&group)?.node);
            (Some(node) != except && state.outboxes.contains_key(&node)).then_some(node)
        };
        self.heard.until("a leader", leader).await
    }

    async fn send(&self, node: NodeId, body: Body) {
        let outbox = |state: &mut State| state.outboxes.get(&node).cloned();
        let outbox = self.heard.until("a link", outbox).await;
        outbox
            .send(Lane::Data, Message { body: Some(body) })
            .unwrap();
    }

    /// Takes the first message on a data lane that `find` wants; the others stay.
    async fn hear<R>(&self, what: &str, find: impl Fn(&Body) -> Option<R>) -> R {
        let taken = |state: &mut State| {
            let found = state.data.iter().enumerate();
            let (index, found) = found
                .into_iter()
                .find_map(|(i, (_, b))| Some((i, find(b)?)))?;
            state.data.remove(index);
            Some(found)
        };
        self.heard.until(what, taken).await
    }

    async fn call(
        &self,
        node: NodeId,
        id: u64,
        doc: DocId,
        user: &str,
        body: call::Body,
    ) -> reply::Body {
        let call = v1::Call {
            id,
            doc: doc.to_bytes(),
            user: user.into(),
            deadline_ms: 5_000,
            body: Some(body),
        };
        self.send(node, Body::Call(call)).await;
        let reply = |body: &Body| match body {
            Body::Reply(reply) if reply.id == id => reply.body.clone(),
            _ => None,
        };
        self.hear("a reply", reply).await
    }

    async fn open(
        &self,
        node: NodeId,
        doc: DocId,
        user: &str,
        resume: Option<v1::Resume>,
    ) -> v1::Opened {
        let open = v1::Open {
            tag: 5,
            doc: doc.to_bytes(),
            client: Bytes::copy_from_slice(&[9; 16]),
            user: user.into(),
            resume,
            unsent: false,
            held: None,
            bring: true,
        };
        self.send(node, Body::Open(open)).await;
        let opened = |body: &Body| match body {
            Body::Opened(opened) => Some(opened.clone()),
            _ => None,
        };
        self.hear("opened", opened).await
    }

    /// What a client starts from that opens `DOC` where the state at `held` is there and no other
    /// is wanted, and how many events follow.
    async fn starts(
        &self,
        node: NodeId,
        client: u8,
        held: &Option<v1::Resume>,
    ) -> (v1::OpenedFrom, usize) {
        const TAG: u64 = 90;
        let open = v1::Open {
            tag: TAG,
            doc: DOC.to_bytes(),
            client: Bytes::copy_from_slice(&[client; 16]),
            user: "alice".into(),
            held: held.clone(),
            ..v1::Open::default()
        };
        self.send(node, Body::Open(open)).await;
        let opened = |body: &Body| match body {
            Body::Opened(opened) if opened.tag == TAG => Some(opened.clone()),
            _ => None,
        };
        let opened = self.hear("opened", opened).await;
        assert!(opened.state.is_empty() && opened.state_at.is_none());
        (opened.from(), opened.events.len())
    }

    async fn submit(&self, node: NodeId, doc: DocId, op: &Op) {
        let submit = v1::Submit {
            doc: doc.to_bytes(),
            client: op.client.to_bytes(),
            user: op.user.into(),
            seq: op.seq,
            base: op.base,
            ops: op.ops.clone(),
        };
        self.send(node, Body::Submit(submit)).await;
    }

    async fn answer(&self, op: &Op) -> Verdict {
        let answer = |body: &Body| match body {
            Body::Answer(a) if a.client == op.client.0.as_slice() && a.seq == op.seq => {
                assert_eq!(a.base, op.base);
                a.verdict.clone()
            }
            _ => None,
        };
        self.hear("an answer", answer).await
    }

    /// The next events of a document, at least `count` of them, and the hash at the last.
    async fn events(&self, count: usize) -> (Vec<v1::Event>, Bytes) {
        let (mut events, mut hash) = (Vec::new(), Bytes::new());
        while events.len() < count {
            let next = |body: &Body| match body {
                Body::Events(events) => Some(events.clone()),
                _ => None,
            };
            let next = self.hear("events", next).await;
            events.extend(next.events);
            hash = next.hash;
        }
        (events, hash)
    }
}

#[derive(Clone)]
struct Op {
    client: ClientId,
    user: &'static str,
    seq: u64,
    base: u64,
    ops: Bytes,
}

fn op(client: u8, user: &'static str, seq: u64, base: u64, text: &str) -> Op {
    let mut delta = Delta::new();
    delta.insert(text);
    let ops = delta.to_bytes().into();
    Op {
        client: ClientId([client; 16]),
        user,
        seq,
        base,
        ops,
    }
}

fn create(text: &str) -> call::Body {
    let mut initial = Delta::new();
    initial.insert(text);
    let initial = if text.is_empty() {
        Bytes::new()
    } else {
        initial.to_bytes().into()
    };
    let (title, algebra) = ("A title".into(), "delta-1".into());
    call::Body::Create(v1::Create {
        kind: Kind::Text as u32,
        title,
        initial,
        algebra,
    })
}

fn grant(user: &str, role: Option<Role>) -> call::Body {
    call::Body::Grant(v1::Grant {
        user: user.into(),
        role: role.map_or(0, |r| r as u32),
    })
}

fn text_of(opened: &v1::Opened) -> String {
    let delta = Delta::decode(&opened.state, &Limits::default()).unwrap();
    Content::from_delta(Kind::Text, &delta, &Limits::default())
        .unwrap()
        .text()
}

fn code(problem: &Option<v1::Problem>) -> Option<Code> {
    Code::from_number(problem.as_ref()?.code)
}

const DOC: DocId = DocId([3; 16]);

/// As a router does that comes back with many sockets: more than a link's queue takes at once.
#[tokio::test]
async fn many_open_a_large_document_at_once() {
    const OPENS: u64 = 40;
    let cluster = Cluster::start("large", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    let large = "0123456789abcdef".repeat(3 << 16);
    let made = router.call(leader, 1, DOC, "alice", create(&large)).await;
    assert_eq!(made, reply::Body::Rev(1));
    for tag in 1..=OPENS {
        let open = v1::Open {
            tag,
            doc: DOC.to_bytes(),
            client: Bytes::copy_from_slice(&[tag as u8; 16]),
            user: "alice".into(),
            bring: true,
            ..v1::Open::default()
        };
        router.send(leader, Body::Open(open)).await;
    }
    let mut held = None;
    for tag in 1..=OPENS {
        let opened = |body: &Body| match body {
            Body::Opened(opened) if opened.tag == tag => Some(opened.clone()),
            _ => None,
        };
        let opened = router.hear("opened", opened).await;
        assert_eq!(
            (opened.problem, opened.state.len() >> 20),
            (None, 3),
            "{tag}"
        );
        let (rev, hash) = (opened.rev, opened.hash);
        held = Some(v1::Resume { rev, hash });
    }
    // Where a router has it already it is not sent again, and not without being asked for.
    let wrong = held.clone().map(|at| v1::Resume { rev: 0, ..at });
    for (held, start) in [
        (&held, v1::OpenedFrom::Held),
        (&wrong, v1::OpenedFrom::Nothing),
        (&None, v1::OpenedFrom::Nothing),
    ] {
        assert_eq!(router.starts(leader, 7, held).await, (start, 0));
    }
    // It will do with what came since, unless that is much or the reader's own.
    router.submit(leader, DOC, &op(8, "alice", 1, 1, "x")).await;
    router.events(1).await;
    for (client, start) in [
        (7, (v1::OpenedFrom::Held, 1)),
        (8, (v1::OpenedFrom::Nothing, 0)),
    ] {
        assert_eq!(router.starts(leader, client, &held).await, start);
    }
    let much = op(8, "alice", 2, 2, &"y".repeat(64 << 10));
    router.submit(leader, DOC, &much).await;
    router.events(1).await;
    let anew = (v1::OpenedFrom::Nothing, 0);
    assert_eq!(router.starts(leader, 7, &held).await, anew);
}

/// A document that is spelled while others type is told with what they typed meanwhile.
#[tokio::test]
async fn a_large_document_is_opened_as_it_is_while_others_type() {
    const AT_ONCE: u8 = 20;
    let cluster = Cluster::start("typed", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    let large = "0123456789abcdef".repeat(1 << 16);
    let made = router.call(leader, 1, DOC, "alice", create(&large)).await;
    assert_eq!(made, reply::Body::Rev(1));
    let (mut head, mut behind) = (1, false);
    for round in 1..=200 {
        let open = v1::Open {
            tag: round,
            doc: DOC.to_bytes(),
            user: "alice".into(),
            bring: true,
            ..v1::Open::default()
        };
        router.send(leader, Body::Open(open)).await;
        for client in 1..=AT_ONCE {
            let typed = op(client, "alice", round, head, "x");
            router.submit(leader, DOC, &typed).await;
        }
        let opened = |body: &Body| match body {
            Body::Opened(opened) if opened.tag == round => Some(opened.clone()),
            _ => None,
        };
        let opened = router.hear("opened", opened).await;
        assert_eq!(opened.from(), v1::OpenedFrom::State);
        let at = opened.state_at.clone().unwrap();
        let limits = Limits::default();
        let delta = Delta::decode(&opened.state, &limits).unwrap();
        let mut content = Content::from_delta(Kind::Text, &delta, &limits).unwrap();
        for (event, rev) in opened.events.iter().zip(at.rev + 1..) {
            assert_eq!((event.rev, event.kind), (rev, 0));
            let delta = Delta::decode(&event.body, &limits).unwrap();
            content.apply(&delta, &limits).unwrap();
        }
        assert_eq!(at.rev + opened.events.len() as u64, opened.rev);
        let typed = content.units() as usize - large.len();
        assert_eq!(typed as u64, opened.rev - 1, "a letter each");
        head = opened.rev;
        behind |= at.rev < head;
        if behind {
            break;
        }
    }
    assert!(behind, "nobody ever typed while it was spelled");
    // It is not kept for ever.
    let free = || {
        let metrics = cluster.nodes[&leader].metrics();
        metrics.contains("codraft_node_spelled_bytes 0")
    };
    let freed = async {
        while !free() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}

#[tokio::test]
async fn a_document_lives_through_the_death_of_its_leader() {
    let mut cluster = Cluster::start("lives", 2).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;

    let made = router.call(leader, 1, DOC, "alice", create("hi")).await;
    assert_eq!(made, reply::Body::Rev(1));
    let again = router.call(leader, 2, DOC, "alice", create("hi")).await;
    assert_eq!(again, reply::Body::Rev(1), "a repeat");
    let granted = router
        .call(leader, 3, DOC, "alice", grant("bob", Some(Role::Editor)))
        .await;
    assert_eq!(granted, reply::Body::Rev(2));

    let opened = router.open(leader, DOC, "alice", None).await;
    assert_eq!(
        (opened.rev, opened.role, text_of(&opened)),
        (2, Role::Owner as u32, "hi".into())
    );
    assert_eq!(opened.title, "A title");

    // Two authors at once; what they get is one order.
    let (a, b) = (op(1, "alice", 1, 2, "A"), op(2, "bob", 1, 2, "B"));
    router.submit(leader, DOC, &a).await;
    router.submit(leader, DOC, &b).await;
    let (events, hash) = router.events(2).await;
    assert_eq!(events.iter().map(|e| e.rev).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(events[0].client, a.client.0.as_slice());
    assert_eq!(events[1].user, "bob");
    assert!(events.iter().all(|e| e.kind == event::EDIT));

    // A repeat is told its revision; a stranger and a wrong length are refused for good.
    router.submit(leader, DOC, &a).await;
    assert_eq!(router.answer(&a).await, Verdict::Already(3));
    let stranger = op(7, "eve", 1, 4, "x");
    router.submit(leader, DOC, &stranger).await;
    assert!(matches!(
        router.answer(&stranger).await,
        Verdict::Refused(_)
    ));

    // Another node says who leads, to operations and to opens.
    let other = cluster
        .topology
        .nodes()
        .iter()
        .map(|n| n.0)
        .find(|n| *n != leader)
        .unwrap();
    let elsewhere = op(1, "alice", 2, 4, "x");
    router.submit(other, DOC, &elsewhere).await;
    let Verdict::Retry(problem) = router.answer(&elsewhere).await else {
        panic!("not a retry")
    };
    assert_eq!(problem.code, Code::NotLeader as u32);
    assert_eq!(problem.leader.unwrap().node, leader.0);
    let opened = router.open(other, DOC, "alice", None).await;
    assert_eq!(code(&opened.problem), Some(Code::NotLeader));

    // Missing and forbidden look alike.
    let forbidden = router.open(leader, DOC, "eve", None).await.problem;
    let twin =
        |n: &u8| router.topology.group_of(&DocId([*n; 16])) == router.topology.group_of(&DOC);
    let missing = DocId([(4..).find(twin).unwrap(); 16]);
    let missing = router.open(leader, missing, "eve", None).await.problem;
    assert_eq!(code(&forbidden), Some(Code::NotFound));
    assert_eq!(forbidden, missing);

    // The leader goes; the feed goes on where it was.
    let resume = v1::Resume { rev: 4, hash };
    cluster.stop_node(leader).await;
    let next = router.leader(&DOC, Some(leader)).await;
    router.heard.state().data.clear();
    let follow = v1::Follow {
        doc: DOC.to_bytes(),
        after: Some(resume.clone()),
    };
    router.send(next, Body::Follow(follow)).await;
    let followed = |body: &Body| match body {
        Body::Followed(followed) => Some(followed.clone()),
        _ => None,
    };
    let followed = router.hear("followed", followed).await;
    assert_eq!(followed.problem, None);
    assert!(
        followed.resumed && followed.events.is_empty(),
        "{followed:?}"
    );
    assert_eq!((followed.rev, &followed.hash), (4, &resume.hash));
    router.submit(next, DOC, &b).await;
    assert_eq!(
        router.answer(&b).await,
        Verdict::Already(4),
        "known to the next leader too"
    );
    let more = op(2, "bob", 2, 4, "C");
    router.submit(next, DOC, &more).await;
    assert_eq!(router.events(1).await.0[0].rev, 5);

    // And back: it catches up, and may lead again.
    cluster.start_node(leader).await;
    cluster.stop_node(next).await;
    let last = router.leader(&DOC, Some(next)).await;
    let opened = router.open(last, DOC, "bob", Some(resume)).await;
    assert_eq!(opened.from(), v1::OpenedFrom::Resume, "{opened:?}");
    assert_eq!(opened.events.len(), 1);
    assert_eq!(opened.acked, None, "of another client");
    let opened = router.open(last, DOC, "bob", None).await;
    assert_eq!(text_of(&opened).len(), 5);
    for (_, node) in std::mem::take(&mut cluster.nodes) {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_reader_sees_no_history_from_before_the_grant() {
    let mut cluster = Cluster::start("reader", 1).await;
    let router = Router::start(cluster.topology.clone());
    let leader = router.leader(&DOC, None).await;
    router.call(leader, 1, DOC, "alice", create("")).await;
    let opened = router.open(leader, DOC, "alice", None).await;
    let before = v1::Resume {
        rev: 1,
        hash: opened.hash,
    };
    router
        .submit(leader, DOC, &op(1, "alice", 1, 1, "secret"))
        .await;
    router.events(1).await;
    router
        .call(leader, 2, DOC, "alice", grant("vera", Some(Role::Viewer)))
        .await;
    let (events, hash) = router.events(1).await;
    assert_eq!(
        event::read_grant(&events[0].body),
        Some(("vera", Some(Role::Viewer)))
    );
    let since = v1::Resume { rev: 3, hash };

    let opened = router.open(leader, DOC, "vera", Some(before.clone())).await;
    assert!(opened.from() == v1::OpenedFrom::State && opened.events.is_empty());
    assert_eq!(
        text_of(&opened),
        "secret",
        "the state is hers, the history is not"
    );
    let opened = router.open(leader, DOC, "vera", Some(since)).await;
    assert_eq!(opened.from(), v1::OpenedFrom::Resume);
    let opened = router
        .open(leader, DOC, "alice", Some(before.clone()))
        .await;
    assert_eq!(
        (opened.from(), opened.events.len()),
        (v1::OpenedFrom::Resume, 2)
    );
    let lie = v1::Resume {
        hash: Bytes::from_static(&[1; 32]),
        ..before
    };
    let opened = router.open(leader, DOC, "alice", Some(lie)).await;
    assert_eq!(opened.from(), v1::OpenedFrom::State);

    let describe = call::Body::Describe(v1::Describe {});
    let description = router.call(leader, 4, DOC, "vera", describe.clone()).await;
    let reply::Body::Description(description) = description else {
        panic!("{description:?}")
    };
    assert_eq!(
        (description.rev, description.role),
        (3, Role::Viewer as u32)
    );
    assert_eq!(description.permissions.len(), 2);
    let unknown = router.call(leader, 5, DOC, "eve", describe).await;
    assert!(matches!(unknown, reply::Body::Problem(p) if p.code == Code::NotFound as u32));

    // Leaders say that they lead, again and again.
    let beats = router.heard.state().beats;
    router
        .heard
        .until("beats", |state| (state.beats >= beats + 3).then_some(()))
        .await;
    let metrics = cluster.nodes[&leader].metrics();
    assert!(
        metrics.contains("codraft_node_submits_total 1"),
        "{metrics}"
    );
    let state = metrics
        .lines()
        .find_map(|line| line.strip_prefix("codraft_node_state_bytes{group=\"0\"} "));
    let state: u64 = state.unwrap().parse().unwrap();
    let own =
        cluster.nodes[&leader].with_document(&DOC, codraft_raft::machine::Document::heap_bytes);
    assert!(own.is_some_and(|own| own > 0 && state >= own), "{metrics}");
    for (_, node) in std::mem::take(&mut cluster.nodes) {
        node.shutdown().await;
    }
}
