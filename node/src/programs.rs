//! Edits by programs: an operation as it is, or changes in words of the text, which are found in the
//! document of the base and go the road of every edit from there.

mod places;

use bytes::Bytes;
use codraft_ot::{Content, Kind};
use codraft_proto::{
    ids::{ClientId, Revision, Seq},
    reject::Code,
    v1::{self, reply},
};
use codraft_raft::{
    command::{Anchored, Command, Edit},
    machine::{Document, Outcome, Shard},
};

use crate::{
    history::{Answer, Request},
    hosted::Hosted,
    wire,
};
use places::{Places, Text};

/// Changes of one edit. No more than it may have anchors.
const CHANGES_MAX: usize = 32;

impl Request {
    /// Applied once however often it is asked for, as long as the client's record is there; then its base
    /// is too old.
    pub(crate) async fn program(&self, hosted: &Hosted, asked: v1::ProgramEdit) -> Answer {
        let malformed = || wire::problem(Code::Malformed, "a client has 16 bytes");
        let client = ClientId::from_slice(&asked.client).ok_or_else(malformed)?;
        let base = Revision(asked.base);
        // The display name of a program's edit, for whoever tells who is there.
        let name = &*asked.name;
        tracing::debug!(doc = %self.doc, %client, name, "a program edits");
        let edit = |ops: Bytes| Edit {
            doc: self.doc,
            client,
            user: self.user.clone(),
            seq: Seq(1),
            base,
            ops,
        };
        let command = match asked.changes.is_empty() {
            true => Command::Edit(edit(asked.ops)),
            false => {
                let (document, _) = self.document(&hosted.group).await?;
                if let Some(rebase) = self.judged(&document, client, base)? {
                    return Ok(reply::Body::Rebase(rebase));
                }
                let content = self.content(hosted, &document, base).await?;
                let places = found(content, &asked.changes).await?;
                let (ops, anchors) = places.finish()?;
                let edit = edit(ops.to_bytes().into());
                Command::Anchored(Anchored { edit, anchors })
            }
        };
        let outcome = self.propose(command).await?;
        let is_there = |shard: &Shard| {
            let summary = shard.summary(&self.doc);
            summary.is_some_and(|summary| summary.role(&self.user).is_some())
        };
        match outcome {
            // Missing, deleted and not theirs look alike, whatever was told before.
            Outcome::Refused(_) | Outcome::Already { .. } if !hosted.group.with(is_there) => {
                Err(wire::not_found())
            }
            Outcome::Rebase { floor, head } => {
                let (floor, head) = (floor.0, head.0);
                Ok(reply::Body::Rebase(v1::Rebase { floor, head }))
            }
            outcome => Ok(wire::change(outcome)),
        }
    }

    /// What needs no look at the text; what was applied before is found out behind that.
    fn judged(
        &self,
        document: &Document,
        client: ClientId,
        base: Revision,
    ) -> Result<Option<v1::Rebase>, v1::Problem> {
        let (floor, head) = (document.oldest_base(), document.rev());
        if base > head {
            let text = format!("the document is at revision {head}");
            return Err(wire::problem(Code::BaseAhead, text));
        }
        if document.acked(&self.user, client).is_some() {
            return Ok(None);
        }
        if !document
            .role(&self.user)
            .is_some_and(|role| role.can_edit())
        {
            let text = "the role does not allow edits";
            return Err(wire::problem(Code::Forbidden, text));
        }
        let (floor, head) = (floor.0, head.0);
        Ok((base.0 < floor).then_some(v1::Rebase { floor, head }))
    }

    async fn content(
        &self,
        hosted: &Hosted,
        document: &Document,
        base: Revision,
    ) -> Result<Content, v1::Problem> {
        if base == document.rev() {
            return Ok(document.content().clone());
        }
        let _turn = self.service.history.turn().await;
        let base = self.view(&hosted.group).await?.check(base)?;
        Ok(self.state(&hosted.group, base).await?.content)
    }
}

/// Finds one change after the other; each look is linear in the document, and others have their turn
/// between two.
async fn found(content: Content, changes: &[v1::TextChange]) -> Result<Places, v1::Problem> {
    if changes.len() > CHANGES_MAX {
        let text = format!("an edit has at most {CHANGES_MAX} changes");
        return Err(wire::problem(Code::Malformed, text));
    }
    let is_rich = content.kind() == Kind::Rich;
    let text = Text::of(&content, is_rich);
    let mut places = Places::default();
    for change in changes {
        tokio::task::yield_now().await;
        places.add(&text, change)?;
    }
    Ok(places)
}
