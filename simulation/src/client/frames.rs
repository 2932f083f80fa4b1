//! What a client makes of what a router says.

use std::time::Duration;

use anyhow::{Result, bail};
use codraft_ot::{
    Content, Delta, Kind, Limits,
    client::{ClientDocument, Event},
};
use codraft_proto::{
    frame::{At, ClientFrame, DIVERGED, OpEvent, ServerFrame, Welcome},
    ids::{Revision, Seq},
    reject::Code,
};
use rand::Rng;
use tokio::time::Instant;

use super::{BARRED, Client, Connection, Store};
use crate::{convert, record::ClientSeen, shared::user_name};

/// A document of more units is looked at every so many revisions only.
const LARGE: u32 = 20_000;
const SELDOM: u64 = 32;
/// The least pause before an operation is sent again.
const RESEND_MS: u64 = 20;

impl Client {
    /// `last`: of the message.
    pub(super) async fn heard(&mut self, frame: ServerFrame, last: bool) -> Result<()> {
        if let Connection::Open(open) = &mut self.connection {
            open.heard = Instant::now();
            open.pinged = None;
        }
        let taken = self.take(frame).await;
        if last {
            self.view();
        }
        taken
    }

    async fn take(&mut self, frame: ServerFrame) -> Result<()> {
        let (client, doc) = (self.author(), self.doc.0);
        self.sees(&frame);
        match frame {
            ServerFrame::Welcome(welcome) => return self.welcome(*welcome).await,
            ServerFrame::Op(op) => return self.edited(&op),
            ServerFrame::Event(event) => return self.passed(event.rev.0),
            ServerFrame::Skip { rev, .. } => return self.passed(rev.0),
            ServerFrame::Mark(At { rev, hash }) => {
                self.note(ClientSeen::Marked {
                    client,
                    doc,
                    rev: rev.0,
                    chain: hash,
                });
                let known = self.store.document.as_ref().is_some_and(|d| rev <= d.rev());
                if known && self.store.mark.is_none_or(|mark| mark.rev <= rev) {
                    self.store.mark = Some(At { rev, hash });
                }
            }
            ServerFrame::Already { seq, rev } => {
                if self.inflight_is(seq.0, None) {
                    self.note(ClientSeen::Acked {
                        client,
                        doc,
                        seq: seq.0,
                        rev: rev.0,
                    });
                    self.shared.recorder.mark("answered already");
                    // Its event would have come first, had this document been continued.
                    self.start_over(seq.0);
                    bail!("already applied, and never seen here");
                }
            }
            ServerFrame::Reject {
                seq,
                base,
                last,
                code,
                retry_after_ms,
                ..
            } => {
                if self.inflight_is(seq.0, Some(base.0)) {
                    return self.rejected(seq.0, last, code, retry_after_ms);
                }
            }
            ServerFrame::Rebase {
                seq,
                base,
                floor,
                head,
            } => {
                if self.inflight_is(seq.0, Some(base.0)) {
                    self.note(ClientSeen::Rebase {
                        client,
                        doc,
                        seq: seq.0,
                        floor: floor.0,
                        head: head.0,
                    });
                    return self.rebase(floor.0).await;
                }
            }
            ServerFrame::Role { role } => {
                self.role = Some(role);
                self.told_role(Some(role.as_str()));
            }
            ServerFrame::Resync { reason } => {
                if reason == DIVERGED {
                    self.store.mark = None;
                }
                self.note(ClientSeen::Resynced {
                    client,
                    doc,
                    reason,
                });
                let now = Instant::now();
                let before = std::mem::replace(&mut self.connection, Connection::Closed(now));
                if let Connection::Open(mut open) = before {
                    (open.live, open.since, open.told_saving) = (false, now, false);
                    let said = self.hello(&mut open.socket).await;
                    self.connection = Connection::Open(open);
                    said?;
                }
            }
            ServerFrame::Saving { on } => {
                if let Connection::Open(open) = &mut self.connection {
                    open.told_saving = on;
                }
                if on {
                    self.shared.recorder.mark("told saving");
                }
            }
            ServerFrame::Bye {
                code,
                retry_after_ms,
                ..
            } => return self.bye(code, retry_after_ms),
            ServerFrame::Here => {
                if let Connection::Open(open) = &mut self.connection {
                    return open.socket.send(&ClientFrame::Here).await;
                }
            }
            ServerFrame::Who(_) | ServerFrame::Presence { .. } | ServerFrame::Pong => {}
        }
        Ok(())
    }

