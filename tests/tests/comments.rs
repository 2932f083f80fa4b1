//! Comments and named versions, with real processes: for whom they are, that they stay on their words
//! through restarts and a thousand edits, and that to ask again makes no second one.

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes},
    rest::Rest,
    socket::{Socket, fresh_client},
    typist::Typist,
};
use codraft_proto::frame::ServerFrame;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

/// A few commands are a manifest.
const TIGHT: [(&str, &str); 3] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "50"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "10000"),
    ("CODRAFT_LIMITS__OPS_PER_SECOND", "100000"),
];

async fn post(rest: &Rest, path: &str, key: Option<&str>, body: &Value) -> Result<(u16, Value)> {
    let call = rest.call_keyed(Method::POST, path, key, Some(body));
    let (status, answer) = call.await?;
    Ok((status.as_u16(), answer))
}

async fn get(rest: &Rest, path: &str) -> Result<Value> {
    let (status, answer) = rest.call(Method::GET, path, None).await?;
    ensure!(status == StatusCode::OK, "{path}: {status} {answer}");
    Ok(answer)
}

/// What a thread is on, in a text without surrogate pairs.
fn words(listed: &Value, thread: &str, text: &str) -> Result<String> {
    let threads = listed["threads"].as_array().context("no threads")?;
    let thread = threads.iter().find(|there| there["id"] == thread);
    let thread = thread.context("the thread is not there")?;
    let unit = |name: &str| thread[name].as_u64().context("no range");
    let (start, end) = (unit("start")? as usize, unit("end")? as usize);
    Ok(text.chars().take(end).skip(start).collect())
}

#[tokio::test]
async fn a_comment_stays_on_its_words_whatever_is_typed_and_restarted() -> Result<()> {
    let folder = Folder::fresh("comments");
    let start = || Processes::start_in(&folder, &["--port", "0"], &TIGHT);
    let cluster = start()?;
    let ana = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let doc = ana.create("Notes", "some words to talk about").await?;
    ana.grant(&doc, "bo", "commenter").await?;
    let of = format!("/v1/docs/{doc}/comments");
    let (mut socket, _) = Socket::open(&ana, &doc, fresh_client(), None, false).await?;

    let body = json!({"rev": 2, "start": 5, "end": 10, "text": "which?"});
    let (status, made) = post(&bo, &of, Some("one"), &body).await?;
    assert_eq!((status, &made["rev"]), (201, &json!(3)), "{made}");
    let thread = made["id"].as_str().context("no id")?.to_owned();
    assert_eq!(
        post(&bo, &of, Some("one"), &body).await?,
        (201, made.clone())
    );
    let told = loop {
        if let ServerFrame::Event(event) = socket.next().await? {
            break event;
        }
    };
    let note = told.note.context("an event without what was done")?;
    assert_eq!((&*told.kind, &note["what"]), ("comment", &json!("opened")));
    assert_eq!(
        (&note["start"], &note["end"], &note["text"]),
        (&json!(5), &json!(10), &json!("which?"))
    );
    drop(socket);

    let replies = format!("{of}/{thread}/replies");
    let (status, reply) = post(&ana, &replies, None, &json!({"text": "these"})).await?;
    assert_eq!(status, 201, "{reply}");
    let mut typist = Typist::open(&ana, &doc).await?;
    for n in 0..200 {
        typist.prepend(&format!("{n} ")).await?;
    }
    let listed = get(&bo, &of).await?;
    assert_eq!(words(&listed, &thread, &typist.text())?, "words");
    drop(typist);

    cluster.kill()?;
    let cluster = start()?;
    let ana = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let mut typist = Typist::open(&ana, &doc).await?;
    // More than the window of history holds.
    for n in 0..4_200 {
        typist.prepend(if n % 7 == 0 { "-" } else { "x" }).await?;
    }
    let (status, resolved) =
        post(&ana, &format!("{of}/{thread}/resolve"), None, &json!({})).await?;
    assert_eq!(status, 200, "{resolved}");
    let reply = reply["id"].as_str().context("no id")?.to_owned();
    let path = format!("{of}/{thread}/{reply}");
    let (status, refused) = bo.call(Method::DELETE, &path, None).await?;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (403, &json!("forbidden"))
    );
    let (status, deleted) = ana.call(Method::DELETE, &path, None).await?;
    assert_eq!(status, StatusCode::OK, "{deleted}");
    let listed = get(&bo, &of).await?;
    assert_eq!(words(&listed, &thread, &typist.text())?, "words");
    let there = &listed["threads"][0];
    assert_eq!(there["resolved"], true);
    let texts = [&there["comments"][0]["text"], &there["comments"][1]["text"]];
    assert_eq!(texts, [&json!("which?"), &Value::Null]);
    // An old copy of what opened it is known all the same: the thread is there.
    assert_eq!(post(&bo, &of, Some("one"), &body).await?, (201, made));
    let late = json!({"rev": 2, "start": 0, "end": 4, "text": "late"});
    let (status, refused) = post(&bo, &of, None, &late).await?;
    assert_eq!((status, &refused["code"]), (412, &json!("base_too_old")));
    Ok(())
}

