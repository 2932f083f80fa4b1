#!/usr/bin/env bash
# axum 0.8.9, tokio-tungstenite 0.29.0.
#
# Expected: `axum::serve(..).with_graceful_shutdown(..)` returns when every connection has ended,
# and tells those that are open that it is time.
# What happens: a connection is over for it once it has become a WebSocket. `serve` returns at once
# while sockets are open, says nothing to them, and they go on being served; what ends them is the
# end of the process, whatever they are at. Whoever has editors connected must count the sockets,
# send the close frames and wait for them beside it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
axum = { version = "=0.8.9", default-features = false, features = ["http1", "tokio", "ws"] }
futures-util = { version = "=0.3.31", default-features = false, features = ["sink"] }
tokio = { version = "=1.54.1", features = ["macros", "net", "rt", "sync", "time"] }
tokio-tungstenite = { version = "=0.29.0", default-features = false, features = ["connect"] }
END
cat >src/main.rs <<'END'
use axum::{extract::ws::WebSocketUpgrade, routing::get, Router};
use futures_util::{SinkExt, StreamExt};
use std::future::IntoFuture;
use std::time::Duration;
use tokio_tungstenite::{connect_async, tungstenite::Message};

async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            let _ = socket.send(message).await;
        }
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, Router::new().route("/", get(echo)));
    let server = server.with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(server.into_future());

    let (mut socket, _) = connect_async(url).await.unwrap();
    socket.send(Message::text("before")).await.unwrap();
    println!("{:?}", socket.next().await.unwrap().unwrap());

    stop.send(()).unwrap();
    let returned = tokio::time::timeout(Duration::from_secs(20), serving)
        .await
        .is_ok();
    println!("serve returned: {returned}");
    assert_eq!(returned, true);

    socket.send(Message::text("after")).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    println!("{answer:?}");
    assert_eq!(answer, Message::text("after"));
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
