//! The replicated machine of one group: committed commands in, state and effects out.
//!
//! Pure. The same commands give the same state, byte for byte, on every replica and after
//! every restart: nothing here reads a clock, a random number, a disk or the order of a
//! hash map, and how commands were gathered into batches does not matter either.

mod anchors;
mod clients;
mod comments;
mod digest;
mod documents;
mod event;
mod grants;
mod limits;
mod mutants;
mod quarantine;
mod slots;
mod stored;
mod summary;
mod versions;
mod window;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DocId, GroupId, Revision, Seq, Slot},
    placement::slot_of,
    reject::Code,
};

use crate::command::{Batch, Checkpoint, Command, Deletion, Expire, Level, Quarantine, Trim};

pub use comments::{Anchor, Comment, Comments, Moving, Thread};
pub use documents::{AtRest, Document};
pub use event::{Created, Event, Restored};
pub use grants::Grant;
pub use limits::MachineLimits;
pub use slots::{Held, InSlot, Page, Slots};
pub use stored::{FORMAT as DOCUMENT_FORMAT, StateError};
pub use summary::{Packed, Summary};
pub use versions::{Version, Versions};

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took this revision; without an event (trim, level, most of expire) it took none and
    /// this is the document's head.
    Applied { rev: Revision },
    /// It was decided before. `rev` is its revision where `seq` is the client's last applied one.
    /// Of an older sequence no more is known (it may have been refused, and its client was told
    /// so): `rev` is then that of the client's last applied one, 0 without any.
    Already { seq: Seq, rev: Revision },
    /// Final: these bytes never take a revision.
    Refused(Refusal),
    /// Not applied and not recorded: its base is too old, or too much happened since.
    Rebase { floor: Revision, head: Revision },
    /// Not applied and not recorded: the same bytes may be sent again.
    Retry(Code),
}

/// Why, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The effect of one command, for whoever serves the group.
#[derive(Debug, Clone)]
pub struct Applied {
    /// All zero for what concerns the whole group.
    pub doc: DocId,
    pub outcome: Outcome,
    /// The event that it became; the feed of its document, in order.
    pub event: Option<Arc<Event>>,
}

type Effect = (Outcome, Option<Arc<Event>>);

/// What a shard knows of a document.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    Present(&'a Arc<Document>),
    /// It is there, but all of it that is in memory is this: once it was brought it is present.
    Cold(&'a Packed),
    Missing,
}

impl<'a> Lookup<'a> {
    /// For whom a cold one is as good as none.
    pub fn present(self) -> Option<&'a Arc<Document>> {
        match self {
            Lookup::Present(document) => Some(document),
            Lookup::Cold(_) | Lookup::Missing => None,
        }
    }
}

/// The state of one group.
pub struct Shard {
    group: GroupId,
    limits: MachineLimits,
    /// The log index of the last batch applied; 0 before the first. Not part of the state's
    /// digest, since it counts batches and not commands.
    applied: u64,
    /// Raised by `Command::Level`: what the log may hold from here on. 0 until all voters were heard
    /// of once.
    level: u32,
    /// What is shared is copied when it changes.
    documents: Slots,
    /// Those that were set apart; each document knows it of itself too.
    quarantined: BTreeSet<(Slot, DocId)>,
    /// How many documents are not in memory, and what is held of them all the same.
    cold: usize,
    cold_bytes: u64,
    /// Sum of what is held of the documents.
    heap_bytes: u64,
    /// Where an event is spelled for its hash; kept to spare an allocation an operation.
    scratch: Vec<u8>,
}

