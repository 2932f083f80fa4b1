//! What one user may take of this router, over all their sockets and requests. Whoever they are,
//! the others do not notice.

mod bucket;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use codraft_proto::{
    ids::{ClientId, DocId, UserId},
    limits::EdgeLimits,
    reject::Code,
};
use parking_lot::Mutex;

use crate::queue::{End, Queue};
pub use bucket::Bucket;

/// Users that are remembered at once. Each has shown a token within the last seconds.
const ACCOUNTS_MAX: usize = 1 << 18;
/// Below so many nobody is forgotten.
const ACCOUNTS_MIN: usize = 1_024;
/// Frames of any kind, and their bytes, as a multiple of what operations may be. Operations above
/// their own rate are put off; who sends so much more has to leave.
const FRAMES: u64 = 4;
/// A user who comes back after a while comes with all tabs and requests: so many seconds' worth of
/// opens, tickets and requests may come at once.
const BURST_SECONDS: u64 = 10;
/// An operation that so many events came before is transformed past each, which costs as much
/// again as applying it.
const EVENTS_AN_OPERATION: u64 = 16;
/// Unfinished messages of a user, as a multiple of the largest.
const UNFINISHED: usize = 4;
/// A ping that has no answer for so long: the peer is most likely gone.
const SILENT_MS: u64 = 5_000;

pub struct Accounts {
    limits: EdgeLimits,
    table: Mutex<Table>,
}

struct Table {
    of: BTreeMap<UserId, Arc<Account>>,
    /// With so many the idle ones are looked for.
    sweep_at: usize,
}

/// One user's.
pub struct Account {
    buckets: Mutex<Buckets>,
    seats: Mutex<Vec<Arc<Seat>>>,
    per_user: usize,
    per_document: usize,
    /// Bytes of messages that are not all here, over all sockets.
    unfinished_bytes: AtomicUsize,
    unfinished_bytes_max: usize,
}

struct Buckets {
    operations: Bucket,
    bytes: Bucket,
    frames: Bucket,
    frame_bytes: Bucket,
    opens: Bucket,
    tickets: Bucket,
    requests: Bucket,
}

/// What is counted one by one.
#[derive(Debug, Clone, Copy)]
pub enum One {
    /// A socket, or a document opened again on one.
    Open,
    Ticket,
    /// Of the REST interface.
    Request,
}

/// Whose request this is, once a token or a ticket has said so. Set where that is read, and looked
/// at where the request was refused.
#[derive(Clone, Default)]
pub struct Asker(Arc<OnceLock<Arc<Account>>>);

impl Asker {
    pub fn is(&self, account: Arc<Account>) {
        // A request has one.
        let _ = self.0.set(account);
    }

    pub fn account(&self) -> Option<&Arc<Account>> {
        self.0.get()
    }
}

/// How many milliseconds to wait.
pub type Wait = Result<(), u32>;

impl Accounts {
    pub fn new(limits: &EdgeLimits) -> Self {
        let table = Table {
            of: BTreeMap::new(),
            sweep_at: ACCOUNTS_MIN,
        };
        Self {
            limits: limits.clone(),
            table: Mutex::new(table),
        }
    }

    /// A user's account; `Busy` when there are very many users at once.
    pub fn of(&self, user: &UserId, now_ms: u64) -> Result<Arc<Account>, Code> {
        let mut table = self.table.lock();
        if let Some(account) = table.of.get(user) {
            return Ok(account.clone());
        }
        if table.of.len() >= table.sweep_at {
            table.of.retain(|_, account| !account.is_idle(now_ms));
            table.sweep_at = (2 * table.of.len()).clamp(ACCOUNTS_MIN, ACCOUNTS_MAX);
            if table.of.len() >= ACCOUNTS_MAX {
                return Err(Code::Busy);
            }
        }
        let account = Arc::new(Account::new(&self.limits, now_ms));
        table.of.insert(user.clone(), account.clone());
        Ok(account)
    }
}

impl Account {
    fn new(limits: &EdgeLimits, now_ms: u64) -> Self {
        let steady = |a_second: u64| Bucket::new(a_second, a_second, now_ms);
        let bursting = |a_second: u32| {
            let a_second = u64::from(a_second);
            Bucket::new(a_second, BURST_SECONDS * a_second, now_ms)
        };
        let operations = u64::from(limits.ops_per_second);
        let bytes = u64::from(limits.bytes_per_second);
        let buckets = Buckets {
            operations: steady(operations),
            bytes: steady(bytes),
            frames: steady(FRAMES * operations),
            frame_bytes: steady(FRAMES * bytes),
            opens: bursting(limits.opens_per_second),
            tickets: bursting(limits.tickets_per_second),
            requests: bursting(limits.requests_per_second),
        };
        Self {
            buckets: Mutex::new(buckets),
            seats: Mutex::default(),
            per_user: limits.sockets_per_user as usize,
            per_document: limits.sockets_per_user_and_document as usize,
            unfinished_bytes: AtomicUsize::new(0),
            unfinished_bytes_max: UNFINISHED * limits.frame_bytes as usize,
        }
    }

