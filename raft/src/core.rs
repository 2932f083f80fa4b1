//! A group's state, who is told of what it does, and who waits for it, all under one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    reject::Code,
    transport::BoxFuture,
};
use lru::LruCache;
use tokio::time::Instant;

use crate::{
    command::{Batch, Command, Expire},
    events::{Origin, Sinks},
    machine::{Applied, Document, Lookup, MachineLimits, Outcome, Shard, Slots},
    manifest::Manifest,
    oplog::Fresh,
    queue::Queue,
    tail::{Came, Tail},
    tap,
    types::{LogId, StoredMembership},
    users::Changes,
};

/// How long a document stays in memory for an entry that may never come, and for who opens it.
pub const FOR_ENTRIES: Duration = Duration::from_secs(10);
pub const FOR_READERS: Duration = Duration::from_secs(1);

/// A group's state at one moment.
pub struct Image {
    /// The last entry that was applied.
    pub last: LogId,
    pub membership: StoredMembership,
    pub level: u32,
    pub slots: Slots,
}

impl Image {
    /// Whether a manifest lists all of it as it is.
    pub fn is_in(&self, manifest: &Manifest) -> bool {
        let at = self.last.index;
        manifest.index() == at && self.slots.slots().all(|(_, of)| of.is_as_at(at))
    }
}

/// A group's state as it was kept.
pub struct KeptState {
    pub manifest: Arc<Manifest>,
    pub documents: Slots,
}

/// A group's state and those who are told of it; guarded by the group's lock.
pub struct Core {
    pub shard: Shard,
    pub sinks: Sinks,
    /// By proposal number: what was proposed here and has no outcome yet.
    pub waiting: BTreeMap<u64, Waiting>,
    /// Set when the state can no longer be proven to be what the log makes; the group then
    /// answers nothing more.
    pub unproven: Option<String>,
    /// What is proposed here next; for what the leader proposes on its own account.
    queue: Arc<Queue>,
    tail: Arc<Tail>,
    /// Documents in memory and when they were used, those used last at the front.
    used: LruCache<DocId, Instant>,
    /// Documents that are needed soon, and until when they stay in memory for that.
    pinned: BTreeMap<DocId, Instant>,
    /// Events that are not in the op log yet.
    pub fresh: Fresh,
    /// Who has which documents, as far as the latest manifest does not say it.
    pub changes: Changes,
    pub last: Option<LogId>,
    pub membership: StoredMembership,
}

/// Documents that nobody used for long.
#[derive(Debug, Default)]
pub struct Idle {
    /// Those that left memory.
    pub cooled: usize,
    /// Those that are to be written first, and what they take.
    pub unwritten: usize,
    pub unwritten_bytes: u64,
}

/// Who waits for a proposal, in the order of its commands; and what was proposed, to
/// propose it again where a fresh leader refused it.
pub struct Waiting {
    pub origins: Vec<Origin>,
    pub batch: Bytes,
    pub since: Instant,
}

impl Core {
    pub fn new(
        group: GroupId,
        limits: MachineLimits,
        sinks: Sinks,
        queue: Arc<Queue>,
        tail: Arc<Tail>,
    ) -> Self {
        Self {
            shard: Shard::new(group, limits),
            sinks,
            waiting: BTreeMap::new(),
            unproven: None,
            queue,
            tail,
            used: LruCache::unbounded(),
            pinned: BTreeMap::new(),
            fresh: Fresh::default(),
            changes: Changes::default(),
            last: None,
            membership: StoredMembership::default(),
        }
    }

    /// The state that was kept, and goes on from there.
    pub fn restore(&mut self, kept: &KeptState) {
        let manifest = &kept.manifest;
        let (group, limits) = (self.shard.group(), self.shard.limits().clone());
        let (index, level) = (manifest.index(), manifest.level);
        self.shard = Shard::restore(group, limits, index, level, kept.documents.clone());
        self.used.clear();
        self.changes = Changes::default();
        self.last = Some(manifest.last);
        self.membership = manifest.membership.clone();
    }

    /// A document was read into memory, as the entry `touched` left it.
    pub fn warm(&mut self, doc: &DocId, touched: u64, document: Arc<Document>) {
        self.shard.warm(doc, touched, document);
        self.used.put(*doc, Instant::now());
        self.tail.warmed(self.shard.warm_bytes());
    }

    /// A document was had from elsewhere, as the entry `touched` left it: its page here is no good.
    pub fn mend(&mut self, doc: &DocId, touched: u64, document: Arc<Document>) {
        self.shard.mend(doc, touched, document);
        self.used.put(*doc, Instant::now());
    }

