#![allow(clippy::unwrap_used)]

mod idle;
mod mend;
mod recover;
mod refetch;
mod users;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use codraft_ot::{Delta, Kind};
use codraft_proto::{
    disk::memory::MemoryDisk,
    ids::{ClientId, GroupId, NodeId, Revision, Seq},
    link::Outbox,
    v1,
};
use openraft::{entry::RaftEntry, storage::RaftStateMachine};

use super::*;
use crate::{
    applied::Machine,
    command::{Algebra, Batch, Command, Create, Edit},
    events::{AppliedSink, BulkLink, GroupEvents, Leadership, Origin, Peers, ProposeResult, Sinks},
    limits::GroupLimits,
    machine::{Applied, Lookup, MachineLimits, Shard},
    oplog::{self, Logged, WRITE_BYTES, event_key},
    queue::Queue,
    tail::KeepOptions,
    types::{Entry, LeaderId, LogId, Proposal},
};

struct Nobody;

impl AppliedSink for Nobody {
    fn applied(&mut self, _: &Shard, _: LogId, _: &[Applied]) {}
    fn leadership_changed(&mut self, _: Leadership) {}
}

/// Entries as they are stored, durable at once; and after which state it was last made to go on.
#[derive(Default)]
struct Log(Mutex<BTreeMap<u64, Bytes>>, Mutex<Option<LogId>>);

impl LogEnd for Log {
    fn settled(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn read(&self, from: u64, to: u64) -> BoxFuture<'_, io::Result<Vec<Bytes>>> {
        let log = self.0.lock();
        let run = (from..to).map_while(|index| log.get(&index).cloned());
        let records = run.take(3).collect();
        Box::pin(async { Ok(records) })
    }

    fn begins_after(&self) -> u64 {
        let first = self.0.lock().first_key_value().map(|(first, _)| *first);
        first.unwrap_or_default().saturating_sub(1)
    }

    fn agree(&self, last: LogId) -> BoxFuture<'_, io::Result<()>> {
        *self.1.lock() = Some(last);
        Box::pin(async { Ok(()) })
    }
}

impl GroupEvents for Nobody {
    fn answered(&mut self, _: Origin, _: ProposeResult) {}
}

/// The other replicas, where they can be reached, and how many requests a link to them lasts.
struct Reach(Mutex<BTreeMap<NodeId, Arc<Keeper>>>, AtomicUsize);

impl Default for Reach {
    fn default() -> Self {
        Self(Mutex::default(), AtomicUsize::new(usize::MAX))
    }
}

impl Peers for Reach {
    fn outbox(&self, _: NodeId) -> Option<Outbox> {
        None
    }

    fn linked(&self) -> Vec<Outbox> {
        Vec::new()
    }

    fn level(&self, _: NodeId) -> Option<u32> {
        None
    }

    fn bulk(&self, node: NodeId) -> Option<Box<dyn BulkLink>> {
        let keeper = self.0.lock().get(&node).cloned()?;
        Some(Box::new(Direct::new(&keeper, self.1.load(Relaxed))))
    }
}

const GROUP: GroupId = GroupId(0);
const DATA: &str = "/data";

/// A group's state and its keeper, on a disk that outlives them.
struct World {
    disk: MemoryDisk,
    core: Arc<Mutex<Core>>,
    keeper: Arc<Keeper>,
    log: Arc<Log>,
    reach: Arc<Reach>,
    index: u64,
}

impl World {
    async fn open(disk: &MemoryDisk) -> Self {
        Self::open_with(disk, 1).await
    }

