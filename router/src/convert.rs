//! From the messages of a link to what the router computes on, and back.

use bytes::Bytes;
use codraft_proto::{
    frame::At,
    ids::{ClientId, Revision, Role, Seq},
    reject::Code,
    v1::{self, answer::Verdict, message::Body},
};

use crate::{
    feed::{FeedEvent, Followed, Opened, Position, Start},
    session::{Answer, Attempt},
};

fn code_of(problem: &v1::Problem) -> Code {
    Code::from_number(problem.code).unwrap_or(Code::Internal)
}

pub fn hash(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

pub fn events(events: Vec<v1::Event>) -> Vec<FeedEvent> {
    events.into_iter().map(event).collect()
}

fn event(event: v1::Event) -> FeedEvent {
    FeedEvent {
        rev: Revision(event.rev),
        client: ClientId::from_slice(&event.client),
        user: event.user,
        seq: Seq(event.seq),
        base: Revision(event.base),
        ts_ms: event.ts_ms,
        kind: event.kind,
        body: event.body,
        restores: revision(event.restored),
    }
}

/// 0: none.
fn revision(rev: u64) -> Option<Revision> {
    (rev > 0).then_some(Revision(rev))
}

pub fn opened(opened: v1::Opened) -> Result<Box<Opened>, Code> {
    if let Some(problem) = opened.problem {
        return Err(code_of(&problem));
    }
    let start = match opened.from() {
        v1::OpenedFrom::Resume => Start::Resume,
        v1::OpenedFrom::Held => Start::Held,
        v1::OpenedFrom::State => Start::State {
            at: opened.state_at.and_then(at).ok_or(Code::Internal)?,
            state: opened.state,
            kept: revision(opened.kept),
        },
        v1::OpenedFrom::Nothing => Start::Nothing,
    };
    let (hash, role) = (hash(&opened.hash), Role::from_number(opened.role));
    let (Some(hash), Some(role)) = (hash, role) else {
        return Err(Code::Internal);
    };
    Ok(Box::new(Opened {
        role,
        kind: opened.kind,
        algebra: opened.algebra,
        title: opened.title,
        head: Position {
            rev: Revision(opened.rev),
            hash,
            ts_ms: opened.ts_ms,
        },
        acked: opened
            .acked
            .map(|acked| (Seq(acked.seq), Revision(acked.rev))),
        start,
        events: events(opened.events),
    }))
}

pub fn followed(followed: v1::Followed) -> Result<Followed, Code> {
    if let Some(problem) = followed.problem {
        return Err(code_of(&problem));
    }
    Ok(Followed {
        rev: Revision(followed.rev),
        hash: hash(&followed.hash),
        resumed: followed.resumed,
        events: events(followed.events),
    })
}

/// Why a node stopped feeding.
pub fn code(problem: Option<&v1::Problem>) -> Code {
    problem.map_or(Code::Internal, code_of)
}

/// What an answer is about; `None` without a client.
pub fn attempt(answer: &v1::Answer) -> Option<Attempt> {
    Some(Attempt {
        user: answer.user.clone(),
        client: ClientId::from_slice(&answer.client)?,
        seq: Seq(answer.seq),
        base: Revision(answer.base),
    })
}

pub fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Already(rev) => Answer::Already { rev: Revision(rev) },
        Verdict::Rebase(v1::Rebase { floor, head }) => Answer::Rebase {
            floor: Revision(floor),
            head: Revision(head),
        },
        Verdict::Refused(problem) => Answer::Refused {
            code: Code::from_number(problem.code).unwrap_or(Code::Malformed),
            message: problem.message,
        },
        Verdict::Retry(problem) => Answer::Retry {
            code: code_of(&problem),
            message: problem.message,
            retry_after_ms: problem.retry_after_ms,
        },
    }
}

/// Who leads, where a node said so beside what it answered.
pub fn leader_of(body: &Body) -> Option<v1::Leadership> {
    let problem = match body {
        Body::Opened(m) => m.problem.as_ref(),
        Body::Followed(m) => m.problem.as_ref(),
        Body::Cut(m) => m.problem.as_ref(),
        Body::CutAll(m) => m.problem.as_ref(),
        Body::Answer(m) => match &m.verdict {
            Some(Verdict::Retry(problem)) => Some(problem),
            _ => None,
        },
        _ => None,
    };
    problem?.leader
}

fn at(resume: v1::Resume) -> Option<At> {
    let hash = hash(&resume.hash)?;
    Some(At {
        rev: Revision(resume.rev),
        hash,
    })
}

pub fn resume(at: At) -> v1::Resume {
    v1::Resume {
        rev: at.rev.0,
        hash: Bytes::copy_from_slice(&at.hash),
    }
}
