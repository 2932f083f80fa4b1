//! The client half: what a user typed, what is under way, and what others did meanwhile.
//!
//! The reference for clients in any language; tests and tools drive it directly. One operation
//! is in flight at a time, its bytes never change once sent (but see [`ClientDocument::rebase`]),
//! and what is typed meanwhile waits in one composed operation behind it.

use std::fmt;

use codraft_mutant::mutant;

use crate::{Content, Delta, Kind, Limits, OpError, Revision, Seq};

/// An operation under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Inflight {
    pub seq: Seq,
    /// The revision it was made against; sent again with the same one.
    pub base: Revision,
    /// As it was sent.
    pub sent: Delta,
    /// The same, moved past all that arrived since.
    moved: Delta,
}

/// What becomes of an operation that was refused for good.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub seq: Seq,
    /// As it was sent, for the user to keep.
    pub given_back: Delta,
    /// What changes on the screen: the operation undone under whatever was typed since.
    pub view: Delta,
}

/// An event of the document's feed, as far as a client's text is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// This client's own operation of that sequence number.
    Own { seq: Seq },
    /// Another's operation, as it was applied.
    Other(Delta),
    /// Without text: a grant, a title.
    Passed,
}

/// The feed does not continue what this client has: it must load the document again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientError {
    /// A revision was left out or came twice.
    Gap { expected: Revision, got: Revision },
    /// An own operation that is not the one under way.
    NotInflight { seq: Seq },
    /// An operation does not fit the content: the two have diverged.
    Diverged(OpError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { expected, got } => {
                write!(f, "revision {got} came where {expected} follows")
            }
            Self::NotInflight { seq } => write!(f, "operation {seq} is not under way"),
            Self::Diverged(error) => write!(f, "diverged from the server: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<OpError> for ClientError {
    fn from(error: OpError) -> Self {
        Self::Diverged(error)
    }
}

/// One document as a client has it.
#[derive(Debug, Clone)]
pub struct ClientDocument {
    /// With all local work applied: `confirmed`, then `inflight`, then `pending`.
    content: Content,
    /// As the server has it at `rev`.
    confirmed: Content,
    /// The last revision received.
    rev: Revision,
    /// The last sequence number given to an operation.
    seq: Seq,
    inflight: Option<Inflight>,
    pending: Option<Delta>,
    limits: Limits,
}

impl ClientDocument {
    /// `content` is the document at `rev`; `acked` the last sequence number of this client that
    /// was answered, 0 for none.
    pub fn new(content: Content, rev: Revision, acked: Seq) -> Self {
        Self {
            confirmed: content.clone(),
            content,
            rev,
            seq: acked,
            inflight: None,
            pending: None,
            limits: Limits::default(),
        }
    }

    pub fn empty(kind: Kind) -> Self {
        Self::new(Content::new(kind), Revision(0), Seq(0))
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The document at `rev`, without local work: what a digest is taken of at any time.
    pub fn confirmed(&self) -> &Content {
        &self.confirmed
    }

    pub fn rev(&self) -> Revision {
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
        let pending = match &self.pending {
            Some(pending) => pending.compose(delta)?,
            None => delta.clone(),
        };
        self.content.apply(delta, &self.limits)?;
        // What undid itself before it was sent is nothing to send.
        self.pending = (!pending.is_empty()).then_some(pending);
        Ok(())
    }

    /// What to send now, if nothing is under way and something waits.
    pub fn send(&mut self) -> Option<&Inflight> {
        if self.inflight.is_some() {
            return None;
        }
        let delta = self.pending.take()?;
        self.seq += 1;
        let (seq, base) = (self.seq, self.rev);
        self.inflight = Some(Inflight {
            seq,
            base,
            moved: delta.clone(),
            sent: delta,
        });
        self.inflight.as_ref()
    }

    /// The own operation took revision `rev`, the next after the last received.
    ///
    /// # Errors
    /// Where it does not fit what the server has: the two have diverged.
    pub fn acked(&mut self, rev: Revision) -> Result<Option<Inflight>, OpError> {
        if let Some(inflight) = &self.inflight {
            self.confirmed.apply(&inflight.moved, &self.limits)?;
        }
        self.rev = rev;
        Ok(self.inflight.take())
    }

    /// Another's operation took revision `rev`. Returns what changes on the screen.
    ///
    /// # Errors
    /// Where it does not fit: the two have diverged.
    pub fn remote(&mut self, rev: Revision, delta: &Delta) -> Result<Delta, OpError> {
        self.confirmed.apply(delta, &self.limits)?;
        let mut delta = delta.clone();
        // Theirs came first in the order, so it goes first at one place.
        if let Some(inflight) = &mut self.inflight {
            let moved = delta.transform(&inflight.moved, true);
            delta = inflight.moved.transform(&delta, false);
            inflight.moved = moved;
        }
        if let Some(pending) = self.pending.take() {
            let moved = delta.transform(&pending, true);
            delta = pending.transform(&delta, false);
            self.pending = (!moved.is_empty()).then_some(moved);
        }
        self.content.apply(&delta, &self.limits)?;
        self.rev = rev;
        Ok(delta)
    }

    /// An event without text took revision `rev`.
    pub fn passed(&mut self, rev: Revision) {
        self.rev = rev;
    }

    /// The next event of the feed. Returns what changes on the screen, if anything.
    ///
    /// # Errors
    /// `ClientError`; the document is of no more use then.
    pub fn receive(&mut self, rev: Revision, event: &Event) -> Result<Option<Delta>, ClientError> {
        let expected = self.rev + 1;
        if rev != expected {
            return Err(ClientError::Gap { expected, got: rev });
        }
        match event {
            Event::Own { seq } if self.inflight.as_ref().is_some_and(|i| i.seq == *seq) => {
                self.acked(rev)?;
                Ok(None)
            }
            Event::Own { seq } => Err(ClientError::NotInflight { seq: *seq }),
            Event::Other(delta) => Ok(Some(self.remote(rev, delta)?)),
            Event::Passed => {
                self.passed(rev);
                Ok(None)
            }
        }
    }

    /// The connection is new: follow from the revision after this one, and send this again,
    /// unchanged, so that the server knows a repeat when it sees one.
    pub fn resume(&mut self) -> (Revision, Option<&Inflight>) {
        if let Some(inflight) = &mut self.inflight {
            if inflight.base < self.rev && mutant!("client_resends_changed_bytes") {
                inflight.base = self.rev;
                inflight.sent = inflight.moved.clone();
            }
            if let Some(pending) = &self.pending
                && mutant!("client_edits_what_is_under_way")
                && let Ok(both) = inflight.moved.compose(pending)
            {
                (inflight.base, inflight.sent, inflight.moved) = (self.rev, both.clone(), both);
                self.pending = None;
            }
        }
        if self.pending.is_some() && mutant!("client_drops_pending_at_reconnect") {
            self.pending = None;
        }
        (self.rev, self.inflight.as_ref())
    }

    /// Told that the base of the operation under way is too old: `events` are those after
    /// `rev`, fetched. The work is moved past each, one by one as the server would have; where
    /// the own operation is among them, that was its acknowledgement. Returns what to send
    /// again under the same number with the fresh base, if it was not.
    ///
    /// # Errors
    /// As `receive`.
    pub fn rebase(
        &mut self,
        events: impl IntoIterator<Item = (Revision, Event)>,
    ) -> Result<Option<&Inflight>, ClientError> {
        for (rev, event) in events {
            self.receive(rev, &event)?;
        }
        if let Some(inflight) = &mut self.inflight {
            inflight.base = self.rev;
            if !mutant!("client_rebases_without_moving") {
                inflight.sent = inflight.moved.clone();
            }
        }
        Ok(self.inflight.as_ref())
    }

    /// The operation under way was refused for good: it is taken back out of the content. What
    /// was typed behind it stays, as far as it does not stand in what is gone.
    ///
    /// # Errors
    /// Where the content cannot be computed without it; nothing has changed then.
    pub fn refused(&mut self) -> Result<Option<Refused>, OpError> {
        let Some(inflight) = &self.inflight else {
            return Ok(None);
        };
        let undo = inflight.moved.invert(&self.confirmed.to_delta())?;
        let (view, pending) = match &self.pending {
            Some(pending) => (
                pending.transform(&undo, false),
                undo.transform(pending, true),
            ),
            None => (undo, Delta::new()),
        };
        self.content.apply(&view, &self.limits)?;
        let refused = Refused {
            seq: inflight.seq,
            given_back: inflight.sent.clone(),
            view,
        };
        self.inflight = None;
        self.pending = (!pending.is_empty()).then_some(pending);
        Ok(Some(refused))
    }
}
