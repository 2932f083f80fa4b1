//! Every route of the REST interface, by every role, on a document that is there, one that is not, one that
//! was deleted and one of others. The routes come from `/openapi.json`: a new one without a row here fails.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{processes::Processes, rest::Rest};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

/// What a route answers. `by_role`: owner, editor, commenter and viewer of a document that is there.
struct Row {
    route: &'static str,
    query: &'static str,
    body: Option<Value>,
    by_role: [u16; 4],
}

/// What alone can be asked of a deleted document.
const UNDELETE: &str = "POST /v1/docs/{id}/undelete";

const ROLES: [&str; 4] = ["owner", "editor", "commenter", "viewer"];

fn row(route: &'static str, by_role: [u16; 4]) -> Row {
    Row {
        route,
        query: "",
        body: None,
        by_role,
    }
}

impl Row {
    fn query(self, query: &'static str) -> Row {
        Row { query, ..self }
    }

    fn body(self, body: Value) -> Row {
        Row {
            body: Some(body),
            ..self
        }
    }
}

/// Of routes that name a document.
fn of_documents() -> Vec<Row> {
    let role = || json!({"role": "viewer"});
    let (every, editors, owners) = ([200; 4], [200, 200, 403, 403], [200, 403, 403, 403]);
    vec![
        row("GET /v1/docs/{id}", every),
        row("PATCH /v1/docs/{id}", editors).body(json!({"title": "Another"})),
        row("DELETE /v1/docs/{id}", owners),
        row(UNDELETE, [200, 404, 404, 404]),
        row("POST /v1/docs/{id}/edits", editors)
            .body(json!({"base": 2, "edits": [{"append": "!"}]})),
        row("GET /v1/docs/{id}/presence", every),
        row("GET /v1/docs/{id}/permissions", every),
        row("PUT /v1/docs/{id}/permissions/{user}", owners).body(role()),
        row("DELETE /v1/docs/{id}/permissions/{user}", owners),
        row("GET /v1/docs/{id}/history", every),
        // Those who may not edit see what came since they were let in.
        row("GET /v1/docs/{id}/history", editors).query("?version=1"),
        row("GET /v1/docs/{id}/history/authors", every),
        row("GET /v1/docs/{id}/history/diff", editors).query("?from=1&to=2"),
        row("GET /v1/docs/{id}/ops", editors).query("?from=1"),
        row("GET /v1/docs/{id}/events", every),
        row("GET /v1/docs/{id}/events", editors).query("?after=0"),
        row("POST /v1/docs/{id}/restore", editors).body(json!({"version": 1})),
        row("POST /v1/docs/{id}/snapshots", editors),
        row("GET /v1/docs/{id}/revisions/{rev}/receipt", editors),
        row("GET /v1/docs/{id}/comments", every),
        row("POST /v1/docs/{id}/comments", [201, 201, 201, 403])
            .body(json!({"rev": 2, "start": 0, "end": 4, "text": "?"})),
        row(
            "POST /v1/docs/{id}/comments/{thread}/replies",
            [201, 201, 201, 403],
        )
        .body(json!({"text": "!"})),
        row(
            "POST /v1/docs/{id}/comments/{thread}/resolve",
            [200, 200, 200, 403],
        ),
        row(
            "POST /v1/docs/{id}/comments/{thread}/reopen",
            [200, 200, 200, 403],
        ),
        row("DELETE /v1/docs/{id}/comments/{thread}/{comment}", owners),
        row("GET /v1/docs/{id}/versions", every),
        row("POST /v1/docs/{id}/versions", [201, 201, 403, 403]).body(json!({"name": "draft"})),
        row("POST /v1/collab/{id}/ticket", [201; 4]),
    ]
}

/// Of routes that do not: with a token, and without.
fn of_none() -> Vec<(Row, u16)> {
    vec![
        (
            row("POST /v1/docs", [201; 4]).body(json!({"title": "New"})),
            401,
        ),
        (row("GET /v1/docs", [200; 4]), 401),
        (row("GET /v1/receipt-key", [200; 4]), 401),
        (row("GET /healthz", [200; 4]), 200),
        (row("GET /readyz", [200; 4]), 200),
    ]
}

struct People {
    /// In the order of `ROLES`.
    with_roles: [Rest; 4],
    stranger: Rest,
    nobody: Rest,
}

/// A document in which each has its role, and a thread of its owner's.
async fn document(people: &People) -> Result<(String, String)> {
    let owner = &people.with_roles[0];
    let doc = owner.create("Rows", "some words").await?;
    let comment = json!({"rev": 1, "start": 0, "end": 4, "text": "?"});
    let comments = format!("/v1/docs/{doc}/comments");
    let (status, made) = owner.call(Method::POST, &comments, Some(&comment)).await?;
    ensure!(status == StatusCode::CREATED, "{made}");
    for role in &ROLES[1..] {
        owner.grant(&doc, role, role).await?;
    }
    let thread = made["id"].as_str().context("no thread")?;
    Ok((doc, thread.to_owned()))
}

async fn ask(rest: &Rest, row: &Row, doc: &str, thread: &str) -> Result<(u16, Value)> {
    let (method, path) = row.route.split_once(' ').context("a method and a path")?;
    let path = path
        .replace("{id}", doc)
        .replace("{user}", "someone")
        .replace("{rev}", "1");
    let path = path
        .replace("{thread}", thread)
        .replace("{comment}", thread);
    ensure!(!path.contains('{'), "{path}: what is that?");
    let path = format!("{path}{}", row.query);
    let call = rest.call(method.parse()?, &path, row.body.as_ref());
    let (status, answer) = call.await?;
    Ok((status.as_u16(), answer))
}

