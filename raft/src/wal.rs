//! The log of a node: one sequence of records for all its Raft groups.
//!
//! Appends, votes and truncations of all groups go through one ordered queue. The writer takes
//! what waits, makes one write and one `fdatasync` of it, and then tells every caller: a group
//! commit. While it syncs, the next batch gathers.
//!
//! Each batch begins with a *mark*: up to where the log was synced when it was written. After a
//! crash a record that cannot be read lies either above the highest mark (a torn tail: nobody
//! was told of it, it is cut) or below: damage. What is lost then may have been promised, and a
//! record that does not read back does not say whose it was, a vote among them. So with damage
//! *every* group of this log is quarantined: what is left can be read, nothing can be written,
//! no vote cast. The files stay as they were found.

mod group;
mod inspect;
mod queue;
mod record;
mod recover;
mod segment;
mod starts;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use codraft_proto::{
    disk::Disk,
    ids::{GroupId, NodeId},
    tasks::Tasks,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot, watch};

use crate::tap;
pub use group::GroupWal;
pub use inspect::Odd;
use queue::{Queue, Refusal, Request, Write};
pub use record::Position;
use recover::Recovered;
use segment::Segments;
pub use segment::file_name;
pub use starts::{STARTS_MAX, Standing, Start};
use state::GroupState;

#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Bytes of one file of the log, made ahead of time. A larger record makes its file grow.
    pub segment_bytes: u64,
    /// Recent records of a group that stay in memory. A follower that is further behind is read
    /// for from the disk.
    pub cache_bytes: usize,
    /// Bytes that may wait to be written, over all groups; more is refused.
    pub queue_bytes: usize,
    /// There was a log before: where there is none now, none is made. See `Identity::has_log`.
    pub must_exist: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            // The two entries that are not applied yet; larger ones are read back from the disk.
            cache_bytes: 2 << 20,
            queue_bytes: 64 << 20,
            must_exist: false,
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
    /// All groups of this log are quarantined.
    pub damage: Option<Damage>,
}

/// Where a log below what was synced does not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log is damaged in segment {segment} at byte {offset}, below what was synced: this node \
     must not vote again; put a new one in its place with `codraft node replace`"
)]
pub struct Damage {
    pub segment: u64,
    pub offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the log cannot be written: {0}")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Damaged(Damage),
    /// What it promised is not known any more.
    #[error(
        "the log is gone: this node must not vote again; put a new one in its place with `codraft node \
         replace`"
    )]
    Missing,
    #[error(
        "segment {segment} of the log is of format {format}, this version reads format {own} alone: \
         start the version that wrote it, or begin with an empty folder",
        own = segment::FORMAT
    )]
    Format { segment: u64, format: u32 },
}

/// Called once, when what it belongs to is durable or never will be. It runs in the writer: it
/// must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    wake: Notify,
    /// There is less to write than there was.
    room: Notify,
    failed: watch::Sender<Option<String>>,
    /// The next segment waits for room on the disk.
    full: watch::Sender<bool>,
    /// The log goes on in another segment.
    rolled: Notify,
    options: WalOptions,
    segments: Segments,
    damage: Option<Damage>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<GroupId, GroupState>,
    /// The latest starts, this process's at the end once it has begun.
    starts: Vec<Start>,
    peers: BTreeMap<NodeId, Standing>,
    /// Up to here it is on the disk.
    synced: Position,
    queue: Queue,
    stats: WalStats,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct WalStats {
    pub syncs: u64,
    pub records: u64,
    pub bytes: u64,
}

impl Wal {
    /// Opens the log in `dir`, makes it when there never was one, cuts a torn tail. A damaged log
    /// opens too, quarantined: ask `WalReport::damage`, `Wal::damage` or
    /// `GroupWal::quarantined` before taking part in anything.
    ///
    /// # Errors
    /// When the files cannot be read, or are gone.
    pub async fn open(
        tasks: &Tasks,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: WalOptions,
    ) -> Result<(Wal, WalReport), WalError> {
        let segments = Segments::new(disk, dir);
        let found = recover::recover(&segments, &options).await?;
        let damage = found.report.damage;
        if damage.is_none() {
            let ends = found
                .groups
                .iter()
                .map(|(group, held)| (*group, held.end()));
            ends.filter(|(_, end)| *end > 0)
                .for_each(|(group, end)| tap::synced(group, end - 1));
        }
        tap::recovered(damage.is_some(), found.report.cut_bytes);
        let (first, end, report) = (found.first_segment, found.end, found.report.clone());
        let refusal = damage.as_ref().map(Refusal::damaged);
        let shared = Shared::new(segments, options, found, refusal);
        if damage.is_none() {
            tasks.spawn(
                "wal",
                writer::run(shared.clone(), tasks.clone(), first, end),
            );
        }
        Ok((Wal { shared }, report))
    }

