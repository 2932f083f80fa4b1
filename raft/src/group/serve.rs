//! What other nodes ask of a group here.

use codraft_proto::{
    ids::NodeId,
    link::{Lane, Outbox},
    v1::{Message, RaftCall, RaftReply, message, raft_call, raft_reply},
};

use super::{
    Group,
    install::{self, LACKS},
};
use crate::{network::wire, wal::Wal};

/// Does what another node asks and answers it on the same lane.
pub async fn answer(
    group: Option<Group>,
    wal: &Wal,
    from: NodeId,
    lane: Lane,
    call: RaftCall,
    reply: &Outbox,
) {
    let RaftCall {
        id,
        group: number,
        body,
    } = call;
    let body = match (group, body) {
        (Some(group), Some(body)) => serve(&group, from, body)
            .await
            .unwrap_or_else(raft_reply::Body::Error),
        (None, _) => raft_reply::Body::Error("not a group of this node".into()),
        (_, None) => raft_reply::Body::Error("a call without a body".into()),
    };
    let body = message::Body::RaftReply(RaftReply {
        id,
        group: number,
        body: Some(body),
        synced: Some(wal.synced().into()),
    });
    // Without a link the caller has given up too.
    let _ = reply.send(lane, Message { body: Some(body) });
}

async fn serve(
    group: &Group,
    from: NodeId,
    body: raft_call::Body,
) -> Result<raft_reply::Body, String> {
    let raft = group.raft().ok_or(LACKS)?;
    match body {
        raft_call::Body::Append(append) => {
            let request = wire::append_request(append).map_err(|e| e.to_string())?;
            group.inner.expect(&request.entries);
            let response = raft
                .append_entries(request)
                .await
                .map_err(|e| e.to_string())?;
            Ok(raft_reply::Body::Append(wire::append_response(&response)))
        }
        raft_call::Body::Vote(vote) => {
            let request = wire::vote_request(&vote)?;
            let response = raft.vote(request).await.map_err(|e| e.to_string())?;
            Ok(raft_reply::Body::Vote(wire::vote_response(&response)))
        }
        raft_call::Body::PreVote(vote) => {
            let request = wire::vote_request(&vote)?;
            let response = raft.pre_vote(request).await.map_err(|e| e.to_string())?;
            Ok(raft_reply::Body::Vote(wire::vote_response(&response)))
        }
        raft_call::Body::Install(install) => {
            let reply = install::install(group, from, &install)?;
            Ok(raft_reply::Body::Install(reply))
        }
        raft_call::Body::Transfer(transfer) => {
            let request = wire::transfer_request(&transfer)?;
            let response = raft
                .handle_transfer_leader(request)
                .await
                .map_err(|e| e.to_string())?;
            Ok(raft_reply::Body::Transfer(response.is_ok()))
        }
    }
}