    async fn open_with(disk: &MemoryDisk, memory_bytes: u64) -> Self {
        let options = KeepOptions {
            memory_bytes,
            ..KeepOptions::default()
        };
        let kept = Kept::open(
            Arc::new(disk.clone()),
            Path::new(DATA),
            PageOptions { file_bytes: 4_096 },
        );
        let kept = kept.await.unwrap();
        let digests = Digests::new(3);
        // Where there is something already its log is not: it has been in memory alone.
        let is_log_whole = disk.paths().is_empty();
        let loaded = kept.load(GROUP, options, is_log_whole).await.unwrap();
        let sinks = Sinks::new(Box::new(Nobody)).with(Box::new(digests.clone()));
        let queue = Arc::new(Queue::new(GroupLimits::default()));
        let limits = MachineLimits::default();
        let mut core = Core::new(GROUP, limits, sinks, queue, loaded.tail.clone());
        let mut index = 0;
        if let Some(state) = &loaded.state {
            index = state.manifest.index();
            state
                .manifest
                .digest
                .iter()
                .for_each(|at| digests.resume(*at));
            core.restore(state);
        }
        let core = Arc::new(Mutex::new(core));
        let reach = Arc::new(Reach::default());
        let others = Others::new(
            NodeId(1),
            BTreeSet::from([1, 2, 3].map(NodeId)),
            reach.clone(),
        );
        let log = Arc::new(Log::default());
        let told = log.clone();
        let keeper = Keeper::new(GROUP, core.clone(), kept, digests, told, others, loaded);
        let keeper = Arc::new(keeper);
        Self {
            disk: disk.clone(),
            core,
            keeper,
            log,
            reach,
            index,
        }
    }

    /// One entry with these commands, by openraft's way.
    async fn apply(&mut self, commands: Vec<Command>) {
        self.index += 1;
        let batch = Batch {
            ts_ms: 1_000 + self.index,
            commands,
        };
        let log_id = LogId {
            leader_id: LeaderId {
                term: 1,
                node_id: 1,
            },
            index: self.index,
        };
        let proposal = Proposal {
            number: self.index,
            batch: batch.encode(),
        };
        let entry: Entry = RaftEntry::new(log_id, openraft::EntryPayload::Normal(proposal));
        let record = entry.clone().into_stored();
        self.log.0.lock().insert(self.index, record);
        let entries = futures_util::stream::iter([Ok((entry, None))]);
        let mut machine = Machine::new(self.core.clone(), self.keeper.clone());
        machine.apply(entries).await.unwrap();
    }

    fn digest(&self) -> [u8; 32] {
        self.core.lock().shard.digest()
    }

    /// The op log tells all of each document, up to where it stands.
    async fn check_events(&self) {
        let written = self.keeper.events.write(&self.core, |_| {}).await;
        let pages = written.unwrap().1.listed().to_vec();
        let mut heads = BTreeMap::new();
        let mut to = 0;
        for page in pages {
            assert!(page.from <= to, "nothing between {to} and {page:?}");
            let key = event_key(GROUP, page.to);
            let spelled = self.keeper.kept.events.read(&key, page.place);
            let events = oplog::decode(&spelled.await.unwrap(), page.from).unwrap();
            for Logged { log_id, event } in events {
                if log_id.index <= to {
                    continue;
                }
                let rev = heads.get(&event.doc).map_or(0, |(rev, _)| *rev) + 1;
                assert_eq!(event.rev, Revision(rev), "of {}", event.doc);
                heads.insert(event.doc, (rev, event.hash));
            }
            to = page.to;
        }
        let core = self.core.lock();
        let slots = core.shard.slots();
        assert_eq!(heads.len(), slots.count());
        for (_, doc, held) in slots.iter() {
            let summary = held.summary();
            assert_eq!(heads[doc], (summary.rev.0, summary.hash), "of {doc}");
        }
    }

    fn text(&self, doc: DocId) -> String {
        let core = self.core.lock();
        let Lookup::Present(document) = core.shard.document(&doc) else {
            panic!("not in memory");
        };
        document.content().text()
    }

    fn warm_documents(&self) -> usize {
        self.core.lock().shard.documents().count()
    }
}

fn doc(n: u8) -> DocId {
    DocId([n; 16])
}

