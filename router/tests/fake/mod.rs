//! Nodes that are not: they keep their documents in memory, all the same ones, take every
//! operation as it is, and do as the test says about who leads.
#![allow(dead_code)] // each test file uses its part

pub mod client;
pub mod http;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use codraft_proto::{
    event,
    ids::DocId,
    limits::EdgeLimits,
    link::{Accept, Inbound, Lane, LinkError, LinkOptions, Outbox, serve},
    outside::{OsEntropy, Outside, SystemClock},
    reject::Code,
    tasks::Tasks,
    topology::FileTopology,
    transport::{Remote, Tcp, Transport},
    v1::{self, Hello, Message, OpenedFrom, PeerRole, answer::Verdict, call, message::Body, reply},
};
use codraft_router::{Keys, Router, RouterConfig, TokenKey};
use parking_lot::Mutex;

pub const CLUSTER: &str = "fake";
pub const TOKEN_SECRET: &[u8] = b"a secret for tests of tokens";
pub const ISSUER: &str = "an issuer for tests";
pub const AUDIENCE: &str = "an audience for tests";
pub const ORIGIN: &str = "http://page.test";

/// What all nodes hold, and who of them leads.
#[derive(Default)]
pub struct World {
    pub leader: u64,
    pub term: u64,
    docs: BTreeMap<Bytes, Doc>,
    links: Vec<Link>,
    next_link: u64,
    /// Operations are taken and nothing is said.
    pub swallow: bool,
    /// Calls are done and not answered.
    pub deaf: bool,
    /// Calls that arrived at a leader.
    pub calls: usize,
    /// Changes of roles that arrived at a leader.
    pub grants: usize,
    /// Operations are applied and nobody hears of it.
    pub mute: bool,
    /// The leader does not say that it leads.
    pub silent: bool,
    /// Operations are refused with this code.
    pub refuse: Option<Code>,
    /// States that were sent.
    pub states: usize,
    /// Submits that arrived anywhere.
    pub submits: usize,
    /// What the text of a document is at its head; none: nobody can say.
    pub digest: Option<[u8; 32]>,
    /// Times that it was asked for.
    pub checks: usize,
    /// Where people are, as the router said it, and to which node; it is told the same back.
    pub said: Vec<(u64, v1::Presence)>,
}

struct Link {
    id: u64,
    node: u64,
    outbox: Outbox,
}

#[derive(Default)]
struct Doc {
    title: String,
    kind: u32,
    created: v1::Create,
    owner: String,
    events: Vec<v1::Event>,
    roles: BTreeMap<String, u32>,
    clients: BTreeMap<(Bytes, String), (u64, u64)>,
    followers: BTreeSet<u64>,
    floor: u64,
    state: Bytes,
    /// At which revision the archive has it whole, for who starts from its state.
    kept: u64,
}

impl Doc {
    fn rev(&self) -> u64 {
        self.events.len() as u64
    }
    fn after(&self, rev: u64) -> Vec<v1::Event> {
        self.events[rev as usize..].to_vec()
    }
}

pub fn hash_at(rev: u64) -> [u8; 32] {
    [rev as u8; 32]
}

fn problem(code: Code) -> v1::Problem {
    v1::Problem {
        code: code as u32,
        message: "so the fake says".into(),
        ..Default::default()
    }
}

impl World {
    fn lead(&self) -> v1::Leadership {
        v1::Leadership {
            group: 0,
            term: self.term,
            node: self.leader,
        }
    }

    fn send(&self, link: u64, body: Body) {
        let link = self.links.iter().find(|l| l.id == link);
        if let Some(link) = link {
            let _ = link.outbox.send(Lane::Data, Message { body: Some(body) });
        }
    }

    fn not_leader(&self) -> v1::Problem {
        v1::Problem {
            leader: Some(self.lead()),
            ..problem(Code::NotLeader)
        }
    }

    fn push(&mut self, doc: &Bytes, mut event: v1::Event) -> u64 {
        let doc_of = self.docs.get_mut(doc).unwrap();
        event.rev = doc_of.rev() + 1;
        event.ts_ms = 1_000_000 + event.rev * 10;
        let rev = event.rev;
        doc_of.events.push(event.clone());
        let events = v1::Events {
            doc: doc.clone(),
            events: vec![event],
            hash: Bytes::copy_from_slice(&hash_at(rev)),
        };
        let followers = doc_of.followers.clone();
        if !self.mute {
            for link in followers {
                self.send(link, Body::Events(events.clone()));
            }
        }
        rev
    }

