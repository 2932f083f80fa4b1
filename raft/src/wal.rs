//! The log of a node: one sequence of records for all its Raft groups.
//!
//! Appends, votes and truncations of all groups go through one ordered queue. The writer takes
//! all that waits, makes one write and one `fdatasync` of it, and then tells every caller: a
//! group commit. While it syncs, the next batch gathers.
//!
//! Each batch begins with a *mark*: up to where the log was synced when it was written. After a
//! crash a record that cannot be read lies either above the highest mark (a torn tail: nobody
//! was told of it, it is cut) or below (damage: what is lost may have been promised, so the node
//! must not vote, and `open` refuses).

mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use codraft_proto::{ids::GroupId, tasks::Tasks, transport::BoxFuture};
use tokio::sync::{Notify, oneshot, watch};

use crate::disk::Disk;
use segment::{Place, Segments};

#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Bytes of one file of the log, made ahead of time.
    pub segment_bytes: u64,
    /// Recent records of a group that stay in memory.
    pub cache_bytes: usize,
    /// Bytes that may wait to be written, over all groups.
    pub queue_bytes: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            cache_bytes: 8 << 20,
            queue_bytes: 64 << 20,
        }
    }
}

/// What `open` found.
#[derive(Debug, Clone, Default)]
pub struct WalReport {
    pub segments: usize,
    pub records: u64,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// What is lost may have been acknowledged.
    #[error(
        "the log is damaged in segment {segment} at byte {offset}, below what was synced: this \
         node must not vote again; remove it and add a new node with a new id"
    )]
    Damaged { segment: u64, offset: u64 },
}

/// Called once what it belongs to is durable, or never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
    failed: watch::Sender<Option<String>>,
    options: WalOptions,
    segments: Segments,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<GroupId, GroupState>,
    queue: Vec<Request>,
    queued_bytes: usize,
    stats: WalStats,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct WalStats {
    pub syncs: u64,
    pub records: u64,
    pub bytes: u64,
}

/// A group's part of the log, as it will be once the queue is written.
#[derive(Default)]
struct GroupState {
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    /// Index of `entries[0]`.
    first: u64,
    entries: VecDeque<Entry>,
    cached_bytes: usize,
    /// Entries before this one are out of memory.
    cached_from: u64,
}

struct Entry {
    record: Option<Bytes>,
    place: Option<Place>,
}

enum Request {
    Append {
        group: GroupId,
        first: u64,
        records: Vec<Bytes>,
        done: Done,
    },
    Vote {
        group: GroupId,
        vote: Bytes,
        done: Done,
    },
    Committed {
        group: GroupId,
        committed: Bytes,
    },
    Truncate {
        group: GroupId,
        keep: u64,
        done: Done,
    },
    Purge {
        group: GroupId,
        up_to: u64,
        done: Done,
    },
}

impl Wal {
    /// Opens the log in `dir`, makes it when it is not there, cuts a torn tail.
    ///
    /// # Errors
    /// `Damaged` where the log may have lost what was acknowledged.
    pub async fn open(
        tasks: &Tasks,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: WalOptions,
    ) -> Result<(Wal, WalReport), WalError> {
        let (groups, end, segments, report) = recover::recover(disk, dir, &options).await?;
        let state = State {
            groups,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Notify::new(),
            failed: watch::Sender::new(None),
            options,
            segments,
        });
        tasks.spawn("wal", writer::run(shared.clone(), tasks.clone(), end));
        Ok((Wal { shared }, report))
    }

    pub fn group(&self, group: GroupId) -> GroupWal {
        self.shared.lock().groups.entry(group).or_default();
        GroupWal {
            group,
            shared: self.shared.clone(),
        }
    }

    /// Resolves with the reason when the log can no longer be written. The process must end
    /// then: what the disk holds is not known any more.
    pub async fn failed(&self) -> String {
        let mut watch = self.shared.failed.subscribe();
        // Apart from the `match`, or the watch's guard would live across its await.
        let reason = watch
            .wait_for(Option::is_some)
            .await
            .map(|r| r.clone().unwrap_or_default());
        match reason {
            Ok(reason) => reason,
            Err(_) => std::future::pending().await,
        }
    }

    pub fn stats(&self) -> WalStats {
        self.shared.lock().stats
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut state: MutexGuard<'_, State>, request: Request, bytes: usize) {
        let reason = self.failed.borrow().clone();
        let refused = match reason {
            Some(reason) => Some(io::Error::other(reason)),
            None if state.queued_bytes + bytes > self.options.queue_bytes => {
                Some(io::Error::other("the log's queue is full"))
            }
            None => None,
        };
        match refused {
            None => {
                state.queued_bytes += bytes;
                state.queue.push(request);
                drop(state);
                self.wake.notify_one();
            }
            Some(error) => {
                drop(state);
                request.fail(&error);
            }
        }
    }
}

