//! Three nodes' groups in one process, joined by links that can be cut.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use codraft_ot::{Delta, Kind};
use codraft_proto::{
    disk::{Disk, memory::MemoryDisk},
    ids::{ClientId, DocId, GroupId, NodeId, Revision, Seq},
    link::{Lane, Outbox},
    outside::{Clock, Entropy, Outside},
    tasks::Tasks,
    transport::{BoxFuture, Tcp},
    v1::{self, Fetch, Fetched, Message, message::Body, raft_call},
};
use codraft_raft::{
    archive::{Archive, RoundOptions},
    command::{Algebra, Command, Create, Edit, LEVEL},
    group::{
        AppliedSink, Borrowed, BulkLink, GroupEvents, Groups, Kept, Leadership, LogId, Origin,
        Peers, ProposeResult, RaftConfig, Sinks,
    },
    machine::{Applied, Outcome, Shard},
    pages::PageOptions,
    suspect::Suspicion,
    wal::{Wal, WalOptions},
};
use parking_lot::Mutex;
use tokio::sync::mpsc;

pub struct CountingClock(AtomicU64);

impl Clock for CountingClock {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

struct NoEntropy;
impl Entropy for NoEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

impl CountingClock {
    pub fn jump(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

pub fn outside(clock: Arc<CountingClock>) -> Outside {
    Outside {
        transport: Arc::new(Tcp),
        clock,
        seed: 1,
        entropy: Arc::new(NoEntropy),
    }
}

pub type JournalEntry = (GroupId, (u64, u64), Vec<(DocId, u64)>);

/// What the groups of one node said.
#[derive(Default)]
pub struct Heard {
    pub applied: AtomicU64,
    pub batches: AtomicU64,
    /// Whether what is applied next meets a fault.
    pub faulty: AtomicBool,
    pub leads: Mutex<Vec<Leadership>>,
    /// By entry: group, term and index, and its events.
    pub journal: Mutex<Vec<JournalEntry>>,
    pub answers: Mutex<BTreeMap<u64, mpsc::Sender<(Origin, ProposeResult)>>>,
}

struct Ears(Arc<Heard>);

impl AppliedSink for Ears {
    fn applied(&mut self, _shard: &Shard, _log_id: LogId, applied: &[Applied]) {
        self.0
            .applied
            .fetch_add(applied.len() as u64, Ordering::Relaxed);
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        assert!(!self.0.faulty.load(Ordering::Relaxed), "planted");
    }
    fn leadership_changed(&mut self, lead: Leadership) {
        self.0.leads.lock().push(lead);
    }
}

impl GroupEvents for Ears {
    fn answered(&mut self, origin: Origin, answer: ProposeResult) {
        if let Some(told) = self.0.answers.lock().get(&origin.link) {
            let _ = told.try_send((origin, answer));
        }
    }
}

/// Told after the ears, of the same: the log id, and the document and revision of each event.
struct Journal(Arc<Heard>);

impl AppliedSink for Journal {
    fn applied(&mut self, shard: &Shard, log_id: LogId, applied: &[Applied]) {
        assert_eq!(shard.applied(), log_id.index);
        let events = applied.iter().filter_map(|applied| applied.event.as_ref());
        let entry = events.map(|event| (event.doc, event.rev.0)).collect();
        let term = log_id.leader_id.term;
        let mut journal = self.0.journal.lock();
        journal.push((shard.group(), (term, log_id.index), entry));
        assert_eq!(journal.len() as u64, self.0.batches.load(Ordering::Relaxed));
    }
    fn leadership_changed(&mut self, _lead: Leadership) {}
}

/// One node's links: detached outboxes, pumped by tasks.
#[derive(Default)]
pub struct Links {
    pub outboxes: Mutex<BTreeMap<NodeId, Outbox>>,
    groups: Mutex<BTreeMap<NodeId, Arc<Groups>>>,
    /// Who does not answer when pages are asked for, and how often that was.
    pub silent: Arc<Mutex<Option<NodeId>>>,
    pub unanswered: AtomicU64,
    /// Nobody can be asked for pages.
    pub alone: AtomicBool,
    /// What was last to be installed here.
    pub asked: Mutex<Option<v1::Install>>,
}

/// To another node's groups, without a wire between.
struct Direct(Arc<Groups>, Borrowed);

impl BulkLink for Direct {
    fn fetch(&self, request: Fetch) -> BoxFuture<'_, Result<Fetched, String>> {
        Box::pin(async { Ok(self.0.fetch(request, &self.1).await) })
    }
}

/// To a node that stands still; broken once it does not any more.
struct Silent(Arc<Mutex<Option<NodeId>>>);

impl BulkLink for Silent {
    fn fetch(&self, _: Fetch) -> BoxFuture<'_, Result<Fetched, String>> {
        Box::pin(async {
            while self.0.lock().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err("it stood still".into())
        })
    }
}

impl Peers for Links {
    fn outbox(&self, node: NodeId) -> Option<Outbox> {
        self.outboxes.lock().get(&node).cloned()
    }