fn create(n: u8) -> Command {
    Command::Create(Create {
        doc: doc(n),
        kind: Kind::Text,
        algebra: Algebra::Delta1,
        title: format!("document {n}").into(),
        owner: "ada".into(),
        initial: None,
    })
}

fn edit(n: u8, seq: u64, text: &str) -> Command {
    let mut delta = Delta::new();
    delta.insert(text);
    Command::Edit(Edit {
        doc: doc(n),
        client: ClientId([1; 16]),
        user: "ada".into(),
        seq: Seq(seq),
        base: Revision(seq),
        ops: delta.to_bytes().into(),
    })
}

/// Forty documents, the even ones with text.
async fn filled(disk: &MemoryDisk) -> World {
    fill(World::open(disk).await).await
}

async fn fill(mut world: World) -> World {
    world.apply((0..40).map(create).collect()).await;
    for n in (0..40).step_by(2) {
        world.apply(vec![edit(n, 1, &format!("of {n}"))]).await;
    }
    world
}

#[tokio::test]
async fn a_state_that_was_kept_outlives_the_process_and_its_log() {
    let disk = MemoryDisk::new();
    let mut world = filled(&disk).await;
    let before = world.digest();
    let manifest = world.keeper.take().await.unwrap().unwrap();
    assert_eq!(manifest.index(), 21);
    assert_eq!(world.digest(), before);
    let told = world.keeper.digests.newest();
    // What comes after it is the log's business.
    world.apply(vec![edit(1, 1, "lost")]).await;
    disk.lose_power(3);

    let mut again = World::open(&disk).await;
    assert_eq!((again.index, again.digest()), (21, before));
    assert_eq!(again.warm_documents(), 0);
    assert_eq!(again.keeper.digests.newest(), told);
    let summary = again.core.lock().shard.summary(&doc(2)).unwrap();
    assert_eq!((&*summary.title, summary.rev), ("document 2", Revision(2)));
    // The same command as in the other life comes to the same.
    again.apply(vec![edit(1, 1, "lost")]).await;
    assert_eq!(again.digest(), world.digest());
    assert_eq!(again.text(doc(1)), "lost");
    assert_eq!(again.warm_documents(), 1);
    // A repeat is still one, though its record was in a page.
    again.apply(vec![edit(2, 1, "of 2")]).await;
    assert_eq!(again.text(doc(2)), "of 2");
    again.check_events().await;
}

#[tokio::test]
async fn events_are_written_before_there_are_many() {
    let disk = MemoryDisk::new();
    let mut world = filled(&disk).await;
    let large = "x".repeat(100_000);
    for seq in 2..20 {
        world.apply(vec![edit(2, seq, &large)]).await;
        world.keeper.write_events().await.unwrap();
        let waiting = world.core.lock().fresh.bytes();
        assert!(waiting < WRITE_BYTES + 200_000, "{waiting}");
    }
    world.check_events().await;
    // A disk without room loses none.
    disk.set_capacity(Some(0));
    world.apply(vec![edit(2, 20, &large)]).await;
    let written = world.keeper.events.write(&world.core, |_| {}).await;
    assert!(matches!(written, Err(KeepError::Full(_))));
    drop(written);
    disk.set_capacity(None);
    world.check_events().await;
    world.keeper.take().await.unwrap();
    disk.lose_power(1);
    World::open(&disk).await.check_events().await;
}

/// A link that ends after so many requests.
struct Direct {
    keeper: Arc<Keeper>,
    left: AtomicUsize,
    borrowed: Borrowed,
}

impl Direct {
    fn new(keeper: &Arc<Keeper>, requests: usize) -> Self {
        Self {
            keeper: keeper.clone(),
            left: AtomicUsize::new(requests),
            borrowed: Borrowed::default(),
        }
    }
}