impl Request {
    fn fail(self, error: &io::Error) {
        let done = match self {
            Request::Append { done, .. }
            | Request::Vote { done, .. }
            | Request::Truncate { done, .. }
            | Request::Purge { done, .. } => done,
            Request::Committed { .. } => return,
        };
        done(Err(io::Error::new(error.kind(), error.to_string())));
    }
}

/// The log of one group.
#[derive(Clone)]
pub struct GroupWal {
    group: GroupId,
    shared: Arc<Shared>,
}

impl GroupWal {
    pub fn id(&self) -> GroupId {
        self.group
    }

    /// Appends records at `first_index` and on. They can be read at once; `done` is called when
    /// they are durable.
    pub fn append(&self, first_index: u64, records: Vec<Bytes>, done: Done) {
        let group = self.group;
        let bytes: usize = records.iter().map(Bytes::len).sum();
        let in_file: usize = records.iter().map(|r| record::size(r.len())).sum();
        let most = self.shared.options.segment_bytes as usize - record::size(record::MARK);
        if in_file > most {
            let error = format!("an append of {in_file} bytes does not fit a segment");
            return done(Err(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        let mut state = self.shared.lock();
        let held = state.groups.entry(group).or_default();
        held.put(first_index, &records);
        let request = Request::Append {
            group,
            first: first_index,
            records,
            done,
        };
        self.shared.push(state, request, bytes);
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// When the log cannot be written any more.
    pub async fn save_vote(&self, vote: Bytes) -> io::Result<()> {
        let (done, saved) = completion();
        {
            let group = self.group;
            let mut state = self.shared.lock();
            state.groups.entry(group).or_default().vote = Some(vote.clone());
            self.shared
                .push(state, Request::Vote { group, vote, done }, 64);
        }
        wait(saved).await
    }

    /// Written with the next batch, without a sync of its own: it only spares work after a
    /// restart.
    pub fn save_committed(&self, committed: Bytes) {
        let group = self.group;
        let mut state = self.shared.lock();
        state.groups.entry(group).or_default().committed = Some(committed.clone());
        state
            .queue
            .retain(|r| !matches!(r, Request::Committed { group: g, .. } if *g == group));
        state.queue.push(Request::Committed { group, committed });
    }

    /// Drops all entries from `keep` on.
    ///
    /// # Errors
    /// When the log cannot be written any more.
    pub async fn truncate_from(&self, keep: u64) -> io::Result<()> {
        let (done, saved) = completion();
        {
            let group = self.group;
            let mut state = self.shared.lock();
            state.groups.entry(group).or_default().truncate(keep);
            self.shared
                .push(state, Request::Truncate { group, keep, done }, 64);
        }
        wait(saved).await
    }

    /// Drops all entries up to and including `up_to`.
    ///
    /// # Errors
    /// When the log cannot be written any more.
    pub async fn purge_up_to(&self, up_to: u64) -> io::Result<()> {
        let (done, saved) = completion();
        {
            let group = self.group;
            let mut state = self.shared.lock();
            state.groups.entry(group).or_default().purge(up_to);
            self.shared
                .push(state, Request::Purge { group, up_to, done }, 64);
        }
        wait(saved).await
    }

    /// Records from `from` up to and without `to`; at least one, if there is one, then as many
    /// as fit `max_bytes`.
    ///
    /// # Errors
    /// When the disk does not give back what it was given.
    pub fn read(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> BoxFuture<'static, io::Result<Vec<Bytes>>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        {
            let state = self.shared.lock();
            let Some(held) = state.groups.get(&self.group) else {
                return Box::pin(async { Ok(Vec::new()) });
            };
            for index in from..to.min(held.end()) {
                let Some(entry) = held.entry(index) else {
                    break;
                };
                let length = match (&entry.record, &entry.place) {
                    (Some(record), _) => record.len(),
                    (None, Some(place)) => place.length as usize,
                    (None, None) => break,
                };
                if !found.is_empty() && bytes + length > max_bytes {
                    break;
                }
                bytes += length;
                found.push((entry.record.clone(), entry.place));
            }
        }
        if found.iter().all(|(record, _)| record.is_some()) {
            let records = found.into_iter().filter_map(|(record, _)| record).collect();
            return Box::pin(async move { Ok(records) });
        }
        let shared = self.shared.clone();
        Box::pin(async move {
            let mut records = Vec::with_capacity(found.len());
            for (record, place) in found {
                records.push(match (record, place) {
                    (Some(record), _) => record,
                    (None, Some(place)) => shared.segments.read(place).await?,
                    (None, None) => return Err(io::ErrorKind::NotFound.into()),
                });
            }
            Ok(records)
        })
    }

    /// The first index held; `last_index() + 1` when there is none.
    pub fn first_index(&self) -> u64 {
        self.with(|held| held.first)
    }

    /// The last index held, if there is one.
    pub fn last_index(&self) -> Option<u64> {
        self.with(|held| (!held.entries.is_empty()).then(|| held.end() - 1))
    }

    pub fn vote(&self) -> Option<Bytes> {
        self.with(|held| held.vote.clone())
    }

    pub fn committed(&self) -> Option<Bytes> {
        self.with(|held| held.committed.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&GroupState) -> T) -> T {
        f(self.shared.lock().groups.entry(self.group).or_default())
    }
}

fn completion() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (told, saved) = oneshot::channel();
    let done = move |result| {
        let _ = told.send(result);
    };
    (Box::new(done), saved)
}

async fn wait(saved: oneshot::Receiver<io::Result<()>>) -> io::Result<()> {
    saved
        .await
        .map_err(|_| io::Error::other("the log is closed"))?
}

impl GroupState {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.first)? as usize)
    }

    fn entry_mut(&mut self, index: u64) -> Option<&mut Entry> {
        self.entries
            .get_mut(index.checked_sub(self.first)? as usize)
    }

    /// Takes records in at `first`, over whatever stood there.
    fn put(&mut self, first: u64, records: &[Bytes]) {
        if self.entries.is_empty() {
            self.first = first;
            self.cached_from = first;
        }
        self.truncate(first);
        for record in records {
            self.cached_bytes += record.len();
            self.entries.push_back(Entry {
                record: Some(record.clone()),
                place: None,
            });
        }
    }

    fn truncate(&mut self, keep: u64) {
        while self.end() > keep && !self.entries.is_empty() {
            if let Some(Entry {
                record: Some(record),
                ..
            }) = self.entries.pop_back()
            {
                self.cached_bytes -= record.len();
            }
        }
        self.cached_from = self.cached_from.min(self.end());
    }

    fn purge(&mut self, up_to: u64) {
        while self.first <= up_to && !self.entries.is_empty() {
            if let Some(Entry {
                record: Some(record),
                ..
            }) = self.entries.pop_front()
            {
                self.cached_bytes -= record.len();
            }
            self.first += 1;
        }
        self.first = self.first.max(up_to + 1);
        self.cached_from = self.cached_from.max(self.first);
    }

    /// A record is on disk now: it may leave memory when there is too much.
    fn placed(&mut self, index: u64, record: &Bytes, place: Place, cache_bytes: usize) {
        if let Some(entry) = self.entry_mut(index) {
            // It may have been replaced while it was written.
            let same = entry
                .record
                .as_ref()
                .is_some_and(|r| r.as_ptr() == record.as_ptr());
            if same {
                entry.place = Some(place);
            }
        }
        while self.cached_bytes > cache_bytes && self.cached_from < self.end() {
            let index = self.cached_from;
            let Some(entry) = self.entry_mut(index) else {
                break;
            };
            if entry.place.is_none() {
                break;
            }
            if let Some(record) = entry.record.take() {
                self.cached_bytes -= record.len();
            }
            self.cached_from += 1;
        }
    }
}