    /// Whether it tells nothing that a new one would not. Its owner alone may hold it.
    fn is_idle(self: &Arc<Self>, now_ms: u64) -> bool {
        Arc::strong_count(self) == 1 && self.buckets.lock().are_full(now_ms)
    }

    /// Takes an operation of so many bytes whose base is so many events old.
    pub fn operation(&self, bytes: usize, behind: u64, now_ms: u64) -> Wait {
        let mut buckets = self.buckets.lock();
        let Buckets {
            operations,
            bytes: of_bytes,
            ..
        } = &mut *buckets;
        let cost = 1 + behind / EVENTS_AN_OPERATION;
        Bucket::take_both((operations, cost), (of_bytes, bytes as u64), now_ms)
    }

    /// Takes a message of so many bytes that came on a socket.
    pub fn message(&self, bytes: usize, now_ms: u64) -> Wait {
        let mut buckets = self.buckets.lock();
        let Buckets {
            frames,
            frame_bytes,
            ..
        } = &mut *buckets;
        Bucket::take_both((frames, 1), (frame_bytes, bytes as u64), now_ms)
    }

    /// There were so many more frames in it.
    pub fn more_frames(&self, frames: usize) {
        self.buckets.lock().frames.charge(frames as u64);
    }

    pub fn one(&self, what: One, now_ms: u64) -> Wait {
        let mut buckets = self.buckets.lock();
        let bucket = match what {
            One::Open => &mut buckets.opens,
            One::Ticket => &mut buckets.tickets,
            One::Request => &mut buckets.requests,
        };
        bucket.take(1, now_ms)
    }

    /// Takes bytes that came by the REST interface.
    pub fn bytes(&self, bytes: usize, now_ms: u64) -> Wait {
        self.buckets.lock().bytes.take(bytes as u64, now_ms)
    }

    /// Bytes of a message arrived that is not all here; `false` when that is too much.
    pub fn unfinished(&self, bytes: usize) -> bool {
        let before = self.unfinished_bytes.fetch_add(bytes, Ordering::Relaxed);
        before + bytes <= self.unfinished_bytes_max
    }

    /// So many of them belong to a message that is.
    pub fn finished(&self, bytes: usize) {
        self.unfinished_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A place for a socket on a document. The newest takes that of an older one of the same
    /// client, and where there is no room that of the one that is silent for longest.
    pub fn sit(
        self: &Arc<Self>,
        doc: DocId,
        client: ClientId,
        queue: &Arc<Queue>,
        now_ms: u64,
    ) -> Result<Sitting, Code> {
        let mut seats = self.seats.lock();
        // The hub ends it.
        seats.retain(|seat| (seat.doc, seat.client) != (doc, client));
        let here = |seat: &Arc<Seat>| seat.doc == doc;
        let crowded = seats.iter().filter(|seat| here(seat)).count() >= self.per_document;
        if crowded || seats.len() >= self.per_user {
            let silent = seats.iter().filter(|seat| seat.is_silent(now_ms));
            let silent = silent.filter(|seat| !crowded || here(seat));
            let oldest = silent.min_by_key(|seat| seat.heard_ms.load(Ordering::Relaxed));
            let oldest = oldest.cloned().ok_or(Code::TooManySockets)?;
            oldest.queue.end(End::because(Code::TooManySockets));
            seats.retain(|seat| !Arc::ptr_eq(seat, &oldest));
        }
        let seat = Arc::new(Seat {
            doc,
            client,
            queue: queue.clone(),
            heard_ms: AtomicU64::new(now_ms),
            pinged_ms: AtomicU64::new(0),
        });
        seats.push(seat.clone());
        Ok(Sitting {
            seat,
            account: self.clone(),
        })
    }
}

impl Buckets {
    fn are_full(&mut self, now_ms: u64) -> bool {
        let Buckets {
            operations,
            bytes,
            frames,
            frame_bytes,
            opens,
            tickets,
            requests,
        } = self;
        [
            operations,
            bytes,
            frames,
            frame_bytes,
            opens,
            tickets,
            requests,
        ]
        .into_iter()
        .all(|bucket| bucket.is_full(now_ms))
    }
}

/// One socket, as its user's account knows it.
struct Seat {
    doc: DocId,
    client: ClientId,
    queue: Arc<Queue>,
    heard_ms: AtomicU64,
    /// The last ping that was sent; 0: none.
    pinged_ms: AtomicU64,
}

impl Seat {
    fn is_silent(&self, now_ms: u64) -> bool {
        let pinged_ms = self.pinged_ms.load(Ordering::Relaxed);
        pinged_ms > self.heard_ms.load(Ordering::Relaxed) && now_ms >= pinged_ms + SILENT_MS
    }
}

/// A socket's place among its user's, given back when dropped.
pub struct Sitting {
    seat: Arc<Seat>,
    account: Arc<Account>,
}

impl Sitting {
    pub fn heard(&self, now_ms: u64) {
        self.seat.heard_ms.store(now_ms, Ordering::Relaxed);
    }

    pub fn pinged(&self, now_ms: u64) {
        self.seat.pinged_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        self.account
            .seats
            .lock()
            .retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests;
