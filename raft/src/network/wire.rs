//! Between openraft's messages and the link's; the only place.

use std::io;

use codraft_mutant::mutant;
use codraft_proto::v1;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use crate::types::{Entry, LeaderId, LogId, TypeConfig, Vote};

const NO_BALLOT: &str = "a ballot is missing";

pub(crate) fn log_id(id: &LogId) -> v1::LogId {
    v1::LogId {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index,
    }
}

pub(crate) fn to_log_id(id: &v1::LogId) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: id.term,
            node_id: id.node,
        },
        index: id.index,
    }
}

pub(crate) fn ballot(vote: &Vote) -> v1::Ballot {
    let LeaderId { term, node_id } = vote.leader_id;
    v1::Ballot {
        term,
        node: node_id,
        committed: vote.committed,
    }
}

pub(crate) fn to_vote(ballot: &v1::Ballot) -> Vote {
    let leader_id = LeaderId {
        term: ballot.term,
        node_id: ballot.node,
    };
    Vote {
        leader_id,
        committed: ballot.committed,
    }
}

/// The entries go as they are stored.
pub(super) fn append(request: AppendEntriesRequest<TypeConfig>) -> v1::AppendEntries {
    v1::AppendEntries {
        ballot: Some(ballot(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        committed: request.leader_commit.as_ref().map(log_id),
        entries: request
            .entries
            .into_iter()
            .map(Entry::into_stored)
            .collect(),
    }
}

/// Entries out of order are refused: openraft takes it for granted that they follow each
/// other.
pub fn append_request(append: v1::AppendEntries) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let entries = append
        .entries
        .into_iter()
        .map(Entry::from_stored)
        .collect::<io::Result<Vec<_>>>()?;
    let prev_log_id = append.previous.as_ref().map(to_log_id);
    let first = prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    if entries
        .iter()
        .zip(first..)
        .any(|(entry, index)| entry.index() != index)
    {
        return Err(invalid("entries do not follow each other"));
    }
    Ok(AppendEntriesRequest {
        vote: append
            .ballot
            .as_ref()
            .map(to_vote)
            .ok_or_else(|| invalid(NO_BALLOT))?,
        prev_log_id,
        entries,
        leader_commit: append.committed.as_ref().map(to_log_id),
    })
}

pub fn append_response(response: &AppendEntriesResponse<TypeConfig>) -> v1::AppendReply {
    use v1::append_reply::Result;
    let result = match response {
        AppendEntriesResponse::Success => Result::Success(true),
        // Absent in there: not even the first one fits.
        AppendEntriesResponse::PartialSuccess(None) => Result::Success(false),
        AppendEntriesResponse::PartialSuccess(Some(id)) => Result::PartialSuccess(log_id(id)),
        AppendEntriesResponse::Conflict => Result::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Result::HigherVote(ballot(vote)),
    };
    v1::AppendReply {
        result: Some(result),
    }
}

pub(super) fn append_reply(
    reply: &v1::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>, &'static str> {
    use v1::append_reply::Result;
    Ok(
        match reply.result.as_ref().ok_or("an answer without a result")? {
            Result::Success(true) => AppendEntriesResponse::Success,
            Result::Success(false) => AppendEntriesResponse::PartialSuccess(None),
            Result::PartialSuccess(id) => {
                AppendEntriesResponse::PartialSuccess(Some(to_log_id(id)))
            }
            Result::Conflict(_) => AppendEntriesResponse::Conflict,
            Result::HigherVote(vote) => AppendEntriesResponse::HigherVote(to_vote(vote)),
        },
    )
}

pub(super) fn request_vote(request: &VoteRequest<TypeConfig>) -> v1::RequestVote {
    v1::RequestVote {
        ballot: Some(ballot(&request.vote)),
        last_log: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer && !mutant!("leadership_transfer_dropped"),
    }
}

pub fn vote_request(request: &v1::RequestVote) -> Result<VoteRequest<TypeConfig>, &'static str> {
    let mut last_log_id = request.last_log.as_ref().map(to_log_id);
    if let Some(last) = &mut last_log_id
        && mutant!("shorter_log_elected")
    {
        last.leader_id.term = u64::MAX;
    }
    Ok(VoteRequest {
        vote: request.ballot.as_ref().map(to_vote).ok_or(NO_BALLOT)?,
        last_log_id,
        leadership_transfer: request.leadership_transfer,
    })
}

pub fn vote_response(response: &VoteResponse<TypeConfig>) -> v1::VoteReply {
    v1::VoteReply {
        ballot: Some(ballot(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(log_id),
    }
}

pub(super) fn vote_reply(reply: &v1::VoteReply) -> Result<VoteResponse<TypeConfig>, &'static str> {
    Ok(VoteResponse {
        vote: reply.ballot.as_ref().map(to_vote).ok_or(NO_BALLOT)?,
        vote_granted: reply.granted,
        last_log_id: reply.last_log.as_ref().map(to_log_id),
    })
}

pub(super) fn transfer(request: &TransferLeaderRequest<TypeConfig>) -> v1::TransferLeader {
    v1::TransferLeader {
        from: Some(ballot(request.from_leader())),
        to: *request.to_node_id(),
        last_log: request.last_log_id().map(log_id),
    }
}

pub fn transfer_request(
    transfer: &v1::TransferLeader,
) -> Result<TransferLeaderRequest<TypeConfig>, &'static str> {
    let from = transfer.from.as_ref().map(to_vote).ok_or(NO_BALLOT)?;
    Ok(TransferLeaderRequest::new(
        from,
        transfer.to,
        transfer.last_log.as_ref().map(to_log_id),
    ))
}
