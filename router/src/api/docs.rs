//! Create, read and rename documents.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use codraft_proto::{
    frame::json,
    ids::{DocId, Revision, Role},
    limits,
    reject::Code,
    v1::{self, Describe, call, reply},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    body::Body,
    doc_id, history, idempotent_id,
    refusals::{OfAll, OfBodies, OfDocuments, OfWrites},
};
use crate::{
    Shared,
    auth::Principal,
    hub::kind_name,
    problem::{Failure, ProblemBody},
    state,
};

/// The algebra of new documents.
const ALGEBRA: &str = "delta-1";
const TITLE_BYTES_MAX: usize = 512;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    #[schema(example = "Minutes")]
    title: String,
    /// `text` (plain, the default) or `rich`.
    kind: Option<String>,
    /// Its first content: a string, or a Delta (an array of inserts, or an object with `ops`).
    #[schema(value_type = Option<Object>)]
    initial: Option<Value>,
}

#[derive(Serialize, ToSchema)]
pub struct Created {
    id: String,
    title: String,
    kind: String,
    algebra: String,
    owner: String,
    /// The revision after the creation.
    rev: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Document {
    id: String,
    title: String,
    kind: String,
    algebra: String,
    owner: String,
    /// The caller's.
    role: &'static str,
    rev: u64,
    permissions: Vec<Permission>,
    /// Milliseconds since the Unix epoch.
    created_at: u64,
    updated_at: u64,
    /// The latest revision that the archive has whole, if there is one.
    snapshot_version: Option<u64>,
    /// Where it can be read.
    snapshot_url: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Permission {
    pub user: String,
    /// viewer, commenter, editor or owner.
    pub role: &'static str,
    /// The revision of the change that gave it.
    pub rev: u64,
}

/// A new document, owned by the caller.
///
/// With an `Idempotency-Key` a repeat by the same user answers the same document.
#[utoipa::path(
    post,
    path = "/v1/docs",
    tag = "documents",
    request_body = NewDocument,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters")),
    responses(
        (status = 201, body = Created),
        (status = 422, description = "A kind or a content that cannot be", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfWrites,
    )
)]
pub async fn create(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    headers: HeaderMap,
    Body(new): Body<NewDocument>,
) -> Result<(StatusCode, [(header::HeaderName, String); 1], Json<Created>), Failure> {
    check_title(&new.title)?;
    let kind = match new.kind.as_deref() {
        None | Some("text") => 1,
        Some("rich") => 2,
        Some(_) => return Err(Failure::new(Code::Unsupported, "a kind is text or rich")),
    };
    let initial = initial(new.initial)?;
    let id = DocId(idempotent_id(&shared, &asks, &headers, "")?);
    let create = call::Body::Create(v1::Create {
        kind,
        title: new.title.clone(),
        initial,
        algebra: ALGEBRA.to_owned(),
    });
    let created = match shared.upstream.call(id, &asks.user, create).await {
        Ok(reply::Body::Rev(rev)) => Created {
            id: id.to_string(),
            title: new.title,
            kind: kind_name(kind).to_owned(),
            algebra: ALGEBRA.to_owned(),
            owner: asks.user.to_string(),
            rev,
        },
        Ok(_) => return Err(Code::Internal.into()),
        // The very same request would have been answered again.
        Err(problem) if problem.code == Code::Exists => {
            let detail = "this idempotency key made another document";
            return Err(Failure::new(Code::Exists, detail));
        }
        Err(problem) => return Err(problem.into()),
    };
    let location = [(header::LOCATION, format!("/v1/docs/{id}"))];
    Ok((StatusCode::CREATED, location, Json(created)))
}

/// A document's metadata, and who may use it.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}",
    tag = "documents",
    params(("id" = String, Path, description = "The document")),
    responses(
        (status = 200, body = Document),
        OfAll,
        OfDocuments,
    )
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Document>, Failure> {
    let id = doc_id(&id)?;
    let (there, kept) = tokio::join!(
        describe(&shared, id, &asks),
        history::kept(&shared, id, &asks)
    );
    let there = there?;
    let role = Role::from_number(there.role).ok_or(Code::NotFound)?;
    Ok(Json(Document {
        id: id.to_string(),
        title: there.title,
        kind: kind_name(there.kind).to_owned(),
        algebra: there.algebra,
        owner: there.owner,
        role: role.as_str(),
        rev: there.rev,
        permissions: permissions(there.permissions),
        created_at: there.created_ms,
        updated_at: there.updated_ms,
        snapshot_version: kept,
        snapshot_url: kept.map(|version| state::url(id, Revision(version))),
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTitle {
    #[schema(example = "Minutes of May")]
    title: String,
}

#[derive(Serialize, ToSchema)]
pub struct Renamed {
    id: String,
    title: String,
    /// The revision of the change; of the document where it had this title already.
    rev: u64,
}

/// Gives a document another title. Owners and editors may.
#[utoipa::path(
    patch,
    path = "/v1/docs/{id}",
    tag = "documents",
    params(("id" = String, Path, description = "The document")),
    request_body = NewTitle,
    responses(
        (status = 200, body = Renamed),
        (status = 403, description = "Owners and editors only", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn rename(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    Body(NewTitle { title }): Body<NewTitle>,
) -> Result<Json<Renamed>, Failure> {
    let id = doc_id(&id)?;
    check_title(&title)?;
    let to = v1::Title {
        title: title.clone(),
    };
    let renamed = shared
        .upstream
        .call(id, &asks.user, call::Body::Title(to))
        .await;
    let rev = match renamed {
        Ok(reply::Body::Rev(rev)) => rev,
        Ok(_) => return Err(Code::Internal.into()),
        // The answer is lost. How it is now the next leader knows.
        Err(problem) if problem.code == Code::Timeout => match describe(&shared, id, &asks).await {
            Ok(there) if there.title == title => there.rev,
            _ => return Err(problem.into()),
        },
        Err(problem) => return Err(problem.into()),
    };
    let id = id.to_string();
    Ok(Json(Renamed { id, title, rev }))
}

fn check_title(title: &str) -> Result<(), Failure> {
    if title.len() > TITLE_BYTES_MAX || title.chars().any(char::is_control) {
        let detail = format!("a title has at most {TITLE_BYTES_MAX} bytes, all of them printable");
        return Err(Failure::new(Code::Malformed, detail));
    }
    Ok(())
}

/// As of now, in order with every change.
pub async fn describe(
    shared: &Shared,
    id: DocId,
    asks: &Principal,
) -> Result<v1::Description, Failure> {
    let reply = shared
        .upstream
        .call(id, &asks.user, call::Body::Describe(Describe {}))
        .await;
    match reply? {
        reply::Body::Description(there) => Ok(there),
        _ => Err(Code::Internal.into()),
    }
}

pub fn permissions(all: Vec<v1::Permission>) -> Vec<Permission> {
    let known = all.into_iter().filter_map(|p| {
        let role = Role::from_number(p.role)?.as_str();
        Some(Permission {
            user: p.user,
            role,
            rev: p.rev,
        })
    });
    known.collect()
}

/// In the form that the log holds; empty: none.
fn initial(initial: Option<Value>) -> Result<Bytes, Failure> {
    let delta = match initial {
        None | Some(Value::Null) => return Ok(Bytes::new()),
        Some(Value::String(text)) if text.is_empty() => return Ok(Bytes::new()),
        Some(Value::String(text)) => serde_json::json!([{ "insert": text }]),
        Some(delta) => delta,
    };
    let delta = json::delta_of(&delta, &limits::of_operations())
        .map_err(|error| Failure::new(Code::from(&error), error.to_string()))?;
    Ok(delta.to_bytes().into())
}