    fn inflight_is(&self, seq: u64, base: Option<u64>) -> bool {
        let inflight = self.store.document.as_ref().and_then(|d| d.inflight());
        inflight
            .is_some_and(|i| i.seq == Seq(seq) && base.is_none_or(|base| i.base == Revision(base)))
    }

    fn told_role(&self, role: Option<&str>) {
        self.note(ClientSeen::RoleTold {
            client: self.author(),
            user: self.plan.user,
            doc: self.doc.0,
            role: role.map(str::to_owned),
        });
    }

    async fn welcome(&mut self, welcome: Welcome) -> Result<()> {
        let Welcome {
            rev,
            hash,
            acked,
            role,
            ..
        } = welcome;
        // Every third hands its work back, as one does who may not read what it missed.
        let document = self.store.document.as_ref();
        let is_late = document.is_some_and(|d| !d.is_saved() && d.rev() < rev);
        let moves = !self.plan.number.is_multiple_of(3) && !self.store.apart;
        if welcome.doc.is_some() && is_late && moves && self.catch_up(rev).await? {
            self.store.mark = Some(At { rev, hash });
            bail!("goes on from what it missed");
        }
        let limits = Limits::default().of_document();
        let content = match &welcome.doc {
            Some(bytes) => {
                let kind = if welcome.kind == "rich" {
                    Kind::Rich
                } else {
                    Kind::Text
                };
                let start = Delta::decode(bytes, &limits)?;
                Some(Content::from_delta(kind, &start, &limits)?)
            }
            None => None,
        };
        let head = match &self.connection {
            Connection::Open(open) => open.socket.reaches().unwrap_or(rev.0),
            _ => rev.0,
        };
        self.note(ClientSeen::Opened {
            client: self.author(),
            user: self.plan.user,
            doc: self.doc.0,
            resumed: content.is_none(),
            rev: rev.0,
            head,
            chain: hash,
            acked: acked.map(|(seq, rev)| (seq.0, rev.0)),
            text: content.as_ref().map(Content::text),
        });
        (self.failed, self.barred, self.role) = (0, false, Some(role));
        self.told_role(Some(role.as_str()));
        let applied = acked.map_or(0, |(seq, _)| seq.0);
        let inflight = self.store.document.as_ref().and_then(|d| d.inflight());
        let flying = inflight.map(|i| i.seq);
        let Some(content) = content else {
            let known = self
                .store
                .document
                .as_ref()
                .map_or(0, |document| document.rev().0);
            if rev > Revision(known) || self.store.document.is_none() {
                self.start_over(applied);
                bail!("resumed from what was never received");
            }
            self.go_live();
            if flying.is_some() {
                self.shared.recorder.mark("resumed with work under way");
            }
            // Unless it was applied: then its event follows.
            return match flying.is_some_and(|seq| seq > Seq(applied)) {
                true => self.transmit(true).await,
                false => Ok(()),
            };
        };
        if let (Some(seq), Some((last, at))) = (flying, acked)
            && seq == last
        {
            self.note(ClientSeen::Acked {
                client: self.author(),
                doc: self.doc.0,
                seq: seq.0,
                rev: at.0,
            });
        }
        if self.store.document.is_some() {
            self.shared.recorder.mark("could not be continued");
        }
        self.hand_back(applied);
        self.viewed = None;
        self.store.apart = false;
        self.store.mark = Some(At { rev, hash });
        if self.store.seq > applied {
            // A copy on its way would take the next sequence, or the server has forgotten what
            // this name did: go on under another one, from this same state.
            self.store.seq = 0;
            self.store.document = Some(ClientDocument::new(content, rev, Seq(0)));
            self.view();
            self.rename();
            bail!("goes on under another name");
        }
        self.store.document = Some(ClientDocument::new(content, rev, Seq(applied)));
        self.go_live();
        Ok(())
    }

