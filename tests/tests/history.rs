//! What documents were: told at any revision, had back by an edit, and kept whole where it is asked for.

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes},
    rest::Rest,
    travel::text_of,
    typist::Typist,
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

/// State is kept after every few commands, and archived with it.
const TIGHT: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "1000"),
];

struct Scene {
    cluster: Processes,
    owner: Rest,
    editor: Rest,
    viewer: Rest,
    stranger: Rest,
}

impl Scene {
    fn on(folder: &Folder) -> Result<Scene> {
        let cluster = Processes::start_in(folder, &["--port", "0"], &TIGHT)?;
        let http = cluster.ready.http.clone();
        let of = |user| Ok::<_, anyhow::Error>(Rest::new(&http, &cluster.token(user)?));
        Ok(Scene {
            owner: of("ana")?,
            editor: of("bo")?,
            viewer: of("cy")?,
            stranger: of("dee")?,
            cluster,
        })
    }
}

async fn get(rest: &Rest, path: &str) -> Result<Value> {
    let (status, answer) = rest.call(Method::GET, path, None).await?;
    ensure!(status == StatusCode::OK, "{path}: {status} {answer}");
    Ok(answer)
}

/// Status and code of a refusal.
async fn refused(
    rest: &Rest,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, String)> {
    let (status, answer) = rest.call(method, path, body).await?;
    let code = answer["code"].as_str().unwrap_or_default();
    Ok((status.as_u16(), code.to_owned()))
}

async fn restore(rest: &Rest, doc: &str, version: u64, key: Option<&str>) -> Result<u64> {
    let path = format!("/v1/docs/{doc}/restore");
    let body = json!({ "version": version });
    let answered = rest.call_keyed(Method::POST, &path, key, Some(&body));
    let (status, answer) = answered.await?;
    ensure!(status == StatusCode::OK, "{path}: {status} {answer}");
    answer["rev"].as_u64().context("no revision")
}

async fn authors(rest: &Rest, doc: &str, version: u64) -> Result<Vec<(u64, String)>> {
    let path = format!("/v1/docs/{doc}/history/authors?version={version}");
    let answer = get(rest, &path).await?;
    let runs = answer["runs"].as_array().context("no runs")?;
    let run = |run: &Value| Some((run["units"].as_u64()?, run["user"].as_str()?.to_owned()));
    runs.iter().map(run).collect::<Option<_>>().context("runs")
}

fn runs(of: &[(u64, &str)]) -> Vec<(u64, String)> {
    of.iter()
        .map(|(units, user)| (*units, (*user).to_owned()))
        .collect()
}

#[tokio::test]
async fn what_was_is_told_and_had_back() -> Result<()> {
    let folder = Folder::fresh("history");
    let scene = Scene::on(&folder)?;
    let Scene { owner, editor, .. } = &scene;
    let doc = owner.create("Minutes", "One.").await?;
    owner.grant(&doc, "bo", "editor").await?;
    let mut ana = Typist::open(owner, &doc).await?;
    let mut bo = Typist::open(editor, &doc).await?;
    ana.append(" Two.").await?;
    bo.reach(ana.rev).await?;
    let both = bo.append(" Three.").await?.rev;
    assert_eq!((ana.rev, both), (3, 4));

    // Created, granted, and two edits.
    let mut texts = vec!["One.", "One.", "One. Two.", "One. Two. Three."];
    let first = restore(editor, &doc, 2, Some("back")).await?;
    assert_eq!(
        (first, restore(editor, &doc, 2, Some("back")).await?),
        (5, 5)
    );
    texts.push("One.");
    // Nothing is to be done.
    assert_eq!(restore(owner, &doc, 1, None).await?, 5);
    let again = restore(editor, &doc, both, Some("and again")).await?;
    assert_eq!(again, 6);
    texts.push("One. Two. Three.");
    ana.reach(6).await?;
    assert_eq!(ana.text(), "One. Two. Three.");
    ana.append(" Four.").await?;
    texts.push("One. Two. Three. Four.");

    // Bo had it back, and who wrote it is who wrote it first.
    let told = authors(owner, &doc, again).await?;
    assert_eq!(told, runs(&[(9, "ana"), (7, "bo")]));
    let told = authors(owner, &doc, 7).await?;
    assert_eq!(told, runs(&[(9, "ana"), (7, "bo"), (6, "ana")]));

    let kept = owner
        .call(Method::POST, &format!("/v1/docs/{doc}/snapshots"), None)
        .await?;
    assert_eq!(
        (kept.0, kept.1["version"].as_u64()),
        (StatusCode::OK, Some(8)),
        "{}",
        kept.1
    );
    texts.push("One. Two. Three. Four.");
    let once_more = editor
        .call(Method::POST, &format!("/v1/docs/{doc}/snapshots"), None)
        .await?;
    assert_eq!(once_more.1, kept.1, "nothing happened in between");
    let there = get(owner, &format!("/v1/docs/{doc}")).await?;
    assert_eq!(there["snapshot_version"], 8);
    assert_eq!(there["snapshot_url"], kept.1["url"]);
    let snapshot = kept.1["url"].as_str().context("no address")?;
    assert_eq!(
        text_of(&get(owner, snapshot).await?)?,
        "One. Two. Three. Four."
    );

    let difference = get(owner, &format!("/v1/docs/{doc}/history/diff?from=7&to=1")).await?;
    assert_eq!(difference["ops"], json!([{"retain": 4}, {"delete": 18}]));

    let happened = get(owner, &format!("/v1/docs/{doc}/ops?from=1")).await?;
    check_events(&happened, &texts)?;

    scene.cluster.kill()?;
    let scene = Scene::on(&folder)?;
    let again = get(&scene.editor, &format!("/v1/docs/{doc}/ops?from=1&to=8")).await?;
    assert_eq!(again, happened, "what happened once has happened for good");
    let mut times = Vec::new();
    for (nth, text) in texts.iter().enumerate() {
        let path = format!("/v1/docs/{doc}/history?version={}", nth + 1);
        let answer = get(&scene.editor, &path).await?;
        assert_eq!(text_of(&answer)?, *text, "{path}");
        assert_eq!(answer["head"], 8);
        times.push(answer["at"].as_u64().context("no time")?);
    }
    for (nth, at) in times.iter().enumerate() {
        // The last one of those at the same time.
        let version = times.iter().rposition(|time| time == at).unwrap_or(nth) + 1;
        let answer = get(&scene.owner, &format!("/v1/docs/{doc}/history?at={at}")).await?;
        assert_eq!(answer["version"], version);
    }
    let told = authors(&scene.owner, &doc, 7).await?;
    assert_eq!(told, runs(&[(9, "ana"), (7, "bo"), (6, "ana")]));
    Ok(())
}

