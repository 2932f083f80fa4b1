//! The REST interface, as `GET /openapi.json` describes it.

mod body;
mod collab;
mod comments;
mod docs;
mod follow;
mod history;
mod lifecycle;
mod lists;
mod permissions;
mod presence;
mod programs;
mod receipts;
mod refusals;
mod status;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use codraft_proto::{ids::DocId, reject::Code};
use tokio::time::Duration;
use tower_http::{
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Shared,
    accounts::{Asker, One},
    auth::Principal,
    gateway, page,
    problem::Failure,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Codraft", description = "Documents that many people edit at once."),
    tags(
        (name = "documents", description = "Create and read documents, and who may use them"),
        (name = "history", description = "What documents were, who wrote them, and how to have them back"),
        (name = "comments", description = "Threads of comments that stay on their words"),
        (name = "collaboration", description = "Tickets for and the upgrade to a WebSocket"),
        (name = "operations", description = "Health and metrics"),
    )
)]
struct Description;

/// All routes of the main listener.
pub fn app(shared: &Arc<Shared>, metrics: bool, with_page: bool, extra: Option<Router>) -> Router {
    let (api, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(docs::create, lists::read))
        .routes(routes!(docs::read, docs::rename, lifecycle::delete))
        .routes(routes!(lifecycle::undelete))
        .routes(routes!(history::read))
        .routes(routes!(history::authors))
        .routes(routes!(history::diff))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(history::events))
                .layer(CompressionLayer::new()),
        )
        .routes(routes!(follow::follow))
        .routes(routes!(history::restore))
        .routes(routes!(history::snapshot))
        .routes(routes!(comments::list, comments::open))
        .routes(routes!(comments::reply))
        .routes(routes!(comments::resolve))
        .routes(routes!(comments::reopen))
        .routes(routes!(comments::delete))
        .routes(routes!(comments::versions, comments::name))
        .routes(routes!(programs::edit))
        .routes(routes!(receipts::read))
        .routes(routes!(receipts::key))
        .routes(routes!(presence::read))
        .routes(routes!(permissions::list))
        .routes(routes!(permissions::put, permissions::delete))
        .routes(routes!(collab::ticket))
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .split_for_parts();
    let description = Bytes::from(description.to_json().expect("it is JSON"));
    let mut app = api
        .route("/v1/collab/{doc}", get(gateway::upgrade))
        .route(
            "/openapi.json",
            get(async move || status::openapi(&description)),
        )
        .with_state(shared.clone());
    if metrics {
        app = app.merge(metrics_app(shared));
    }
    app = if with_page {
        let shared = shared.clone();
        let file = async move |uri: Uri| page::file(&shared.routers, uri).await;
        app.fallback(get(file).fallback(missing))
    } else {
        app.fallback(missing)
    };
    app = app
        .method_not_allowed_fallback(not_here)
        .layer(from_fn_with_state(shared.clone(), problems))
        .layer(cors(&shared.origins))
        .layer(DefaultBodyLimit::max(shared.limits.body_bytes as usize));
    match extra {
        Some(extra) => app.merge(extra),
        None => app,
    }
}

/// Pages of the listed origins may call all of it, and read what it says beside the body.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|o| HeaderValue::from_str(o).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            follow::LAST_EVENT_ID,
        ])
        .expose_headers([header::RETRY_AFTER, header::LOCATION])
        .max_age(Duration::from_secs(600))
}

/// `/metrics`, alone.
pub fn metrics_app(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(status::metrics))
        .with_state(shared.clone())
}

/// Every refusal is a problem and is counted, whoever made it.
async fn problems(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let asker = Asker::default();
    request.extensions_mut().insert(asker.clone());
    let mut response = next.run(request).await;
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if refused && response.extensions().get::<Code>().is_none() {
        response = Failure::of_status(status).into_response();
    }
    if let Some(code) = response.extensions().get::<Code>() {
        shared.metrics.rejected(*code);
    }
    if status.is_client_error() && asker.account().is_none() {
        shared.strangers.turn().await;
    }
    response
}

async fn missing() -> Failure {
    Code::NotFound.into()
}

async fn not_here() -> Failure {
    Failure::new(Code::Unsupported, "this address does not take this method")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Who asks. The first of a handler's arguments, so that nobody learns anything, and nobody's
/// body is read, without a token.
impl FromRequestParts<Arc<Shared>> for Principal {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let principal = shared.auth.bearer(&parts.headers)?;
        let now_ms = shared.now_ms();
        let account = shared.accounts.of(&principal.user, now_ms)?;
        if let Some(asker) = parts.extensions.get::<Asker>() {
            asker.is(account.clone());
        }
        let taken = account.one(One::Request, now_ms);
        taken.map_err(|wait_ms| Failure::rate(wait_ms, "more requests than a user may make"))?;
        Ok(principal)
    }
}

/// An id that is none looks like a document that is not there.
fn doc_id(Path(doc): &Path<String>) -> Result<DocId, Failure> {
    doc.parse().map_err(|_| Code::NotFound.into())
}

/// Of an idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// Random, or made of the idempotency key: the same for the same purpose of the same user.
fn idempotent_id(
    shared: &Shared,
    asks: &Principal,
    headers: &HeaderMap,
    purpose: &str,
) -> Result<[u8; 16], Failure> {
    let mut id = [0; 16];
    let Some(key) = headers.get("idempotency-key") else {
        shared.outside.entropy.fill(&mut id);
        return Ok(id);
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let detail = format!("an idempotency key has 1 to {KEY_BYTES_MAX} bytes");
        return Err(Failure::new(Code::Malformed, detail));
    }
    let mut hash = blake3::Hasher::new_keyed(&shared.id_key);
    for part in [asks.user.as_bytes(), purpose.as_bytes()] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(key.as_bytes());
    hash.finalize_xof().fill(&mut id);
    Ok(id)
}
