//! Programs that edit while people type: nothing of theirs is deleted, and the same request is one edit.
#![allow(clippy::disallowed_methods)] // a test outside the product, never simulated

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{kills::kill_leader, processes::Processes, rest::Rest, typist::Typist};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

const ROOM: [(&str, &str); 1] = [("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "10000")];

async fn edit(rest: &Rest, doc: &str, key: Option<&str>, body: &Value) -> Result<(u16, Value)> {
    let path = format!("/v1/docs/{doc}/edits");
    let (status, answer) = rest
        .call_keyed(Method::POST, &path, key, Some(body))
        .await?;
    Ok((status.as_u16(), answer))
}

async fn text(rest: &Rest, doc: &str) -> Result<(u64, String)> {
    let path = format!("/v1/docs/{doc}/history");
    let (status, past) = rest.call(Method::GET, &path, None).await?;
    ensure!(status == StatusCode::OK, "{past}");
    let parts = past["content"].as_array().context("no content")?;
    let parts = parts.iter().filter_map(|part| part["insert"].as_str());
    let rev = past["version"].as_u64().context("no version")?;
    Ok((rev, parts.collect()))
}

#[tokio::test]
async fn a_program_that_edits_while_people_type_deletes_nothing_of_theirs() -> Result<()> {
    let cluster = Processes::start("programs", &["--port", "0"], &ROOM)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Shared", "# Log\n\ncount: [0]\n").await?;
    let over = Arc::new(AtomicBool::new(false));
    let mut people = Vec::new();
    for person in ["a", "b"] {
        let (rest, doc, over) = (rest.clone(), doc.clone(), over.clone());
        people.push(tokio::task::spawn(async move {
            let mut typist = Typist::open(&rest, &doc).await?;
            let mut words = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let word = format!("<{person}{}>", words.len());
                match words.len() % 2 {
                    0 => typist.append(&word).await?,
                    _ => typist.prepend(&word).await?,
                };
                words.push(word);
            }
            anyhow::Ok(words)
        }));
    }
    for n in 0..200 {
        let changes = json!({"name": "counter", "edits": [
            {"replace": format!("[{n}]"), "with": format!("[{}]", n + 1)},
            {"before": "count: ", "insert": format!("line {n}\n")},
        ]});
        let (status, answer) = edit(&rest, &doc, None, &changes).await?;
        ensure!(status == 200, "{n}: {status} {answer}");
    }
    over.store(true, Ordering::Relaxed);
    let mut typed = 0;
    let mut words = Vec::new();
    for person in people {
        words.extend(person.await??);
    }
    let (rev, text) = text(&rest, &doc).await?;
    for word in &words {
        ensure!(text.matches(word.as_str()).count() == 1, "{word}: {text}");
        typed += 1;
    }
    ensure!(typed > 20, "people typed meanwhile: {typed}");
    for n in 0..200 {
        ensure!(text.matches(&format!("line {n}\n")).count() == 1, "{n}");
    }
    ensure!(text.contains("count: [200]"), "{text}");
    ensure!(rev == 1 + 200 + typed, "each once: {rev}, typed {typed}");
    Ok(())
}

#[tokio::test]
async fn the_same_request_is_applied_once_also_when_the_leader_dies() -> Result<()> {
    let cluster = Processes::start("programs-once", &[], &ROOM)?;
    let by = |router: usize| Rest::new(&cluster.ready.routers[router], &cluster.ready.token);
    let (rest, other) = (by(0), by(1));
    let routers = [&rest, &other];
    let doc = rest.create("Once", "one two").await?;
    let words = json!({"base": 1, "edits": [{"replace": "two", "with": "2"}, {"append": "!"}]});
    let ops = json!({"base": 1, "ops": [{"insert": "> "}]});
    for (key, body) in [("words", &words), ("ops", &ops)] {
        let together = (0..6).map(|n| edit(routers[n % 2], &doc, Some(key), body));
        let answers = futures_util::future::try_join_all(together).await?;
        kill_leader(&cluster, routers[0], &doc).await?;
        for rest in routers {
            let again = edit(rest, &doc, Some(key), body).await?;
            ensure!(again == answers[0], "{again:?}, {:?}", answers[0]);
        }
        cluster.all_alive(&[]).await?;
        ensure!(answers[0].0 == 200, "{:?}", answers[0]);
        ensure!(answers.iter().all(|answer| *answer == answers[0]));
    }
    let all = text(&rest, &doc).await?;
    ensure!(all == (3, "> one 2!".to_owned()), "{all:?}");
    // Another request by the same key is none.
    let other = json!({"base": 1, "ops": [{"insert": "other"}]});
    let (status, problem) = edit(&rest, &doc, Some("ops"), &other).await?;
    ensure!(
        (status, problem["code"].as_str()) == (409, Some("seq_conflict")),
        "{problem}"
    );
    Ok(())
}

#[tokio::test]
async fn an_edit_that_cannot_be_is_refused_with_its_code_and_changes_nothing() -> Result<()> {
    let cluster = Processes::start("programs-refused", &["--port", "0"], &ROOM)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest
        .create("Refused", "# A\n# A\nhere twice, here\n")
        .await?;
    let touching = json!({"base": 1, "ops": [{"retain": 15}, {"insert": "x"}]});
    ensure!(edit(&rest, &doc, None, &touching).await?.0 == 200);
    let before = text(&rest, &doc).await?;
    let find = |edit: Value| json!({"base": 1, "edits": [edit]});
    for (body, status, code) in [
        (
            find(json!({"replace": "nowhere", "with": ""})),
            422,
            "no_match",
        ),
        (
            find(json!({"after_heading": "B", "insert": "x"})),
            422,
            "no_match",
        ),
        (
            find(json!({"replace": "here", "with": "x"})),
            409,
            "ambiguous",
        ),
        (
            find(json!({"after_heading": "A", "insert": "x"})),
            409,
            "ambiguous",
        ),
        (
            find(json!({"replace": "twice", "with": "x"})),
            409,
            "touched",
        ),
        (
            find(json!({"after": "twice", "insert": "x"})),
            409,
            "touched",
        ),
        (find(json!({"replace": "", "with": "x"})), 400, "malformed"),
        (find(json!({"append": ""})), 400, "malformed"),
        (find(json!({"append": "x", "with": "y"})), 400, "malformed"),
        (json!({"base": 1, "edits": []}), 400, "malformed"),
        (json!({"base": 1}), 400, "malformed"),
        (json!({"ops": [{"insert": "x"}]}), 400, "malformed"),
        (
            json!({"base": 9, "ops": [{"insert": "x"}]}),
            409,
            "base_ahead",
        ),
        (
            json!({"base": 9, "edits": [{"append": "x"}]}),
            409,
            "base_ahead",
        ),
        (
            json!({"base": 1, "name": "", "ops": [{"insert": "x"}]}),
            400,
            "malformed",
        ),
        (
            json!({"base": 1, "ops": [{"delete": 99}]}),
            422,
            "length_mismatch",
        ),
        (json!({"base": 1, "content": "all of it"}), 400, "malformed"),
        (
            json!({"base": 1, "edits": [
                {"replace": "twice, here", "with": "x"}, {"replace": "twice", "with": "y"}
            ]}),
            400,
            "malformed",
        ),
    ] {
        let (told, problem) = edit(&rest, &doc, None, &body).await?;
        let told = (told, problem["code"].as_str().unwrap_or_default());
        ensure!(told == (status, code), "{body}: {told:?} {problem}");
    }
    let keyed = json!({"edits": [{"append": "x"}]});
    ensure!(edit(&rest, &doc, Some("key"), &keyed).await?.0 == 400);
    ensure!(text(&rest, &doc).await? == before);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    ensure!(edit(&bo, &doc, None, &keyed).await?.0 == 404);
    rest.grant(&doc, "bo", "viewer").await?;
    ensure!(edit(&bo, &doc, None, &keyed).await?.0 == 403);
    Ok(())
}

#[tokio::test]
async fn a_base_below_the_window_is_refused_with_what_is_missing() -> Result<()> {
    let cluster = Processes::start("programs-late", &["--port", "0"], &ROOM)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Late", "").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    // More than the window of history holds.
    for n in 0..4_200 {
        typist.prepend(if n % 7 == 0 { "-" } else { "x" }).await?;
    }
    let late = json!({"base": 1, "ops": [{"insert": "late"}]});
    let (status, problem) = edit(&rest, &doc, None, &late).await?;
    ensure!(
        (status, &problem["code"]) == (412, &json!("base_too_old")),
        "{problem}"
    );
    let floor = problem["floor"].as_u64().context("no floor")?;
    ensure!(floor > 1 && problem["head"] == typist.rev, "{problem}");
    // The oldest base that is taken is, and the one before it is not.
    let at = |base: u64| json!({"base": base, "edits": [{"append": "!"}]});
    ensure!(edit(&rest, &doc, None, &at(floor - 1)).await?.0 == 412);
    let (status, edited) = edit(&rest, &doc, None, &at(floor)).await?;
    ensure!(
        status == 200 && edited["rev"] == typist.rev + 1,
        "{status} {edited}"
    );
    Ok(())
}
