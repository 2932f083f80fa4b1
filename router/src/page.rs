//! The built-in page: the files of `client/dist`, inside the binary.

use axum::{
    body::Body,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use codraft_proto::reject::Code;

use crate::{problem::Failure, routers::Routers};

// `Files`, of the folder that the build script found.
include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Only what the page itself brought runs; it talks to where it came from, and to the routers that
/// it may be sent to.
fn policy(routers: &Routers) -> String {
    let routers: Vec<_> = routers.all().into_iter().collect();
    format!(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self' ws: wss: {}; frame-ancestors 'none'; base-uri 'none'",
        routers.join(" ")
    )
}

/// A file of the page; a path without a dot is the page itself.
pub async fn file(routers: &Routers, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "v1" || path.starts_with("v1/") {
        return Failure::from(Code::NotFound).into_response();
    }
    let name = if path.contains('.') {
        path
    } else {
        "index.html"
    };
    let Some(file) = Files::get(name) else {
        return Failure::from(Code::NotFound).into_response();
    };
    // Built files carry a hash in their name; the page names them and must be fresh.
    let cache = match name.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = [
        (header::CONTENT_TYPE, file.metadata.mimetype().to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy(routers)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (StatusCode::OK, headers, Body::from(file.data.into_owned())).into_response()
}
