//! The one writer: takes what waits, writes it once, syncs it once, tells everybody.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    disk::File,
    ids::{GroupId, NodeId},
    tasks::Tasks,
};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Shared, Standing, Start, State,
    queue::{Refusal, Request, Write},
    record::{self, Kind, Position},
    segment::{HEADER, RecordLocation},
    state::Purged,
};
use crate::tap;

/// An idle log says within this time up to where it is synced.
const IDLE: Duration = Duration::from_secs(1);
/// What one batch takes of the queue, in bytes; a larger request goes alone.
const BATCH_BYTES: u64 = 4 << 20;
const MARK_BYTES: u64 = record::size(16) as u64;
/// How long a full disk is left alone before the next segment is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// The part of a segment that is kept for starts: the log of a full disk can still be opened.
const STARTS_PART: u64 = 64;
/// Room kept free in a segment for its last record.
const ROLL_BYTES: u64 = record::size(0) as u64;

pub fn run(
    shared: Arc<Shared>,
    tasks: Tasks,
    first: u64,
    end: Position,
) -> impl Future<Output = ()> + Send {
    // Also where it ends before it began.
    let closing = Closing(shared);
    async move {
        let shared = &closing.0;
        if let Err(error) = write(shared, tasks, first, end).await {
            let refusal = Refusal::failed(&error);
            tracing::error!(%error, "{}; this process must end", refusal.reason());
            shared.refuse(refusal.clone());
            shared
                .failed
                .send_replace(Some(refusal.reason().to_owned()));
        }
    }
}

/// However the writer ends, nobody waits for it afterwards.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn write(shared: &Arc<Shared>, tasks: Tasks, first: u64, end: Position) -> io::Result<()> {
    let mut writer = Writer {
        file: shared.segments.file(end.segment).await?,
        tasks,
        first,
        end,
        synced: end,
        unmarked: end.offset > HEADER,
        making: None,
        buffer: Vec::new(),
        locations: Vec::new(),
    };
    let mut batch = Batch::default();
    let mut idle = false;
    writer.make_ahead(shared);
    loop {
        batch.take(shared, &writer, idle);
        if batch.is_empty() && !(idle && writer.unmarked) {
            idle = timeout(IDLE, shared.wake.notified()).await.is_err();
            continue;
        }
        idle = false;
        if let Err(error) = writer.write(shared, &mut batch).await {
            let refusal = Refusal::failed(&error);
            batch
                .requests
                .drain(..)
                .for_each(|request| request.finish(Err(refusal.error())));
            return Err(error);
        }
        batch
            .requests
            .drain(..)
            .for_each(|request| request.finish(Ok(())));
        shared.room.notify_waiters();
        if let Some(base) = batch.base.take() {
            writer.forget(shared, base.segment).await;
        }
        writer.make_ahead(shared);
    }
}

/// What is written and synced at once.
#[derive(Default)]
struct Batch {
    requests: Vec<Request>,
    committed: Vec<(GroupId, Bytes)>,
    peers: Vec<(NodeId, Standing)>,
    base: Option<Base>,
    /// In the file, with the mark.
    bytes: u64,
}

/// What earlier segments say that is still true, so that they can go.
struct Base {
    /// The first segment that is needed.
    segment: u64,
    /// With each group's vote.
    groups: Vec<(GroupId, Option<Bytes>, Option<Purged>)>,
    starts: Vec<Start>,
    peers: Vec<(NodeId, Standing)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.committed.is_empty()
    }

    /// Whether it is only the start of a process.
    fn is_start(&self) -> bool {
        let start = |request: &Request| matches!(request.write, Write::Start(_));
        !self.requests.is_empty() && self.requests.iter().all(start)
    }

    /// `idle`: take also what else only rides along.
    fn take(&mut self, shared: &Shared, writer: &Writer, idle: bool) {
        self.committed.clear();
        self.peers.clear();
        let mut state = shared.lock();
        let most = BATCH_BYTES.min(shared.options.segment_bytes / 4);
        self.bytes = MARK_BYTES + state.queue.take(&mut self.requests, most as usize) as u64;
        if self.requests.is_empty() && !idle {
            return;
        }
        let State { groups, queue, .. } = &mut *state;
        // A position must not be on the disk before the entries that it speaks of, and those
        // may be what still waits.
        let all_taken = queue.bytes() == 0;
        let positions = if all_taken { queue.committed.len() } else { 0 };
        for group in queue.committed.drain(..positions) {
            let Some(held) = groups.get_mut(&group) else {
                continue;
            };
            held.committed_waits = false;
            if let Some(committed) = &held.committed {
                self.bytes += record::size(committed.len()) as u64;
                self.committed.push((group, committed.clone()));
            }
        }
        // Not by themselves: a peer that hears of it has news to write down too, and neither
        // would rest.
        if !self.is_empty() || (idle && writer.unmarked) {
            let State { queue, peers, .. } = &mut *state;
            let news = std::mem::take(&mut queue.peers).into_iter();
            self.peers
                .extend(news.filter_map(|node| Some((node, *peers.get(&node)?))));
            self.bytes += peer_bytes(&self.peers);
        }
        if self
            .requests
            .iter()
            .any(|request| matches!(request.write, Write::Purge { .. }))
        {
            self.base = Base::of(&state, writer);
            self.bytes += self.base.as_ref().map_or(0, Base::bytes);
        }
    }
}