    fn submit(&mut self, link: u64, leads: bool, m: v1::Submit) {
        self.submits += 1;
        if leads && self.swallow {
            return;
        }
        let verdict = if !leads {
            Verdict::Retry(self.not_leader())
        } else if let Some(code) = self.refuse {
            match code.may_retry() {
                true => Verdict::Retry(problem(code)),
                false => Verdict::Refused(problem(code)),
            }
        } else {
            let known = self
                .docs
                .get(&m.doc)
                .and_then(|d| d.clients.get(&(m.client.clone(), m.user.clone())))
                .copied();
            match known {
                Some((seq, rev)) if seq == m.seq => Verdict::Already(rev),
                _ => {
                    let rev = self.docs[&m.doc].rev() + 1;
                    let doc = self.docs.get_mut(&m.doc).unwrap();
                    let author = (m.client.clone(), m.user.clone());
                    doc.clients.insert(author, (m.seq, rev));
                    let event = v1::Event {
                        client: m.client,
                        user: m.user,
                        seq: m.seq,
                        base: m.base,
                        kind: event::EDIT,
                        body: m.ops,
                        ..Default::default()
                    };
                    self.push(&m.doc, event);
                    return;
                }
            }
        };
        let answer = v1::Answer {
            doc: m.doc,
            client: m.client,
            user: m.user,
            seq: m.seq,
            base: m.base,
            verdict: Some(verdict),
        };
        self.send(link, Body::Answer(answer));
    }

    fn open(&mut self, link: u64, leads: bool, m: v1::Open) {
        let mut opened = v1::Opened {
            tag: m.tag,
            doc: m.doc.clone(),
            ..Default::default()
        };
        let role = self
            .docs
            .get(&m.doc)
            .and_then(|d| d.roles.get(&m.user))
            .copied();
        match role {
            _ if !leads => opened.problem = Some(self.not_leader()),
            None => opened.problem = Some(problem(Code::NotFound)),
            Some(role) => {
                let doc = self.docs.get_mut(&m.doc).unwrap();
                doc.followers.insert(link);
                let rev = doc.rev();
                opened.role = role;
                opened.kind = doc.kind;
                opened.algebra = "delta-1".into();
                opened.title = doc.title.clone();
                opened.rev = rev;
                opened.hash = Bytes::copy_from_slice(&hash_at(rev));
                opened.ts_ms = 1_000_000 + rev * 10;
                opened.acked = doc
                    .clients
                    .get(&(m.client, m.user))
                    .map(|(seq, rev)| v1::Acked {
                        seq: *seq,
                        rev: *rev,
                    });
                let reaches = |r: &v1::Resume| r.rev >= doc.floor && r.rev <= rev;
                let own = opened.acked.as_ref().map_or(0, |acked| acked.rev);
                let holds = |r: &v1::Resume| reaches(r) && r.rev >= own;
                let (resume, held) = (m.resume.filter(reaches), m.held.filter(holds));
                let start = match (&resume, &held) {
                    (Some(_), _) => OpenedFrom::Resume,
                    (None, Some(_)) => OpenedFrom::Held,
                    (None, None) if m.bring => OpenedFrom::State,
                    (None, None) => OpenedFrom::Nothing,
                };
                opened.from = start.into();
                match resume.or(held) {
                    Some(from) => opened.events = doc.after(from.rev),
                    None if m.bring => {
                        opened.state = doc.state.clone();
                        opened.kept = doc.kept;
                        opened.state_at = Some(v1::Resume {
                            rev,
                            hash: opened.hash.clone(),
                        });
                        self.states += 1;
                    }
                    None => {}
                }
            }
        }
        self.send(link, Body::Opened(opened));
    }

    fn follow(&mut self, link: u64, leads: bool, m: v1::Follow) {
        let mut followed = v1::Followed {
            doc: m.doc.clone(),
            ..Default::default()
        };
        if leads {
            let doc = self.docs.get_mut(&m.doc).unwrap();
            doc.followers.insert(link);
            let after = m.after.unwrap().rev;
            followed.rev = doc.rev();
            followed.hash = Bytes::copy_from_slice(&hash_at(doc.rev()));
            followed.resumed = after >= doc.floor;
            if followed.resumed {
                followed.events = doc.after(after);
            }
        } else {
            followed.problem = Some(self.not_leader());
        }
        self.send(link, Body::Followed(followed));
    }