impl BulkLink for Direct {
    fn fetch(&self, request: v1::Fetch) -> BoxFuture<'_, Result<v1::Fetched, String>> {
        Box::pin(async move {
            let left = self.left.load(Relaxed).checked_sub(1);
            self.left.store(left.ok_or("the link ended")?, Relaxed);
            let pages = self.keeper.fetch(request.body.unwrap(), &self.borrowed);
            let pages = pages.await?;
            let (id, error) = (request.id, String::new());
            Ok(v1::Fetched { id, pages, error })
        })
    }
}

/// A replica that lags, and one that went on without it.
async fn two_replicas() -> (World, World) {
    let lags = filled(&MemoryDisk::new()).await;
    lags.keeper.take().await.unwrap();
    let mut ahead = filled(&MemoryDisk::new()).await;
    ahead.keeper.take().await.unwrap();
    for seq in 2..30 {
        let more = format!("{seq} ");
        ahead
            .apply(vec![
                edit(4, seq, &more),
                edit(8, seq, &more),
                edit(9, seq - 1, &more),
            ])
            .await;
    }
    (lags, ahead)
}

#[tokio::test]
async fn a_replica_that_lags_fetches_what_it_lacks_and_nothing_else() {
    let (mut lags, ahead) = two_replicas().await;
    let manifest = ahead.keeper.take().await.unwrap().unwrap();
    let (mut partial, progress) = (Partial::default(), AtomicU64::new(0));
    let link = Direct::new(&ahead.keeper, usize::MAX);
    let of = NodeId(2);
    let keeper = lags.keeper.clone();
    let last = manifest.last;
    let lent = ahead.keeper.lend(manifest.clone());
    assert_eq!(ahead.keeper.lent_at(), Some(last.index));
    let received = keeper
        .receive(of, &link, last, &mut partial, &progress)
        .await;
    let received = received.unwrap();
    keeper.install(&received.manifest).await.unwrap();
    lags.index = last.index;
    assert_eq!(lags.digest(), ahead.digest());
    assert_eq!(keeper.latest().unwrap().hash(), manifest.hash());
    let all = 40 * 100;
    assert!(progress.load(Relaxed) < 3 * all, "{progress:?}");
    drop(lent);
    assert_eq!(ahead.keeper.lent_at(), None);
    // It goes on as any other.
    lags.check_events().await;
    let (mut one, mut two) = (lags, ahead);
    for world in [&mut one, &mut two] {
        world
            .apply(vec![edit(8, 29, "29 "), edit(8, 30, "30 ")])
            .await;
    }
    assert_eq!(one.digest(), two.digest());
    assert!(one.text(doc(8)).starts_with("30 29 28 "));
    one.check_events().await;
}

#[tokio::test]
async fn a_transfer_that_was_cut_goes_on_where_it_was() {
    let (lags, ahead) = two_replicas().await;
    let manifest = ahead.keeper.take().await.unwrap().unwrap();
    let lent = ahead.keeper.lend(manifest.clone());
    let (of, last, keeper) = (NodeId(2), manifest.last, lags.keeper.clone());
    let (mut partial, mut attempts, mut most) = (Partial::default(), 0, 0);
    let received = loop {
        let progress = AtomicU64::new(0);
        let link = Direct::new(&ahead.keeper, 6);
        let received = keeper
            .receive(of, &link, last, &mut partial, &progress)
            .await;
        attempts += 1;
        assert!(attempts < 20);
        match received {
            Ok(received) => break received,
            Err(error) => assert!(error.to_string().contains("the link ended"), "{error}"),
        }
        most = partial.fetched().max(most);
        // Other manifests meanwhile remove nothing that was fetched.
        keeper.take().await.unwrap();
    };
    assert!(attempts > 1 && most > 0, "{attempts} attempts");
    keeper.install(&received.manifest).await.unwrap();
    assert_eq!(lags.digest(), ahead.digest());
    let all: BTreeSet<DocId> = (0..40).map(doc).collect();
    keeper.warm(&all, ASK_ONCE).await.unwrap();
    assert_eq!(lags.digest(), ahead.digest());
    lags.check_events().await;
    drop(lent);
}