impl Base {
    /// None when the first segment there is cannot go.
    fn of(state: &State, writer: &Writer) -> Option<Base> {
        let needed = state
            .groups
            .values()
            .filter(|held| held.end() > held.first());
        // What is not written yet will stand in this segment or a later one.
        let lowest = needed
            .map(|held| held.lowest_segment().unwrap_or(writer.end.segment))
            .min();
        let segment = lowest.unwrap_or(writer.end.segment);
        (segment > writer.first).then(|| {
            let groups = state.groups.iter();
            let said = groups.map(|(id, held)| (*id, held.vote.clone(), held.purged().cloned()));
            Base {
                segment,
                groups: said.collect(),
                starts: state.starts.clone(),
                peers: state.peers.iter().map(|(node, it)| (*node, *it)).collect(),
            }
        })
    }

    fn bytes(&self) -> u64 {
        let said = self.groups.iter().map(|(_, vote, purged)| {
            let vote = vote.as_ref().map_or(0, Bytes::len);
            let last = purged.as_ref().map_or(0, |(_, last)| last.len());
            record::size(vote) + record::size(last)
        });
        let starts = self.starts.iter();
        let starts = starts.map(|start| record::size(start.payload().len()));
        let sizes = said.chain(starts).sum::<usize>() + record::size(0);
        sizes as u64 + peer_bytes(&self.peers)
    }
}

fn peer_bytes(peers: &[(NodeId, Standing)]) -> u64 {
    let sizes = peers.iter().map(|(_, it)| record::size(it.payload().len()));
    sizes.sum::<usize>() as u64
}

struct Writer {
    file: Arc<dyn File>,
    tasks: Tasks,
    /// The first segment there is.
    first: u64,
    /// Where the next record goes.
    end: Position,
    /// Up to here it is durable.
    synced: Position,
    /// Whether something was promised that no mark speaks of yet.
    unmarked: bool,
    /// Resolves when the segment after this one is there, or could not be made.
    making: Option<oneshot::Receiver<()>>,
    /// Used again for every batch.
    buffer: Vec<u8>,
    locations: Vec<RecordLocation>,
}

impl Writer {
    async fn write(&mut self, shared: &Shared, batch: &mut Batch) -> io::Result<()> {
        let room = shared.options.segment_bytes.saturating_sub(self.end.offset);
        let kept = match batch.is_start() {
            true => 0,
            false => shared.options.segment_bytes / STARTS_PART,
        };
        if batch.bytes + kept + ROLL_BYTES > room && self.end.offset > HEADER {
            self.roll(shared).await?;
        }
        let start = self.end;
        self.encode(batch);
        if mutant!("sync_mark_written_early") {
            let offset = start.offset + self.buffer.len() as u64;
            let at = Position { offset, ..start };
            let early = at.to_bytes();
            record::encode(&mut self.buffer, at, Kind::Mark, GroupId(0), 0, &early);
        }
        let written = self.buffer.len() as u64;
        self.sync().await?;
        self.unmarked = !batch.requests.is_empty();

        let mut state = shared.lock();
        state.synced = self.synced;
        let State { groups, stats, .. } = &mut *state;
        stats.syncs += 1;
        stats.bytes += written;
        stats.records += self.locations.len() as u64;
        let mut locations = self.locations.drain(..);
        let listening = tap::listening();
        for request in &batch.requests {
            if let Write::Vote(vote) = &request.write {
                tap::voted(request.group, vote);
            }
            let Write::Append { first, records } = &request.write else {
                continue;
            };
            let held = groups.entry(request.group).or_default();
            let mut last = None;
            for ((index, record), location) in (*first..).zip(records).zip(&mut locations) {
                held.located(index, record, location, shared.options.cache_bytes);
                if listening && held.stands(index, location) {
                    last = Some(index);
                }
            }
            if let Some(index) = last {
                tap::synced(request.group, index);
            }
        }
        debug_assert!(self.end.segment == start.segment && self.end > start);
        Ok(())
    }