    fn go_live(&mut self) {
        if let Connection::Open(open) = &mut self.connection {
            open.live = true;
        }
    }

    fn edited(&mut self, op: &OpEvent) -> Result<()> {
        let Connection::Open(open) = &self.connection else {
            return Ok(());
        };
        let (client, doc, rev) = (self.author(), self.doc.0, op.rev);
        let author = open.socket.author(op.slot);
        let mine = open.socket.is_mine(op.slot);
        let delta = match Delta::decode(&op.ops, &Limits::default().of_document()) {
            Ok(delta) => delta,
            Err(error) => return self.came_apart(rev.0, &error.to_string()),
        };
        let edit = Some(convert::edits(&delta));
        let received = ClientSeen::Received {
            client,
            doc,
            rev: rev.0,
            author,
            edit,
        };
        if !mine {
            return self.event(rev.0, &Event::Other(delta), received);
        }
        // One encoding leaves the number out: there is only one it can be.
        let inflight = self.store.document.as_ref().and_then(|d| d.inflight());
        let seq = if op.seq.0 == 0 {
            inflight.map_or(0, |i| i.seq.0)
        } else {
            op.seq.0
        };
        let before = self
            .store
            .document
            .as_ref()
            .map_or(0, |document| document.rev().0);
        self.event(rev.0, &Event::Own { seq: Seq(seq) }, received)?;
        if rev > Revision(before) {
            self.resend_at = None;
            self.note(ClientSeen::Acked {
                client,
                doc,
                seq,
                rev: rev.0,
            });
        }
        Ok(())
    }

    /// An event that carries no text, or that this reader may not see.
    pub(super) fn passed(&mut self, rev: u64) -> Result<()> {
        let received = ClientSeen::Received {
            client: self.author(),
            doc: self.doc.0,
            rev,
            author: None,
            edit: None,
        };
        self.event(rev, &Event::Passed, received)
    }

    /// The next event of the feed, or one that is known.
    pub(super) fn event(&mut self, rev: u64, event: &Event, received: ClientSeen) -> Result<()> {
        let Some(document) = &mut self.store.document else {
            return Ok(());
        };
        // Resumed from the last mark: what follows it may be known.
        if rev <= document.rev().0 {
            return Ok(());
        }
        let taken = document.receive(Revision(rev), event);
        self.note(received);
        match taken {
            Ok(_) => Ok(()),
            Err(error) => self.came_apart(rev, &error.to_string()),
        }
    }

    /// What comes does not continue what is here, which the protocol rules out.
    fn came_apart(&mut self, rev: u64, why: &str) -> Result<()> {
        let host = &self.speaker.at.host;
        let promised = "what a router sends continues what its client has";
        let broken = format!(
            "{host} ({}) cannot take revision {rev} of {}: {why}",
            self.id, self.doc
        );
        self.shared.recorder.broken("feed", promised, &broken);
        self.start_over(0);
        bail!("came apart: {why}")
    }

