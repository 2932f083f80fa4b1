//! What changes a document and not its text.

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    event,
    ids::{Revision, Role, Seq, UserId},
    reject::Code,
};

use super::{
    super::{MachineLimits, Outcome, Refusal, grants::Change},
    Document, Draft, Effect, check_title,
};
use crate::command;

impl Document {
    pub(in crate::machine) fn grant(
        &mut self,
        grant: &command::Grant,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        match self.grants.judge(grant, limits.grants) {
            Err(refusal) => (Outcome::Refused(refusal), None),
            Ok(Change::Holds(since)) => (
                Outcome::Already {
                    seq: Seq(0),
                    rev: since.unwrap_or(self.rev),
                },
                None,
            ),
            Ok(Change::Takes) => {
                self.changing = true;
                self.grants.set(&grant.user, grant.role, self.rev + 1);
                let draft = Draft {
                    client: None,
                    user: grant.by.clone(),
                    seq: Seq(0),
                    base: self.rev,
                    kind: event::GRANT as u8,
                    body: event::grant_body(&grant.user, grant.role),
                    units_before: self.content.units(),
                    components: 0,
                };
                let event = self.record(draft, ts_ms, limits, scratch);
                (Outcome::Applied { rev: event.rev }, Some(event))
            }
        }
    }

    /// Gives it another title. Who may edit may do that, also while it is set apart: no text changes.
    pub(in crate::machine) fn set_title(
        &mut self,
        command: &command::Title,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let judged = match self.grants.role(&command.by) {
            // Missing and forbidden look alike to somebody without a role.
            None => Err(Refusal::new(Code::NotFound, "no such document")),
            Some(role) if !role.can_edit() => {
                let message = "the role does not allow another title";
                Err(Refusal::new(Code::Forbidden, message))
            }
            Some(_) => check_title(&command.title, limits),
        };
        if let Err(refusal) = judged {
            return (Outcome::Refused(refusal), None);
        }
        let (seq, rev) = (Seq(0), self.rev);
        if self.title == command.title {
            return (Outcome::Already { seq, rev }, None);
        }
        self.changing = true;
        self.title = command.title.clone();
        let draft = Draft {
            client: None,
            user: command.by.clone(),
            seq,
            base: rev,
            kind: event::TITLE as u8,
            body: Bytes::copy_from_slice(self.title.as_bytes()),
            units_before: self.content.units(),
            components: 0,
        };
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    pub(in crate::machine) fn trim(&mut self, floor: Revision) -> Outcome {
        self.changing = true;
        let forgets = mutant!("quiet_document_forgets_its_clients");
        if forgets | mutant!("record_forgotten_on_another_router") {
            self.clients.evict_below(Revision(u64::MAX));
        }
        if self.window.trim_to(floor) {
            self.clients.evict_below(self.window.floor());
        }
        Outcome::Applied { rev: self.rev }
    }

    /// Takes no base below `below` any more, and lets the records go that only such a base could
    /// ask for. Where `below` is ahead of the head it takes a revision itself: a record that was
    /// touched at the head is in nobody's way only once there is another one.
    pub(in crate::machine) fn expire(
        &mut self,
        below: Revision,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        self.changing = true;
        let event = (below > self.rev).then(|| {
            let draft = Draft {
                client: None,
                user: self.creator.clone(),
                seq: Seq(0),
                base: self.rev,
                kind: event::EXPIRE as u8,
                body: Bytes::new(),
                units_before: self.content.units(),
                components: 0,
            };
            self.record(draft, ts_ms, limits, scratch)
        });
        self.expired = self.expired.max(below.min(self.rev));
        self.clients
            .expire_below(self.oldest_base(), self.window.floor());
        (Outcome::Applied { rev: self.rev }, event)
    }

    /// Has the archive keep the document whole as it is, unless that is the last that happened.
    pub(in crate::machine) fn checkpoint(
        &mut self,
        by: &UserId,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        if !self.grants.role(by).is_some_and(Role::can_edit) {
            let message = "the role does not allow checkpoints";
            let refusal = Refusal::new(Code::Forbidden, message);
            return (Outcome::Refused(refusal), None);
        }
        let (seq, rev) = (Seq(0), self.rev);
        if self.window.last_kind() == Some(event::CHECKPOINT as u8) {
            return (Outcome::Already { seq, rev }, None);
        }
        self.changing = true;
        let draft = Draft {
            client: None,
            user: by.clone(),
            seq,
            base: rev,
            kind: event::CHECKPOINT as u8,
            body: Bytes::new(),
            units_before: self.content.units(),
            components: 0,
        };
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }
}
