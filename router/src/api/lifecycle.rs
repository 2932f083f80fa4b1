//! Deleting documents, and having them back.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use codraft_proto::{
    ids::DocId,
    reject::Code,
    v1::{Describe, call, reply},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    doc_id, docs,
    refusals::{OfAll, OfDocuments, OfWrites},
};
use crate::{
    Shared,
    auth::Principal,
    problem::{Failure, ProblemBody},
};

#[derive(Serialize, ToSchema)]
pub struct Changed {
    id: String,
    /// The revision of the change; of the document where it was there all along.
    rev: u64,
}

/// Deletes a document, which owners may.
///
/// From then on it looks as if it had never been, to everybody, and its sockets are closed. It stays as it
/// is until who was an owner has it back.
#[utoipa::path(
    delete,
    path = "/v1/docs/{id}",
    tag = "documents",
    params(("id" = String, Path, description = "The document")),
    responses(
        (status = 200, body = Changed),
        (status = 403, description = "Owners only", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn delete(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Changed>, Failure> {
    let id = doc_id(&id)?;
    let delete = call::Body::Delete(Describe {});
    changed(id, shared.upstream.call(id, &asks.user, delete).await?)
}

/// Has a deleted document back, with its roles, comments and history.
///
/// Who was an owner may; to others it looks as if it had never been.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/undelete",
    tag = "documents",
    params(("id" = String, Path, description = "The document")),
    responses(
        (status = 200, body = Changed),
        OfAll,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn undelete(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Changed>, Failure> {
    let id = doc_id(&id)?;
    let undelete = call::Body::Undelete(Describe {});
    match shared.upstream.call(id, &asks.user, undelete).await {
        Ok(reply) => changed(id, reply),
        // The answer is lost. How it is now the next leader knows.
        Err(problem) if problem.code == Code::Timeout => {
            let there = docs::describe(&shared, id, &asks).await;
            let there = there.map_err(|_| Failure::from(problem))?;
            changed(id, reply::Body::Rev(there.rev))
        }
        Err(problem) => Err(problem.into()),
    }
}

fn changed(id: DocId, reply: reply::Body) -> Result<Json<Changed>, Failure> {
    match reply {
        reply::Body::Rev(rev) => {
            let id = id.to_string();
            Ok(Json(Changed { id, rev }))
        }
        _ => Err(Code::Internal.into()),
    }
}