/// What every refusal is.
fn judge(row: &Row, who: &str, expected: u16, (status, answer): (u16, Value)) -> Result<()> {
    let route = format!("{}{} by {who}", row.route, row.query);
    ensure!(
        status == expected,
        "{route}: {status} instead of {expected}: {answer}"
    );
    if status >= 400 {
        ensure!(
            answer["status"] == status && answer["code"].is_string(),
            "{route}: {answer}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_route_answers_each_role_as_its_row_says() -> Result<()> {
    let limits = [("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "10000")];
    let cluster = Processes::start("routes", &["--port", "0"], &limits)?;
    let of = |name: &str| anyhow::Ok(Rest::new(&cluster.ready.http, &cluster.token(name)?));
    let people = People {
        with_roles: [of("owner")?, of("editor")?, of("commenter")?, of("viewer")?],
        stranger: of("stranger")?,
        nobody: Rest::new(&cluster.ready.http, "nobody"),
    };
    let missing = "0".repeat(32);
    let none = format!("/v1/docs/{missing}");
    let (_, like_missing) = people.stranger.call(Method::GET, &none, None).await?;
    let mut rows = BTreeSet::new();
    for row in of_documents() {
        rows.insert(row.route);
        for ((role, rest), expected) in ROLES.iter().zip(&people.with_roles).zip(row.by_role) {
            let (doc, thread) = document(&people).await?;
            judge(&row, role, expected, ask(rest, &row, &doc, &thread).await?)?;
            let gone = ask(rest, &row, &missing, &thread).await?;
            judge(&row, &format!("{role}, of none"), 404, gone)?;
        }
        deleted(&people, &row, &like_missing).await?;
        let (doc, thread) = document(&people).await?;
        let others = ask(&people.stranger, &row, &doc, &thread).await?;
        ensure!(
            others.1 == like_missing,
            "{}: another's looks like none: {}",
            row.route,
            others.1
        );
        judge(&row, "a stranger", 404, others)?;
        judge(
            &row,
            "nobody",
            401,
            ask(&people.nobody, &row, &doc, &thread).await?,
        )?;
    }
    for (row, without) in of_none() {
        rows.insert(row.route);
        judge(
            &row,
            "somebody",
            row.by_role[0],
            ask(&people.stranger, &row, "", "").await?,
        )?;
        judge(
            &row,
            "nobody",
            without,
            ask(&people.nobody, &row, "", "").await?,
        )?;
    }
    let described = described(&people.nobody).await?;
    let without: Vec<_> = described
        .iter()
        .filter(|route| !rows.contains(&***route))
        .collect();
    ensure!(without.is_empty(), "routes without a row: {without:?}");
    let unknown: Vec<_> = rows
        .iter()
        .filter(|row| !described.contains(**row))
        .collect();
    ensure!(unknown.is_empty(), "rows without a route: {unknown:?}");
    methods(&people.with_roles[0], &described).await
}

/// One that was deleted looks as if it had never been, but for who owned it and wants it back.
async fn deleted(people: &People, row: &Row, like_missing: &Value) -> Result<()> {
    let (doc, thread) = document(people).await?;
    let path = format!("/v1/docs/{doc}");
    let owner = &people.with_roles[0];
    let (status, told) = owner.call(Method::DELETE, &path, None).await?;
    ensure!(status == StatusCode::OK, "{told}");
    let others = people.with_roles[1..].iter().chain([&people.stranger]);
    for (who, rest) in ["an editor", "a commenter", "a viewer", "a stranger"]
        .iter()
        .zip(others)
    {
        let told = ask(rest, row, &doc, &thread).await?;
        ensure!(
            told.1 == *like_missing,
            "{} by {who}: {}",
            row.route,
            told.1
        );
        judge(row, &format!("{who}, of a deleted one"), 404, told)?;
    }
    let told = ask(owner, row, &doc, &thread).await?;
    let is_back = row.route == UNDELETE;
    let looks = is_back || told.1 == *like_missing;
    ensure!(looks, "{} by its owner: {}", row.route, told.1);
    let expected = if is_back { 200 } else { 404 };
    judge(row, "its owner, of a deleted one", expected, told)
}

/// All routes, as the description has them.
async fn described(rest: &Rest) -> Result<BTreeSet<String>> {
    let (_, description) = rest.call(Method::GET, "/openapi.json", None).await?;
    let paths = description["paths"].as_object().context("no paths")?;
    let mut all = BTreeSet::new();
    for (path, methods) in paths {
        for method in methods.as_object().context("no methods")?.keys() {
            all.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    ensure!(all.len() > 20, "{all:?}");
    Ok(all)
}

/// A method that a path does not have is refused as such, with those that it has.
async fn methods(rest: &Rest, described: &BTreeSet<String>) -> Result<()> {
    let paths: BTreeSet<&str> = described
        .iter()
        .filter_map(|route| route.split(' ').nth(1))
        .collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if described.contains(&format!("{method} {path}")) {
                continue;
            }
            let filled: String = path
                .replace("{id}", &"0".repeat(32))
                .replace(['{', '}'], "");
            let (status, problem) = rest.call(method.parse()?, &filled, None).await?;
            if (status.as_u16(), &problem["code"]) != (405, &json!("unsupported")) {
                bail!("{method} {path}: {status} {problem}");
            }
        }
    }
    Ok(())
}
