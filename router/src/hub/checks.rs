//! What clients say their document is, beside what it is. A node is asked for one digest of a
//! document at a time, which all clients at that revision are compared with; whose text is another
//! one opens the document again.

use std::collections::BTreeMap;

use codraft_mutant::mutant;
use codraft_proto::{
    ids::Revision,
    v1::{self, message::Body},
};

use super::{Hub, State};
use crate::{
    Shared,
    feed::{Event, STUCK_MS},
    ids::ReaderId,
    metrics::Checked,
};

/// One check of a socket in this time, and one question to a node about a document in that.
const SOCKET_EVERY_MS: u64 = 10_000;
const ASK_EVERY_MS: u64 = 1_000;

pub type Digest = [u8; 32];

#[derive(Default)]
pub(super) struct Checks {
    /// What the document is at a revision, as a node said last.
    known: Option<(Revision, Digest)>,
    /// The last question to a node, and when it was asked.
    asked: Option<(Revision, u64)>,
    /// Who waits for its answer, and what they have; empty once it is there.
    waiting: BTreeMap<ReaderId, Digest>,
}

impl Checks {
    pub fn leave(&mut self, reader: ReaderId) {
        self.waiting.remove(&reader);
    }
}

impl Hub {
    /// A client says what it has at a revision.
    pub fn check(&self, shared: &Shared, reader: ReaderId, rev: Revision, digest: Digest) {
        let mut state = self.state.lock();
        let now_ms = shared.now_ms();
        let outcome = match self.checked_now(shared, &mut state, reader, rev, now_ms) {
            Err(outcome) => Some(outcome),
            Ok(Some(known)) => Some(self.compare(shared, &mut state, reader, rev, (digest, known))),
            Ok(None) => {
                state.checks.waiting.insert(reader, digest);
                None
            }
        };
        outcome
            .into_iter()
            .for_each(|outcome| shared.metrics.checked(outcome));
    }

    /// What there is to compare with; none where a node was asked for it.
    fn checked_now(
        &self,
        shared: &Shared,
        state: &mut State,
        reader: ReaderId,
        rev: Revision,
        now_ms: u64,
    ) -> Result<Option<Digest>, Checked> {
        let member = state.members.get_mut(&reader).ok_or(Checked::Stale)?;
        let next_ms = member.checked_ms.map_or(0, |at_ms| at_ms + SOCKET_EVERY_MS);
        if now_ms < next_ms {
            return Err(Checked::Limited);
        }
        member.checked_ms = Some(now_ms);
        let is_head = state.feed.position().is_some_and(|p| p.rev == rev);
        if !member.listens || member.session.is_busy() || !is_head {
            return Err(Checked::Stale);
        }
        let is_known = |known: &Revision| *known == rev || mutant!("check_of_an_older_revision");
        if let Some((_, digest)) = state.checks.known.filter(|(known, _)| is_known(known)) {
            return Ok(Some(digest));
        }
        let waits = !state.checks.waiting.is_empty();
        match state.checks.asked {
            Some((asked, at_ms)) if asked == rev && waits && now_ms < at_ms + STUCK_MS => {
                return Ok(None);
            }
            Some((_, at_ms)) if now_ms < at_ms + ASK_EVERY_MS => return Err(Checked::Limited),
            _ => {}
        }
        let question = Body::Check(v1::Check {
            doc: self.doc_bytes.clone(),
            rev: rev.0,
        });
        let link = state.feed.takes_operations().ok_or(Checked::Unknown)?;
        let route = state.route_by(shared, link);
        if !route.is_some_and(|route| route.send(question)) {
            return Err(Checked::Unknown);
        }
        state.checks.asked = Some((rev, now_ms));
        for _ in std::mem::take(&mut state.checks.waiting) {
            shared.metrics.checked(Checked::Unknown);
        }
        Ok(None)
    }

    /// A node said what the document is at a revision; `None`: it cannot say.
    pub fn checked(&self, shared: &Shared, rev: Revision, digest: Option<Digest>) {
        let mut state = self.state.lock();
        if state.checks.asked.is_none_or(|(asked, _)| asked != rev) {
            return;
        }
        state.checks.known = digest.map(|digest| (rev, digest)).or(state.checks.known);
        for (reader, said) in std::mem::take(&mut state.checks.waiting) {
            let outcome = match digest {
                Some(digest) => self.compare(shared, &mut state, reader, rev, (said, digest)),
                None => Checked::Stale,
            };
            shared.metrics.checked(outcome);
        }
    }

    /// Compares what a client said with what is. Whose text is another one is told to open again.
    fn compare(
        &self,
        shared: &Shared,
        state: &mut State,
        reader: ReaderId,
        rev: Revision,
        (said, is): (Digest, Digest),
    ) -> Checked {
        if said == is {
            return Checked::Same;
        }
        let Some(member) = state.members.get(&reader).filter(|m| m.listens) else {
            return Checked::Stale;
        };
        let (doc, client) = (self.doc, member.session.client);
        tracing::warn!(%doc, %rev, %client, "transform divergence: a client's text is not the document's");
        shared.metrics.divergences.inc();
        if !mutant!("divergence_ignored") {
            self.handle_locked(shared, state, Event::Diverged { reader });
        }
        Checked::Differs
    }
}
