//! Comes back below the window with work that is not in the document: reads what happened meanwhile,
//! page by page, and goes on from there. An own operation found there was acknowledged.

use anyhow::{Context, Result, bail};
use codraft_ot::{Limits, client::Event};
use codraft_proto::{
    frame::json,
    ids::{ClientId, Revision, Seq},
};
use http::Method;
use serde_json::Value;

use super::Client;
use crate::{
    convert, plan,
    record::{ClientSeen, author},
    shared::user_name,
};

impl Client {
    /// Whether its document is at `to` now, which lies behind the window of what it had. If not, it may
    /// not read what it missed.
    ///
    /// # Errors
    /// What is to be tried again later.
    pub(super) async fn catch_up(&mut self, to: Revision) -> Result<bool> {
        let router = plan::Host::Router(self.router).to_string();
        // What it may read now it may have been kept from by then.
        self.note(ClientSeen::Closed {
            client: self.author(),
            doc: self.doc.0,
            why: "reads what it missed".into(),
        });
        loop {
            let Some(document) = self.store.document.as_ref() else {
                return Ok(false);
            };
            let from = document.rev() + 1;
            if from > to {
                self.shared.recorder.mark("late_base");
                return Ok(true);
            }
            let path = format!("/v1/docs/{}/ops?from={from}&to={to}", self.doc);
            let asked = self.speaker.call(&router, Method::GET, &path, &Value::Null);
            let (status, page) = asked.await?;
            match status {
                200 => {}
                // Nobody can tell it what came then: its work is a copy from now on.
                410 => {
                    self.shared.recorder.mark("erased_base");
                    return Ok(false);
                }
                408 | 429 | 500.. => bail!("{path}: {status}"),
                _ => return Ok(false),
            }
            let events = page["events"].as_array().context("a page without events")?;
            anyhow::ensure!(!events.is_empty(), "an empty page");
            for event in events {
                self.happened(event)?;
            }
        }
    }

    /// One event of a page.
    fn happened(&mut self, event: &Value) -> Result<()> {
        let rev = event["rev"].as_u64().context("no revision")?;
        let (client, doc) = (self.author(), self.doc.0);
        let is_edit = event["kind"] == "edit";
        let Some(ops) = event.get("ops").filter(|_| is_edit) else {
            return self.passed(rev);
        };
        let user = event["user"].as_str().context("no user")?;
        let id: ClientId = event["client"].as_str().context("no client")?.parse()?;
        let delta = json::delta_of(ops, &Limits::default().of_document())?;
        let received = ClientSeen::Received {
            client,
            doc,
            rev,
            author: Some(author(user, &id.0)),
            edit: Some(convert::edits(&delta)),
        };
        let mine = user == user_name(self.plan.user) && id == self.id;
        if !mine {
            return self.event(rev, &Event::Other(delta), received);
        }
        let seq = event["seq"].as_u64().context("no number")?;
        self.event(rev, &Event::Own { seq: Seq(seq) }, received)?;
        self.note(ClientSeen::Acked {
            client,
            doc,
            seq,
            rev,
        });
        Ok(())
    }
}