#[tokio::test]
async fn what_does_not_read_back_at_the_other_replica_changes_nothing_here() {
    let (lags, ahead) = two_replicas().await;
    let (before, manifest) = (lags.digest(), ahead.keeper.take().await.unwrap().unwrap());
    let link = Direct::new(&ahead.keeper, usize::MAX);
    let mut partial = Partial::default();
    let keeper = lags.keeper.clone();
    let mut attempt = async || {
        let progress = AtomicU64::new(0);
        let last = manifest.last;
        let received = keeper
            .receive(NodeId(2), &link, last, &mut partial, &progress)
            .await;
        received.map(|_| ()).unwrap_err().to_string()
    };
    let why = attempt().await;
    assert!(why.contains("not lent"), "{why}");
    let lent = ahead.keeper.lend(manifest.clone());
    let place = manifest.events.last().unwrap().place;
    let path = PathBuf::from(format!("{DATA}/{EVENTS}/{:08x}.pages", place.file));
    ahead.disk.flip(&path, place.offset as usize + 60);
    let why = attempt().await;
    assert!(why.contains("does not read back"), "{why}");
    drop(lent);
    assert_eq!(lags.digest(), before);
}

#[tokio::test]
async fn only_what_changed_is_written_again() {
    let disk = MemoryDisk::new();
    let mut world = filled(&disk).await;
    let first = world.keeper.take().await.unwrap().unwrap();
    assert!(Arc::ptr_eq(
        &world.keeper.take().await.unwrap().unwrap(),
        &first
    ));
    world.apply(vec![edit(4, 2, "more ")]).await;
    let second = world.keeper.take().await.unwrap().unwrap();
    let slot = slot_of(&doc(4));
    for (of, bucket) in &second.buckets {
        assert_eq!(bucket == &first.buckets[of], *of != slot);
    }
    assert_ne!(first.hash(), second.hash());
    let names = disk
        .list(&PathBuf::from(DATA).join(MANIFESTS))
        .await
        .unwrap();
    assert_eq!(names.len(), 1, "the one before is gone: {names:?}");
}

/// The hash of a manifest says what is in it, not where, nor when it was written.
#[tokio::test]
async fn replicas_agree_on_the_hash_of_a_manifest() {
    let (one, two) = (MemoryDisk::new(), MemoryDisk::new());
    let once = filled(&one).await;
    let mut twice = World::open(&two).await;
    twice.apply((0..40).map(create).collect()).await;
    twice.keeper.take().await.unwrap();
    for n in (0..40).step_by(2) {
        twice.apply(vec![edit(n, 1, &format!("of {n}"))]).await;
    }
    let one = once.keeper.take().await.unwrap().unwrap();
    let two = twice.keeper.take().await.unwrap().unwrap();
    assert_eq!(one.hash(), two.hash());
}

#[tokio::test]
async fn documents_leave_memory_and_come_back() {
    let disk = MemoryDisk::new();
    let mut world = filled(&disk).await;
    let before = world.digest();
    assert!(!world.keeper.cool().await, "nothing is written yet");
    assert_eq!(world.warm_documents(), 40);
    world.keeper.take().await.unwrap();
    assert!(
        world.keeper.cool().await,
        "what is known of those that left does not count"
    );
    assert_eq!(world.warm_documents(), 0);
    world.apply(vec![edit(0, 2, "more ")]).await;
    world.keeper.cool().await;
    assert_eq!(world.warm_documents(), 1, "what changed since stays");
    world
        .apply(vec![edit(6, 2, "more "), edit(8, 2, "more ")])
        .await;
    assert_eq!(world.text(doc(6)), "more of 6");
    assert_eq!(world.warm_documents(), 3);
    assert_ne!(world.digest(), before);
}