#[tokio::test]
async fn versions_have_names_and_who_may_not_is_told_so() -> Result<()> {
    let cluster = Processes::start("versions", &["--port", "0"], &TIGHT)?;
    let ana = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let cy = Rest::new(&cluster.ready.http, &cluster.token("cy")?);
    let doc = ana.create("Notes", "some words").await?;
    let mut typist = Typist::open(&ana, &doc).await?;
    typist.append(" more").await?;
    let of = format!("/v1/docs/{doc}/versions");
    let (status, made) = post(&ana, &of, Some("k"), &json!({"name": "draft"})).await?;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        post(&ana, &of, Some("k"), &json!({"name": "draft"})).await?,
        (201, made)
    );
    let (status, _) = post(&ana, &of, None, &json!({"name": "first", "rev": 1})).await?;
    assert_eq!(status, 201);
    let versions = get(&ana, &of).await?;
    let told = |n: usize| {
        (
            versions["versions"][n]["name"].clone(),
            versions["versions"][n]["rev"].clone(),
        )
    };
    assert_eq!(
        [told(0), told(1)],
        [(json!("draft"), json!(2)), (json!("first"), json!(1))]
    );
    // A named version is one that can be read.
    let was = get(&ana, &format!("/v1/docs/{doc}/history?version=2")).await?;
    assert_eq!(was["content"][0]["insert"], "some words more");

    ana.grant(&doc, "bo", "viewer").await?;
    let comments = format!("/v1/docs/{doc}/comments");
    let comment = json!({"rev": 2, "start": 0, "end": 4, "text": "?"});
    let nowhere = format!("{comments}/{}", "0".repeat(32));
    for (who, path, body, expected) in [
        (&bo, of.clone(), json!({"name": "mine"}), (403, "forbidden")),
        (&bo, comments.clone(), comment.clone(), (403, "forbidden")),
        (&cy, of.clone(), json!({"name": "mine"}), (404, "not_found")),
        (&cy, comments.clone(), comment.clone(), (404, "not_found")),
        (&ana, of.clone(), json!({"name": ""}), (400, "malformed")),
        (
            &ana,
            of.clone(),
            json!({"name": "x", "rev": 99}),
            (404, "no_version"),
        ),
        (
            &ana,
            of.clone(),
            json!({"name": "x", "rev": 0}),
            (404, "no_version"),
        ),
        (&ana, of.clone(), json!({"text": "x"}), (400, "malformed")),
        (
            &ana,
            comments.clone(),
            json!({"rev": 2, "start": 4, "end": 4, "text": "?"}),
            (422, "length_mismatch"),
        ),
        (
            &ana,
            comments.clone(),
            json!({"rev": 2, "start": 4, "end": 99, "text": "?"}),
            (422, "length_mismatch"),
        ),
        (
            &ana,
            comments.clone(),
            json!({"rev": 99, "start": 0, "end": 4, "text": "?"}),
            (409, "base_ahead"),
        ),
        (
            &ana,
            comments.clone(),
            json!({"rev": 2, "start": 0, "end": 4, "text": ""}),
            (400, "malformed"),
        ),
        (
            &ana,
            format!("{nowhere}/replies"),
            json!({"text": "?"}),
            (404, "no_comment"),
        ),
        (
            &ana,
            format!("{comments}/x/replies"),
            json!({"text": "?"}),
            (404, "no_comment"),
        ),
        (
            &ana,
            format!("{nowhere}/resolve"),
            json!({}),
            (404, "no_comment"),
        ),
        (&ana, nowhere.clone(), json!({}), (404, "not_found")),
    ] {
        let (status, problem) = post(who, &path, None, &body).await?;
        let told = (status, problem["code"].as_str().unwrap_or_default());
        ensure!(told == expected, "{path} {body}: {status} {problem}");
    }
    // A viewer reads what is said, and of names those that came since they were let in.
    assert_eq!(get(&bo, &of).await?, json!({"versions": []}));
    assert_eq!(get(&bo, &comments).await?["threads"], json!([]));
    typist.append(", and on").await?;
    Ok(())
}
