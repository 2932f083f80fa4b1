//! Whether a document is there. A deleted one stays as it is, with its history and its roles, and looks as
//! if it had never been; its owners can have it back.

use bytes::Bytes;
use codraft_proto::{
    event,
    ids::{Role, Seq, UserId},
    reject::Code,
};

use super::{
    super::{MachineLimits, Outcome, Refusal, missing},
    Document, Effect,
};

impl Document {
    /// Its owners may. Who has another role is told so, as for a change of roles.
    pub(in crate::machine) fn delete(
        &mut self,
        by: &UserId,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        match (self.grants.role(by), self.deleted_ms) {
            (Some(Role::Owner), None) => {}
            (Some(_), None) => return refused(Code::Forbidden, "only an owner deletes a document"),
            (None, _) | (_, Some(_)) => return missing(),
        }
        self.changing = true;
        let draft = self.draft(by, event::DELETE, Bytes::new());
        let event = self.record(draft, ts_ms, limits, scratch);
        self.deleted_ms = Some(event.ts_ms);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    /// Who was its owner has it back, as it was.
    pub(in crate::machine) fn undelete(
        &mut self,
        by: &UserId,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        if self.grants.role(by) != Some(Role::Owner) {
            return missing();
        }
        if self.deleted_ms.is_none() {
            let (seq, rev) = (Seq(0), self.rev);
            return (Outcome::Already { seq, rev }, None);
        }
        self.changing = true;
        self.deleted_ms = None;
        let draft = self.draft(by, event::UNDELETE, Bytes::new());
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }
}

fn refused(code: Code, message: &'static str) -> Effect {
    (Outcome::Refused(Refusal::new(code, message)), None)
}
