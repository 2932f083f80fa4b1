//! Tickets: what a browser shows instead of a header it cannot send.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use codraft_proto::{
    ids::Role,
    reject::Code,
    v1::{Describe, call, reply},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    doc_id,
    refusals::{OfAll, OfDocuments},
};
use crate::{Shared, accounts::One, auth::Principal, problem::Failure};

/// Routers that a client may name as those it could not reach.
const NOT_MAX: usize = 8;
/// Routers that a client is told of beside the one to go to.
const OTHERS_MAX: usize = 8;

#[derive(Deserialize, IntoParams)]
pub struct AskedTicket {
    /// The `url`s of earlier tickets at which there was nobody, with commas between them: at most 8.
    not: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Ticket {
    /// Offer it as the second WebSocket subprotocol, `ticket.<ticket>`. Good once.
    ticket: String,
    /// Milliseconds since the Unix epoch.
    expires_at: u64,
    /// viewer, commenter, editor or owner.
    role: &'static str,
    /// Where to open the socket, and nowhere else: the router at which the document's sockets meet,
    /// as `https://host:port`. Not there: by the way that this request came.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// More routers, of which any may be asked for another ticket where this one is not there.
    others: Vec<String>,
}

/// A ticket of 30 seconds for one WebSocket on one document, at one router.
#[utoipa::path(
    post,
    path = "/v1/collab/{id}/ticket",
    tag = "collaboration",
    params(("id" = String, Path, description = "The document"), AskedTicket),
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
    Query(asked): Query<AskedTicket>,
) -> Result<(StatusCode, Json<Ticket>), Failure> {
    let doc = doc_id(&id)?;
    let not = asked.not.unwrap_or_default();
    let not: Vec<_> = not.split(',').filter(|url| !url.is_empty()).collect();
    if not.len() > NOT_MAX {
        let detail = format!("`not` names {} routers: at most {NOT_MAX}", not.len());
        return Err(Failure::new(Code::Malformed, detail));
    }
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
    let mut places = shared.routers.of(doc, &not).into_iter();
    let url = places.next();
    let at = url.as_deref().unwrap_or_default();
    let (ticket, expires_at) = shared.auth.issue_ticket(&asks, doc, at)?;
    Ok((
        StatusCode::CREATED,
        Json(Ticket {
            ticket,
            expires_at,
            role: role.as_str(),
            url,
            others: places.take(OTHERS_MAX).collect(),
        }),
    ))
}
