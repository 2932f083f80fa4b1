//! One node in the place of another, asked by an operator (`raft/src/group/replace.rs`).

use std::sync::Arc;

use codraft_proto::{
    ids::{GroupId, NodeId},
    reject::Code,
    v1::{self, CatchingUp, Describe, message::Body, replacing::Stage, reply},
};
use codraft_raft::group::{ReplaceError, Replacing};

use crate::{routers::RouterLink, service::Service, wire};

/// Does what is due next in one group, and replies how far it is.
pub(crate) fn replace(service: &Arc<Service>, link: &Arc<RouterLink>, id: u64, asked: v1::Replace) {
    let Some(permit) = link.permit() else {
        let busy = wire::problem(Code::Busy, "too many requests wait");
        return reply(link, id, reply::Body::Problem(busy));
    };
    let (asks, link) = (service.clone(), link.clone());
    service.tasks.spawn("call", async move {
        let body = step(&asks, asked).await;
        reply(&link, id, body.unwrap_or_else(reply::Body::Problem));
        drop(permit);
    });
}

async fn step(service: &Service, asked: v1::Replace) -> Result<reply::Body, v1::Problem> {
    let hosted = service.groups.hosted.get(&GroupId(asked.group));
    let group = &hosted.ok_or_else(wire::wrong_group)?.group;
    let replaced = group.replace(NodeId(asked.old), NodeId(asked.new)).await;
    let stage = match replaced.map_err(problem)? {
        Replacing::CatchingUp { has, last } => Stage::CatchingUp(CatchingUp { has, last }),
        Replacing::Changing => Stage::Changing(Describe {}),
        Replacing::Done => Stage::Done(Describe {}),
    };
    let stage = Some(stage);
    Ok(reply::Body::Replacing(v1::Replacing { stage }))
}

fn problem(error: ReplaceError) -> v1::Problem {
    match error {
        ReplaceError::NotLeader(hint) => wire::lost(hint),
        ReplaceError::NoReplica(_) => wire::problem(Code::Malformed, error.to_string()),
        ReplaceError::NoLink(_) | ReplaceError::Underway => {
            wire::problem(Code::Busy, error.to_string())
        }
    }
}

/// Another node has the place of this one, which ends: the others hear it no more.
pub(crate) fn retire(service: &Service, link: &RouterLink, id: u64) {
    tracing::error!("another node has the place of this one: it must not run any more");
    reply(link, id, reply::Body::Rev(0));
    service.tasks.fail("another node has its place");
}

fn reply(link: &RouterLink, id: u64, body: reply::Body) {
    let body = Some(body);
    link.push(Body::Reply(v1::Reply { id, body }));
}