    fn linked(&self) -> Vec<Outbox> {
        self.outboxes.lock().values().cloned().collect()
    }

    fn level(&self, node: NodeId) -> Option<u32> {
        self.outboxes.lock().contains_key(&node).then_some(LEVEL)
    }

    fn bulk(&self, node: NodeId) -> Option<Box<dyn BulkLink>> {
        if self.alone.load(Ordering::Relaxed) {
            return None;
        }
        if *self.silent.lock() == Some(node) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return Some(Box::new(Silent(self.silent.clone())));
        }
        let groups = self.groups.lock().get(&node).cloned()?;
        Some(Box::new(Direct(groups, Borrowed::default())))
    }
}

pub struct Node {
    pub id: NodeId,
    pub groups: Arc<Groups>,
    pub links: Arc<Links>,
    pub heard: Arc<Heard>,
    pub suspicion: OnceLock<Suspicion>,
    pub tasks: Tasks,
    pub dead: AtomicBool,
    pub incarnation: u64,
    pub wal: Wal,
    pub clock: Arc<CountingClock>,
}

/// Which node it is, in whose place, and whether it applies otherwise than the others.
struct Place {
    id: NodeId,
    seat: NodeId,
    odd: bool,
}

pub struct Cluster {
    pub nodes: Vec<Arc<Node>>,
    pub disks: Vec<Arc<MemoryDisk>>,
    pub groups: u32,
    incarnations: u64,
}

/// Opens what nodes archive to; in tests that know of no archive nodes have none.
pub static ARCHIVE: OnceLock<OpenArchive> = OnceLock::new();
pub type OpenArchive = fn(Arc<dyn Disk>) -> BoxFuture<'static, Arc<dyn Archive>>;

pub const G: GroupId = GroupId(0);
pub const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

impl Cluster {
    pub async fn start(groups: u32, suspicion: bool) -> Cluster {
        let disks: Vec<_> = NODES.iter().map(|_| Arc::new(MemoryDisk::new())).collect();
        Self::on(disks, groups, suspicion, 1, None).await
    }

    /// One of its nodes applies late operations otherwise than the others.
    pub async fn with_an_odd_one(odd: NodeId) -> Cluster {
        let disks = NODES.iter().map(|_| Arc::new(MemoryDisk::new())).collect();
        Self::on(disks, 1, true, 1, Some(odd)).await
    }

    pub async fn on(
        disks: Vec<Arc<MemoryDisk>>,
        groups: u32,
        suspicion: bool,
        incarnation: u64,
        odd: Option<NodeId>,
    ) -> Cluster {
        let mut nodes = Vec::new();
        for (id, disk) in NODES.into_iter().zip(&disks) {
            let place = Place {
                id,
                seat: id,
                odd: odd == Some(id),
            };
            let node = Node::start(place, disk.clone(), groups, incarnation).await;
            nodes.push(Arc::new(node));
        }
        for from in &nodes {
            for to in &nodes {
                if from.id != to.id {
                    join(from, to);
                }
            }
        }
        if suspicion {
            for node in &nodes {
                let suspicion =
                    Suspicion::start(node.groups.clone(), node.links.clone(), &node.tasks);
                for other in nodes.iter().filter(|n| n.id != node.id) {
                    suspicion.link_up(other.id, other.incarnation);
                }
                let _ = node.suspicion.set(suspicion);
            }
        }
        Cluster {
            nodes,
            disks,
            groups,
            incarnations: incarnation,
        }
    }

