//! Tickets: what a browser shows instead of a header it cannot send.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use codraft_proto::{
    ids::Role,
    reject::Code,
    v1::{Describe, call, reply},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    doc_id,
    refusals::{OfAll, OfDocuments},
};
use crate::{Shared, accounts::One, auth::Principal, problem::Failure};

#[derive(Serialize, ToSchema)]
pub struct Ticket {
    /// Offer it as the second WebSocket subprotocol, `ticket.<ticket>`. Good once.
    ticket: String,
    /// Milliseconds since the Unix epoch.
    expires_at: u64,
    /// viewer, commenter, editor or owner.
    role: &'static str,
}

/// A ticket of 30 seconds for one WebSocket on one document.
#[utoipa::path(
    post,
    path = "/v1/collab/{id}/ticket",
    tag = "collaboration",
    params(("id" = String, Path, description = "The document")),
    responses(
        (status = 201, body = Ticket),
        OfAll,
        OfDocuments,
    )
)]
pub async fn ticket(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<(StatusCode, Json<Ticket>), Failure> {
    let doc = doc_id(&id)?;
    let now_ms = shared.now_ms();
    let account = shared.accounts.of(&asks.user, now_ms)?;
    let taken = account.one(One::Ticket, now_ms);
    taken.map_err(|wait_ms| Failure::rate(wait_ms, "more tickets than a user may have"))?;
    // Read at the shard, in order with every grant and revoke.
    let reply = shared
        .upstream
        .call(doc, &asks.user, call::Body::Role(Describe {}))
        .await;
    let role = match reply? {
        reply::Body::Description(described) => Role::from_number(described.role),
        _ => return Err(Code::Internal.into()),
    };
    let role = role.ok_or(Code::NotFound)?;
    let (ticket, expires_at) = shared.auth.issue_ticket(&asks, doc)?;
    Ok((
        StatusCode::CREATED,
        Json(Ticket {
            ticket,
            expires_at,
            role: role.as_str(),
        }),
    ))
}