    fn check(&mut self, link: u64, m: v1::Check) {
        self.checks += 1;
        let is_head = self.docs[&m.doc].rev() == m.rev;
        let digest = self.digest.filter(|_| is_head);
        let digest = digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(&digest));
        let (doc, rev) = (m.doc, m.rev);
        self.send(link, Body::Checked(v1::Checked { doc, rev, digest }));
    }

    /// Tells a router that its people are where it says, and that those are all.
    fn presence(&mut self, link: u64, m: v1::Presence) {
        let node = self
            .links
            .iter()
            .find(|l| l.id == link)
            .map_or(0, |l| l.node);
        self.send(
            link,
            Body::Presences(v1::Presences {
                doc: m.doc.clone(),
                people: m.people.clone(),
                whole: m.whole,
            }),
        );
        self.said.push((node, m));
    }

    pub fn tell_people(&self, doc: DocId, people: Vec<v1::Person>) {
        let told = v1::Presences {
            doc: doc.to_bytes(),
            people,
            whole: false,
        };
        for link in self.links.iter().filter(|l| l.node == self.leader) {
            self.send(link.id, Body::Presences(told.clone()));
        }
    }

    fn call(&mut self, link: u64, leads: bool, m: v1::Call) {
        let body = if leads {
            self.answer(&m)
        } else {
            reply::Body::Problem(self.not_leader())
        };
        self.calls += usize::from(leads);
        if leads && self.deaf {
            return;
        }
        self.send(
            link,
            Body::Reply(v1::Reply {
                id: m.id,
                body: Some(body),
            }),
        );
    }

    fn answer(&mut self, m: &v1::Call) -> reply::Body {
        let role = self
            .docs
            .get(&m.doc)
            .and_then(|d| d.roles.get(&m.user))
            .copied();
        match (m.body.clone().unwrap(), role) {
            (call::Body::Create(create), _) if !self.docs.contains_key(&m.doc) => {
                let doc = Doc {
                    title: create.title.clone(),
                    kind: create.kind,
                    created: create,
                    owner: m.user.clone(),
                    roles: [(m.user.clone(), 4)].into(),
                    ..Doc::default()
                };
                self.docs.insert(m.doc.clone(), doc);
                let event = v1::Event {
                    kind: event::CREATE,
                    user: m.user.clone(),
                    ..Default::default()
                };
                reply::Body::Rev(self.push(&m.doc, event))
            }
            (call::Body::Create(create), _)
                if self.docs.get(&m.doc).is_some_and(|d| d.created == create) =>
            {
                reply::Body::Rev(1)
            }
            (call::Body::Create(_), _) => reply::Body::Problem(problem(Code::Exists)),
            (_, None) => reply::Body::Problem(problem(Code::NotFound)),
            (call::Body::Grant(grant), Some(4)) => {
                self.grants += 1;
                reply::Body::Rev(self.grant(&m.doc, &m.user, &grant.user, grant.role))
            }
            (call::Body::Grant(_), _) => reply::Body::Problem(problem(Code::Forbidden)),
            (call::Body::Kept(_), _) => reply::Body::Rev(0),
            (call::Body::Events(asked), _) => {
                let mut events = self.docs[&m.doc].after(asked.from - 1);
                events.retain(|event| event.rev <= asked.to);
                reply::Body::Events(v1::PastEvents { events })
            }
            (call::Body::History(_), _) => reply::Body::Past(v1::PastDocument {
                rev: 1,
                ..Default::default()
            }),
            (_, Some(role)) => {
                let doc = &self.docs[&m.doc];
                let permission = |(user, role): (&String, &u32)| v1::Permission {
                    user: user.clone(),
                    role: *role,
                    rev: 1,
                };
                reply::Body::Description(v1::Description {
                    doc: m.doc.clone(),
                    title: doc.title.clone(),
                    owner: doc.owner.clone(),
                    kind: doc.kind,
                    algebra: "delta-1".into(),
                    rev: doc.rev(),
                    role,
                    permissions: doc.roles.iter().map(permission).collect(),
                    ..Default::default()
                })
            }
        }
    }

    fn grant(&mut self, doc: &Bytes, by: &str, user: &str, role: u32) -> u64 {
        let roles = &mut self.docs.get_mut(doc).unwrap().roles;
        match role {
            0 => roles.remove(user),
            role => roles.insert(user.to_owned(), role),
        };
        let role = codraft_proto::ids::Role::from_number(role);
        let event = v1::Event {
            kind: event::GRANT,
            user: by.to_owned(),
            body: event::grant_body(user, role),
            ..Default::default()
        };
        self.push(doc, event)
    }

    fn tell_lead(&self) {
        for link in self.links.iter().filter(|l| l.node == self.leader) {
            let body = Some(Body::Leadership(self.lead()));
            let _ = link.outbox.send(Lane::Control, Message { body });
        }
    }

    /// Every node tells of these routers.
    pub fn tell_routers(&self, addresses: &[&str]) {
        let addresses: Vec<_> = addresses.iter().map(|a| (*a).to_owned()).collect();
        for Link { id, .. } in &self.links {
            let addresses = addresses.clone();
            self.send(*id, Body::Routers(v1::Routers { addresses }));
        }
    }
}

