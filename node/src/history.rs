//! What is asked of a document's past, and what makes a part of it the present again. Each in a task of
//! its own: it reads from the disk, and may take long.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codraft_archive::{Authorship, HistoryError, State};
use codraft_mutant::mutant;
use codraft_ot::{Component, Content, Delta, Diff};
use codraft_proto::{
    ids::{ClientId, DocId, Revision, Seq, UserId},
    reject::Code,
    v1::{self, call, history::At, message::Body, reply},
};
use codraft_raft::{
    command::{Checkpoint, Command, Edit, Restore},
    group::{Group, KeepError},
    machine::{Document, Event, Outcome, Summary},
};

use crate::{calls, hosted::Hosted, routers::RouterLink, service::Service, wire};

/// So many revisions back a restore that was made already is looked for.
const MADE_WITHIN: u64 = 4_096;
/// Until a link that has much to read is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Of events in one reply.
const EVENTS_BYTES: usize = 1 << 20;

pub(crate) type Answer = Result<reply::Body, v1::Problem>;

/// A user's request about one document.
pub(crate) struct Request {
    pub service: Arc<Service>,
    pub link: Arc<RouterLink>,
    pub doc: DocId,
    pub user: UserId,
}

/// Answers one of the calls that are about the past, or not in time.
pub(crate) fn serve(request: Request, id: u64, call: call::Body, patience: Duration) {
    let tasks = request.service.tasks.clone();
    tasks.spawn("history", async move {
        let answer = tokio::time::timeout(patience, request.answer(call)).await;
        let late = || Err(wire::problem(Code::Timeout, "no answer in time"));
        let body = answer.unwrap_or_else(|_| late()).unwrap_or_else(|problem| {
            request.service.metrics.refused_number(problem.code);
            reply::Body::Problem(problem)
        });
        let body = Some(body);
        request.link.push(Body::Reply(v1::Reply { id, body }));
    });
}

/// Who asks may see a document's revisions from `from` to its head.
pub(crate) struct View {
    pub from: Revision,
    head: Revision,
}

impl View {
    fn of(summary: &Summary, user: &str) -> Option<View> {
        Some(View {
            from: summary.grant(user)?.visible_from(),
            head: summary.rev,
        })
    }

    pub fn check(&self, version: Revision) -> Result<Revision, v1::Problem> {
        if version.0 == 0 || version > self.head {
            let text = format!("its revisions are 1 to {}", self.head);
            return Err(wire::problem(Code::NoVersion, text));
        }
        if version < self.from && !mutant!("history_told_from_before_the_grant") {
            let text = format!(
                "what came before revision {} was not shared with you",
                self.from
            );
            return Err(wire::problem(Code::Forbidden, text));
        }
        Ok(version)
    }
}

impl Request {
    async fn answer(&self, call: call::Body) -> Answer {
        let hosted = self.service.groups.of_doc(&self.doc);
        let hosted = hosted.ok_or_else(wire::wrong_group)?;
        let busy = || wire::problem(Code::Busy, "too many requests wait");
        let _permit = self.link.permit().ok_or_else(busy)?;
        match call {
            call::Body::History(asked) => self.history(hosted, asked).await,
            call::Body::Diff(asked) => self.diff(hosted, asked).await,
            call::Body::Events(asked) => self.events(hosted, asked).await,
            call::Body::Restore(asked) => self.restore(hosted, asked).await,
            call::Body::Checkpoint(_) => self.checkpoint(hosted).await,
            call::Body::Program(asked) => self.program(hosted, asked).await,
            call::Body::Receipt(asked) => self.receipt(hosted, asked).await,
            call::Body::Comments(_) => self.comments(hosted).await,
            call::Body::Names(_) => self.names(hosted).await,
            call::Body::Kept(_) => {
                self.view(&hosted.group).await?;
                let kept = self.service.history.checkpoint(&hosted.group, self.doc);
                let rev = kept.await.map_err(|error| self.failed(&error))?;
                Ok(reply::Body::Rev(rev.map_or(0, |rev| rev.0)))
            }
            _ => Err(wire::problem(Code::Internal, "not about the past")),
        }
    }

    /// As of now, in order with every change.
    pub(crate) async fn view(&self, group: &Group) -> Result<View, v1::Problem> {
        group.read().await.map_err(wire::reading)?;
        let summary = group.with(|shard| shard.summary(&self.doc));
        let view = summary.and_then(|summary| View::of(&summary, &self.user));
        view.ok_or_else(wire::not_found)
    }

    /// The document as it is, whole, for who may see it.
    pub(crate) async fn document(
        &self,
        group: &Group,
    ) -> Result<(Arc<Document>, View), v1::Problem> {
        loop {
            let lost = |_| wire::problem(Code::Busy, "the document cannot be read now");
            group.bring(self.doc).await.map_err(lost)?;
            let view = self.view(group).await?;
            let document = group.with(|shard| shard.document(&self.doc).present().cloned());
            // It may have left memory again.
            if let Some(document) = document {
                return Ok((document, view));
            }
        }
    }

