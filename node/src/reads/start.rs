//! What a reader starts from, of a document in memory or at rest in its page.

use std::sync::Arc;

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    ids::{ClientId, DocId, Revision, Role, Seq},
    link::event_cost,
    v1::{self, OpenedFrom},
};
use codraft_raft::machine::{AtRest, Document, Shard, Summary};

use crate::wire;

/// What a reader starts from, and all after it.
pub(super) struct Start {
    pub from: OpenedFrom,
    pub events: Vec<v1::Event>,
    pub state: Option<(v1::Resume, Bytes)>,
    /// Of a large one: the revision at which the archive has it whole, or 0.
    pub kept: u64,
}

impl Start {
    pub fn new(from: OpenedFrom, events: Vec<v1::Event>) -> Self {
        Self {
            from,
            events,
            state: None,
            kept: 0,
        }
    }
}

/// A document as much of it as is known here.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub id: DocId,
    pub summary: &'a Summary,
    /// If it is in memory. Of a cold one no event is known, and none came after its head.
    pub document: Option<&'a Document>,
    /// About as many as are told of it, or a few more.
    pub bytes: usize,
}

impl<'a> Known<'a> {
    /// `summary`: as the shard has it.
    pub fn of(shard: &'a Shard, id: DocId, summary: &'a Summary) -> Self {
        let document = shard.document(&id).present().map(Arc::as_ref);
        let page = || shard.held(&id)?.page();
        let bytes = match document {
            Some(document) => document.content().encoded_bytes(),
            None => page().map_or(0, |page| page.place.length as usize),
        };
        Self {
            id,
            summary,
            document,
            bytes,
        }
    }

    /// All after a revision, if it is in the window and was this very one.
    fn after(&self, at: &v1::Resume) -> Option<Vec<v1::Event>> {
        match self.document {
            Some(document) => events_after(document, at),
            None => wire::is_head(self.summary, at).then(Vec::new),
        }
    }
}

/// The reader that opens a document.
pub(super) struct Reader<'a> {
    pub known: Known<'a>,
    role: Role,
    /// The first revision that it may resume from.
    visible_from: Revision,
    /// Sequence and revision of what was last applied of its client's.
    acked: Option<(Seq, Revision)>,
}

impl<'a> Reader<'a> {
    /// `at_rest`: of a cold document, as its head is. None to whom the document is missing.
    pub fn new(known: Known<'a>, at_rest: Option<&AtRest>, open: &v1::Open) -> Option<Self> {
        let grant = known.summary.grant(&open.user);
        let acked = ClientId::from_slice(&open.client).and_then(|client| {
            let user = open.user.as_str().into();
            match known.document {
                Some(document) => document.acked(&user, client),
                None => at_rest?.acked(&user, client),
            }
        });
        Some(Self {
            known,
            role: known.summary.role(&open.user)?,
            visible_from: grant.map_or(Revision(u64::MAX), |grant| grant.visible_from()),
            acked,
        })
    }

    /// All after what it has.
    pub fn after(&self, at: &v1::Resume) -> Option<Vec<v1::Event>> {
        (at.rev >= self.visible_from.0)
            .then(|| self.known.after(at))
            .flatten()
    }

    /// All after a state, where that takes `most` at most. None of its own is among them: to a client
    /// that starts with a document, what is in flight is all there can be.
    pub fn after_state(&self, at: &v1::Resume, most: u64) -> Option<Vec<v1::Event>> {
        if self.acked.is_some_and(|(_, rev)| rev > Revision(at.rev)) {
            return None;
        }
        if let Some(document) = self.known.document {
            let missed = document.events_after(Revision(at.rev))?;
            let cost: u64 = missed.map(|event| event_cost(event.body.len())).sum();
            if cost > most {
                return None;
            }
        }
        self.after(at)
    }
}

pub(super) fn opened(reader: &Reader<'_>, open: &v1::Open, start: Start) -> v1::Opened {
    let Known { id, summary, .. } = reader.known;
    let acked = reader
        .acked
        .filter(|_| !mutant!("welcome_without_acknowledged"));
    let (state_at, state) = start.state.unzip();
    v1::Opened {
        tag: open.tag,
        doc: id.to_bytes(),
        problem: None,
        role: reader.role as u32,
        kind: summary.kind as u32,
        algebra: summary.algebra.as_str().to_owned(),
        rev: summary.rev.0,
        hash: Bytes::copy_from_slice(&summary.hash.0),
        acked: acked.map(|(seq, rev)| v1::Acked {
            seq: seq.0,
            rev: rev.0,
        }),
        from: start.from.into(),
        events: start.events,
        state: state.unwrap_or_default(),
        title: summary.title.clone().into(),
        floor: summary.floor.0,
        ts_ms: summary.updated_ms,
        state_at,
        kept: start.kept,
    }
}

pub(super) fn followed(known: Known<'_>, after: Option<&v1::Resume>) -> v1::Followed {
    let events = after.and_then(|after| known.after(after));
    v1::Followed {
        doc: known.id.to_bytes(),
        problem: None,
        rev: known.summary.rev.0,
        hash: Bytes::copy_from_slice(&known.summary.hash.0),
        resumed: events.is_some(),
        events: events.unwrap_or_default(),
        ts_ms: known.summary.updated_ms,
    }
}

fn events_after(document: &Document, after: &v1::Resume) -> Option<Vec<v1::Event>> {
    let hash = document.hash_at(Revision(after.rev))?;
    if after.hash != hash.0.as_slice() {
        return None;
    }
    let one_off = after.rev < document.rev().0 && mutant!("tail_off_by_one");
    let events = document.events_after(Revision(after.rev + u64::from(one_off)))?;
    Some(events.map(|event| wire::event(event)).collect())
}