/// Folded one by one they are the document.
fn check_events(happened: &Value, texts: &[&str]) -> Result<()> {
    let events = happened["events"].as_array().context("no events")?;
    assert_eq!((&happened["from"], &happened["to"]), (&json!(1), &json!(8)));
    let kinds = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap_or(""));
    let edit = ["edit"; 5];
    assert!(kinds.eq([&["create", "grant"], &edit[..], &["checkpoint"]].concat()));
    let created = events
        .iter()
        .map(|event| event["user"].as_str().unwrap_or(""));
    assert!(created.eq(["ana", "ana", "ana", "bo", "bo", "bo", "ana", "ana"]));
    assert_eq!(events[1]["grant"], json!({"user": "bo", "role": "editor"}));
    let restored = events.iter().map(|event| event["restores"].as_u64());
    assert!(restored.eq([None, None, None, None, Some(2), Some(4), None, None]));
    assert_eq!(events[0]["title"], "Minutes");
    let mut text = String::new();
    for (event, expected) in events.iter().zip(texts) {
        let mut at = 0;
        for op in event["ops"].as_array().into_iter().flatten() {
            at += op["retain"].as_u64().unwrap_or(0) as usize;
            let gone = op["delete"].as_u64().unwrap_or(0) as usize;
            let comes = op["insert"].as_str().unwrap_or("");
            text.replace_range(at..at + gone, comes);
            at += comes.len();
        }
        assert_eq!(text, *expected, "after {event}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_told_or_had_back_has_its_code() -> Result<()> {
    let folder = Folder::fresh("no-history");
    let scene = Scene::on(&folder)?;
    let Scene {
        owner,
        viewer,
        stranger,
        ..
    } = &scene;
    let doc = owner.create("Minutes", "One.").await?;
    let mut ana = Typist::open(owner, &doc).await?;
    ana.append(" Two.").await?;
    owner.grant(&doc, "cy", "viewer").await?;
    let head = ana.append(" Three.").await?.rev;
    let created = get(owner, &format!("/v1/docs/{doc}/history?version=1")).await?;
    let before = created["at"].as_u64().context("no time")? - 1;

    let malformed = || (400, "malformed".to_owned());
    let missing = || (404, "no_version".to_owned());
    let forbidden = || (403, "forbidden".to_owned());
    let history = format!("/v1/docs/{doc}/history");
    for (asked, answer) in [
        ("?version=0".to_owned(), missing()),
        (format!("?version={}", head + 1), missing()),
        ("?version=18446744073709551615".to_owned(), missing()),
        ("?version=-1".to_owned(), malformed()),
        ("?version=one".to_owned(), malformed()),
        ("?version=".to_owned(), malformed()),
        ("?version=18446744073709551616".to_owned(), malformed()),
        ("?version=1&at=1".to_owned(), malformed()),
        ("?at=now".to_owned(), malformed()),
        (format!("?at={before}"), missing()),
        ("/authors?version=0".to_owned(), missing()),
        ("/authors?version=x".to_owned(), malformed()),
        ("/diff?from=1".to_owned(), malformed()),
        ("/diff?from=1&to=0".to_owned(), missing()),
    ] {
        let path = format!("{history}{asked}");
        assert_eq!(
            refused(owner, Method::GET, &path, None).await?,
            answer,
            "{path}"
        );
    }
    let ops = format!("/v1/docs/{doc}/ops");
    for (asked, answer) in [
        ("", malformed()),
        ("?from=x", malformed()),
        ("?from=2&to=1", malformed()),
        ("?from=0", missing()),
        ("?from=99", missing()),
    ] {
        let path = format!("{ops}{asked}");
        assert_eq!(
            refused(owner, Method::GET, &path, None).await?,
            answer,
            "{path}"
        );
    }
    let path = format!("{ops}?from=2");
    assert_eq!(
        refused(viewer, Method::GET, &path, None).await?,
        forbidden()
    );
    assert_eq!(get(viewer, &format!("{ops}?from=3")).await?["to"], head);
    // A viewer sees what came since the grant, and changes nothing.
    assert_eq!(
        text_of(&get(viewer, &format!("{history}?version=3")).await?)?,
        "One. Two."
    );
    for path in [
        "?version=2",
        "/authors?version=2",
        "/diff?from=2&to=3",
        "/diff?from=3&to=2",
    ] {
        let path = format!("{history}{path}");
        assert_eq!(
            refused(viewer, Method::GET, &path, None).await?,
            forbidden(),
            "{path}"
        );
    }
    let (restore, snapshots) = (
        format!("/v1/docs/{doc}/restore"),
        format!("/v1/docs/{doc}/snapshots"),
    );
    let to_3 = json!({"version": 3});
    assert_eq!(
        refused(viewer, Method::POST, &restore, Some(&to_3)).await?,
        forbidden()
    );
    assert_eq!(
        refused(viewer, Method::POST, &snapshots, None).await?,
        forbidden()
    );
    for (body, answer) in [
        (json!({"version": 0}), missing()),
        (json!({"version": head + 1}), missing()),
        (json!({"version": -1}), malformed()),
        (json!({}), malformed()),
    ] {
        assert_eq!(
            refused(owner, Method::POST, &restore, Some(&body)).await?,
            answer,
            "{body}"
        );
    }
    let long = "k".repeat(256);
    let keyed = owner.call_keyed(Method::POST, &restore, Some(&long), Some(&to_3));
    assert_eq!(keyed.await?.0, StatusCode::BAD_REQUEST);
    let not_found = || (404, "not_found".to_owned());
    for (method, path, body) in [
        (Method::GET, history.clone(), None),
        (Method::GET, format!("{ops}?from=1"), None),
        (Method::GET, format!("{history}/authors"), None),
        (Method::GET, format!("{history}/diff?from=1&to=2"), None),
        (Method::POST, restore.clone(), Some(&to_3)),
        (Method::POST, snapshots.clone(), None),
    ] {
        assert_eq!(
            refused(stranger, method, &path, body).await?,
            not_found(),
            "{path}"
        );
    }
    let wrong = refused(owner, Method::DELETE, &history, None).await?;
    assert_eq!(wrong, (405, "unsupported".to_owned()));
    // Nothing of all that changed anything.
    let now = get(owner, &history).await?;
    assert_eq!(
        (now["version"].as_u64(), text_of(&now)?.as_str()),
        (Some(head), "One. Two. Three.")
    );
    Ok(())
}

/// Others type while a document is had back: it is what it was, and then what they type.
#[tokio::test]
async fn a_restore_amid_typing_is_made_for_the_head_that_it_meets() -> Result<()> {
    let folder = Folder::fresh("restores");
    let scene = Scene::on(&folder)?;
    let Scene { owner, editor, .. } = &scene;
    let doc = owner.create("Minutes", "One.").await?;
    owner.grant(&doc, "bo", "editor").await?;
    let mut bo = Typist::open(editor, &doc).await?;
    for round in 0..10 {
        let typing = async {
            for _ in 0..20 {
                bo.append("x").await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let (typed, restored) = tokio::join!(typing, restore(owner, &doc, 1, None));
        typed.with_context(|| format!("round {round}"))?;
        let rev = restored?;
        let path = format!("/v1/docs/{doc}/history?version={rev}");
        assert_eq!(text_of(&get(owner, &path).await?)?, "One.", "round {round}");
    }
    let now = get(owner, &format!("/v1/docs/{doc}/history")).await?;
    bo.reach(now["version"].as_u64().context("no version")?)
        .await?;
    assert_eq!(bo.text(), text_of(&now)?);
    Ok(())
}
