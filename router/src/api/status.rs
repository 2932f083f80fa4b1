//! Whether the router is well, and what it counts.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use codraft_proto::reject::Code;
use utoipa::openapi::OpenApi;

use crate::{
    Shared,
    problem::{Failure, ProblemBody},
};

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = str)))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// It can serve: a node is linked and it is not going away.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, body = str),
        (status = 503, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(shared): State<Arc<Shared>>) -> Result<&'static str, Failure> {
    match () {
        () if shared.is_draining() => Err(Code::ShuttingDown.into()),
        () if !shared.upstream.is_ready() => Err(Code::NoLeader.into()),
        () => Ok("ready"),
    }
}

pub async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}

pub fn openapi(description: &OpenApi) -> Response {
    Json(description).into_response()
}
