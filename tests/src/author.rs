//! An author of a recording, with the recording's own causality.
//!
//! Two layers. Below, a client as the protocol wants it: revision, one operation in flight, a
//! queue behind it, each moved past what arrives. Above, what the recorded author *saw*: of
//! what has arrived, only as much is shown as the recording says, and each transaction is made
//! against exactly that. What has arrived and is not shown yet waits in `unseen`.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use codraft_ot::{Component, Content, Delta, Kind, Limits};

use crate::traces::{Patch, Points};

pub struct Author {
    limits: Limits,
    content: Content,
    pub rev: u64,
    inflight: Option<Delta>,
    queue: VecDeque<Delta>,
    view: Points,
    unseen: VecDeque<(usize, Delta)>,
}

impl Author {
    pub fn new(start: &str, rev: u64) -> Result<Author> {
        let limits = Limits::default();
        let mut content = Content::new(Kind::Text);
        let mut delta = Delta::new();
        delta.insert(start);
        content.apply(&delta, &limits)?;
        Ok(Author {
            limits,
            content,
            rev,
            inflight: None,
            queue: VecDeque::new(),
            view: Points::new(start),
            unseen: VecDeque::new(),
        })
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    pub fn is_idle(&self) -> bool {
        self.inflight.is_none() && self.queue.is_empty()
    }

    /// How many operations are not acknowledged yet.
    pub fn waiting(&self) -> usize {
        self.queue.len() + usize::from(self.inflight.is_some())
    }

    /// Shows what has arrived of the transactions below this number.
    pub fn show_below(&mut self, transaction: usize) {
        while self
            .unseen
            .front()
            .is_some_and(|(number, _)| *number < transaction)
        {
            if let Some((_, delta)) = self.unseen.pop_front() {
                self.view.apply(&delta);
            }
        }
    }

    /// Makes a transaction against what is shown.
    pub fn type_in(&mut self, patches: &[Patch]) -> Result<bool> {
        let mut delta = Delta::new();
        for patch in patches {
            delta = delta.compose(&self.view.patch(patch))?;
        }
        if delta.is_empty() {
            return Ok(false);
        }
        for (_, unseen) in &mut self.unseen {
            // What arrived came first in the order.
            let moved = unseen.transform(&delta, true);
            *unseen = delta.transform(unseen, false);
            delta = moved;
        }
        self.content.apply(&delta, &self.limits)?;
        self.queue.push_back(delta);
        Ok(true)
    }

    /// Whether nothing is under way and something waits.
    pub fn may_send(&self) -> bool {
        self.inflight.is_none() && !self.queue.is_empty()
    }

    /// The next operation to send.
    pub fn send(&mut self) -> Option<Vec<u8>> {
        if self.inflight.is_some() {
            return None;
        }
        let delta = self.queue.pop_front()?;
        let bytes = delta.to_bytes();
        self.inflight = Some(delta);
        Some(bytes)
    }

    /// # Errors
    /// When nothing is under way: an operation was acknowledged twice.
    pub fn acked(&mut self, rev: u64) -> Result<()> {
        self.rev = rev;
        self.inflight
            .take()
            .map(|_| ())
            .context("acknowledged, but nothing is under way")
    }

    pub fn remote(&mut self, rev: u64, transaction: usize, delta: &Delta) -> Result<()> {
        let mut delta = delta.clone();
        for own in self.inflight.iter_mut().chain(self.queue.iter_mut()) {
            let moved = delta.transform(own, true);
            delta = own.transform(&delta, false);
            *own = moved;
        }
        self.content.apply(&delta, &self.limits)?;
        self.rev = rev;
        self.unseen.push_back((transaction, delta));
        Ok(())
    }
}

impl Points {
    /// Applies a delta in UTF-16 units.
    pub(crate) fn apply(&mut self, delta: &Delta) {
        let mut at = 0;
        for component in delta.components() {
            match component {
                Component::Retain { units, .. } => at += self.points(at, *units),
                Component::Delete { units } => {
                    let count = self.points(at, *units);
                    self.remove(at, count);
                }
                Component::Insert { text, .. } => at += self.put(at, text),
                Component::Embed { .. } => {}
            }
        }
    }
}
