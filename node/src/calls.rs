//! Changes that are not operations: they wait for their outcome, each with a deadline.

use std::{sync::Arc, time::Duration};

use codraft_ot::Kind;
use codraft_proto::{
    ids::{DocId, Role},
    reject::Code,
    v1::{self, message::Body, reply},
};
use codraft_raft::{
    command::{self, Algebra, Command},
    group::{Origin, ProposeResult},
};
use tokio::sync::oneshot;

use crate::{
    routers::{Pending, RequestPermit, RouterLink},
    service::Service,
    wire,
};

/// The longest that a call may ask to wait.
pub(crate) const PATIENCE_MAX_MS: u32 = 60_000;
/// Documents that are listed in one reply.
const QUARANTINED_MAX: usize = 1_000;

/// The command that creates a document; the router chose its id.
pub(crate) fn create(
    doc: DocId,
    owner: String,
    create: v1::Create,
) -> Result<Command, v1::Problem> {
    let unsupported = |what| wire::problem(Code::Unsupported, what);
    let kind = Kind::from_number(create.kind).ok_or_else(|| unsupported("kind of document"))?;
    let algebra = match create.algebra.as_str() {
        "" => Algebra::Delta1,
        name => Algebra::from_name(name).ok_or_else(|| unsupported("algebra"))?,
    };
    let initial = (!create.initial.is_empty()).then_some(create.initial);
    let (title, owner) = (create.title.into(), owner.into());
    Ok(Command::Create(command::Create {
        doc,
        kind,
        algebra,
        title,
        owner,
        initial,
    }))
}

/// The command that gives another title.
pub(crate) fn title(doc: DocId, by: String, title: v1::Title) -> Result<Command, v1::Problem> {
    let (by, title) = (by.into(), title.title.into());
    Ok(Command::Title(command::Title { doc, by, title }))
}

/// The document that is deleted or had back, and who asks for it.
pub(crate) fn deletion(doc: DocId, by: String) -> command::Deletion {
    let by = by.into();
    command::Deletion { doc, by }
}

/// The command that changes a role.
pub(crate) fn grant(doc: DocId, by: String, grant: v1::Grant) -> Result<Command, v1::Problem> {
    let role = match grant.role {
        0 => None,
        number => {
            let role = Role::from_number(number);
            Some(role.ok_or_else(|| wire::problem(Code::Unsupported, "role"))?)
        }
    };
    Ok(Command::Grant(command::Grant {
        doc,
        by: by.into(),
        user: grant.user.into(),
        role,
    }))
}

/// Proposes a change and replies when its outcome is known, or when it took too long; then
/// it may still come to pass. A router asks again where this node does not lead any more; of a
/// change that must not happen twice, since others' may lie in between, it is told that nothing is known.
pub(crate) fn change(
    service: &Arc<Service>,
    link: &Arc<RouterLink>,
    doc: DocId,
    id: u64,
    command: Result<Command, v1::Problem>,
    patience: Duration,
) {
    let once = matches!(
        command,
        Ok(Command::Grant(_) | Command::Title(_) | Command::Delete(_) | Command::Undelete(_))
    );
    let proposed = command.and_then(|command| propose(service, link, &doc, command));
    let (answer, permit) = match proposed {
        Ok(waits) => waits,
        Err(problem) => {
            service.metrics.refused_number(problem.code);
            return reply(link, id, reply::Body::Problem(problem));
        }
    };
    let link = link.clone();
    service.tasks.spawn("call", async move {
        let body = match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Ok(outcome))) => wire::change(outcome),
            Ok(Ok(Err(error))) if !once => reply::Body::Problem(wire::proposing(error)),
            Ok(Err(_)) if !once => reply::Body::Problem(wire::problem(Code::ShuttingDown, "")),
            _ => {
                let text = "no outcome in time; it may still come to pass";
                reply::Body::Problem(wire::problem(Code::Timeout, text))
            }
        };
        reply(&link, id, body);
        drop(permit);
    });
}

/// Lists what was set apart in the groups that this node leads.
pub(crate) fn quarantined(service: &Service, link: &RouterLink, id: u64) {
    let mut list = v1::Quarantined::default();
    let groups = service.groups.iter().map(|hosted| &hosted.group);
    for group in groups.filter(|group| group.is_leading_with_quorum()) {
        list.groups.push(group.id().0);
        group.with(|shard| {
            for doc in shard.quarantined() {
                list.more |= list.documents.len() >= QUARANTINED_MAX;
                let summary = shard.summary(&doc).filter(|_| !list.more);
                list.documents
                    .extend(summary.map(|summary| wire::set_apart(&doc, &summary)));
            }
        });
    }
    reply(link, id, reply::Body::Quarantined(list));
}

pub(crate) type Waits = (oneshot::Receiver<ProposeResult>, RequestPermit);

/// Proposes a command; what its outcome comes on.
pub(crate) fn propose(
    service: &Service,
    link: &Arc<RouterLink>,
    doc: &DocId,
    command: Command,
) -> Result<Waits, v1::Problem> {
    let busy = || wire::problem(Code::Busy, "too many requests wait");
    let hosted = service.groups.of_doc(doc).ok_or_else(wire::wrong_group)?;
    let permit = link.permit().ok_or_else(busy)?;
    let (told, answer) = oneshot::channel();
    let tag = link.expect(Pending::Call(told)).ok_or_else(busy)?;
    let origin = Origin { link: link.id, tag };
    if let Err(error) = hosted.group.submit(command, origin) {
        link.take(tag);
        return Err(wire::proposing(error));
    }
    Ok((answer, permit))
}

fn reply(link: &RouterLink, id: u64, body: reply::Body) {
    link.push(Body::Reply(v1::Reply {
        id,
        body: Some(body),
    }));
}
