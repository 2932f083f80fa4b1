//! The client half: what a user typed, what is under way, and what others did meanwhile.
//!
//! The reference for clients in any language; tests and tools drive it directly. One operation
//! is in flight at a time, its bytes never change once sent, and what is typed meanwhile waits
//! in one composed operation behind it.

use crate::{Content, Delta, Kind, Limits, OpError};

/// An operation under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Inflight {
    pub seq: u64,
    /// The revision it was made against; sent again with the same one.
    pub base: u64,
    /// As it was sent.
    pub sent: Delta,
    /// The same, moved past all that arrived since.
    moved: Delta,
}

/// One document as a client has it.
#[derive(Debug, Clone)]
pub struct ClientDocument {
    /// With all local work applied.
    content: Content,
    /// The last revision received.
    rev: u64,
    seq: u64,
    inflight: Option<Inflight>,
    pending: Option<Delta>,
    limits: Limits,
}

impl ClientDocument {
    /// `content` is the document at `rev`; `acked` the last sequence number of this client that
    /// was answered, 0 for none.
    pub fn new(content: Content, rev: u64, acked: u64) -> Self {
        Self { content, rev, seq: acked, inflight: None, pending: None, limits: Limits::default() }
    }

    pub fn empty(kind: Kind) -> Self {
        Self::new(Content::new(kind), 0, 0)
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    pub fn rev(&self) -> u64 {
        self.rev
    }

    pub fn inflight(&self) -> Option<&Inflight> {
        self.inflight.as_ref()
    }

    /// Whether all that was typed is acknowledged.
    pub fn is_saved(&self) -> bool {
        self.inflight.is_none() && self.pending.is_none()
    }

    /// The user did `delta`, against the content as it is.
    ///
    /// # Errors
    /// As `Content::apply`; nothing has changed then.
    pub fn local(&mut self, delta: &Delta) -> Result<(), OpError> {
        self.content.apply(delta, &self.limits)?;
        self.pending = Some(match self.pending.take() {
            Some(pending) => pending.compose(delta)?,
            None => delta.clone(),
        });
        Ok(())
    }

    /// What to send now, if nothing is under way and something waits.
    pub fn send(&mut self) -> Option<&Inflight> {
        if self.inflight.is_some() {
            return None;
        }
        let delta = self.pending.take().filter(|delta| !delta.is_empty())?;
        self.seq += 1;
        let (seq, base) = (self.seq, self.rev);
        self.inflight = Some(Inflight { seq, base, moved: delta.clone(), sent: delta });
        self.inflight.as_ref()
    }

    /// The own operation took revision `rev`, the next after the last received.
    pub fn acked(&mut self, rev: u64) -> Option<Inflight> {
        self.rev = rev;
        self.inflight.take()
    }

    /// Another's operation took revision `rev`. Returns what changes on the screen.
    ///
    /// # Errors
    /// Where it does not fit: the two have diverged.
    pub fn remote(&mut self, rev: u64, delta: &Delta) -> Result<Delta, OpError> {
        let mut delta = delta.clone();
        // Theirs came first in the order, so it goes first at one place.
        if let Some(inflight) = &mut self.inflight {
            let moved = delta.transform(&inflight.moved, true);
            delta = inflight.moved.transform(&delta, false);
            inflight.moved = moved;
        }
        if let Some(pending) = &mut self.pending {
            let moved = delta.transform(pending, true);
            delta = pending.transform(&delta, false);
            *pending = moved;
        }
        self.content.apply(&delta, &self.limits)?;
        self.rev = rev;
        Ok(delta)
    }

    /// An event without text took revision `rev`.
    pub fn passed(&mut self, rev: u64) {
        self.rev = rev;
    }

    /// The operation under way was refused for good: it is taken back out of the content and
    /// returned, as the user had it.
    ///
    /// # Errors
    /// Where the content cannot be recomputed without it.
    pub fn refused(&mut self) -> Result<Option<Delta>, OpError> {
        let Some(inflight) = self.inflight.take() else {
            return Ok(None);
        };
        let local = match self.pending.take() {
            Some(pending) => inflight.moved.compose(&pending)?,
            None => inflight.moved,
        };
        Ok(Some(local))
    }
}
