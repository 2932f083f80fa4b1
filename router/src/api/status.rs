//! Whether the router is well, and what it counts.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use codraft_proto::reject::Code;

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

/// `description`: as JSON. As a tree it would take a quarter of what a router without documents holds.
pub fn openapi(description: &Bytes) -> Response {
    let kind = "application/json";
    ([(header::CONTENT_TYPE, kind)], description.clone()).into_response()
}
