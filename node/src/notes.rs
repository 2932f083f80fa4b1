//! Threads of comments and names of versions: what is asked to be done with them, and what they are.

use codraft_proto::{
    ids::{DocId, NoteId, Revision},
    reject::Code,
    v1::{self, comment::What, reply},
};
use codraft_raft::{
    command::{Command, Comment, Commenting, Version},
    machine::{Moving, Thread},
};

use crate::{
    history::{Answer, Request},
    hosted::Hosted,
    wire,
};

/// Events that threads are moved past before others have their turn.
const STEP_EVENTS: usize = 64;

fn note_id(bytes: &[u8]) -> Result<NoteId, v1::Problem> {
    let malformed = || wire::problem(Code::Malformed, "an id has 16 bytes");
    NoteId::from_slice(bytes).ok_or_else(malformed)
}

/// The command for what is to be done in a thread.
pub(crate) fn comment(doc: DocId, by: String, asked: v1::Comment) -> Result<Command, v1::Problem> {
    let nothing = || wire::problem(Code::Malformed, "nothing to be done");
    let what = match asked.what.ok_or_else(nothing)? {
        What::Open(v1::OpenThread {
            at,
            start,
            end,
            text,
        }) => Commenting::Open {
            at: Revision(at),
            start,
            end,
            text: text.into(),
        },
        What::Reply(v1::ReplyComment { comment, text }) => Commenting::Reply {
            comment: note_id(&comment)?,
            text: text.into(),
        },
        What::Resolve(on) => Commenting::Resolve(on),
        What::Delete(comment) => Commenting::Delete {
            comment: note_id(&comment)?,
        },
    };
    Ok(Command::Comment(Comment {
        doc,
        by: by.into(),
        thread: note_id(&asked.thread)?,
        what,
    }))
}

/// The command that gives a version a name.
pub(crate) fn name(doc: DocId, by: String, asked: v1::NameVersion) -> Result<Command, v1::Problem> {
    Ok(Command::Version(Version {
        doc,
        by: by.into(),
        id: note_id(&asked.id)?,
        version: (asked.version > 0).then_some(Revision(asked.version)),
        name: asked.name.into(),
    }))
}

impl Request {
    /// All threads, each where its words are at the head. Nothing is stored of that.
    pub(crate) async fn comments(&self, hosted: &Hosted) -> Answer {
        let (document, _) = self.document(&hosted.group).await?;
        let limits = hosted.group.with(|shard| shard.limits().ot.clone());
        let comments = document.comments();
        let mut moving = Moving::of(comments);
        let from = moving.from().unwrap_or(document.rev());
        for (nth, event) in document
            .events_after(from)
            .into_iter()
            .flatten()
            .enumerate()
        {
            moving.pass(event, &limits);
            if nth % STEP_EVENTS == STEP_EVENTS - 1 {
                tokio::task::yield_now().await;
            }
        }
        let places = moving.finish();
        let place = |id, thread: &Thread| {
            let stays = (thread.anchor.start, thread.anchor.end);
            places.get(id).copied().unwrap_or(stays)
        };
        let threads = comments.iter();
        let mut threads: Vec<_> = threads
            .map(|(id, thread)| spelled(id, thread, place(id, thread)))
            .collect();
        threads.sort_by_key(|thread| thread.start);
        Ok(reply::Body::Threads(v1::Threads {
            rev: document.rev().0,
            threads,
        }))
    }

    /// All versions that have a name and that who asks may see.
    pub(crate) async fn names(&self, hosted: &Hosted) -> Answer {
        let (document, view) = self.document(&hosted.group).await?;
        let seen = document
            .versions()
            .iter()
            .filter(|(_, named)| named.version >= view.from);
        let mut names: Vec<_> = seen
            .map(|(id, named)| v1::Named {
                id: id.to_bytes(),
                version: named.version.0,
                name: named.name.to_string(),
                user: named.by.to_string(),
                rev: named.rev.0,
                ts_ms: named.ts_ms,
            })
            .collect();
        names.sort_by_key(|named| named.rev);
        Ok(reply::Body::Names(v1::Names { names }))
    }
}

fn spelled(id: &NoteId, thread: &Thread, (start, end): (u32, u32)) -> v1::Thread {
    let comments = thread.comments.iter().map(|comment| v1::ThreadComment {
        id: comment.id.to_bytes(),
        user: comment.user.to_string(),
        rev: comment.rev.0,
        ts_ms: comment.ts_ms,
        text: comment.text.as_deref().map(str::to_owned),
    });
    v1::Thread {
        id: id.to_bytes(),
        start,
        end,
        resolved: thread.resolved,
        comments: comments.collect(),
    }
}
