//! Recordings as a document's events in an archive, and how many bytes that takes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use codraft_archive::{Archivist, CheckpointOptions};
use codraft_ot::{Chain, Delta};
use codraft_proto::{
    disk::{Disk, memory::MemoryDisk},
    ids::{ClientId, DocId, GroupId, Revision, Seq},
};
use codraft_raft::{
    archive::{Archive, ArchiveMark, Round, RoundOptions},
    machine::Event,
};
use codraft_tiers::snapshots::Folder;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::traces::{Points, Trace};

const GROUP: GroupId = GroupId(0);
const DOC: DocId = DocId([7; 16]);
/// What an event counts for in a round, beside its body: as `raft` has it.
const REST: usize = 248;

/// What a recording takes in the archive.
pub struct Sizes {
    pub operations: usize,
    pub rounds: u64,
    /// Of packs without checkpoints.
    pub segments: usize,
    /// Of all objects that are needed, with checkpoints.
    pub all: usize,
}

impl Sizes {
    pub fn per_operation(&self, bytes: usize) -> f64 {
        bytes as f64 / self.operations.max(1) as f64
    }
}

/// One author's typing. The recordings tell no times, so keys come as people type: most of them after
/// 60 to 300 ms, one in 25 after a pause for thought.
pub fn events(trace: &Trace) -> Vec<Arc<Event>> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut text = Points::new(&trace.start_content);
    let (mut ts_ms, mut hash) = (1_700_000_000_000, Chain::default());
    let (mut events, mut canonical) = (Vec::new(), Vec::new());
    // A plain document in the one algebra, without a title.
    let mut created = vec![1, 1, 0];
    if !trace.start_content.is_empty() {
        let mut inserts = Delta::new();
        inserts.insert(&trace.start_content);
        created.extend(inserts.to_bytes());
    }
    let edits = trace.txns.iter().flat_map(|txn| &txn.patches);
    let edits = edits.map(|patch| text.patch(patch).to_bytes());
    for (nth, body) in std::iter::once(created).chain(edits).enumerate() {
        ts_ms += match rng.random_ratio(1, 25) {
            true => rng.random_range(1_000..30_000),
            false => rng.random_range(60..300),
        };
        let rev = events.len() as u64 + 1;
        let mut event = Event {
            doc: DOC,
            rev: Revision(rev),
            client: (nth > 0).then_some(ClientId([1; 16])),
            user: "ada".into(),
            seq: Seq(nth as u64),
            base: Revision(rev - 1),
            ts_ms,
            kind: u8::from(nth == 0),
            body: body.into(),
            hash,
        };
        event.canonical(&mut canonical);
        hash = hash.next(&canonical);
        event.hash = hash;
        events.push(Arc::new(event));
    }
    events
}

/// Archives events in rounds, reads them back, and weighs what is there: with checkpoints, and the packs
/// once more without.
///
/// # Errors
/// When something else is read than was archived.
pub async fn weigh(events: &[Arc<Event>]) -> Result<Sizes> {
    let never = CheckpointOptions {
        revisions: u64::MAX,
        ..CheckpointOptions::default()
    };
    let bare = archived(events, never).await?;
    let whole = archived(events, CheckpointOptions::default()).await?;
    Ok(Sizes {
        segments: bare.segments,
        ..whole
    })
}

async fn archived(events: &[Arc<Event>], options: CheckpointOptions) -> Result<Sizes> {
    let disk = Arc::new(MemoryDisk::new());
    let lane: Arc<dyn Disk> = disk.clone();
    let folder = Folder::open(lane, "/archive".into()).await?;
    let archivist = Archivist::new(Arc::new(folder), options);
    let mut mark = ArchiveMark::default();
    let bytes = RoundOptions::default().bytes;
    let mut rest = events;
    while !rest.is_empty() {
        let mut held = 0;
        let fits = |event: &&Arc<Event>| {
            let more = held < bytes;
            held += REST + event.body.len();
            more
        };
        let count = rest.iter().take_while(fits).count();
        let (round, later) = rest.split_at(count.max(1));
        rest = later;
        let to = round.last().context("a round without events")?.rev.0;
        let events = round.to_vec();
        let added = archivist.add(GROUP, mark, Round { to, events }).await;
        mark = added.map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    let tidied = archivist.tidy(GROUP, vec![mark]).await;
    tidied.map_err(|error| anyhow::anyhow!("{error}"))?;
    let read = archivist.events(GROUP, mark, DOC, Revision(1), Revision(u64::MAX));
    let read = read.await?;
    let is_same = read.iter().eq(events.iter().map(|event| &**event));
    ensure!(is_same, "the archive tells other events");
    let objects = disk.paths().into_iter();
    let objects: Vec<_> = objects.filter_map(|path| disk.contents(&path)).collect();
    let packs = objects
        .iter()
        .filter(|object| object.starts_with(b"codraftP"));
    Ok(Sizes {
        operations: events.len(),
        rounds: mark.rounds,
        segments: packs.map(Vec::len).sum(),
        all: objects.iter().map(Vec::len).sum(),
    })
}