impl Shard {
    /// `limits` are part of what is replicated: every replica must use the same.
    pub fn new(group: GroupId, limits: MachineLimits) -> Self {
        Self {
            group,
            limits,
            applied: 0,
            level: 0,
            documents: Slots::default(),
            quarantined: BTreeSet::new(),
            cold: 0,
            cold_bytes: 0,
            heap_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// The state after the entry `applied`, as it was kept; all documents are cold.
    pub fn restore(
        group: GroupId,
        limits: MachineLimits,
        applied: u64,
        level: u32,
        documents: Slots,
    ) -> Self {
        let mut shard = Self::new(group, limits);
        for (slot, doc, held) in documents.iter() {
            shard.heap_bytes += held.heap_bytes();
            if held.quarantined_ms().is_some() {
                shard.quarantined.insert((slot, *doc));
            }
        }
        Self {
            applied,
            level,
            cold: documents.count(),
            cold_bytes: shard.heap_bytes,
            documents,
            ..shard
        }
    }

    /// Applies one committed entry; one effect a command, in order.
    ///
    /// # Panics
    /// Where the entry is not later than the last one: who waits for it would never be answered.
    /// Where a document that it is about is cold: it is never taken for another one.
    pub fn apply(&mut self, index: u64, batch: &Batch) -> Vec<Applied> {
        assert!(
            index > self.applied,
            "entry {index} comes after entry {}",
            self.applied
        );
        let mut docs = batch.commands.iter().filter_map(Command::doc);
        let cold = docs.find(|doc| self.is_cold(doc));
        assert_eq!(cold, None, "entry {index} finds its documents in memory");
        self.applied = index;
        let mut commands = Cow::Borrowed(batch.commands.as_slice());
        if commands.len() > 1 && mutant!("hash_map_order_in_apply") {
            let keys = std::hash::RandomState::new();
            commands.to_mut().sort_by_key(|command| match command {
                Command::Edit(edit) => std::hash::BuildHasher::hash_one(&keys, edit.client),
                _ => 0,
            });
        }
        commands
            .iter()
            .map(|command| self.apply_contained(batch.ts_ms, command))
            .collect()
    }

    /// An entry of the log that holds no commands (a leader's first, a membership).
    pub fn skip(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    fn apply_command(&mut self, ts_ms: u64, command: &Command) -> Applied {
        let Self {
            limits,
            applied,
            documents,
            heap_bytes: heap,
            scratch,
            ..
        } = self;
        let doc = command.doc().unwrap_or_default();
        let (slot, index) = (slot_of(&doc), *applied);
        let (outcome, event) = match command {
            Command::Create(create) => match documents.warm(slot, &doc) {
                Some(document) => (document.create_again(create), None),
                None => match Document::create(create, ts_ms, limits, scratch) {
                    Ok((document, event)) => {
                        *heap += document.heap_bytes();
                        documents.insert(slot, doc, Held::new(index, document));
                        (Outcome::Applied { rev: event.rev }, Some(event))
                    }
                    Err(refusal) => (Outcome::Refused(refusal), None),
                },
            },
            Command::Quarantine(Quarantine { doc, on }) => {
                return self.quarantine(doc, on.then_some(ts_ms));
            }
            Command::Level(Level { level }) => {
                self.level = self.level.max(*level);
                (Outcome::Applied { rev: Revision(0) }, None)
            }
            _ => change(documents.touch(slot, &doc, index), heap, |document| {
                perform(document, command, ts_ms, limits, scratch)
            }),
        };
        Applied {
            doc,
            outcome,
            event,
        }
    }

    pub fn group(&self) -> GroupId {
        self.group
    }
    /// The log index of the last entry applied; 0 before the first.
    pub fn applied(&self) -> u64 {
        self.applied
    }
    pub fn level(&self) -> u32 {
        self.level
    }
    /// What the documents take in memory, in bytes. Not part of the state: where a document is
    /// read back its text may lie otherwise.
    pub fn heap_bytes(&self) -> u64 {
        self.heap_bytes
    }
    /// Of that, what could leave memory: not what is held of documents that have left it.
    pub fn warm_bytes(&self) -> u64 {
        self.heap_bytes - self.cold_bytes
    }
    pub fn limits(&self) -> &MachineLimits {
        &self.limits
    }
    pub fn document(&self, id: &DocId) -> Lookup<'_> {
        self.held(id).map_or(Lookup::Missing, Held::lookup)
    }
    /// A document, and what is known of its page; none where there is none.
    pub fn held(&self, doc: &DocId) -> Option<&Held> {
        self.documents.get(slot_of(doc), doc)
    }
    /// What a document is, in memory or not; none where there is none.
    pub fn summary(&self, doc: &DocId) -> Option<Summary> {
        Some(self.held(doc)?.summary())
    }
    /// The documents that were set apart.
    pub fn quarantined(&self) -> impl ExactSizeIterator<Item = DocId> + '_ {
        self.quarantined.iter().map(|(_, doc)| *doc)
    }
    /// Those in memory, in the order of their slots, then of their ids.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        let documents = self.documents.iter();
        documents.filter_map(|(_, _, held)| held.lookup().present())
    }
    /// All, as they are now; what changes later does not change these.
    pub fn slots(&self) -> Slots {
        self.documents.clone()
    }

    /// Documents of a slot were written, each as the entry left it that touched it last by then.
    pub fn keep_pages(&mut self, slot: Slot, pages: &[(DocId, u64, Page)]) {
        self.documents.keep_pages(slot, pages);
    }

    /// Whether a document is not in memory.
    pub fn are_all_warm(&self) -> bool {
        self.cold == 0
    }

    pub fn is_cold(&self, doc: &DocId) -> bool {
        self.cold > 0 && matches!(self.document(doc), Lookup::Cold(_))
    }

