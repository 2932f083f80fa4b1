//! Threads of comments on a document's text, and names of its versions. Each is an event of the document,
//! in one order with its edits.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, NoteId},
    reject::Code,
    v1::{self, Describe, call, comment::What, reply},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::Body,
    doc_id, idempotent_id,
    refusals::{OfAll, OfBodies, OfDocuments, OfWrites},
};
use crate::{
    Shared,
    auth::Principal,
    problem::{Failure, ProblemBody},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewThread {
    /// The revision that the range counts in.
    rev: u64,
    /// The first unit (UTF-16) that it is about, and the one behind the last.
    start: u32,
    end: u32,
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReply {
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    name: String,
    /// The revision; without it the document as it is.
    rev: Option<u64>,
}

/// What was made.
#[derive(Serialize, ToSchema)]
pub struct Made {
    id: String,
    /// The revision that it took.
    rev: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Done {
    /// The revision that it took, or, where it was so already, one at which it was.
    rev: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Comments {
    /// The revision that the ranges count in: the head.
    rev: u64,
    threads: Vec<Thread>,
}

#[derive(Serialize, ToSchema)]
pub struct Thread {
    id: String,
    /// Where its words are now. Nothing is left of them where both are the same.
    start: u32,
    end: u32,
    resolved: bool,
    comments: Vec<Comment>,
}

#[derive(Serialize, ToSchema)]
pub struct Comment {
    id: String,
    user: String,
    /// None: its author deleted it.
    text: Option<String>,
    rev: u64,
    /// Milliseconds since the Unix epoch.
    ts: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Versions {
    versions: Vec<Version>,
}

#[derive(Serialize, ToSchema)]
pub struct Version {
    id: String,
    name: String,
    /// The revision that has the name.
    rev: u64,
    /// Who gave it, and when, in milliseconds since the Unix epoch.
    user: String,
    ts: u64,
}

/// All threads, each with where its words are now. Whoever may read the document may read them.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/comments",
    tag = "comments",
    params(("id" = String, Path, description = "The document")),
    responses((status = 200, body = Comments), OfAll, OfDocuments)
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Comments>, Failure> {
    let body = call::Body::Comments(Describe {});
    match shared.upstream.call(doc_id(&id)?, &asks.user, body).await? {
        reply::Body::Threads(threads) => Ok(Json(Comments {
            rev: threads.rev,
            threads: threads.threads.into_iter().map(thread).collect(),
        })),
        _ => Err(Code::Internal.into()),
    }
}

/// Opens a thread about a range of the text, for commenters and above.
///
/// The range counts in the revision `rev` and stays on its words from there on. With an `Idempotency-Key`
/// a repeat by the same user is the same comment.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/comments",
    tag = "comments",
    request_body = NewThread,
    params(
        ("id" = String, Path, description = "The document"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters"),
    ),
    responses(
        (status = 201, body = Made),
        (status = 403, description = "The role does not allow comments", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "The revision lies below the window: read the document again", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "No range of that revision", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn open(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewThread>,
) -> Result<(StatusCode, Json<Made>), Failure> {
    let id = doc_id(&id)?;
    let thread = note_id(&shared, &asks, &headers, &format!("comment on {id}"))?;
    let what = What::Open(v1::OpenThread {
        at: new.rev,
        start: new.start,
        end: new.end,
        text: new.text,
    });
    let rev = comment(&shared, &asks, id, thread, what).await?;
    Ok(made(thread, rev))
}

/// Answers in a thread.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/comments/{thread}/replies",
    tag = "comments",
    request_body = NewReply,
    params(
        ("id" = String, Path, description = "The document"),
        ("thread" = String, Path, description = "The thread"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters"),
    ),
    responses(
        (status = 201, body = Made),
        (status = 403, description = "The role does not allow comments", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn reply(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Path((id, thread)): Path<(String, String)>,
    headers: HeaderMap,
    Body(NewReply { text }): Body<NewReply>,
) -> Result<(StatusCode, Json<Made>), Failure> {
    let (id, thread) = (doc_id(&Path(id))?, note(&thread)?);
    let purpose = format!("reply to {thread} on {id}");
    let comment_id = note_id(&shared, &asks, &headers, &purpose)?;
    let what = What::Reply(v1::ReplyComment {
        comment: comment_id.to_bytes(),
        text,
    });
    let rev = comment(&shared, &asks, id, thread, what).await?;
    Ok(made(comment_id, rev))
}

/// Marks a thread as settled.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/comments/{thread}/resolve",
    tag = "comments",
    params(
        ("id" = String, Path, description = "The document"),
        ("thread" = String, Path, description = "The thread"),
    ),
    responses(
        (status = 200, body = Done),
        (status = 403, description = "The role does not allow comments", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn resolve(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Path((id, thread)): Path<(String, String)>,
) -> Result<Json<Done>, Failure> {
    settle(&shared, &asks, id, &thread, What::Resolve(true)).await
}

/// Takes that back.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/comments/{thread}/reopen",
    tag = "comments",
    params(
        ("id" = String, Path, description = "The document"),
        ("thread" = String, Path, description = "The thread"),
    ),
    responses(
        (status = 200, body = Done),
        (status = 403, description = "The role does not allow comments", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn reopen(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Path((id, thread)): Path<(String, String)>,
) -> Result<Json<Done>, Failure> {
    settle(&shared, &asks, id, &thread, What::Resolve(false)).await
}

/// Deletes one's own comment. The thread stays, with a comment without text in its place; history has what it
/// said.
#[utoipa::path(
    delete,
    path = "/v1/docs/{id}/comments/{thread}/{comment}",
    tag = "comments",
    params(
        ("id" = String, Path, description = "The document"),
        ("thread" = String, Path, description = "The thread"),
        ("comment" = String, Path, description = "The comment; the first of a thread has the thread's id"),
    ),
    responses(
        (status = 200, body = Done),
        (status = 403, description = "It is another user's", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn delete(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Path((id, thread, comment)): Path<(String, String, String)>,
) -> Result<Json<Done>, Failure> {
    let what = What::Delete(note(&comment)?.to_bytes());
    settle(&shared, &asks, id, &thread, what).await
}

/// All versions that have a name.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/versions",
    tag = "history",
    params(("id" = String, Path, description = "The document")),
    responses((status = 200, body = Versions), OfAll, OfDocuments)
)]
pub async fn versions(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Versions>, Failure> {
    let body = call::Body::Names(Describe {});
    let names = match shared.upstream.call(doc_id(&id)?, &asks.user, body).await? {
        reply::Body::Names(names) => names.names,
        _ => return Err(Code::Internal.into()),
    };
    let versions = names.into_iter().map(|named| Version {
        id: spelled(&named.id),
        name: named.name,
        rev: named.version,
        user: named.user,
        ts: named.ts_ms,
    });
    Ok(Json(Versions {
        versions: versions.collect(),
    }))
}

/// Gives a version a name, for editors and owners.
///
/// With an `Idempotency-Key` a repeat by the same user is the same version.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/versions",
    tag = "history",
    request_body = NewVersion,
    params(
        ("id" = String, Path, description = "The document"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters"),
    ),
    responses(
        (status = 201, body = Made),
        (status = 403, description = "Who may edit", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn name(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    headers: HeaderMap,
    Body(NewVersion { name, rev }): Body<NewVersion>,
) -> Result<(StatusCode, Json<Made>), Failure> {
    let id = doc_id(&id)?;
    if rev == Some(0) {
        return Err(Failure::new(Code::NoVersion, "revisions begin with 1"));
    }
    let version = note_id(&shared, &asks, &headers, &format!("version of {id}"))?;
    let body = call::Body::Name(v1::NameVersion {
        id: version.to_bytes(),
        version: rev.unwrap_or(0),
        name,
    });
    let took = took(shared.upstream.call(id, &asks.user, body).await?)?;
    Ok(made(version, took))
}

async fn settle(
    shared: &Shared,
    asks: &Principal,
    id: String,
    thread: &str,
    what: What,
) -> Result<Json<Done>, Failure> {
    let (id, thread) = (doc_id(&Path(id))?, note(thread)?);
    let rev = comment(shared, asks, id, thread, what).await?;
    Ok(Json(Done { rev }))
}

/// The revision that it took.
async fn comment(
    shared: &Shared,
    asks: &Principal,
    id: DocId,
    thread: NoteId,
    what: What,
) -> Result<u64, Failure> {
    let body = call::Body::Comment(v1::Comment {
        thread: thread.to_bytes(),
        what: Some(what),
    });
    took(shared.upstream.call(id, &asks.user, body).await?)
}

fn took(reply: reply::Body) -> Result<u64, Failure> {
    match reply {
        reply::Body::Rev(rev) => Ok(rev),
        _ => Err(Code::Internal.into()),
    }
}

fn made(id: NoteId, rev: u64) -> (StatusCode, Json<Made>) {
    let id = id.to_string();
    (StatusCode::CREATED, Json(Made { id, rev }))
}

fn note_id(
    shared: &Shared,
    asks: &Principal,
    headers: &HeaderMap,
    purpose: &str,
) -> Result<NoteId, Failure> {
    idempotent_id(shared, asks, headers, purpose).map(NoteId)
}

/// An id that is none names nothing that is there.
fn note(id: &str) -> Result<NoteId, Failure> {
    id.parse().map_err(|_| Code::NoComment.into())
}

fn spelled(id: &Bytes) -> String {
    NoteId::from_slice(id).unwrap_or_default().to_string()
}

fn thread(thread: v1::Thread) -> Thread {
    let comments = thread.comments.into_iter().map(|comment| Comment {
        id: spelled(&comment.id),
        user: comment.user,
        text: comment.text,
        rev: comment.rev,
        ts: comment.ts_ms,
    });
    Thread {
        id: spelled(&thread.id),
        start: thread.start,
        end: thread.end,
        resolved: thread.resolved,
        comments: comments.collect(),
    }
}
