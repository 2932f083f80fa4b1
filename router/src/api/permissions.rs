//! Who may do what with a document. Every change is an event of the document itself, in one
//! order with its edits.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use codraft_proto::{
    ids::{Role, user_fault},
    reject::Code,
    v1::{self, call, reply},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::Body,
    doc_id,
    docs::{Permission, describe, permissions},
    refusals::{OfAll, OfBodies, OfDocuments, OfWrites},
};
use crate::{
    Shared,
    auth::Principal,
    problem::{Failure, ProblemBody},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// viewer, commenter, editor or owner.
    role: String,
}

#[derive(Serialize, ToSchema)]
pub struct Changed {
    user: String,
    /// None: taken away.
    role: Option<&'static str>,
    /// The revision of the change: nothing of this user comes after it that it forbids.
    rev: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Permissions {
    permissions: Vec<Permission>,
    /// The revision at which they stand.
    rev: u64,
}

/// Everybody's roles.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/permissions",
    tag = "documents",
    params(("id" = String, Path, description = "The document")),
    responses(
        (status = 200, body = Permissions),
        OfAll,
        OfDocuments,
    )
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Permissions>, Failure> {
    let there = describe(&shared, doc_id(&id)?, &asks).await?;
    Ok(Json(Permissions {
        permissions: permissions(there.permissions),
        rev: there.rev,
    }))
}

/// Gives a user a role.
#[utoipa::path(
    put,
    path = "/v1/docs/{id}/permissions/{user}",
    tag = "documents",
    params(
        ("id" = String, Path, description = "The document"),
        ("user" = String, Path, description = "The user, as tokens name them"),
    ),
    request_body = NewRole,
    responses(
        (status = 200, body = Changed),
        (status = 403, description = "Owners only", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn put(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Path((id, user)): Path<(String, String)>,
    Body(NewRole { role }): Body<NewRole>,
) -> Result<Json<Changed>, Failure> {
    let role = role.parse::<Role>().map_err(|()| {
        Failure::new(
            Code::Malformed,
            "a role is viewer, commenter, editor or owner",
        )
    })?;
    change(&shared, &asks, id, user, Some(role)).await
}

/// Takes a user's role away: their sockets on this document are closed.
#[utoipa::path(
    delete,
    path = "/v1/docs/{id}/permissions/{user}",
    tag = "documents",
    params(
        ("id" = String, Path, description = "The document"),
        ("user" = String, Path, description = "The user, as tokens name them"),
    ),
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
    Path((id, user)): Path<(String, String)>,
) -> Result<Json<Changed>, Failure> {
    change(&shared, &asks, id, user, None).await
}

async fn change(
    shared: &Shared,
    asks: &Principal,
    id: String,
    user: String,
    role: Option<Role>,
) -> Result<Json<Changed>, Failure> {
    let id = doc_id(&Path(id))?;
    if let Some(fault) = user_fault(&user) {
        return Err(Failure::new(Code::Malformed, fault));
    }
    let number = role.map_or(0, |r| r as u32);
    let grant = call::Body::Grant(v1::Grant {
        user: user.clone(),
        role: number,
    });
    let rev = match shared.upstream.call(id, &asks.user, grant).await {
        Ok(reply::Body::Rev(rev)) => rev,
        Ok(_) => return Err(Code::Internal.into()),
        // The answer is lost. How it is now the next leader knows.
        Err(problem) if problem.code == Code::Timeout => {
            let there = describe(shared, id, asks).await;
            let is_so = |there| as_wanted(there, &user, number);
            there.ok().and_then(is_so).ok_or(problem)?
        }
        Err(problem) => return Err(problem.into()),
    };
    Ok(Json(Changed {
        user,
        role: role.map(Role::as_str),
        rev,
    }))
}

/// The revision of a user's role, if it is this one.
fn as_wanted(there: v1::Description, user: &str, role: u32) -> Option<u64> {
    match there.permissions.iter().find(|p| p.user == user) {
        Some(permission) => (permission.role == role).then_some(permission.rev),
        None => (role == 0).then_some(there.rev),
    }
}