    /// Where to find those of these documents that are not in memory: each with the entry that
    /// touched it last.
    pub fn cold(&self, docs: &BTreeSet<DocId>) -> Vec<(DocId, u64, Page)> {
        let cold = |doc: &DocId| {
            let held = self.held(doc)?;
            let is_cold = matches!(held.lookup(), Lookup::Cold(_));
            let page = held.page().filter(|_| is_cold)?;
            Some((*doc, held.touched(), page))
        };
        docs.iter().filter_map(cold).collect()
    }

    /// A document was read, as the entry `touched` left it.
    pub fn warm(&mut self, doc: &DocId, touched: u64, document: Arc<Document>) {
        if let Some(held) = self.documents.get_mut(slot_of(doc), doc)
            && held.touched() == touched
        {
            let before = held.heap_bytes();
            if held.warm(document) {
                self.cold -= 1;
                self.cold_bytes -= before;
            }
            self.heap_bytes = (self.heap_bytes + held.heap_bytes()).saturating_sub(before);
        }
    }

    /// A document was had from elsewhere, as the entry `touched` left it: its page here is no good.
    pub fn mend(&mut self, doc: &DocId, touched: u64, document: Arc<Document>) {
        let is_that = |held: &Held| held.touched() == touched;
        if self.held(doc).is_some_and(is_that) {
            self.warm(doc, touched, document);
            self.documents.mended(slot_of(doc), doc);
        }
    }

    /// Lets a document leave memory if its page is written; whether it did.
    pub fn cool(&mut self, doc: &DocId) -> bool {
        let Some(held) = self.documents.get_mut(slot_of(doc), doc) else {
            return false;
        };
        let before = held.heap_bytes();
        let cooled = held.cool();
        if cooled {
            self.cold += 1;
            self.cold_bytes += held.heap_bytes();
        }
        self.heap_bytes = (self.heap_bytes + held.heap_bytes()).saturating_sub(before);
        cooled
    }

    /// BLAKE3 over the whole state in canonical order: equal on every replica that applied
    /// the same commands. Computed on demand, in time linear in the documents, and in what is
    /// stored of those that changed since.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = digest::StateHash::new("codraft shard 2");
        hash.number(self.group.0.into()).number(self.level.into());
        hash.number(self.documents.count() as u64);
        for (slot, id, held) in self.documents.iter() {
            hash.number(slot.0.into()).bytes(&id.0);
            hash.bytes(&held.digest());
        }
        hash.finish()
    }
}

/// Changes a document, if there is one, and the sum of what all take in memory.
fn change(
    document: Option<&mut Arc<Document>>,
    heap_bytes: &mut u64,
    with: impl FnOnce(&mut Document) -> Effect,
) -> Effect {
    let Some(document) = document else {
        return missing();
    };
    let document = Arc::make_mut(document);
    let before = document.heap_bytes();
    document.forget_digest();
    let effect = with(document);
    document.changed();
    *heap_bytes = (*heap_bytes + document.heap_bytes()).saturating_sub(before);
    effect
}

/// What changes a document that is there.
fn perform(
    document: &mut Document,
    command: &Command,
    ts_ms: u64,
    limits: &MachineLimits,
    scratch: &mut Vec<u8>,
) -> Effect {
    match command {
        Command::Edit(edit) => document.edit(edit, ts_ms, limits, scratch),
        Command::Anchored(anchored) => document.anchored(anchored, ts_ms, limits, scratch),
        Command::Restore(restore) => document.restore(restore, ts_ms, limits, scratch),
        Command::Grant(grant) => document.grant(grant, ts_ms, limits, scratch),
        Command::Title(title) => document.set_title(title, ts_ms, limits, scratch),
        Command::Comment(comment) => document.comment(comment, ts_ms, limits, scratch),
        Command::Version(version) => document.name_version(version, ts_ms, limits, scratch),
        Command::Delete(Deletion { by, .. }) => document.delete(by, ts_ms, limits, scratch),
        Command::Undelete(Deletion { by, .. }) => document.undelete(by, ts_ms, limits, scratch),
        Command::Trim(Trim { floor, .. }) => (document.trim(*floor, limits), None),
        Command::Expire(Expire { below, .. }) => document.expire(*below, ts_ms, limits, scratch),
        Command::Checkpoint(Checkpoint { by, .. }) => {
            document.checkpoint(by, ts_ms, limits, scratch)
        }
        // These are not about a document that is there.
        Command::Create(_) | Command::Level(_) | Command::Quarantine(_) => missing(),
    }
}

/// There is nowhere to record this refusal. It needs no record either: ids of documents
/// are random, so what was sent to a missing one is not waiting for it to appear.
fn missing() -> Effect {
    (
        Outcome::Refused(Refusal::new(Code::NotFound, "no such document")),
        None,
    )
}