struct Node {
    id: u64,
    world: Arc<Mutex<World>>,
}

impl Accept for Node {
    fn accept(
        &self,
        peer: &Hello,
        _remote: &Remote,
        outbox: Outbox,
    ) -> Result<Arc<dyn Inbound>, LinkError> {
        assert_eq!(peer.role(), PeerRole::Router);
        let mut world = self.world.lock();
        world.next_link += 1;
        let link = world.next_link;
        world.links.push(Link {
            id: link,
            node: self.id,
            outbox,
        });
        if world.leader == self.id && !world.silent {
            world.tell_lead();
        }
        Ok(Arc::new(FromRouter {
            link,
            node: self.id,
            world: self.world.clone(),
        }))
    }
}

struct FromRouter {
    link: u64,
    node: u64,
    world: Arc<Mutex<World>>,
}

impl Inbound for FromRouter {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        let mut world = self.world.lock();
        let (link, leads) = (self.link, world.leader == self.node);
        for message in messages {
            match message.body.unwrap() {
                Body::Submit(m) => world.submit(link, leads, m),
                Body::Open(m) => world.open(link, leads, m),
                Body::Follow(m) => world.follow(link, leads, m),
                Body::Call(m) => world.call(link, leads, m),
                Body::Check(m) => world.check(link, m),
                Body::Presence(m) => world.presence(link, m),
                Body::Unfollow(m) => {
                    if let Some(doc) = world.docs.get_mut(&m.doc) {
                        doc.followers.remove(&link);
                    }
                }
                _ => {}
            }
        }
    }

    fn closed(&self, _reason: &LinkError) {
        let mut world = self.world.lock();
        world.links.retain(|l| l.id != self.link);
        for doc in world.docs.values_mut() {
            doc.followers.remove(&self.link);
        }
    }
}

/// A router before two such nodes.
pub struct Scene {
    pub world: Arc<Mutex<World>>,
    pub router: Router,
    nodes: BTreeMap<u64, Tasks>,
    tasks: Tasks,
}

pub fn outside() -> Outside {
    Outside {
        transport: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        seed: 7,
        entropy: Arc::new(OsEntropy),
    }
}

impl Scene {
    pub async fn new() -> Scene {
        Self::with(EdgeLimits::default()).await
    }

    pub async fn with(limits: EdgeLimits) -> Scene {
        Self::at("", limits).await
    }

