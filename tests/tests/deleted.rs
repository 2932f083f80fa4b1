//! Deleting a document: its sockets end at every router, it looks as if it had never been, and who owned it
//! has all of it back.

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, codraft},
    rest::Rest,
    socket::{Socket, fresh_client},
};
use codraft_ot::Delta;
use codraft_proto::{
    frame::{ClientFrame, ServerFrame},
    ids::{Revision, Seq},
    reject::Code,
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

struct Scene {
    cluster: Processes,
    /// Each at a router of its own.
    ana: Rest,
    bo: Rest,
}

impl Scene {
    fn start(folder: &Folder) -> Result<Scene> {
        let cluster = Processes::start_in(folder, &[], &[])?;
        let routers = &cluster.ready.routers;
        let (one, two) = (&routers[0], routers.get(1).context("one router")?);
        let ana = Rest::new(one, &cluster.ready.token);
        let bo = Rest::new(two, &cluster.token("bo")?);
        Ok(Scene { cluster, ana, bo })
    }
}

/// A socket at the router of who asks.
async fn socket(rest: &Rest, doc: &str) -> Result<Socket> {
    let opened = Socket::open(rest, doc, fresh_client(), None, false);
    Ok(opened.await?.0)
}

async fn delete(rest: &Rest, doc: &str) -> Result<(StatusCode, Value)> {
    let path = format!("/v1/docs/{doc}");
    rest.call(Method::DELETE, &path, None).await
}

async fn undelete(rest: &Rest, doc: &str) -> Result<(StatusCode, Value)> {
    let path = format!("/v1/docs/{doc}/undelete");
    rest.call(Method::POST, &path, None).await
}

async fn get(rest: &Rest, path: &str) -> Result<(StatusCode, Value)> {
    rest.call(Method::GET, path, None).await
}

/// The documents of a list, as their ids.
async fn listed(rest: &Rest, query: &str) -> Result<Vec<String>> {
    let (status, page) = get(rest, &format!("/v1/docs{query}")).await?;
    ensure!(status == StatusCode::OK, "{page}");
    let documents = page["documents"].as_array().context("no documents")?;
    let ids = documents.iter().filter_map(|there| there["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

async fn type_in(socket: &mut Socket, base: u64, text: &str) -> Result<u64> {
    let mut ops = Delta::new();
    ops.insert(text);
    let op = ClientFrame::Op {
        seq: Seq(1),
        base: Revision(base),
        ops: ops.to_bytes().into(),
    };
    socket.send(&op).await?;
    loop {
        if let ServerFrame::Op(event) = socket.next().await? {
            return Ok(event.rev.0);
        }
    }
}

/// A program's edit, each time by the same key.
async fn program(rest: &Rest, doc: &str) -> Result<(StatusCode, Value)> {
    let path = format!("/v1/docs/{doc}/edits");
    let edit = json!({"base": 1, "ops": [{"insert": "so "}]});
    let key = Some("program");
    rest.call_keyed(Method::POST, &path, key, Some(&edit)).await
}

/// All up to the `bye`: it comes right behind the event.
async fn ends(socket: &mut Socket, rev: u64) -> Result<()> {
    let mut last = String::new();
    loop {
        match socket.next().await? {
            ServerFrame::Event(event) if event.rev.0 == rev => last = event.kind,
            ServerFrame::Bye { code, .. } => {
                ensure!(
                    (&*last, code) == ("delete", Code::Deleted),
                    "{last} {code:?}"
                );
                break;
            }
            _ => {}
        }
    }
    match socket.next().await {
        Err(closed) => ensure!(closed.to_string().contains("4416"), "{closed}"),
        Ok(frame) => bail!("behind the bye: {frame:?}"),
    }
    Ok(())
}

/// All that can be told of a document, but for its revision and when it was changed.
async fn whole(rest: &Rest, doc: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for what in [
        "",
        "/comments",
        "/versions",
        "/history?version=5",
        "/history/authors?version=5",
        "/ops?from=1&to=5",
    ] {
        let (status, mut told) = get(rest, &format!("/v1/docs/{doc}{what}")).await?;
        ensure!(status == StatusCode::OK, "{what}: {told}");
        if let Some(told) = told.as_object_mut() {
            for name in [
                "rev",
                "updated_at",
                "head",
                "snapshot_url",
                "snapshot_version",
            ] {
                told.remove(name);
            }
        }
        all.push(told);
    }
    Ok(all)
}

#[tokio::test]
async fn a_deleted_document_ends_its_sockets_at_every_router_and_comes_back_whole() -> Result<()> {
    let folder = Folder::fresh("deleted");
    let scene = Scene::start(&folder)?;
    let (ana, bo) = (&scene.ana, &scene.bo);
    let doc = ana.create("Plans", "words").await?;
    ana.grant(&doc, "bo", "editor").await?;
    let comment = json!({"rev": 1, "start": 0, "end": 5, "text": "why?"});
    let comments = format!("/v1/docs/{doc}/comments");
    let (status, told) = bo.call(Method::POST, &comments, Some(&comment)).await?;
    ensure!(status == StatusCode::CREATED, "{told}");
    let (status, told) = program(bo, &doc).await?;
    ensure!(status == StatusCode::OK, "{told}");
    let mut of_ana = socket(ana, &doc).await?;
    let mut of_bo = socket(bo, &doc).await?;
    ensure!(type_in(&mut of_bo, 4, "more ").await? == 5);
    let before = whole(ana, &doc).await?;

    let (status, forbidden) = delete(bo, &doc).await?;
    ensure!(status == StatusCode::FORBIDDEN, "{forbidden}");
    let (status, told) = delete(ana, &doc).await?;
    ensure!(status == StatusCode::OK, "{told}");
    ensure!(told == json!({"id": doc, "rev": 6}), "{told}");
    ends(&mut of_ana, 6).await?;
    ends(&mut of_bo, 6).await?;
    is_gone(&scene, &doc).await?;

    scene.cluster.kill()?;
    codraft(&["verify", "--data"], folder.path())?;
    let scene = Scene::start(&folder)?;
    let (ana, bo) = (&scene.ana, &scene.bo);
    is_gone(&scene, &doc).await?;
    let (status, told) = undelete(ana, &doc).await?;
    ensure!(status == StatusCode::OK, "{told}");
    ensure!(told == json!({"id": doc, "rev": 7}), "{told}");
    ensure!(undelete(ana, &doc).await? == (status, told));
    ensure!(whole(ana, &doc).await? == before);
    ensure!(listed(ana, "?filter=deleted").await?.is_empty());
    ensure!(listed(ana, "?filter=mine").await? == [doc.as_str()]);
    ensure!(listed(bo, "?filter=shared").await? == [doc.as_str()]);
    let mut of_ana = socket(ana, &doc).await?;
    let mut of_bo = socket(bo, &doc).await?;
    ensure!(type_in(&mut of_bo, 7, "even ").await? == 8);
    ensure!(
        type_in(&mut of_ana, 7, "then ").await? == 8,
        "it hears of Bo's"
    );
    let (_, past) = get(ana, &format!("/v1/docs/{doc}/ops?from=6&to=7")).await?;
    let kinds = past["events"].as_array().context("no events")?;
    let kinds: Vec<_> = kinds.iter().map(|event| &event["kind"]).collect();
    ensure!(kinds == ["delete", "undelete"], "{past}");
    scene.cluster.stop();
    codraft(&["verify", "--data"], folder.path())?;
    Ok(())
}

/// As a missing one, to the last byte, for who owned it too; but who owned it can find it.
async fn is_gone(scene: &Scene, doc: &str) -> Result<()> {
    let (ana, bo) = (&scene.ana, &scene.bo);
    let missing = "0".repeat(doc.len());
    for rest in [ana, bo] {
        for what in ["", "/comments", "/history?version=1", "/permissions"] {
            let gone = get(rest, &format!("/v1/docs/{doc}{what}")).await?;
            ensure!(gone.0 == StatusCode::NOT_FOUND, "{what}: {gone:?}");
            ensure!(gone == get(rest, &format!("/v1/docs/{missing}{what}")).await?);
        }
        ensure!(delete(rest, doc).await? == delete(rest, &missing).await?);
        // Also what was applied before, and is told to be for as long as the document is there.
        ensure!(program(rest, doc).await? == program(rest, &missing).await?);
        for query in ["", "?filter=mine", "?filter=shared", "?query=plans"] {
            ensure!(listed(rest, query).await?.is_empty(), "{query}");
        }
    }
    ensure!(undelete(bo, doc).await? == undelete(bo, &missing).await?);
    ensure!(listed(ana, "?filter=deleted").await? == [doc]);
    ensure!(listed(ana, "?filter=deleted&query=PLANS").await? == [doc]);
    ensure!(listed(bo, "?filter=deleted").await?.is_empty());
    Ok(())
}
