//! Who is in a document now.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use codraft_proto::{
    ids::ClientId,
    reject::Code,
    v1::{self, call, reply},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    doc_id,
    refusals::{OfAll, OfDocuments},
};
use crate::{Shared, auth::Principal, problem::Failure};

#[derive(Serialize, ToSchema)]
pub struct People {
    people: Vec<Person>,
}

#[derive(Serialize, ToSchema)]
pub struct Person {
    client: String,
    user: String,
    name: String,
    /// Of the positions.
    rev: u64,
    /// UTF-16 units.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<Span>,
    /// What the client says of itself: an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    /// Milliseconds since the Unix epoch.
    last_seen: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Span {
    anchor: u32,
    head: u32,
}

/// Who is in the document now, and where. Nothing of it outlives a leader by more than seconds.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/presence",
    tag = "documents",
    params(("id" = String, Path, description = "The document")),
    responses((status = 200, body = People), OfAll, OfDocuments)
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    path: Path<String>,
) -> Result<Json<People>, Failure> {
    let doc = doc_id(&path)?;
    let question = call::Body::Presence(v1::Describe {});
    let reply::Body::Presence(here) = shared.upstream.call(doc, &asks.user, question).await? else {
        return Err(Code::Internal.into());
    };
    let people = here.people.into_iter().filter_map(person).collect();
    Ok(Json(People { people }))
}

fn person(person: v1::Person) -> Option<Person> {
    let standing = person.standing?;
    Some(Person {
        client: ClientId::from_slice(&person.client)?.to_string(),
        user: person.user,
        name: person.name,
        rev: standing.rev,
        cursor: standing.cursor,
        selection: standing
            .selection
            .map(|v1::Span { anchor, head }| Span { anchor, head }),
        data: standing
            .data
            .and_then(|text| serde_json::from_str(&text).ok()),
        last_seen: standing.last_seen_ms,
    })
}
