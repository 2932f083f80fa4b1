//! What changes a document and not its text.

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    event,
    ids::{Revision, Role, Seq, UserId},
    reject::Code,
};

use super::{
    super::{
        Event, MachineLimits, Moving, Outcome, Refusal,
        comments::{Meets, commented},
        grants::Change,
        missing,
    },
    Document, Draft, Effect, check_title,
};
use crate::command::{self, Commenting};

impl Document {
    pub(in crate::machine) fn grant(
        &mut self,
        grant: &command::Grant,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        if self.deleted_ms.is_some() {
            return missing();
        }
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
                let body = event::grant_body(&grant.user, grant.role);
                let draft = self.draft(&grant.by, event::GRANT, body);
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
        let judged = match self.role(&command.by) {
            // Missing, deleted and forbidden look alike.
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
        let body = Bytes::copy_from_slice(self.title.as_bytes());
        let draft = self.draft(&command.by, event::TITLE, body);
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    pub(in crate::machine) fn trim(&mut self, floor: Revision, limits: &MachineLimits) -> Outcome {
        self.changing = true;
        let forgets = mutant!("quiet_document_forgets_its_clients");
        if forgets | mutant!("record_forgotten_on_another_router") {
            self.clients.evict_below(Revision(u64::MAX));
        }
        let mut moving = Moving::default();
        let leaves = |event: &Event| moving.leave(event, &self.comments, &limits.ot);
        if self.window.trim_to(floor, leaves) {
            self.comments.leave(moving, self.window.floor());
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
            let draft = self.draft(&self.creator, event::EXPIRE, Bytes::new());
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
        if self.deleted_ms.is_some() {
            return missing();
        }
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
        let draft = self.draft(by, event::CHECKPOINT, Bytes::new());
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    /// Does something in the threads of comments.
    pub(in crate::machine) fn comment(
        &mut self,
        comment: &command::Comment,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let role = match self.writing_role(&comment.by) {
            Ok(role) => role,
            Err(outcome) => return (outcome, None),
        };
        let about = match &comment.what {
            Commenting::Open { at, .. } => *at,
            _ => self.rev,
        };
        let meets = Meets {
            floor: self.floor(),
            head: self.rev,
            units: match about == self.rev {
                true => Some(self.content.units()),
                false => self.window.units_at(about),
            },
            may_comment: role.can_comment(),
        };
        if let Err(outcome) = self.comments.judge(comment, &meets, limits) {
            return (outcome, None);
        }
        self.changing = true;
        let ts_ms = self.updated_ms.max(ts_ms);
        self.comments.set(comment, self.rev + 1, ts_ms);
        let body = event::comment_body(&commented(comment));
        let draft = self.draft(&comment.by, event::COMMENT, body);
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    /// Gives a version a name.
    pub(in crate::machine) fn name_version(
        &mut self,
        naming: &command::Version,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let judged = self.writing_role(&naming.by).and_then(|role| {
            let may_edit = role.can_edit();
            self.versions.judge(naming, may_edit, self.rev, limits)
        });
        let version = match judged {
            Ok(version) => version,
            Err(outcome) => return (outcome, None),
        };
        self.changing = true;
        let ts_ms = self.updated_ms.max(ts_ms);
        self.versions.set(naming, version, self.rev + 1, ts_ms);
        let named = event::Named {
            id: naming.id,
            version,
            name: &naming.name,
        };
        let draft = self.draft(&naming.by, event::VERSION, event::version_body(&named));
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    /// The role of who writes something that is no operation.
    pub(super) fn writing_role(&self, by: &UserId) -> Result<Role, Outcome> {
        // Missing, deleted and forbidden look alike.
        let Some(role) = self.role(by) else {
            let refusal = Refusal::new(Code::NotFound, "no such document");
            return Err(Outcome::Refused(refusal));
        };
        match self.quarantined_ms {
            None => Ok(role),
            Some(_) => Err(Outcome::Retry(Code::Quarantined)),
        }
    }

    /// An event that is nobody's operation.
    pub(super) fn draft(&self, user: &UserId, kind: u32, body: Bytes) -> Draft {
        Draft {
            client: None,
            user: user.clone(),
            seq: Seq(0),
            base: self.rev,
            kind: kind as u8,
            body,
            units_before: self.content.units(),
            components: 0,
        }
    }
}
