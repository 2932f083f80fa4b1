#![allow(clippy::unwrap_used)]

use std::{path::Path, task::Poll};

use bytes::Bytes;
use codraft_ot::Kind;
use codraft_proto::{
    disk::memory::MemoryDisk,
    ids::{ClientId, GroupId, NodeId, Revision, Seq},
    link::Outbox,
    transport::BoxFuture,
};
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    command::{Algebra, Command, Create, Edit},
    digests::Digests,
    events::{AppliedSink, BulkLink, GroupEvents, Leadership, Origin, Peers, ProposeResult, Sinks},
    keeper::{Kept, LogEnd, Others},
    limits::GroupLimits,
    machine::{Applied, MachineLimits, Shard},
    pages::PageOptions,
    queue::Queue,
    tail::KeepOptions,
    types::{Entry, LeaderId},
};

/// A log that is durable at once.
struct Settled;

impl LogEnd for Settled {
    fn settled(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn read(&self, _: u64, _: u64) -> BoxFuture<'_, io::Result<Vec<Bytes>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn begins_after(&self) -> u64 {
        0
    }

    fn agree(&self, _: LogId) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// There is no other replica.
impl Peers for Settled {
    fn outbox(&self, _: NodeId) -> Option<Outbox> {
        None
    }

    fn linked(&self) -> Vec<Outbox> {
        Vec::new()
    }

    fn level(&self, _: NodeId) -> Option<u32> {
        None
    }

    fn bulk(&self, _: NodeId) -> Option<Box<dyn BulkLink>> {
        None
    }
}

/// The indices that were applied.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u64>>>);

impl AppliedSink for Seen {
    fn applied(&mut self, _: &Shard, log_id: LogId, _: &[Applied]) {
        self.0.lock().push(log_id.index);
    }
    fn leadership_changed(&mut self, _: Leadership) {}
}

impl GroupEvents for Seen {
    fn answered(&mut self, _: Origin, _: ProposeResult) {}
}

/// Opens once for each permit.
struct Gate {
    permits: Semaphore,
    asked: Mutex<Vec<BTreeSet<DocId>>>,
    keeper: Arc<Keeper>,
}

impl Prepare for Gate {
    fn prepare<'a>(&'a self, docs: &'a BTreeSet<DocId>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.asked.lock().push(docs.clone());
            let permit = self.permits.acquire().await.map_err(io::Error::other)?;
            permit.forget();
            self.keeper.prepare(docs).await
        })
    }
}

/// Three documents, none of them in memory.
async fn machine() -> (Machine, Seen, Arc<Gate>) {
    let seen = Seen::default();
    let queue = Arc::new(Queue::new(GroupLimits::default()));
    let sinks = Sinks::new(Box::new(seen.clone()));
    let disk = Arc::new(MemoryDisk::new());
    let kept = Kept::open(disk, Path::new("/data"), PageOptions::default());
    let kept = kept.await.unwrap();
    let loaded = kept
        .load(GroupId(0), KeepOptions::default(), true)
        .await
        .unwrap();
    let limits = MachineLimits::default();
    let core = Core::new(GroupId(0), limits, sinks, queue, loaded.tail.clone());
    let core = Arc::new(Mutex::new(core));
    let keeper = Keeper::new(
        GroupId(0),
        core.clone(),
        kept,
        Digests::new(3),
        Arc::new(Settled),
        Others::new(NodeId(1), BTreeSet::new(), Arc::new(Settled)),
        loaded,
    );
    let keeper = Arc::new(keeper);
    let mut machine = Machine::new(core.clone(), keeper.clone());
    let creates = entry(1, (1..=3).map(create).collect());
    machine.apply(stream::iter([creates])).await.unwrap();
    keeper.take().await.unwrap();
    assert_eq!(core.lock().cool(0, 3).1, 3);
    seen.0.lock().clear();
    let gate = Arc::new(Gate {
        permits: Semaphore::new(0),
        asked: Mutex::default(),
        keeper,
    });
    machine.prepare = gate.clone();
    (machine, seen, gate)
}

fn doc(n: u64) -> DocId {
    DocId([n as u8; 16])
}

fn create(n: u64) -> Command {
    Command::Create(Create {
        doc: doc(n),
        kind: Kind::Text,
        algebra: Algebra::Delta1,
        title: "t".into(),
        owner: "ada".into(),
        initial: None,
    })
}

/// So large that it is a step of its own; it is refused.
fn edit(n: u64) -> Command {
    Command::Edit(Edit {
        doc: doc(n),
        client: ClientId([1; 16]),
        user: "ada".into(),
        seq: Seq(1),
        base: Revision(1),
        ops: vec![0xff; STEP_BYTES].into(),
    })
}

fn entry(index: u64, commands: Vec<Command>) -> io::Result<EntryResponder<TypeConfig>> {
    let batch = Batch { ts_ms: 1, commands };
    let leader_id = LeaderId {
        term: 1,
        node_id: 1,
    };
    let proposal = Proposal {
        number: index,
        batch: batch.encode(),
    };
    let payload = EntryPayload::Normal(proposal);
    let entry: Entry = openraft::entry::RaftEntry::new(LogId { leader_id, index }, payload);
    Ok((entry, None))
}

/// Entries 2 to 4, about the documents 1 to 3.
fn entries() -> Vec<io::Result<EntryResponder<TypeConfig>>> {
    (1..=3).map(|n| entry(n + 1, vec![edit(n)])).collect()
}

#[tokio::test]
async fn what_waits_before_apply_keeps_the_order_and_holds_no_lock() {
    let (mut machine, seen, gate) = machine().await;
    let core = machine.core.clone();
    let mut apply = Box::pin(machine.apply(stream::iter(entries())));
    for applied in 1..=3 {
        // As often as reading a document may need.
        for _ in 0..20 {
            let once = std::future::poll_fn(|cx| Poll::Ready(apply.as_mut().poll(cx))).await;
            assert!(once.is_pending());
        }
        assert_eq!(*seen.0.lock(), (2..=applied).collect::<Vec<_>>());
        assert_eq!(core.try_lock().unwrap().shard.applied(), applied);
        gate.permits.add_permits(1);
    }
    apply.await.unwrap();
    assert_eq!(*seen.0.lock(), [2, 3, 4]);
    let asked = gate.asked.lock();
    assert_eq!(*asked, [1, 2, 3].map(|n| BTreeSet::from([doc(n)])));
}

/// Nobody waits for what is in memory.
#[tokio::test]
async fn what_is_in_memory_is_applied_at_once() {
    let (mut machine, seen, gate) = machine().await;
    gate.permits.close();
    let one = entry(2, vec![create(9)]);
    machine.apply(stream::iter([one])).await.unwrap();
    assert_eq!(*seen.0.lock(), [2]);
}

#[tokio::test]
async fn a_document_that_cannot_be_had_stops_the_group() {
    let (mut machine, seen, gate) = machine().await;
    gate.permits.close();
    let error = machine.apply(stream::iter(entries())).await.unwrap_err();
    assert!(error.to_string().contains("cannot be had"), "{error}");
    assert!(machine.core.lock().unproven.is_some() && seen.0.lock().is_empty());
}
