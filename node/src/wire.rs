//! Between what the machine says and what travels.

use bytes::Bytes;
use codraft_proto::{
    event::EDIT,
    ids::{DocId, NodeId},
    reject::Code,
    v1::{self, Message, answer::Verdict, message::Body, reply},
};
use codraft_raft::{
    group::{Leadership, ProposeError, ReadError},
    machine::{Event, Outcome, Summary},
};

pub(crate) fn message(body: Body) -> Message {
    Message { body: Some(body) }
}

pub(crate) fn leadership(lead: &Leadership) -> v1::Leadership {
    let node = lead.node.map_or(0, |NodeId(n)| n);
    v1::Leadership {
        group: lead.group.0,
        term: lead.term.0,
        node,
    }
}

pub(crate) fn problem(code: Code, message: impl Into<String>) -> v1::Problem {
    v1::Problem {
        code: code as u32,
        message: message.into(),
        ..v1::Problem::default()
    }
}

/// Missing and not for you look alike.
pub(crate) fn not_found() -> v1::Problem {
    problem(Code::NotFound, "no such document")
}

pub(crate) fn wrong_group() -> v1::Problem {
    problem(Code::WrongGroup, "not a group of this node")
}

/// Somebody else leads, or nobody does.
pub(crate) fn not_leader(hint: &Leadership) -> v1::Problem {
    match hint.node {
        Some(_) => v1::Problem {
            leader: Some(leadership(hint)),
            ..problem(Code::NotLeader, "")
        },
        None => problem(Code::NoLeader, "no leader at the moment"),
    }
}

pub(crate) fn event(event: &Event) -> v1::Event {
    // For who follows a document a restore is an edit like others.
    let (kind, body, restored) = match event.restored() {
        Some(restored) => (EDIT, event.body.slice_ref(restored.ops), restored.version.0),
        None => (event.kind.into(), event.body.clone(), 0),
    };
    v1::Event {
        rev: event.rev.0,
        client: event.client.map_or_else(Bytes::new, |c| c.to_bytes()),
        user: event.user.to_string(),
        seq: event.seq.0,
        base: event.base.0,
        ts_ms: event.ts_ms,
        kind,
        body,
        restored,
    }
}

/// The answer to an attempt; none where the event on the feed is the answer.
pub(crate) fn verdict(outcome: Outcome) -> Option<Verdict> {
    Some(match outcome {
        Outcome::Applied { .. } => return None,
        Outcome::Already { rev, .. } => Verdict::Already(rev.0),
        Outcome::Refused(refusal) => Verdict::Refused(problem(refusal.code, refusal.message)),
        Outcome::Rebase { floor, head } => Verdict::Rebase(v1::Rebase {
            floor: floor.0,
            head: head.0,
        }),
        Outcome::Retry(code) => Verdict::Retry(problem(code, "")),
    })
}

/// The reply to a change that was asked for by a call.
pub(crate) fn change(outcome: Outcome) -> reply::Body {
    match outcome {
        Outcome::Applied { rev } | Outcome::Already { rev, .. } => reply::Body::Rev(rev.0),
        Outcome::Refused(refusal) => reply::Body::Problem(problem(refusal.code, refusal.message)),
        Outcome::Rebase { floor, .. } => {
            let text = format!("the oldest revision that it can be about is {floor}");
            reply::Body::Problem(problem(Code::BaseTooOld, text))
        }
        Outcome::Retry(code) => reply::Body::Problem(problem(code, "")),
    }
}

/// Whether a document still is where `at` says.
pub(crate) fn is_head(summary: &Summary, at: &v1::Resume) -> bool {
    at.rev == summary.rev.0 && at.hash == summary.hash.0.as_slice()
}

pub(crate) fn description(doc: &DocId, summary: &Summary, user: &str) -> v1::Description {
    let permission =
        |(user, grant): (&codraft_proto::ids::UserId, codraft_raft::machine::Grant)| {
            v1::Permission {
                user: user.to_string(),
                role: grant.role as u32,
                rev: grant.rev.0,
            }
        };
    v1::Description {
        permissions: summary.grants().map(permission).collect(),
        ..short_description(doc, summary, user)
    }
}

/// Without the permissions of others.
pub(crate) fn short_description(doc: &DocId, summary: &Summary, user: &str) -> v1::Description {
    v1::Description {
        doc: doc.to_bytes(),
        title: summary.title.to_string(),
        owner: summary.owner.to_string(),
        kind: summary.kind as u32,
        algebra: summary.algebra.as_str().to_owned(),
        rev: summary.rev.0,
        role: summary.kept_role(user).map_or(0, |role| role as u32),
        permissions: Vec::new(),
        created_ms: summary.created_ms,
        updated_ms: summary.updated_ms,
        floor: summary.floor.0,
    }
}

pub(crate) fn set_apart(doc: &DocId, summary: &Summary) -> v1::SetApart {
    v1::SetApart {
        doc: doc.to_bytes(),
        title: summary.title.to_string(),
        rev: summary.rev.0,
        since_ms: summary.quarantined_ms.unwrap_or(0),
    }
}

/// Why something was not proposed, or what became of it is not known here.
pub(crate) fn proposing(error: ProposeError) -> v1::Problem {
    match error {
        ProposeError::NotLeader(hint) => lost(hint),
        ProposeError::Busy => problem(Code::Busy, error.to_string()),
        ProposeError::DiskFull | ProposeError::Unarchived => {
            problem(Code::DiskFull, error.to_string())
        }
        ProposeError::GroupFull => problem(Code::GroupFull, error.to_string()),
        ProposeError::Shutdown => problem(Code::ShuttingDown, error.to_string()),
        // The edges let nothing through that is so large; if they ever do it is not final,
        // since it is not recorded.
        ProposeError::TooLarge => problem(Code::Busy, error.to_string()),
        ProposeError::Unproven => problem(Code::Unproven, error.to_string()),
    }
}

pub(crate) fn reading(error: ReadError) -> v1::Problem {
    match error {
        ReadError::NotLeader(hint) => lost(hint),
        ReadError::Timeout => problem(Code::NoLeader, error.to_string()),
        ReadError::Busy => problem(Code::Busy, error.to_string()),
        ReadError::Shutdown => problem(Code::ShuttingDown, error.to_string()),
        ReadError::Unproven => problem(Code::Unproven, error.to_string()),
    }
}

pub(crate) fn lost(hint: Option<Leadership>) -> v1::Problem {
    match hint {
        Some(hint) => not_leader(&hint),
        None => problem(Code::NoLeader, "no leader at the moment"),
    }
}
