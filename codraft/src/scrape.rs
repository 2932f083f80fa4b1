//! A node's counters for Prometheus, on a listener of their own.

use std::{future::Future, sync::Weak};

use anyhow::{Context, Result, bail};
use axum::{Router, http::header, routing::get};
use codraft_node::Node;
use codraft_proto::topology::is_loopback;
use tokio::net::TcpListener;

/// Serves `/metrics` until it is dropped; pends for ever without an address.
///
/// # Errors
/// When the address cannot be listened on, or is not on loopback (there is no TLS yet).
pub async fn serve(
    address: Option<&str>,
    node: Weak<Node>,
) -> Result<impl Future<Output = ()> + use<>> {
    let listener = match address {
        Some(address) if !is_loopback(address) => {
            bail!("metrics_listen: {address} is not loopback")
        }
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.with_context(|| format!("listening for metrics on {address}"))?)
        }
        None => None,
    };
    Ok(async move {
        let Some(listener) = listener else {
            return std::future::pending().await;
        };
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        // Weak: an open connection does not keep the node from going away.
        let metrics = move || async move {
            let text = node
                .upgrade()
                .map(|node| node.metrics())
                .unwrap_or_default();
            ([(header::CONTENT_TYPE, kind)], text)
        };
        if let Err(error) =
            axum::serve(listener, Router::new().route("/metrics", get(metrics))).await
        {
            tracing::error!(%error, "metrics are no longer served");
        }
        std::future::pending().await
    })
}