    /// Before a router that clients are sent to by this address.
    pub async fn at(public_url: &str, limits: EdgeLimits) -> Scene {
        let world = World {
            leader: 1,
            term: 1,
            ..World::default()
        };
        let world = Arc::new(Mutex::new(world));
        let tasks = Tasks::new();
        let (mut entries, mut listeners) = (Vec::new(), Vec::new());
        for id in 1..=2 {
            let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
            entries.push((id, listener.local_address().unwrap()).into());
            listeners.push(listener);
        }
        let topology = FileTopology {
            cluster: CLUSTER.into(),
            groups: 1,
            retention_ms: 0,
            nodes: entries,
        };
        let mut nodes = BTreeMap::new();
        for (id, listener) in (1..).zip(listeners) {
            let hello = Hello {
                disk: Bytes::from_static(&[1; 16]),
                ..Hello::new(&topology, PeerRole::Node, id, 1)
            };
            let node_tasks = tasks.child();
            let accept = Arc::new(Node {
                id,
                world: world.clone(),
            });
            serve(&node_tasks, listener, hello, accept, LinkOptions::default());
            nodes.insert(id, node_tasks);
        }
        let beats = world.clone();
        tasks.spawn("beats", async move {
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let world = beats.lock();
                if !world.silent {
                    world.tell_lead();
                }
            }
        });
        let keys = Keys {
            tokens: vec![TokenKey::secret(TOKEN_SECRET, ISSUER, AUDIENCE)],
            ticket_secret: b"a secret for tests of tickets".into(),
        };
        let mut config = RouterConfig::new("127.0.0.1:0", Arc::new(topology), keys);
        config.origins = vec![ORIGIN.to_owned()];
        config.limits = limits;
        config.page = true;
        config.public_url = public_url.to_owned();
        let router = Router::start(config, outside()).await.unwrap();
        let scene = Scene {
            world,
            router,
            nodes,
            tasks,
        };
        scene.ready().await;
        scene
    }

    async fn ready(&self) {
        for _ in 0..500 {
            if http::get(self.router.address(), "/readyz", "").await.status == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the router does not become ready");
    }

    /// A document with these users: (name, role's number).
    pub fn document(&self, id: u8, users: &[(&str, u32)]) -> DocId {
        let doc = DocId([id; 16]);
        let roles = users
            .iter()
            .map(|(user, role)| ((*user).to_owned(), *role))
            .collect();
        let content = Doc {
            title: "T".into(),
            kind: 1,
            owner: "ana".into(),
            roles,
            state: Bytes::from_static(b"\x06\n"),
            ..Doc::default()
        };
        self.world.lock().docs.insert(doc.to_bytes(), content);
        doc
    }

    pub fn with_world<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        change(&mut self.world.lock())
    }

    /// Another node leads, and says so.
    pub fn lead(&self, node: u64) {
        let mut world = self.world.lock();
        world.leader = node;
        world.term += 1;
        world.tell_lead();
    }

    /// Another one leads, and the links of the one before are told that they are fed no more.
    pub fn step_down(&self, next: u64) {
        let mut world = self.world.lock();
        let before = std::mem::replace(&mut world.leader, next);
        world.term += 1;
        for doc in world.docs.values_mut() {
            doc.followers.clear();
        }
        let cut = v1::CutAll {
            group: 0,
            problem: Some(world.not_leader()),
        };
        let links = world.links.iter().filter(|link| link.node == before);
        for link in links.map(|link| link.id) {
            world.send(link, Body::CutAll(cut.clone()));
        }
    }

    /// Another node leads, and does not say so by itself.
    pub fn lead_quietly(&self, node: u64) {
        let mut world = self.world.lock();
        world.leader = node;
        world.term += 1;
    }

    /// A node is gone, links and all.
    pub async fn kill(&self, node: u64) {
        self.nodes[&node].shutdown().await;
        self.with_world(|w| w.links.retain(|l| l.node != node));
    }

    pub fn is_followed(&self, doc: DocId) -> bool {
        self.with_world(|w| !w.docs[&doc.to_bytes()].followers.is_empty())
    }

    pub fn grant(&self, doc: DocId, user: &str, role: u32) -> u64 {
        self.with_world(|w| w.grant(&doc.to_bytes(), "ana", user, role))
    }

    /// What who opens it gets, in ot's binary form.
    pub fn set_state(&self, doc: DocId, state: Bytes) {
        self.with_world(|w| w.docs.get_mut(&doc.to_bytes()).unwrap().state = state);
    }

    /// The archive has it whole.
    pub fn keep(&self, doc: DocId, rev: u64) {
        self.with_world(|w| w.docs.get_mut(&doc.to_bytes()).unwrap().kept = rev);
    }

    /// An edit that makes of it what it was.
    pub fn restore(&self, doc: DocId, version: u64, ops: Bytes) {
        let event = v1::Event {
            kind: event::EDIT,
            user: "ana".into(),
            body: ops,
            restored: version,
            ..Default::default()
        };
        self.with_world(|w| w.push(&doc.to_bytes(), event));
    }

    /// An edit that is none.
    pub fn spoil(&self, doc: DocId) {
        let event = v1::Event {
            kind: event::EDIT,
            user: "ana".into(),
            body: Bytes::from_static(&[0xff]),
            ..Default::default()
        };
        self.with_world(|w| w.push(&doc.to_bytes(), event));
    }

    pub fn rev(&self, doc: DocId) -> u64 {
        self.with_world(|w| w.docs[&doc.to_bytes()].rev())
    }

    /// Forgets the history up to the head.
    pub fn trim(&self, doc: DocId) {
        self.with_world(|w| {
            let doc = w.docs.get_mut(&doc.to_bytes()).unwrap();
            doc.floor = doc.rev();
        });
    }

    pub async fn end(self) {
        self.router.shutdown().await;
        self.tasks.shutdown().await;
    }
}