    /// The batch as bytes, in `buffer`; where its entries will stand, in `locations`.
    fn encode(&mut self, batch: &Batch) {
        let Self {
            end,
            buffer,
            locations,
            synced,
            ..
        } = self;
        buffer.clear();
        locations.clear();
        let mut put = |kind, group, number, payload: &[u8]| {
            let offset = end.offset + buffer.len() as u64;
            let at = Position {
                segment: end.segment,
                offset,
            };
            record::encode(buffer, at, kind, group, number, payload);
            at
        };
        put(Kind::Mark, GroupId(0), 0, &synced.to_bytes());
        for Request { group, write, .. } in &batch.requests {
            match write {
                Write::Append { first, records } => {
                    for (index, payload) in (*first..).zip(records) {
                        let at = put(Kind::Append, *group, index, payload);
                        locations.push(RecordLocation {
                            at,
                            length: payload.len() as u32,
                        });
                    }
                }
                Write::Vote(vote) => {
                    put(Kind::Vote, *group, 0, vote);
                }
                Write::Truncate { keep } => {
                    put(Kind::Truncate, *group, *keep, &[]);
                }
                Write::Purge { up_to, last } => {
                    put(Kind::Purge, *group, *up_to, last);
                }
                Write::Start(start) => {
                    put(Kind::Start, *group, start.number, &start.payload());
                }
                Write::Nothing => {}
            }
        }
        for (group, committed) in &batch.committed {
            put(Kind::Committed, *group, 0, committed);
        }
        for (node, standing) in &batch.peers {
            put(Kind::Peer, GroupId(0), node.0, &standing.payload());
        }
        let Some(base) = &batch.base else { return };
        for start in &base.starts {
            put(Kind::Start, GroupId(0), start.number, &start.payload());
        }
        for (node, standing) in &base.peers {
            put(Kind::Peer, GroupId(0), node.0, &standing.payload());
        }
        for (group, vote, purged) in &base.groups {
            if let Some(vote) = vote {
                put(Kind::Vote, *group, 0, vote);
            }
            if let Some((up_to, last)) = purged {
                put(Kind::Purge, *group, *up_to, last);
            }
        }
        put(Kind::Base, GroupId(0), base.segment, &[]);
    }

    /// Writes `buffer` at the end of the log.
    async fn sync(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = buffer.len() as u64;
        let synced = self.file.write_and_sync(self.end.offset, buffer).await;
        if synced.is_err() {
            tap::sync_failed();
        }
        self.buffer = match synced {
            Err(_) if mutant!("sync_error_retried") => {
                while self.file.sync_data().await.is_err() {
                    tokio::task::yield_now().await;
                }
                Vec::new()
            }
            other => other?,
        };
        if self.buffer.capacity() as u64 > 2 * BATCH_BYTES {
            self.buffer = Vec::new();
        }
        self.end.offset += written;
        self.synced = self.end;
        Ok(())
    }

    /// Goes on in the next segment. That one is there before this one says so, and this one
    /// says so before anything stands in that one: recovery relies on both.
    async fn roll(&mut self, shared: &Shared) -> io::Result<()> {
        let number = self.end.segment + 1;
        if let Some(made) = self.making.take() {
            let _ = made.await;
        }
        let next = make(shared, number).await?;
        self.buffer.clear();
        record::encode(
            &mut self.buffer,
            self.end,
            Kind::Roll,
            GroupId(0),
            number,
            &[],
        );
        self.sync().await?;
        self.file = next;
        self.end = Position {
            segment: number,
            offset: HEADER,
        };
        shared.rolled.notify_one();
        Ok(())
    }

    /// Has the next segment made while this one is only half full.
    fn make_ahead(&mut self, shared: &Arc<Shared>) {
        let bytes = shared.options.segment_bytes;
        if self.making.is_some() || self.end.offset * 2 < bytes {
            return;
        }
        let (told, made) = oneshot::channel();
        self.making = Some(made);
        let (shared, number) = (shared.clone(), self.end.segment + 1);
        self.tasks.spawn("wal segment", async move {
            if let Err(error) = make(&shared, number).await {
                // It is tried again when there is no room left, and only then it matters.
                tracing::warn!(%error, number, "the next segment of the log could not be made");
            }
            let _ = told.send(());
        });
    }

    /// Removes the segments before `needed`, the oldest first.
    async fn forget(&mut self, shared: &Shared, needed: u64) {
        while self.first < needed {
            if let Err(error) = shared.segments.remove(self.first).await {
                tracing::warn!(%error, number = self.first, "an old segment of the log stays");
                return;
            }
            self.first += 1;
        }
    }
}

/// Makes a segment. While the disk is full it waits: no promise depends on what does not exist
/// yet, so the process need not end, and what the log holds can be read meanwhile.
async fn make(shared: &Shared, number: u64) -> io::Result<Arc<dyn File>> {
    loop {
        let made = shared
            .segments
            .ensure(number, shared.options.segment_bytes)
            .await;
        match made {
            Err(error) if is_full(&error) => {
                if !shared.full.send_replace(true) {
                    tracing::error!(%error, number, "the log's disk is full: the next segment waits for room");
                }
                tokio::time::sleep(FULL_PAUSE).await;
            }
            made => {
                if shared.full.send_replace(false) {
                    tracing::info!(number, "the log's disk has room again");
                }
                return made;
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