    /// All who vote in the group.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        let voters = self.membership.membership().voter_ids();
        voters.map(NodeId).collect()
    }

    /// A document is in use, if it is in memory.
    pub fn use_document(&mut self, doc: &DocId) {
        if let Some(used) = self.used.get_mut(doc) {
            *used = Instant::now();
        }
    }

    /// Has documents stay in memory for entries to come. False where others take all the room.
    pub fn pin(&mut self, docs: &BTreeSet<DocId>) -> bool {
        let most = self.tail.memory_bytes();
        if self.shard.warm_bytes() > most + most / 4 {
            return false;
        }
        self.need(docs, FOR_ENTRIES);
        true
    }

    /// Has documents stay in memory for so long, or until an entry about them was applied, whether there
    /// is room or not.
    pub fn need(&mut self, docs: &BTreeSet<DocId>, time: Duration) {
        let until = Instant::now() + time;
        self.pinned.extend(docs.iter().map(|doc| (*doc, until)));
    }

    /// Lets at most `count` documents leave memory, those first that were not used for longest,
    /// until the rest takes no more than `most` bytes. Whether that is so, and how many left.
    pub fn cool(&mut self, most: u64, count: usize) -> (bool, usize) {
        let (mut dirty, mut cooled) = (Vec::new(), 0);
        let now = Instant::now();
        self.pinned.retain(|_, until| *until > now);
        for _ in 0..count.min(self.used.len()) {
            if self.shard.warm_bytes() <= most {
                break;
            }
            let Some((doc, used)) = self.used.pop_lru() else {
                break;
            };
            match !self.pinned.contains_key(&doc) && self.shard.cool(&doc) {
                true => cooled += 1,
                false => dirty.push((doc, used)),
            }
        }
        for (doc, used) in dirty {
            self.used.put(doc, used);
        }
        (self.shard.warm_bytes() <= most, cooled)
    }

    /// Lets at most `count` documents leave memory that nobody used since `before`.
    pub fn cool_idle(&mut self, before: Instant, count: usize) -> Idle {
        let idle = self.used.iter().rev().take(count);
        let idle = idle.take_while(|(_, used)| **used <= before);
        let idle: Vec<DocId> = idle.map(|(doc, _)| *doc).collect();
        let mut all = Idle::default();
        for doc in idle {
            if self.shard.cool(&doc) {
                self.used.pop(&doc);
                all.cooled += 1;
            } else {
                let held = self.shard.document(&doc).present();
                all.unwritten_bytes += held.map_or(0, |document| document.heap_bytes());
                all.unwritten += 1;
            }
        }
        all
    }

    /// The state as it is now; none before the first entry, and where it cannot be proven.
    pub fn image(&self) -> Option<Image> {
        Some(Image {
            last: self.last.filter(|_| self.unproven.is_none())?,
            membership: self.membership.clone(),
            level: self.shard.level(),
            slots: self.shard.slots(),
        })
    }

    pub fn apply(&mut self, step: Step) {
        let Step {
            log_id,
            content,
            came,
        } = step;
        match content {
            Content::Blank => {
                self.shard.skip(log_id.index);
                tap::state(&self.shard, log_id.index);
            }
            Content::Membership(membership) => {
                self.membership = membership;
                self.shard.skip(log_id.index);
                tap::state(&self.shard, log_id.index);
            }
            Content::Batch { batch, bytes, ours } => {
                let applied = self.shard.apply(log_id.index, &batch);
                let now = Instant::now();
                self.queue.set_heap_bytes(self.shard.heap_bytes());
                for (command, applied) in batch.commands.iter().zip(&applied) {
                    let Applied { outcome, event, .. } = applied;
                    if let Some(event) = event {
                        self.fresh.push(log_id, event.clone());
                        self.changes.applied(command);
                    }
                    // Of what is missing nothing is to be remembered.
                    let code = match outcome {
                        Outcome::Refused(refusal) => Some(refusal.code),
                        _ => None,
                    };
                    if let Some(doc) = command.doc().filter(|_| code != Some(Code::NotFound)) {
                        self.used.put(doc, now);
                        self.pinned.remove(&doc);
                    }
                }
                self.tail.applied(Came {
                    commands: batch.commands.len(),
                    bytes,
                    warm_bytes: self.shard.warm_bytes(),
                    events_bytes: self.fresh.bytes(),
                });
                tap::applied(&self.shard, log_id.index, &batch, &applied);
                self.sinks.applied(&self.shard, log_id, &applied);
                let mut full = BTreeSet::new();
                let waiting = ours.and_then(|number| self.waiting.remove(&number));
                for (origin, applied) in waiting.into_iter().flat_map(|w| w.origins).zip(applied) {
                    if applied.outcome == Outcome::Retry(Code::Busy) {
                        full.insert(applied.doc);
                    }
                    self.sinks.answered(origin, Ok(applied.outcome));
                }
                for doc in full {
                    self.make_room(doc);
                }
            }
        }
        self.last = Some(log_id);
        self.sinks.took(came.elapsed());
    }

    /// Somebody was told to try again because refusals fill the document's records, and nothing
    /// but new revisions lets them go: in a quiet document that would be never.
    fn make_room(&self, doc: DocId) {
        if let Lookup::Present(document) = self.shard.document(&doc) {
            let below = document.expirable_below();
            // Where there is no room for it the next attempt brings it again.
            let _ = self
                .queue
                .push(Command::Expire(Expire { doc, below }), Origin::NOBODY);
        }
    }
}

/// An entry, decoded and about to be applied.
pub struct Step {
    pub log_id: LogId,
    pub content: Content,
    /// When it was handed to the group, committed.
    pub came: Instant,
}

pub enum Content {
    Blank,
    Membership(StoredMembership),
    /// `ours`: the number under which this process proposed it.
    Batch {
        batch: Batch,
        /// Of its stored form.
        bytes: usize,
        ours: Option<u64>,
    },
}

impl Step {
    pub fn docs(&self) -> impl Iterator<Item = DocId> {
        let commands = match &self.content {
            Content::Batch { batch, .. } => batch.commands.as_slice(),
            Content::Blank | Content::Membership(_) => &[],
        };
        commands.iter().filter_map(Command::doc)
    }
}

/// Brings documents into memory before entries change them, and makes room for their events.
pub trait Prepare: Send + Sync + 'static {
    /// Resolves when all of them are in memory, or were, and events that waited are in the op log.
    ///
    /// # Errors
    /// When one cannot be had, or the disk fails: the group stops then.
    fn prepare<'a>(&'a self, docs: &'a BTreeSet<DocId>) -> BoxFuture<'a, io::Result<()>>;
}
