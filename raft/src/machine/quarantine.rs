//! What a command that panics comes to: the document that it is about is set apart, in the state
//! from before the command, and the group goes on. Every replica decides that alike, as often as it
//! reads its log, so a fault that every replica has costs one document and no start.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use codraft_proto::{ids::DocId, placement::slot_of, reject::Code};

use super::{Applied, Outcome, Refusal, Shard, change, clients::PayloadHash};
use crate::command::{Anchored, Command};

impl Shard {
    /// # Panics
    /// As the command does where that leaves a document between two states, or is about none.
    pub(super) fn apply_contained(&mut self, ts_ms: u64, command: &Command) -> Applied {
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply_command(ts_ms, command)));
        applied.unwrap_or_else(|cause| match command.doc() {
            Some(doc) if !self.is_half_changed(&doc) => self.set_apart(&doc, ts_ms, command),
            _ => resume_unwind(cause),
        })
    }

    fn is_half_changed(&self, doc: &DocId) -> bool {
        let document = self.documents.warm(slot_of(doc), doc);
        document.is_some_and(|document| document.is_half_changed())
    }

    fn set_apart(&mut self, doc: &DocId, ts_ms: u64, command: &Command) -> Applied {
        let (documents, heap) = (&mut self.documents, &mut self.heap_bytes);
        let document = documents.touch(slot_of(doc), doc, self.applied);
        let operation = match command {
            Command::Edit(edit) => Some((edit, PayloadHash::of(edit.base, &edit.ops))),
            Command::Anchored(Anchored { edit, .. }) => {
                Some((edit, PayloadHash::of(edit.base, &edit.ops)))
            }
            Command::Restore(restore) => {
                Some((&restore.edit, PayloadHash::of_restore(restore.version)))
            }
            _ => None,
        };
        if let Some((edit, payload)) = operation {
            change(document, heap, |document| {
                document.refuse_fault(edit, payload);
                (
                    Outcome::Applied {
                        rev: document.rev(),
                    },
                    None,
                )
            });
        }
        match self.quarantine(doc, Some(ts_ms)).outcome {
            // It was to be created: there is nothing to set apart.
            Outcome::Refused(_) => tracing::error!(%doc, "a create panicked and was left out"),
            _ => tracing::error!(
                %doc,
                "a command panicked and was left out; its document takes no edits until its \
                 quarantine is lifted (`codraft quarantine lift {doc}`)"
            ),
        }
        let message = "it could not be applied, and was left out";
        Applied {
            doc: *doc,
            outcome: Outcome::Refused(Refusal::new(Code::Fault, message)),
            event: None,
        }
    }

    /// Sets a document apart, or lets it go on.
    pub(super) fn quarantine(&mut self, doc: &DocId, since_ms: Option<u64>) -> Applied {
        let slot = slot_of(doc);
        let document = self.documents.touch(slot, doc, self.applied);
        if document.is_some() {
            match since_ms {
                Some(_) => self.quarantined.insert((slot, *doc)),
                None => self.quarantined.remove(&(slot, *doc)),
            };
        }
        let (outcome, _) = change(document, &mut self.heap_bytes, |document| {
            (document.set_quarantine(since_ms), None)
        });
        Applied {
            doc: *doc,
            outcome,
            event: None,
        }
    }
}