    fn rejected(&mut self, seq: u64, last: bool, code: Code, retry_after_ms: u32) -> Result<()> {
        let (client, doc, named) = (self.author(), self.doc.0, code.as_str().to_owned());
        if !last {
            self.note(ClientSeen::NotNow {
                client,
                doc,
                seq,
                code: named,
            });
            self.shared.recorder.mark("told to try again");
            // What the server has then is not what is shown here.
            if code == Code::BaseAhead {
                bail!("the base is ahead");
            }
            let pause = u64::from(retry_after_ms).max(RESEND_MS) + self.rng.random_range(0..30);
            self.resend_at = Some(Instant::now() + Duration::from_millis(pause));
            return Ok(());
        }
        self.note(ClientSeen::Refused {
            client,
            doc,
            seq,
            code: named,
        });
        self.shared.recorder.mark("refused for good");
        self.resend_at = None;
        let opens_anew = self.plan.stubborn && code == Code::Forbidden && self.rng.random_bool(0.5);
        let refused = match (&mut self.store.document, code) {
            _ if opens_anew => None,
            (
                Some(document),
                Code::Forbidden
                | Code::LengthMismatch
                | Code::KindMismatch
                | Code::DocumentFull
                | Code::Fault,
            ) => document.refused().ok().flatten(),
            _ => None,
        };
        let Some(refused) = refused else {
            self.start_over(0);
            bail!("refused for good: {}", code.as_str());
        };
        self.note(ClientSeen::HandedBack {
            client,
            doc,
            seq,
            text: convert::inserted(&refused.given_back),
        });
        Ok(())
    }

    /// The base is too old. Most clients move their work past all that came since and send it
    /// under the same number; others hand it back.
    async fn rebase(&mut self, floor: u64) -> Result<()> {
        self.resend_at = None;
        let moves = !self.plan.number.is_multiple_of(3);
        let document = self.store.document.as_mut();
        let rebased = match document.filter(|d| moves && d.rev() >= Revision(floor)) {
            Some(document) => document.rebase([]).is_ok_and(|inflight| inflight.is_some()),
            None => false,
        };
        if rebased {
            return self.transmit(false).await;
        }
        self.start_over(0);
        bail!("the base is too old")
    }

    fn bye(&mut self, code: Code, retry_after_ms: u32) -> Result<()> {
        let name = code.as_str();
        match code {
            Code::Revoked | Code::NotFound | Code::Forbidden => {
                self.shared.recorder.mark("sent away");
                self.told_role(None);
                self.note(ClientSeen::Closed {
                    client: self.author(),
                    doc: self.doc.0,
                    why: name.to_owned(),
                });
                self.start_over(0);
                (self.barred, self.role) = (true, None);
                self.later(BARRED);
                return Ok(());
            }
            Code::Replaced => self.shared.recorder.mark("replaced"),
            Code::SlowConsumer => self.shared.recorder.mark("slow_reader_let_go"),
            Code::ShuttingDown | Code::Busy | Code::Rate | Code::NoLeader => {}
            Code::Timeout | Code::HelloTimeout | Code::Unproven | Code::TooManySockets => {}
            // A client that keeps to the protocol is never told the rest.
            _ => {
                let user = user_name(self.plan.user);
                let broken = format!("{} of {user} was sent away: {name}", self.speaker.at.host);
                let promised = "who keeps to the protocol is not told otherwise";
                self.shared.recorder.broken("feed", promised, &broken);
            }
        }
        self.note(ClientSeen::Closed {
            client: self.author(),
            doc: self.doc.0,
            why: name.to_owned(),
        });
        self.later(Duration::from_millis(u64::from(retry_after_ms).max(50)));
        Ok(())
    }

    /// Notes what is confirmed, where that is news.
    fn view(&mut self) {
        let Some(document) = self.store.document.as_ref().filter(|_| !self.store.apart) else {
            return;
        };
        let rev = document.rev();
        let large = document.content().units() > LARGE;
        if self.viewed == Some(rev.0) || large && !rev.0.is_multiple_of(SELDOM) {
            return;
        }
        let (text, digest) = convert::view(document.confirmed());
        self.viewed = Some(rev.0);
        self.note(ClientSeen::View {
            client: self.author(),
            doc: self.doc.0,
            rev: rev.0,
            text,
            digest,
        });
    }
}

impl Store {
    /// As a browser finds it after a reload: what was written to it before.
    pub(super) fn reloaded(&self) -> Store {
        self.clone()
    }
}
