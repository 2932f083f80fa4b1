//! What clients say their document is, beside what it is, with real processes; and what else their
//! frames say of history.

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    processes::{Folder, Processes},
    rest::Rest,
    socket::{Socket, fresh_client},
    typist::Typist,
};
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::{
    frame::{ClientFrame, DIVERGED, ServerFrame},
    ids::Revision,
};
use hyper::{Method, StatusCode};
use serde_json::json;

/// A large document beside one that is not.
const LARGE: usize = 300 << 10;

async fn counted(rest: &Rest, line: &str) -> Result<()> {
    for _ in 0..1_000 {
        if rest.text("/metrics").await?.lines().any(|one| one == line) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bail!("never {line}")
}

/// A socket on the document, and what that is.
async fn reader(rest: &Rest, doc: &str) -> Result<(Socket, Revision, Content)> {
    let (socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
    let limits = Limits::default().of_document();
    let bytes = welcome.doc.context("no document")?;
    let kind = match &*welcome.kind {
        "rich" => Kind::Rich,
        _ => Kind::Text,
    };
    let content = Content::from_delta(kind, &Delta::decode(&bytes, &limits)?, &limits)?;
    Ok((socket, welcome.rev, content))
}

#[tokio::test]
async fn a_text_that_differs_is_found_and_one_that_does_not_is_left_alone() -> Result<()> {
    let folder = Folder::fresh("checks");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &[])?;
    let rest = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let rich = json!({"title": "Rich", "kind": "rich", "initial": [
        {"insert": "héllo 🦀", "attributes": {"bold": true, "link": "https://example.com"}},
        {"insert": {"image": "a.png", "size": 1.5}},
        {"insert": "\n"},
    ]});
    let (status, made) = rest.call(Method::POST, "/v1/docs", Some(&rich)).await?;
    ensure!(status == StatusCode::CREATED, "{made}");
    let rich = made["id"].as_str().context("no id")?.to_owned();
    let plain = rest.create("Plain", "some text").await?;
    let large = rest
        .create("Large", &"0123456789abcdef".repeat(LARGE / 16))
        .await?;
    let mut sockets = Vec::new();
    for doc in [&plain, &rich, &large] {
        let (mut socket, rev, content) = reader(&rest, doc).await?;
        let digest = content.digest();
        socket.send(&ClientFrame::Check { rev, digest }).await?;
        sockets.push(socket);
    }
    counted(&rest, "codraft_router_checks_total{outcome=\"same\"} 3").await?;
    counted(&rest, "codraft_router_divergences_total 0").await?;

    let (mut socket, rev, _) = reader(&rest, &plain).await?;
    let digest = [0; 32];
    socket.send(&ClientFrame::Check { rev, digest }).await?;
    let reason = loop {
        if let ServerFrame::Resync { reason } = socket.next().await? {
            break reason;
        }
    };
    assert_eq!(reason, DIVERGED);
    counted(&rest, "codraft_router_divergences_total 1").await?;
    ensure!(
        folder.log().contains("transform divergence"),
        "nothing was logged"
    );
    Ok(())
}

#[tokio::test]
async fn an_edit_that_is_a_restore_says_of_what_and_a_large_document_where_it_is_kept() -> Result<()>
{
    let cluster = Processes::start("told", &["--port", "0"], &[])?;
    let rest = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let doc = rest
        .create("Large", &"0123456789abcdef".repeat(LARGE / 16))
        .await?;
    let small = rest.create("Small", "little").await?;
    let mut ana = Typist::open(&rest, &doc).await?;
    ana.prepend("typed, and taken back: ").await?;
    let mut socket = ana.into_socket();
    let back = format!("/v1/docs/{doc}/restore");
    let (status, answer) = rest
        .call(Method::POST, &back, Some(&json!({ "version": 1 })))
        .await?;
    ensure!(status == StatusCode::OK, "{answer}");
    let restores = loop {
        if let ServerFrame::Op(op) = socket.next().await? {
            break op.restores;
        }
    };
    assert_eq!(restores, Some(Revision(1)));

    let (_, welcome) = Socket::open(&rest, &doc, fresh_client(), None, false).await?;
    assert_eq!(welcome.snapshot, None, "nothing is kept whole yet");
    for doc in [&doc, &small] {
        let path = format!("/v1/docs/{doc}/snapshots");
        let (status, answer) = rest.call(Method::POST, &path, None).await?;
        ensure!(status == StatusCode::OK, "{answer}");
    }
    // A router holds what others started from for two seconds.
    let snapshot = loop {
        let (_, welcome) = Socket::open(&rest, &doc, fresh_client(), None, false).await?;
        if let Some(snapshot) = welcome.snapshot {
            break snapshot;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let (_, there) = rest
        .call(Method::GET, &format!("/v1/docs/{doc}"), None)
        .await?;
    assert_eq!(there["snapshot_url"], snapshot.url);
    assert_eq!(there["snapshot_version"], snapshot.version.0);
    let (_, welcome) = Socket::open(&rest, &small, fresh_client(), None, false).await?;
    assert_eq!(welcome.snapshot, None, "it comes with the welcome sooner");
    Ok(())
}
