//! Says what its document is, once on each socket, when nothing is under way. Every fifth client comes to
//! hold another text once, which is no mistake of the servers', and stays until it is told.

use std::time::Duration;

use anyhow::{Result, bail};
use codraft_ot::{Content, Delta, Limits, client::ClientDocument};
use codraft_proto::{
    frame::ClientFrame,
    ids::{Revision, Seq},
};
use tokio::time::Instant;

use super::{Client, Connection};
use crate::{plan::What, record::ClientSeen, shared::Stage};

/// Nothing came for so long.
const IDLE: Duration = Duration::from_millis(400);
/// Whose text is another one is told within this, or says it on another socket: on one, a router
/// hears a check in ten seconds.
const TOLD: Duration = Duration::from_secs(1);
/// Nobody types it.
const SPOILED: &str = "~";
/// Of larger documents the digest costs the simulation too much.
const LARGE: u32 = 20_000;

impl Client {
    pub(super) async fn check(&mut self) -> Result<()> {
        let now = Instant::now();
        let (checked, idle) = match &self.connection {
            Connection::Open(open) if open.live => (open.checked, now >= open.heard + IDLE),
            _ => return Ok(()),
        };
        // Others may have deleted what it has otherwise: it is the same text then.
        let has_spoiled = |document: &ClientDocument| document.content().text().contains(SPOILED);
        self.store.apart &= self.store.document.as_ref().is_none_or(has_spoiled);
        if let Some(at) = checked {
            if self.store.apart && now >= at + TOLD {
                bail!("was not told that its document has come apart");
            }
            return Ok(());
        }
        let document = self.store.document.as_ref();
        let is_apart = self.store.apart;
        let Some(document) = document.filter(|d| d.is_saved() && (idle || is_apart)) else {
            return Ok(());
        };
        if !is_apart && document.content().units() > LARGE {
            return Ok(());
        }
        let spoiled = self.spoiled(document.rev(), document.content());
        if let Some(spoiled) = spoiled {
            self.note(ClientSeen::CameApart {
                client: self.author(),
                doc: self.doc.0,
            });
            self.shared.recorder.mark("came apart");
            self.spoils = false;
            self.store.apart = true;
            self.store.document = Some(spoiled);
        }
        let (Some(document), Connection::Open(open)) = (&self.store.document, &mut self.connection)
        else {
            return Ok(());
        };
        open.checked = Some(now);
        let (rev, digest) = (document.rev(), document.content().digest());
        open.socket.send(&ClientFrame::Check { rev, digest }).await
    }

    /// The document with another first letter: all that comes still fits it.
    fn spoiled(&self, rev: Revision, content: &Content) -> Option<ClientDocument> {
        let is_due = self.spoils && self.shared.stage.get() == Stage::Safety;
        let first = content.text().chars().next().filter(|_| is_due)?;
        if first.len_utf16() != 1 || first == '\n' {
            return None;
        }
        let mut delta = Delta::new();
        delta.insert(SPOILED).delete(1);
        let mut content = content.clone();
        content.apply(&delta, &Limits::default()).ok()?;
        Some(ClientDocument::new(content, rev, Seq(self.store.seq)))
    }

    /// Whether a client's text comes apart some time. Not where others go on from what it keeps.
    pub(super) fn comes_apart(plan: &crate::plan::Client) -> bool {
        plan.number % 5 == 2 && !plan.acts.iter().any(|act| act.what == What::Twin)
    }
}
