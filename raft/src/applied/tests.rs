#![allow(clippy::unwrap_used)]

use std::task::Poll;

use codraft_ot::Kind;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    command::{Algebra, Create},
    events::{AppliedSink, GroupEvents, Leadership, ProposeResult},
    limits::GroupLimits,
    machine::Applied,
    types::{Entry, LeaderId},
};

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
}

impl Prepare for Gate {
    fn prepare(&self, docs: BTreeSet<DocId>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.asked.lock().push(docs);
            let permit = self.permits.acquire().await.map_err(io::Error::other)?;
            permit.forget();
            Ok(())
        })
    }
}

fn machine() -> (Machine, Seen, Arc<Gate>) {
    let seen = Seen::default();
    let queue = Arc::new(Queue::new(GroupLimits::default()));
    let sinks = Sinks::new(Box::new(seen.clone()));
    let core = Core::new(GroupId(0), MachineLimits::default(), sinks, queue);
    let gate = Arc::new(Gate {
        permits: Semaphore::new(0),
        asked: Mutex::default(),
    });
    let machine = Machine {
        core: Arc::new(Mutex::new(core)),
        prepare: Some(gate.clone()),
    };
    (machine, seen, gate)
}

fn doc(n: u64) -> DocId {
    DocId([n as u8; 16])
}

/// Entries 1 to `last`, each so large that it is a step of its own.
fn entries(last: u64) -> Vec<io::Result<EntryResponder<TypeConfig>>> {
    let entry = |index| {
        let create = Create {
            doc: doc(index),
            kind: Kind::Text,
            algebra: Algebra::Delta1,
            title: "t".repeat(STEP_BYTES).into(),
            owner: "ada".into(),
            initial: None,
        };
        let batch = Batch {
            ts_ms: 1,
            commands: vec![Command::Create(create)],
        };
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
    };
    (1..=last).map(entry).collect()
}

#[tokio::test]
async fn what_waits_before_apply_keeps_the_order_and_holds_no_lock() {
    let (mut machine, seen, gate) = machine();
    let core = machine.core.clone();
    let mut apply = Box::pin(machine.apply(stream::iter(entries(3))));
    for applied in 0..3 {
        let once = std::future::poll_fn(|cx| Poll::Ready(apply.as_mut().poll(cx))).await;
        assert!(once.is_pending());
        assert_eq!(*seen.0.lock(), (1..=applied).collect::<Vec<_>>());
        assert_eq!(core.try_lock().unwrap().shard.applied(), applied);
        gate.permits.add_permits(1);
    }
    apply.await.unwrap();
    assert_eq!(*seen.0.lock(), [1, 2, 3]);
    let asked = gate.asked.lock();
    assert_eq!(*asked, [1, 2, 3].map(|n| BTreeSet::from([doc(n)])));
}

#[tokio::test]
async fn a_document_that_cannot_be_had_stops_the_group() {
    let (mut machine, seen, gate) = machine();
    gate.permits.close();
    let error = machine.apply(stream::iter(entries(2))).await.unwrap_err();
    assert!(error.to_string().contains("cannot be had"), "{error}");
    assert!(machine.core.lock().unproven.is_some() && seen.0.lock().is_empty());
}
