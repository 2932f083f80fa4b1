//! The cluster, and a router's side of its links.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use codraft_node::{Node, NodeConfig, NodeOutside};
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::{
    disk::OsDisk,
    ids::{ClientId, DocId, GroupId, NodeId, Role},
    link::{self, Dialled, Inbound, Lane, LinkError, LinkOptions, Outbox},
    outside::{OsEntropy, SystemClock},
    reject::Code,
    tasks::Tasks,
    topology::{FileTopology, Topology},
    transport::{Tcp, Transport},
    v1::{self, Hello, Message, PeerRole, answer::Verdict, call, message::Body, reply},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::timeout};

fn outside() -> codraft_proto::outside::Outside {
    codraft_proto::outside::Outside {
        transport: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        seed: 11,
        entropy: Arc::new(OsEntropy),
    }
}

pub struct Cluster {
    pub topology: Arc<FileTopology>,
    root: PathBuf,
    pub nodes: BTreeMap<NodeId, Node>,
}

impl Cluster {
    pub async fn start(name: &str, groups: u32) -> Self {
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

    pub async fn start_node(&mut self, id: NodeId) {
        let address = self.topology.address(id).unwrap();
        let data = self.root.join(id.to_string());
        let config = NodeConfig::new(id, address, data, self.topology.clone());
        let outside = NodeOutside {
            common: outside(),
            disk: Arc::new(OsDisk::start().unwrap()),
        };
        let node = Node::start(config, outside).await.unwrap();
        self.nodes.insert(id, node);
    }

    pub async fn stop_node(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().shutdown().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The router's side: all links, and what came on them.
pub struct Router {
    pub topology: Arc<FileTopology>,
    tasks: Tasks,
    pub heard: Arc<Heard>,
}

#[derive(Default)]
pub struct Heard {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub struct State {
    outboxes: BTreeMap<NodeId, Outbox>,
    leads: BTreeMap<GroupId, v1::Leadership>,
    /// Where clients reach the routers, as each node tells.
    pub routers: BTreeMap<NodeId, Vec<String>>,
    pub beats: usize,
    pub data: VecDeque<(NodeId, Body)>,
}

pub struct Road(NodeId, Arc<Heard>);

impl Heard {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub async fn until<R>(&self, what: &str, mut find: impl FnMut(&mut State) -> Option<R>) -> R {
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
                Body::Routers(m) => drop(state.routers.insert(self.0, m.addresses)),
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
    pub fn start(topology: Arc<FileTopology>) -> Self {
        Self::start_at(topology, "")
    }

    /// One that clients are sent to by this address.
    pub fn start_at(topology: Arc<FileTopology>, address: &str) -> Self {
        let (tasks, heard) = (Tasks::new(), Arc::new(Heard::default()));
        let hello = Hello {
            address: address.to_owned(),
            ..Hello::new(&*topology, PeerRole::Router, 77, 1)
        };
        for (node, address) in topology.nodes() {
            let road = Arc::new(Road(node, heard.clone()));
            let options = LinkOptions::default();
            link::dial(&tasks, &outside(), address, hello.clone(), road, options);
        }
        Self {
            topology,
            tasks,
            heard,
        }
    }

    /// Its links end.
    pub async fn stop(self) {
        self.tasks.shutdown().await;
    }

    /// The leader of a document's group, once there is one that is not `except`.
    pub async fn leader(&self, doc: &DocId, except: Option<NodeId>) -> NodeId {
        let group = self.topology.group_of(doc);
        let leader = |state: &mut State| {
            let node = NodeId(state.leads.get(&group)?.node);
            (Some(node) != except && state.outboxes.contains_key(&node)).then_some(node)
        };
        self.heard.until("a leader", leader).await
    }

    pub async fn send(&self, node: NodeId, body: Body) {
        let outbox = |state: &mut State| state.outboxes.get(&node).cloned();
        let outbox = self.heard.until("a link", outbox).await;
        outbox
            .send(Lane::Data, Message { body: Some(body) })
            .unwrap();
    }

    /// Takes the first message on a data lane that `find` wants; the others stay.
    pub async fn hear<R>(&self, what: &str, find: impl Fn(&Body) -> Option<R>) -> R {
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

    pub async fn call(
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

    pub async fn open(
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
    pub async fn starts(
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

    pub async fn submit(&self, node: NodeId, doc: DocId, op: &Op) {
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

    pub async fn answer(&self, op: &Op) -> Verdict {
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
    pub async fn events(&self, count: usize) -> (Vec<v1::Event>, Bytes) {
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
pub struct Op {
    pub client: ClientId,
    pub user: &'static str,
    pub seq: u64,
    pub base: u64,
    pub ops: Bytes,
}

pub fn op(client: u8, user: &'static str, seq: u64, base: u64, text: &str) -> Op {
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

pub fn create(text: &str) -> call::Body {
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

pub fn grant(user: &str, role: Option<Role>) -> call::Body {
    call::Body::Grant(v1::Grant {
        user: user.into(),
        role: role.map_or(0, |r| r as u32),
    })
}

pub fn text_of(opened: &v1::Opened) -> String {
    let delta = Delta::decode(&opened.state, &Limits::default()).unwrap();
    Content::from_delta(Kind::Text, &delta, &Limits::default())
        .unwrap()
        .text()
}

pub fn code(problem: &Option<v1::Problem>) -> Option<Code> {
    Code::from_number(problem.as_ref()?.code)
}

pub const DOC: DocId = DocId([3; 16]);
