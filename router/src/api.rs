//! The REST interface, as `GET /openapi.json` describes it.

mod collab;
mod cors;
mod docs;
mod permissions;
mod problem;
mod status;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::HeaderMap,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use codraft_proto::{ids::DocId, reject::Code};
pub use problem::Failure;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Shared, auth::Principal, gateway, page};

#[derive(OpenApi)]
#[openapi(
    info(title = "Codraft", description = "Documents that many people edit at once."),
    tags(
        (name = "documents", description = "Create and read documents, and who may use them"),
        (name = "collaboration", description = "Tickets for and the upgrade to a WebSocket"),
        (name = "operations", description = "Health and metrics"),
    )
)]
struct Description;

/// All routes of the main listener.
pub fn app(shared: &Arc<Shared>, metrics: bool, with_page: bool, extra: Option<Router>) -> Router {
    let (api, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(docs::create))
        .routes(routes!(docs::read))
        .routes(routes!(permissions::list))
        .routes(routes!(permissions::put, permissions::delete))
        .routes(routes!(collab::ticket))
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .split_for_parts();
    let description = description.to_json().unwrap_or_default();
    let mut app = api
        .route("/v1/collab/{doc}", get(gateway::upgrade))
        .route(
            "/openapi.json",
            get(move || status::openapi(description.clone())),
        )
        .with_state(shared.clone());
    if metrics {
        app = app.merge(metrics_app(shared));
    }
    if let Some(extra) = extra {
        app = app.merge(extra);
    }
    app = if with_page {
        app.fallback(get(page::file))
    } else {
        app.fallback(missing)
    };
    app.method_not_allowed_fallback(not_here)
        .layer(from_fn_with_state(shared.clone(), cors::headers))
        .layer(from_fn_with_state(shared.clone(), counted))
        .layer(DefaultBodyLimit::max(shared.limits.body_bytes as usize))
}

/// `/metrics`, alone.
pub fn metrics_app(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(status::metrics))
        .with_state(shared.clone())
}

/// Every refusal is counted, whoever made it.
async fn counted(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(code) = response.extensions().get::<Code>() {
        shared.metrics.rejected(*code);
    }
    response
}

async fn missing() -> Failure {
    Code::NotFound.into()
}

async fn not_here() -> Response {
    let failure = Failure::new(Code::Unsupported, "this address does not take this method");
    (
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        failure.into_response(),
    )
        .into_response()
}

/// Who asks. First of all, so that nobody learns anything without a token.
fn principal(shared: &Shared, headers: &HeaderMap) -> Result<Principal, Failure> {
    shared.auth.bearer(headers).map_err(Failure::from)
}

/// An id that is none looks like a document that is not there.
fn doc_id(Path(doc): &Path<String>) -> Result<DocId, Failure> {
    doc.parse().map_err(|_| Code::NotFound.into())
}