    pub fn node(&self, id: NodeId) -> &Arc<Node> {
        self.nodes.iter().find(|n| n.id == id).unwrap()
    }

    /// A living node that leads the group, as that node itself says.
    pub async fn leader(&self, group: GroupId) -> Arc<Node> {
        let found = async {
            loop {
                for node in self
                    .nodes
                    .iter()
                    .filter(|n| !n.dead.load(Ordering::Relaxed))
                {
                    if node.groups.group(group).unwrap().leadership().node == Some(node.id) {
                        return node.clone();
                    }
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found)
            .await
            .expect("no leader")
    }

    /// As `kill -9`: the links break and redials are refused. The others see it where
    /// `seen`.
    pub fn kill(&self, node: &Arc<Node>, seen: bool) {
        node.dead.store(true, Ordering::Relaxed);
        node.links.outboxes.lock().clear();
        node.tasks.abort();
        for other in self.nodes.iter().filter(|n| n.id != node.id) {
            let gone = other.links.outboxes.lock().remove(&node.id);
            if let Some(outbox) = gone {
                outbox.close();
            }
            other.groups.peer_lost(node.id);
            if seen && let Some(suspicion) = other.suspicion.get() {
                suspicion.link_broke(node.id, node.incarnation);
                suspicion.redial_refused(node.id);
            }
        }
    }

    /// Ends all nodes in order.
    pub async fn stop(&self) {
        for node in &self.nodes {
            node.groups.shutdown().await;
            node.tasks.shutdown().await;
        }
    }

    /// Stops all and starts again from the disks.
    pub async fn restart(self, suspicion: bool) -> Cluster {
        self.stop().await;
        let (groups, incarnation) = (self.groups, self.incarnations + 1);
        Self::on(self.disks, groups, suspicion, incarnation, None).await
    }

    /// Starts a node that is to take the place of another one, on an empty disk.
    pub async fn add(&mut self, id: NodeId, seat: NodeId) -> Arc<Node> {
        let disk = Arc::new(MemoryDisk::new());
        let (groups, incarnation) = (self.groups, self.incarnations);
        let place = Place {
            id,
            seat,
            odd: false,
        };
        let node = Arc::new(Node::start(place, disk.clone(), groups, incarnation).await);
        self.nodes.push(node.clone());
        self.disks.push(disk);
        self.join(&node);
        node
    }

    /// Cuts a node off from all others, who are not told.
    pub fn part(&self, node: &Arc<Node>) {
        for other in self.nodes.iter().filter(|n| n.id != node.id) {
            for (from, to) in [(node, other), (other, node)] {
                let gone = from.links.outboxes.lock().remove(&to.id);
                gone.into_iter().for_each(|outbox| outbox.close());
                from.groups.peer_lost(to.id);
            }
        }
    }

    /// Brings it back.
    pub fn join(&self, node: &Arc<Node>) {
        for other in self.nodes.iter().filter(|n| n.id != node.id) {
            join(node, other);
            join(other, node);
        }
    }

    pub async fn equal(&self, group: GroupId) -> [u8; 32] {
        let equal = async {
            loop {
                let alive = self
                    .nodes
                    .iter()
                    .filter(|n| !n.dead.load(Ordering::Relaxed));
                let states: Vec<_> = alive
                    .map(|n| {
                        n.groups
                            .group(group)
                            .unwrap()
                            .with(|s| (s.applied(), s.digest()))
                    })
                    .collect();
                if states.windows(2).all(|w| w[0] == w[1]) {
                    return states[0].1;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), equal)
            .await
            .expect("replicas differ")
    }
}

impl Node {
    /// What a group applied here, by entry.
    pub fn journal(&self, group: GroupId) -> Vec<JournalEntry> {
        let journal = self.heard.journal.lock();
        journal
            .iter()
            .filter(|(of, ..)| *of == group)
            .cloned()
            .collect()
    }

    async fn start(
        Place { id, seat, odd }: Place,
        disk: Arc<MemoryDisk>,
        groups: u32,
        incarnation: u64,
    ) -> Node {
        let tasks = Tasks::new();
        let options = WalOptions {
            segment_bytes: 8 << 20,
            ..WalOptions::default()
        };
        let disk: Arc<dyn Disk> = disk;
        let (wal, _) = Wal::open(&tasks, disk.clone(), PathBuf::from("/wal"), options)
            .await
            .unwrap();
        let links = Arc::new(Links::default());
        let heard = Arc::new(Heard::default());
        let groups = (0..groups).map(|g| (GroupId(g), NODES.to_vec())).collect();
        let mut config = RaftConfig::new(id, groups);
        config.keep.tail_commands = 64;
        config.limits.quiet_ms = 6_000;
        config.seats.insert(id, seat);
        if odd {
            config.machine.window_events = 4;
        }
        let clock = Arc::new(CountingClock(AtomicU64::new(1_000)));
        let sinks =
            |_| Sinks::new(Box::new(Ears(heard.clone()))).with(Box::new(Journal(heard.clone())));
        let options = PageOptions {
            file_bytes: 64 << 10,
        };
        let kept = Kept::open(disk.clone(), Path::new("/data"), options).await;
        let kept = match ARCHIVE.get() {
            None => kept.unwrap(),
            Some(archive) => {
                let rounds = RoundOptions {
                    bytes: 16 << 10,
                    ..RoundOptions::default()
                };
                kept.unwrap().archived(archive(disk).await, rounds)
            }
        };
        let started = Groups::start(
            config,
            wal.clone(),
            links.clone(),
            &tasks,
            &outside(clock.clone()),
            kept,
            sinks,
        )
        .await;
        Node {
            id,
            groups: Arc::new(started.unwrap()),
            links,
            heard: heard.clone(),
            suspicion: OnceLock::new(),
            tasks,
            dead: AtomicBool::new(false),
            incarnation,
            wal,
            clock,
        }
    }

    /// Where answers with `link` of an origin go.
    pub fn answers(&self, link: u64) -> mpsc::Receiver<(Origin, ProposeResult)> {
        let (told, answers) = mpsc::channel(65_536);
        self.heard.answers.lock().insert(link, told);
        answers
    }
}

/// A link from one node to another: what is asked goes one way, answers come back.
fn join(from: &Arc<Node>, to: &Arc<Node>) {
    let (there, back) = (Outbox::detached(), Outbox::detached());
    from.links.outboxes.lock().insert(to.id, there.clone());
    let groups = to.groups.clone();
    from.links.groups.lock().insert(to.id, groups);
    for lane in [Lane::Control, Lane::Data] {
        let (asker, other, asked, answer) = (from.id, to.clone(), there.clone(), back.clone());
        let broken = there.clone();
        to.tasks.spawn("asked", async move {
            while let Some(messages) = asked.taken(lane).await {
                messages
                    .into_iter()
                    .for_each(|m| serve(&other, asker, lane, m, &answer));
            }
        });
        let (node, other, answers) = (from.clone(), to.id, back.clone());
        from.tasks.spawn("answers", async move {
            while let Some(messages) = answers.taken(lane).await {
                if broken.is_closed() {
                    return;
                }
                messages.into_iter().for_each(|m| answered(&node, other, m));
            }
        });
    }
}

fn serve(node: &Node, from: NodeId, lane: Lane, message: Message, back: &Outbox) {
    match message.body {
        Some(Body::RaftCall(call)) => {
            if let Some(raft_call::Body::Install(install)) = &call.body {
                *node.links.asked.lock() = Some(*install);
            }
            node.groups.handle(from, lane, call, back);
        }
        Some(Body::Pulse(pulse)) => {
            if let Some(suspicion) = node.suspicion.get() {
                suspicion.handle_pulse(from, pulse, back);
            }
        }
        Some(Body::Suspect(suspect)) => {
            if let Some(suspicion) = node.suspicion.get() {
                suspicion.handle(from, suspect, back);
            }
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn answered(node: &Node, from: NodeId, message: Message) {
    match message.body {
        Some(Body::RaftReply(reply)) => node.groups.handle_reply(reply),
        Some(Body::PulseBack(pulse)) => {
            node.suspicion
                .get()
                .into_iter()
                .for_each(|s| s.pulse_received(from, &pulse));
        }
        Some(Body::SuspectReply(reply)) => {
            node.suspicion
                .get()
                .into_iter()
                .for_each(|s| s.handle_reply(from, reply.clone()));
        }
        other => panic!("unexpected {other:?}"),
    }
}

pub fn doc(n: u64) -> DocId {
    DocId([n as u8; 16])
}

pub fn create(n: u64) -> Command {
    Command::Create(Create {
        doc: doc(n),
        kind: Kind::Text,
        algebra: Algebra::Delta1,
        title: "a title".into(),
        owner: "ann".into(),
        initial: None,
    })
}

/// Inserts one letter at the start.
pub fn edit(n: u64, client: u64, seq: u64, base: u64) -> Command {
    let mut delta = Delta::new();
    delta.insert("x");
    let mut ops = Vec::new();
    delta.encode(&mut ops);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&client.to_le_bytes());
    id[8..].copy_from_slice(&n.to_le_bytes());
    Command::Edit(Edit {
        doc: doc(n),
        client: ClientId(id),
        user: "ann".into(),
        seq: Seq(seq),
        base: Revision(base),
        ops: Bytes::from(ops),
    })
}

/// Submits at whoever leads until there is an outcome, as a router would.
pub async fn commit(cluster: &Cluster, link: u64, command: Command) -> Outcome {
    let whole = async {
        loop {
            let leader = cluster.leader(G).await;
            let mut answers = leader.answers(link);
            let group = leader.groups.group(G).unwrap();
            if group
                .submit(command.clone(), Origin { link, tag: 7 })
                .is_ok()
            {
                let answer = tokio::time::timeout(Duration::from_secs(5), answers.recv()).await;
                if let Ok(Some((origin, Ok(outcome)))) = answer {
                    assert_eq!(origin, Origin { link, tag: 7 });
                    return outcome;
                }
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), whole)
        .await
        .expect("no outcome")
}

pub fn text(node: &Node) -> String {
    node.groups.group(G).unwrap().with(|shard| {
        shard
            .document(&doc(1))
            .present()
            .map(|d| d.content().text())
            .unwrap_or_default()
    })
}

/// Waits for it, not for ever.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let whole = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let whole = tokio::time::timeout(Duration::from_secs(20), whole).await;
    assert!(whole.is_ok(), "it never comes to pass: {what}");
}

/// A bit of each document's page on a disk flips; how many there were.
pub fn damage_pages(disk: &MemoryDisk) -> usize {
    flip_pages(disk, "/data/pages", true)
}

/// Flips a bit of each page of a document in a folder, or of each that is of none; how many there were. A
/// page begins with its length and has the document's id at 16, which lists and events have none of.
pub fn flip_pages(disk: &MemoryDisk, folder: &str, of_documents: bool) -> usize {
    let mut damaged = 0;
    let paths = disk.paths().into_iter();
    for path in paths.filter(|path| path.starts_with(folder)) {
        let bytes = disk.contents(&path).unwrap();
        let mut at = 24;
        while at + 40 < bytes.len() {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            if (bytes[at + 16..at + 32] != [0; 16]) == of_documents {
                disk.flip(&path, at + 40 + length / 2);
                damaged += 1;
            }
            at = (at + 40 + length).next_multiple_of(8);
        }
    }
    damaged
}