    pub(crate) async fn state(
        &self,
        group: &Group,
        version: Revision,
    ) -> Result<State, v1::Problem> {
        let state = self.service.history.at(group, self.doc, version).await;
        state.map_err(|error| self.failed(&error))
    }

    pub(crate) fn failed(&self, error: &HistoryError) -> v1::Problem {
        if let HistoryError::Erased { .. } = error {
            return wire::problem(Code::Erased, error.to_string());
        }
        let doc = self.doc;
        if let HistoryError::Kept(KeepError::Page(_)) = error {
            tracing::warn!(%doc, %error, "a document's history has to wait");
            let text = "some of it is damaged on this node's disk, and asked for from other nodes";
            return wire::problem(Code::Busy, text);
        }
        tracing::error!(%doc, %error, "a document's history cannot be told");
        wire::problem(Code::Internal, "its history does not read back here")
    }

    /// Resolves when the router has read enough of what it was sent before.
    async fn room(&self) {
        while self.link.is_full(0) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn history(&self, hosted: &Hosted, asked: v1::History) -> Answer {
        let _turn = self.service.history.turn().await;
        let group = &hosted.group;
        let view = self.view(group).await?;
        let version = match asked.at {
            None => view.head,
            Some(At::Version(version)) => Revision(version),
            Some(At::Ms(ms)) => {
                let found = self.service.history.revision_at(group, self.doc, ms).await;
                match found.map_err(|error| self.failed(&error))? {
                    Revision(0) => {
                        let text = "it was created later";
                        return Err(wire::problem(Code::NoVersion, text));
                    }
                    // What came between the look at the head and this one is later than that.
                    version => version.min(view.head),
                }
            }
        };
        let state = self.state(group, view.check(version)?).await?;
        let content = match asked.content {
            true => spelled(&state.content).await,
            false => Bytes::new(),
        };
        let authors = match asked.authors {
            true => state.authorship(),
            false => Authorship::default(),
        };
        let run = |(units, user): (u32, u32)| v1::AuthorRun { units, user };
        self.room().await;
        Ok(reply::Body::Past(v1::PastDocument {
            rev: state.rev.0,
            hash: Bytes::copy_from_slice(&state.hash.0),
            ts_ms: state.ts_ms,
            head: view.head.0,
            kind: state.kind() as u32,
            algebra: state.algebra.as_str().to_owned(),
            title: state.title.to_string(),
            content,
            users: authors.users.iter().map(ToString::to_string).collect(),
            runs: authors.runs.into_iter().map(run).collect(),
        }))
    }

    async fn diff(&self, hosted: &Hosted, asked: v1::HistoryDiff) -> Answer {
        let _turn = self.service.history.turn().await;
        let view = self.view(&hosted.group).await?;
        let (from, to) = (Revision(asked.from), Revision(asked.to));
        let from = self.state(&hosted.group, view.check(from)?).await?;
        let to = self.state(&hosted.group, view.check(to)?).await?;
        let change = difference(&from.content, &to.content).await;
        Ok(reply::Body::Ops(change.to_bytes().into()))
    }

    async fn events(&self, hosted: &Hosted, asked: v1::EventRange) -> Answer {
        let _turn = self.service.history.turn().await;
        let group = &hosted.group;
        let view = self.view(group).await?;
        let mut from = view.check(Revision(asked.from))?;
        if from < Revision(asked.to) && mutant!("ops_begin_one_too_late") {
            from += 1;
        }
        let to = Revision(asked.to.min(view.head.0));
        let events = self.service.history.events(group, self.doc, from, to).await;
        let events = events.map_err(|error| self.failed(&error))?;
        let mut bytes = 0;
        let fits = |event: &&Arc<Event>| {
            bytes += event.body.len() + event.user.len() + 64;
            bytes <= EVENTS_BYTES
        };
        let count = events.iter().take_while(fits).count().max(1);
        self.room().await;
        let events = events.iter().take(count).map(|event| wire::event(event));
        Ok(reply::Body::Events(v1::PastEvents {
            events: events.collect(),
        }))
    }

    /// Proposes an edit that makes the version of the head, made anew as often as the head moves.
    async fn restore(&self, hosted: &Hosted, asked: v1::Restore) -> Answer {
        let malformed = || wire::problem(Code::Malformed, "a client has 16 bytes");
        let client = ClientId::from_slice(&asked.client).ok_or_else(malformed)?;
        let _turn = self.service.history.turn().await;
        let group = &hosted.group;
        let version = self.view(group).await?.check(Revision(asked.version))?;
        let target = self.state(group, version).await?;
        let mut looked = Revision(0);
        loop {
            let (document, _) = self.document(group).await?;
            if let Some((_, rev)) = document.acked(&self.user, client) {
                return Ok(reply::Body::Rev(rev.0));
            }
            if let Some(rev) = self.made(group, client, looked, &document).await? {
                return Ok(reply::Body::Rev(rev.0));
            }
            looked = document.rev();
            if !document
                .role(&self.user)
                .is_some_and(|role| role.can_edit())
            {
                let text = "the role does not allow edits";
                return Err(wire::problem(Code::Forbidden, text));
            }
            let change = difference(document.content(), &target.content).await;
            if change.is_empty() {
                return Ok(reply::Body::Rev(document.rev().0));
            }
            let mut authors = Vec::new();
            target.authorship_of(inserted(&change)).encode(&mut authors);
            let command = Command::Restore(Restore {
                edit: Edit {
                    doc: self.doc,
                    client,
                    user: self.user.clone(),
                    seq: Seq(1),
                    base: document.rev(),
                    ops: change.to_bytes().into(),
                },
                version,
                authors: authors.into(),
            });
            match self.propose(command).await? {
                Outcome::Rebase { .. } => {}
                outcome => return Ok(wire::change(outcome)),
            }
        }
    }

    /// The revision of a restore that was made already, and whose record went with the window: a router
    /// that heard no answer asks again, and it must not be made twice. `looked`: not up to there.
    async fn made(
        &self,
        group: &Group,
        client: ClientId,
        looked: Revision,
        document: &Document,
    ) -> Result<Option<Revision>, v1::Problem> {
        let least = document.rev().0.saturating_sub(MADE_WITHIN);
        let (from, to) = (Revision(looked.0.max(least) + 1), document.floor());
        if from > to {
            return Ok(None);
        }
        let history = &self.service.history;
        let events = match history.events(group, self.doc, from, to).await {
            Err(HistoryError::Erased { oldest }) if oldest < to => {
                history.events(group, self.doc, oldest + 1, to).await
            }
            Err(HistoryError::Erased { .. }) => return Ok(None),
            events => events,
        };
        let events = events.map_err(|error| self.failed(&error))?;
        let is_it = |event: &&Arc<Event>| event.client == Some(client) && event.user == self.user;
        Ok(events.iter().find(is_it).map(|event| event.rev))
    }

    /// Has the document kept whole, and waits until the archive here has it.
    async fn checkpoint(&self, hosted: &Hosted) -> Answer {
        let group = &hosted.group;
        self.view(group).await?;
        let command = Command::Checkpoint(Checkpoint {
            doc: self.doc,
            by: self.user.clone(),
        });
        let rev = match self.propose(command).await? {
            Outcome::Applied { rev } | Outcome::Already { rev, .. } => rev,
            outcome => return Ok(wire::change(outcome)),
        };
        let mut marks = group.archive_marks();
        loop {
            marks.mark_unchanged();
            let kept = self.service.history.checkpoint(group, self.doc).await;
            let kept = kept.map_err(|error| self.failed(&error))?;
            if kept.is_some_and(|kept| kept >= rev) {
                return Ok(reply::Body::Rev(rev.0));
            }
            group.keep();
            let closed = |_| wire::problem(Code::ShuttingDown, "");
            marks.changed().await.map_err(closed)?;
        }
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, v1::Problem> {
        let (answer, _permit) = calls::propose(&self.service, &self.link, &self.doc, command)?;
        match answer.await {
            Ok(outcome) => outcome.map_err(wire::proposing),
            Err(_) => Err(wire::problem(Code::ShuttingDown, "")),
        }
    }
}

/// In steps, between which others have their turn.
async fn spelled(content: &Content) -> Bytes {
    let mut out = Vec::with_capacity(content.encoded_bytes());
    let mut encoding = content.encoding();
    while !encoding.step(&mut out) {
        tokio::task::yield_now().await;
    }
    out.into()
}

/// What makes of one content the other.
async fn difference(from: &Content, to: &Content) -> Delta {
    let (from, to) = (from.to_delta(), to.to_delta());
    let mut diff = Diff::new(&from, &to);
    while !diff.step() {
        tokio::task::yield_now().await;
    }
    diff.finish()
}

/// Where what an operation inserts stands in the document that it makes, and how long it is.
fn inserted(change: &Delta) -> Vec<(u32, u32)> {
    let (mut at, mut parts) = (0, Vec::new());
    for component in change.components() {
        let units = component.units();
        match component {
            Component::Retain { .. } => at += units,
            Component::Delete { .. } => {}
            Component::Insert { .. } | Component::Embed { .. } => {
                parts.push((at, units));
                at += units;
            }
        }
    }
    parts
}
