//! A document's title: who may give another one, and that all see it, now and afterwards.

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, codraft},
    rest::Rest,
    socket::{Socket, fresh_client},
};
use codraft_proto::frame::{OtherEvent, ServerFrame};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

async fn rename(rest: &Rest, doc: &str, title: &str) -> Result<(StatusCode, Value)> {
    let body = json!({ "title": title });
    let path = format!("/v1/docs/{doc}");
    rest.call(Method::PATCH, &path, Some(&body)).await
}

/// The next event that is no edit.
async fn event(socket: &mut Socket) -> Result<OtherEvent> {
    loop {
        if let ServerFrame::Event(event) = socket.next().await? {
            return Ok(event);
        }
    }
}

async fn title(rest: &Rest, doc: &str) -> Result<(Value, Value)> {
    let path = format!("/v1/docs/{doc}");
    let (_, described) = rest.call(Method::GET, &path, None).await?;
    let (_, listed) = rest.call(Method::GET, "/v1/docs", None).await?;
    let listed = listed["documents"][0]["title"].clone();
    Ok((described["title"].clone(), listed))
}

#[tokio::test]
async fn a_title_is_seen_by_all_at_once_and_after_a_restart() -> Result<()> {
    let folder = Folder::fresh("titles");
    let start = || Processes::start_in(&folder, &["--port", "0"], &[]);
    let cluster = start()?;
    let ana = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let doc = ana.create("Notes", "text").await?;
    ana.grant(&doc, "bo", "editor").await?;
    let (mut of_ana, welcome) = Socket::open(&ana, &doc, fresh_client(), None, false).await?;
    ensure!(welcome.title == "Notes");
    let (mut of_bo, _) = Socket::open(&bo, &doc, fresh_client(), None, false).await?;

    let (status, told) = rename(&bo, &doc, "Ünïcode 🦀").await?;
    ensure!(status == StatusCode::OK, "{told}");
    let rev = told["rev"].as_u64().context("no revision")?;
    let right = json!({"id": doc, "title": "Ünïcode 🦀", "rev": 3});
    ensure!(told == right, "{told}");
    for socket in [&mut of_ana, &mut of_bo] {
        let event = event(socket).await?;
        let seen = (
            &*event.kind,
            event.note.as_ref().and_then(|note| note.as_str()),
            event.rev.0,
        );
        ensure!(seen == ("title", Some("Ünïcode 🦀"), rev), "{event:?}");
    }
    // Once more is no event.
    let (_, again) = rename(&ana, &doc, "Ünïcode 🦀").await?;
    ensure!(again == right, "{again}");
    drop((of_ana, of_bo));

    cluster.kill()?;
    let cluster = start()?;
    let ana = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let now = json!("Ünïcode 🦀");
    ensure!(title(&ana, &doc).await? == (now.clone(), now));
    let (_, before) = of(&ana, &doc, "history?version=2").await?;
    let (_, after) = of(&ana, &doc, "history?version=3").await?;
    ensure!((&before["title"], &after["title"]) == (&json!("Notes"), &right["title"]));
    let (_, past) = of(&ana, &doc, "ops?from=3&to=3").await?;
    let event = &past["events"][0];
    ensure!(
        event["kind"] == "title" && event["title"] == right["title"],
        "{past}"
    );
    cluster.stop();
    codraft(&["verify", "--data"], folder.path())?;
    Ok(())
}

async fn of(rest: &Rest, doc: &str, what: &str) -> Result<(StatusCode, Value)> {
    let path = format!("/v1/docs/{doc}/{what}");
    rest.call(Method::GET, &path, None).await
}

#[tokio::test]
async fn who_may_not_edit_gives_no_title() -> Result<()> {
    let cluster = Processes::start("titles-refused", &["--port", "0"], &[])?;
    let ana = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let doc = ana.create("Notes", "").await?;
    let missing = "0".repeat(doc.len());
    let (status, forbidden) = rename(&bo, &doc, "Bo's").await?;
    ensure!(status == StatusCode::NOT_FOUND, "{forbidden}");
    // Missing and forbidden look alike.
    ensure!(rename(&bo, &missing, "Bo's").await? == (status, forbidden));
    ana.grant(&doc, "bo", "commenter").await?;
    let (status, told) = rename(&bo, &doc, "Bo's").await?;
    ensure!(
        (status, told["code"].as_str()) == (StatusCode::FORBIDDEN, Some("forbidden")),
        "{told}"
    );
    for bad in ["t".repeat(513), "two\nlines".to_owned()] {
        let (status, told) = rename(&ana, &doc, &bad).await?;
        ensure!(status == StatusCode::BAD_REQUEST, "{told}");
    }
    let now = json!("Notes");
    ensure!(title(&ana, &doc).await? == (now.clone(), now));
    Ok(())
}
