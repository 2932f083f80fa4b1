//! What routers ask: operations on the short road, the rest to where it can wait.

use std::{sync::Arc, time::Duration};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{ClientId, DocId, Revision, Seq, UserId},
    link::{Inbound, Lane, LinkError},
    reject::Code,
    v1::{self, Message, answer::Verdict, call, message::Body},
};
use codraft_raft::{
    command::{Command, Edit, Quarantine},
    group::Origin,
};

use crate::{
    audit, calls, history, lists, mutants, notes,
    reads::{ReadKind, ReadRequest},
    replace,
    routers::{Pending, RouterLink},
    service::Service,
    wire,
};

/// The listening half of one router's link.
pub(crate) struct RouterInbound {
    service: Arc<Service>,
    link: Arc<RouterLink>,
}

/// A message that no router of this protocol sends.
struct Malformed(&'static str);

impl RouterInbound {
    pub fn new(service: Arc<Service>, link: Arc<RouterLink>) -> Self {
        service.metrics.links.inc();
        Self { service, link }
    }

    fn message(&self, body: Body) -> Result<(), Malformed> {
        match body {
            Body::Submit(submit) => self.submit(submit)?,
            Body::Credit(credit) => {
                let doc = doc_of(&credit.doc)?;
                if let Some(hosted) = self.service.groups.of_doc(&doc) {
                    let mut feed = hosted.feed.state.lock();
                    feed.followers.credit(&doc, self.link.id, credit.bytes);
                }
            }
            Body::Open(open) => {
                let doc = doc_of(&open.doc)?;
                self.read(doc, ReadKind::Open(open), None);
            }
            Body::Follow(follow) => {
                self.read(doc_of(&follow.doc)?, ReadKind::Follow(follow.after), None);
            }
            Body::Unfollow(unfollow) => self.read(doc_of(&unfollow.doc)?, ReadKind::Unfollow, None),
            Body::Check(check) => {
                let (doc, rev) = (doc_of(&check.doc)?, Revision(check.rev));
                self.service.checks.ask(self.link.clone(), doc, rev);
            }
            Body::Presence(said) => self.presence(said)?,
            Body::Call(call) => self.call(call)?,
            _ => return Err(Malformed("not a message of a router")),
        }
        Ok(())
    }

    /// The road of an operation: no task, no wait. Its answer comes from the fan-out.
    fn submit(&self, submit: v1::Submit) -> Result<(), Malformed> {
        self.service.metrics.submits.inc();
        let edit = Edit {
            doc: doc_of(&submit.doc)?,
            client: ClientId::from_slice(&submit.client).ok_or(Malformed("client"))?,
            user: UserId::from(submit.user),
            seq: Seq(submit.seq),
            base: Revision(submit.base),
            ops: submit.ops,
        };
        let user = edit.user.clone();
        if let Err(problem) = self.propose(edit) {
            self.service.metrics.refused_number(problem.code);
            self.link.push(Body::Answer(v1::Answer {
                doc: submit.doc,
                client: submit.client,
                user: user.to_string(),
                seq: submit.seq,
                base: submit.base,
                verdict: Some(Verdict::Retry(problem)),
            }));
        }
        Ok(())
    }

    fn propose(&self, edit: Edit) -> Result<(), v1::Problem> {
        let hosted = self.service.groups.of_doc(&edit.doc);
        let hosted = hosted.ok_or_else(wire::wrong_group)?;
        let pending = Pending::Edit {
            doc: edit.doc,
            user: edit.user.clone(),
            client: edit.client,
            seq: edit.seq,
            base: edit.base,
        };
        let full = || wire::problem(Code::Busy, "too many operations without an outcome");
        let tag = self.link.expect(pending).ok_or_else(full)?;
        let origin = Origin {
            link: self.link.id,
            tag,
        };
        if mutants::is_elsewhere(origin, edit.client)
            && mutant!("record_forgotten_on_another_router")
        {
            mutants::forget_clients(&hosted.group, origin, edit.doc);
        }
        let proposed = hosted.group.submit(Command::Edit(edit), origin);
        proposed.map_err(|error| {
            self.link.take(tag);
            wire::proposing(error)
        })
    }

    /// Where a router's people are. Who does not lead says nothing: the router hears of that on
    /// its feed, and says it again at the next leader.
    fn presence(&self, said: v1::Presence) -> Result<(), Malformed> {
        let doc = doc_of(&said.doc)?;
        let Some(hosted) = self.service.groups.of_doc(&doc) else {
            return Ok(());
        };
        let feed = hosted.feed.state.lock();
        if !feed.leading {
            return Ok(());
        }
        let presence = &hosted.feed.presence;
        presence.take(&self.link, doc, said).map_err(Malformed)
    }

    fn call(&self, call: v1::Call) -> Result<(), Malformed> {
        let doc = doc_of(&call.doc)?;
        let patience =
            Duration::from_millis(call.deadline_ms.clamp(1, calls::PATIENCE_MAX_MS).into());
        let (id, user) = (call.id, call.user);
        let body = call.body.ok_or(Malformed("call"))?;
        let change = |command| calls::change(&self.service, &self.link, doc, id, command, patience);
        match body {
            call::Body::Describe(_) => {
                self.read(doc, ReadKind::Describe { id, user }, Some(patience));
            }
            call::Body::Presence(_) => {
                self.read(doc, ReadKind::Presence { id, user }, Some(patience));
            }
            call::Body::Role(_) => self.read(doc, ReadKind::Role { id, user }, Some(patience)),
            call::Body::Create(create) => change(calls::create(doc, user, create)),
            call::Body::Grant(grant) => change(calls::grant(doc, user, grant)),
            call::Body::Title(title) => change(calls::title(doc, user, title)),
            call::Body::Delete(_) => change(Ok(Command::Delete(calls::deletion(doc, user)))),
            call::Body::Undelete(_) => change(Ok(Command::Undelete(calls::deletion(doc, user)))),
            call::Body::Comment(comment) => change(notes::comment(doc, user, comment)),
            call::Body::Name(name) => change(notes::name(doc, user, name)),
            call::Body::Comments(_)
            | call::Body::Names(_)
            | call::Body::History(_)
            | call::Body::Diff(_)
            | call::Body::Restore(_)
            | call::Body::Checkpoint(_)
            | call::Body::Events(_)
            | call::Body::Program(_)
            | call::Body::Receipt(_)
            | call::Body::Kept(_) => {
                let request = history::Request {
                    service: self.service.clone(),
                    link: self.link.clone(),
                    doc,
                    user: user.into(),
                };
                history::serve(request, id, body, patience);
            }
            call::Body::Replace(asked) => replace::replace(&self.service, &self.link, id, asked),
            call::Body::Retire(_) => replace::retire(&self.service, &self.link, id),
            call::Body::Held(asked) => audit::held(&self.service, &self.link, id, asked),
            call::Body::List(asked) => {
                let asks = (id, user.into());
                lists::list(&self.service, &self.link, asks, asked, patience);
            }
            call::Body::Quarantined(_) => calls::quarantined(&self.service, &self.link, id),
            call::Body::Quarantine(v1::SetQuarantine { on }) => {
                change(Ok(Command::Quarantine(Quarantine { doc, on })));
            }
        }
        Ok(())
    }

    fn read(&self, doc: DocId, kind: ReadKind, patience: Option<Duration>) {
        let permit = self.link.permit();
        let full = permit.is_none();
        let request = ReadRequest::new(self.link.clone(), doc, kind, permit, patience);
        match self.service.groups.of_doc(&doc) {
            None => request.fail(wire::wrong_group()),
            Some(_) if full => request.fail(wire::problem(Code::Busy, "too many requests wait")),
            Some(hosted) => hosted.reads.push(request),
        }
    }
}

impl Inbound for RouterInbound {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        for message in messages {
            // An empty body is a kind of message that this version does not know.
            let Some(body) = message.body else { continue };
            if let Err(Malformed(what)) = self.message(body) {
                tracing::warn!(link = self.link.id, what, "malformed message: link ended");
                self.link.close();
                return;
            }
        }
    }

    fn closed(&self, _reason: &LinkError) {
        self.service.routers.remove(self.link.id);
        self.service.metrics.links.dec();
        for hosted in self.service.groups.iter() {
            hosted.feed.state.lock().followers.remove_link(self.link.id);
            hosted.feed.presence.remove_link(self.link.id);
        }
    }
}

fn doc_of(bytes: &[u8]) -> Result<DocId, Malformed> {
    DocId::from_slice(bytes).ok_or(Malformed("document id"))
}
