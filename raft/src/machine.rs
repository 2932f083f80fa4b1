//! The replicated machine of one group: committed commands in, state and effects out.
//!
//! Pure. The same commands give the same state, byte for byte, on every replica and after
//! every restart: nothing here reads a clock, a random number, a disk or the order of a
//! hash map, and how commands were gathered into batches does not matter either.

mod clients;
mod digest;
mod documents;
mod event;
mod grants;
mod limits;
mod mutants;
mod quarantine;
mod stored;
mod window;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{DocId, GroupId, Revision, Seq, Slot},
    placement::slot_of,
    reject::Code,
};

use crate::command::{Batch, Command, Expire, Level, Quarantine, Trim};

pub use documents::Document;
pub use event::Event;
pub use grants::Grant;
pub use limits::MachineLimits;
pub use stored::{FORMAT as DOCUMENT_FORMAT, StateError};

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

/// What a shard knows of a document.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    Present(&'a Arc<Document>),
    /// It is there, but not in memory: asked for again it will be. Nobody may take that for
    /// missing. No document is cold yet.
    Cold,
    Missing,
}

impl<'a> Lookup<'a> {
    /// For whom a cold one is as good as none.
    pub fn present(self) -> Option<&'a Arc<Document>> {
        match self {
            Lookup::Present(document) => Some(document),
            Lookup::Cold | Lookup::Missing => None,
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
    /// Raised by `Command::Level`: what the log may hold from here on.
    level: u32,
    /// A slot is a range. A document that is shared is copied when it changes.
    documents: BTreeMap<(Slot, DocId), Arc<Document>>,
    /// Those that were set apart; each document knows it of itself too.
    quarantined: BTreeSet<(Slot, DocId)>,
    /// Sum of the documents' `heap_bytes`.
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
            level: 1,
            documents: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            heap_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Applies one committed entry; one effect a command, in order.
    ///
    /// # Panics
    /// Where the entry is not later than the last one: who waits for it would never be answered.
    pub fn apply(&mut self, index: u64, batch: &Batch) -> Vec<Applied> {
        assert!(
            index > self.applied,
            "entry {index} comes after entry {}",
            self.applied
        );
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
            documents,
            heap_bytes: heap,
            scratch,
            ..
        } = self;
        let doc = command.doc().unwrap_or_default();
        let key = key_of(&doc);
        let (outcome, event) = match command {
            Command::Edit(edit) => match documents.get_mut(&key) {
                Some(document) => change(document, heap, |document| {
                    document.edit(edit, ts_ms, limits, scratch)
                }),
                None => missing(),
            },
            Command::Create(create) => match documents.get(&key) {
                Some(document) => (document.create_again(create), None),
                None => match Document::create(create, ts_ms, limits, scratch) {
                    Ok((document, event)) => {
                        *heap += document.heap_bytes();
                        documents.insert(key, Arc::new(document));
                        (Outcome::Applied { rev: event.rev }, Some(event))
                    }
                    Err(refusal) => (Outcome::Refused(refusal), None),
                },
            },
            Command::Grant(grant) => match documents.get_mut(&key) {
                Some(document) => change(document, heap, |document| {
                    document.grant(grant, ts_ms, limits, scratch)
                }),
                None => missing(),
            },
            Command::Trim(Trim { floor, .. }) => match documents.get_mut(&key) {
                Some(document) => (change(document, heap, |d| d.trim(*floor)), None),
                None => missing(),
            },
            Command::Expire(Expire { below, .. }) => match documents.get_mut(&key) {
                Some(document) => change(document, heap, |document| {
                    document.expire(*below, ts_ms, limits, scratch)
                }),
                None => missing(),
            },
            Command::Quarantine(Quarantine { doc, on }) => {
                return self.quarantine(doc, on.then_some(ts_ms));
            }
            Command::Level(Level { level }) => {
                self.level = self.level.max(*level);
                (Outcome::Applied { rev: Revision(0) }, None)
            }
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
    pub fn limits(&self) -> &MachineLimits {
        &self.limits
    }
    pub fn document(&self, id: &DocId) -> Lookup<'_> {
        match self.documents.get(&key_of(id)) {
            Some(document) => Lookup::Present(document),
            None => Lookup::Missing,
        }
    }
    /// The documents that were set apart.
    pub fn quarantined(&self) -> impl ExactSizeIterator<Item = DocId> + '_ {
        self.quarantined.iter().map(|(_, doc)| *doc)
    }
    /// In the order of their slots, then of their ids.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.documents.values()
    }
    /// Those of one slot, in the order of their ids.
    pub fn documents_in(&self, slot: Slot) -> impl Iterator<Item = &Arc<Document>> {
        let all = (slot, DocId([0; 16]))..=(slot, DocId([u8::MAX; 16]));
        self.documents.range(all).map(|(_, document)| document)
    }

    /// BLAKE3 over the whole state in canonical order: equal on every replica that applied
    /// the same commands. Computed on demand, in time linear in the documents, and in what is
    /// stored of those that changed since.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = digest::StateHash::new("codraft shard 2");
        hash.number(self.group.0.into()).number(self.level.into());
        hash.number(self.documents.len() as u64);
        for ((slot, id), document) in &self.documents {
            hash.number(slot.0.into()).bytes(&id.0);
            hash.bytes(&document.state_digest());
        }
        hash.finish()
    }
}

fn key_of(doc: &DocId) -> (Slot, DocId) {
    (slot_of(doc), *doc)
}

/// Changes a document, and the sum of what all take in memory.
fn change<R>(
    document: &mut Arc<Document>,
    heap_bytes: &mut u64,
    with: impl FnOnce(&mut Document) -> R,
) -> R {
    let document = Arc::make_mut(document);
    let before = document.heap_bytes();
    document.forget_digest();
    let result = with(document);
    document.changed();
    *heap_bytes = (*heap_bytes + document.heap_bytes()).saturating_sub(before);
    result
}

/// There is nowhere to record this refusal. It needs no record either: ids of documents
/// are random, so what was sent to a missing one is not waiting for it to appear.
fn missing() -> (Outcome, Option<Arc<Event>>) {
    (
        Outcome::Refused(Refusal::new(Code::NotFound, "no such document")),
        None,
    )
}