/// Where there is room for none, each is read once and no more, though it has left when the next came.
#[tokio::test]
async fn documents_that_leave_memory_meanwhile_are_not_read_again_and_again() {
    let disk = MemoryDisk::new();
    let world = filled(&disk).await;
    world.keeper.take().await.unwrap();
    assert!(world.keeper.cool().await);
    let both = BTreeSet::from([doc(2), doc(4)]);
    let mut warm = std::pin::pin!(world.keeper.warm(&both, ASK_ONCE));
    let mut looks = 0;
    while std::future::poll_fn(|cx| std::task::Poll::Ready(warm.as_mut().poll(cx)))
        .await
        .is_pending()
    {
        world.keeper.cool().await;
        looks += 1;
        assert!(looks < 100, "it reads for ever");
    }
}

#[tokio::test]
async fn a_page_that_does_not_read_back_stops_the_group_and_is_never_another_state() {
    let disk = MemoryDisk::new();
    let mut world = filled(&disk).await;
    world.keeper.take().await.unwrap();
    world.keeper.cool().await;
    let cold = world.core.lock().shard.cold(&BTreeSet::from([doc(2)]));
    let place = cold[0].2.place;
    let path = format!("{DATA}/{PAGES}/{:08x}.pages", place.file);
    disk.flip(&PathBuf::from(path), place.offset as usize + 50);
    assert!(
        world
            .keeper
            .warm(&BTreeSet::from([doc(2)]), ASK_ONCE)
            .await
            .is_err()
    );
    assert!(matches!(
        world.core.lock().shard.document(&doc(2)),
        Lookup::Cold(_)
    ));
    world.apply(vec![edit(4, 2, "more ")]).await;
    assert_eq!(world.text(doc(4)), "more of 4");
}

#[tokio::test]
async fn a_manifest_is_there_whole_or_the_one_before_is() {
    for seed in 0..60 {
        let disk = MemoryDisk::new();
        let mut world = filled(&disk).await;
        world.keeper.take().await.unwrap();
        let first = world.digest();
        world
            .apply(vec![edit(4, 2, "more "), edit(7, 1, "x")])
            .await;
        let second = world.digest();
        {
            // The power goes in the middle: after some of its steps.
            let take = world.keeper.take();
            tokio::pin!(take);
            let steps = seed % 12;
            for _ in 0..steps {
                let once =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(take.as_mut().poll(cx)));
                if once.await.is_ready() {
                    break;
                }
            }
        }
        disk.lose_power(seed);
        let again = World::open(&disk).await;
        let is = match again.index {
            21 => first,
            22 => second,
            other => panic!("seed {seed}: {other}"),
        };
        assert_eq!(again.digest(), is, "seed {seed}");
        let all: BTreeSet<DocId> = (0..40).map(doc).collect();
        again.keeper.warm(&all, ASK_ONCE).await.unwrap();
        assert_eq!(again.digest(), is, "seed {seed}");
        again.check_events().await;
    }
}

#[tokio::test]
async fn files_of_pages_go_when_little_in_them_is_needed() {
    let disk = MemoryDisk::new();
    let mut world = filled(&disk).await;
    for round in 2..300 {
        world
            .apply(vec![edit(4, round, "more "), edit(6, round, "x")])
            .await;
        world.keeper.take().await.unwrap();
    }
    let files = world.keeper.kept.pages.files();
    let held: u64 = files.values().sum();
    let needed = world.keeper.uses.lock().await.needed();
    assert!(held < needed * 4, "{held} bytes for {needed}: {files:?}");
    // All of it is there.
    let before = world.digest();
    let again = World::open(&disk).await;
    assert_eq!(again.digest(), before);
    let all: BTreeSet<DocId> = (0..40).map(doc).collect();
    again.keeper.warm(&all, ASK_ONCE).await.unwrap();
    assert_eq!(again.digest(), before);
    assert_eq!(again.warm_documents(), 40);
}
