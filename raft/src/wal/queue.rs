//! What waits to be written, in the order in which it was asked for.

use std::{collections::BTreeSet, io};

use bytes::Bytes;
use codraft_proto::ids::{GroupId, NodeId};

use super::{Damage, Done, Start, record};

/// Why nothing is written.
#[derive(Debug, Clone)]
pub struct Refusal {
    kind: io::ErrorKind,
    reason: String,
}

impl Refusal {
    pub fn damaged(damage: &Damage) -> Self {
        Self {
            kind: io::ErrorKind::InvalidData,
            reason: format!("quarantined: {damage}"),
        }
    }

    pub fn failed(error: &io::Error) -> Self {
        let what = match error.kind() {
            io::ErrorKind::StorageFull => "the log's disk is full",
            _ => "the log cannot be written",
        };
        Self {
            kind: error.kind(),
            reason: format!("{what}: {error}"),
        }
    }

    pub fn closed() -> Self {
        Self {
            kind: io::ErrorKind::BrokenPipe,
            reason: "the log is closed".into(),
        }
    }

    pub fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.reason.clone())
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }
}

pub struct Request {
    pub group: GroupId,
    pub write: Write,
    pub done: Option<Done>,
    /// In the file.
    pub bytes: usize,
}

pub enum Write {
    Append {
        first: u64,
        records: Vec<Bytes>,
    },
    Vote(Bytes),
    Truncate {
        keep: u64,
    },
    Purge {
        up_to: u64,
        last: Bytes,
    },
    Start(Start),
    /// Nothing: for whom waits for what stands before it.
    Nothing,
}

impl Request {
    pub fn new(group: GroupId, write: Write, done: Option<Done>) -> Self {
        let bytes = match &write {
            Write::Append { records, .. } => records.iter().map(|r| record::size(r.len())).sum(),
            Write::Vote(vote) => record::size(vote.len()),
            Write::Truncate { .. } => record::size(0),
            Write::Purge { last, .. } => record::size(last.len()),
            Write::Start(start) => record::size(start.payload().len()),
            Write::Nothing => 0,
        };
        Self {
            group,
            write,
            done,
            bytes,
        }
    }

    pub fn finish(self, result: io::Result<()>) {
        if let Some(done) = self.done {
            done(result);
        }
    }
}

#[derive(Default)]
pub struct Queue {
    waiting: Vec<Request>,
    bytes: usize,
    /// Groups whose committed position waits; it is written beside something else.
    pub committed: Vec<GroupId>,
    /// Nodes of which more is known than is written; it is written beside something else.
    pub peers: BTreeSet<NodeId>,
    refusal: Option<Refusal>,
}

impl Queue {
    pub fn new(refusal: Option<Refusal>) -> Self {
        Self {
            refusal,
            ..Self::default()
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_closed(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether `bytes` more may wait. An empty queue takes anything.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, bytes: usize, limit: usize) -> io::Result<()> {
        match &self.refusal {
            Some(refusal) => Err(refusal.error()),
            None if self.bytes > 0 && self.bytes + bytes > limit => Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the log's queue is full",
            )),
            None => Ok(()),
        }
    }

    pub fn push(&mut self, request: Request) {
        self.bytes += request.bytes;
        self.waiting.push(request);
    }

    /// Whom to tell once the request pushed last is durable.
    pub fn finish_last(&mut self, done: Done) {
        if let Some(last) = self.waiting.last_mut() {
            last.done = Some(done);
        }
    }

    /// Moves what waited longest into `batch`: at least one request, then up to `bytes`.
    /// Returns their bytes.
    pub fn take(&mut self, batch: &mut Vec<Request>, bytes: usize) -> usize {
        debug_assert!(batch.is_empty());
        if self.bytes <= bytes {
            std::mem::swap(&mut self.waiting, batch);
            return std::mem::take(&mut self.bytes);
        }
        let (mut count, mut taken) = (0, 0);
        for request in &self.waiting {
            if count > 0 && taken + request.bytes > bytes {
                break;
            }
            taken += request.bytes;
            count += 1;
        }
        batch.extend(self.waiting.drain(..count));
        self.bytes -= taken;
        taken
    }

    /// From now on nothing is admitted. Returns what waited.
    pub fn close(&mut self, refusal: Refusal) -> Vec<Request> {
        self.refusal.get_or_insert(refusal);
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}