    /// Reads the log in `dir` and changes nothing, whatever is found: for one who takes no part in it,
    /// whether a process has it open or not. What it returns can be read, and refuses every write.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub async fn look(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: WalOptions,
    ) -> Result<(Wal, WalReport, Vec<Odd>), WalError> {
        let segments = Segments::new(disk, dir);
        let found = recover::look(&segments, &options).await?;
        let odd = inspect::inspect(&segments, &found).await?;
        let report = found.report.clone();
        let shared = Shared::new(segments, options, found, Some(Refusal::closed()));
        Ok((Wal { shared }, report, odd))
    }

    pub fn group(&self, group: GroupId) -> GroupWal {
        self.shared.lock().groups.entry(group).or_default();
        GroupWal {
            group,
            shared: self.shared.clone(),
        }
    }

    /// Puts this process into the log, before anything else: durable when it returns. The latest
    /// starts, this one at the end.
    ///
    /// # Errors
    /// When the log cannot be written, or is quarantined.
    pub async fn begin(&self, name: u64) -> io::Result<Vec<Start>> {
        let (told, saved) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            let _ = told.send(result);
        });
        let starts = {
            let mut state = self.shared.lock();
            state.queue.admit(0, usize::MAX)?;
            let start = Start {
                number: state.starts.last().map_or(1, |last| last.number + 1),
                name,
                opened: state.synced,
            };
            starts::push(&mut state.starts, start);
            let request = Request::new(GroupId(0), Write::Start(start), Some(done));
            state.queue.push(request);
            state.starts.clone()
        };
        self.shared.wake.notify_one();
        saved
            .await
            .map_err(|_| io::Error::other("the log is closed"))??;
        Ok(starts)
    }

    /// Up to where all that was written is on this disk.
    pub fn synced(&self) -> Position {
        self.shared.lock().synced
    }

    /// How far another node's log is known to have come.
    pub fn remembered(&self, node: NodeId) -> Option<Standing> {
        self.shared.lock().peers.get(&node).copied()
    }

    /// Keeps how far another node's log has come, where that is news. It is written beside the
    /// next batch.
    pub fn remember(&self, node: NodeId, standing: Standing) {
        let mut state = self.shared.lock();
        let known = state.peers.get(&node);
        if state.queue.is_closed() || known.is_some_and(|known| !known.is_before(&standing)) {
            return;
        }
        state.peers.insert(node, standing);
        state.queue.peers.insert(node);
    }

    /// The groups that have anything in this log.
    pub fn groups(&self) -> Vec<GroupId> {
        let state = self.shared.lock();
        let used = state.groups.iter().filter(|(_, held)| held.end() > 0);
        used.map(|(group, _)| *group).collect()
    }

    /// Why every group of this log is quarantined, if so.
    pub fn damage(&self) -> Option<Damage> {
        self.shared.damage
    }

    /// Whether the disk has no room for the next segment. What is left of the present one, half
    /// of it or less, is a reserve: for votes and what others propose, not for new proposals.
    pub fn is_full(&self) -> bool {
        *self.shared.full.borrow()
    }

    /// What [`Wal::is_full`] says, whenever that changes.
    pub fn fullness(&self) -> watch::Receiver<bool> {
        self.shared.full.subscribe()
    }

    /// Resolves once [`Wal::is_full`] says so.
    pub async fn full(&self, full: bool) {
        let mut watch = self.fullness();
        // The sender lives as long as this log.
        let _ = watch.wait_for(|is| *is == full).await;
    }

    /// Resolves when the log went on in another segment; for one who waits.
    pub async fn rolled(&self) {
        self.shared.rolled.notified().await;
    }

    /// Resolves with the reason when the log can no longer be written.
    /// The process must end then: what the disk holds is not known any more.
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
    fn new(
        segments: Segments,
        options: WalOptions,
        found: Recovered,
        refusal: Option<Refusal>,
    ) -> Arc<Self> {
        let state = State {
            groups: found.groups,
            starts: found.starts,
            peers: found.peers,
            synced: found.end,
            queue: Queue::new(refusal),
            stats: WalStats::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            room: Notify::new(),
            failed: watch::Sender::new(None),
            full: watch::Sender::new(false),
            rolled: Notify::new(),
            options,
            segments,
            damage: found.report.damage,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Nothing is written any more; what waits is told so.
    fn refuse(&self, refusal: Refusal) {
        let waiting = self.lock().queue.close(refusal.clone());
        waiting
            .into_iter()
            .for_each(|request| request.finish(Err(refusal.error())));
        self.room.notify_waiters();
    }

    /// The end in order. What waits is let go and not told of a failure: the disk had none, and
    /// openraft would log one as an error.
    fn close(&self) {
        let waiting = self.lock().queue.close(Refusal::closed());
        drop(waiting);
        self.room.notify_waiters();
    }
}
