//! The documents that a user may see: all of them and no others, page by page, whatever was restarted.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes},
    rest::Rest,
};
use hyper::{Method, StatusCode};

/// A few commands are a manifest, and what came since is a list's as well.
const TIGHT: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "10000"),
];

/// All pages, each in order and full but for the last.
async fn listed(rest: &Rest, limit: usize) -> Result<BTreeSet<String>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/docs?limit={limit}{after}");
        let (status, page) = rest.call(Method::GET, &path, None).await?;
        ensure!(status == StatusCode::OK, "{status} {page}");
        let documents = page["documents"].as_array().context("no documents")?;
        let ids = documents
            .iter()
            .filter_map(|document| document["id"].as_str());
        all.extend(ids.map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => {
                ensure!(
                    documents.len() == limit,
                    "a page before the last is full: {page}"
                );
                after = format!("&after={next}");
            }
            None => break,
        }
    }
    ensure!(
        all.is_sorted_by(|one, next| one < next),
        "in order, each once: {all:?}"
    );
    Ok(all.into_iter().collect())
}

#[tokio::test]
async fn a_users_documents_are_listed_page_by_page_whatever_is_restarted() -> Result<()> {
    let folder = Folder::fresh("lists");
    let start = || Processes::start_in(&folder, &["--port", "0"], &TIGHT);
    let cluster = start()?;
    let ana = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let (mut all, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..120 {
        let id = ana.create(&format!("document {n}"), "").await?;
        if n % 3 == 0 {
            ana.grant(&id, "bo", "viewer").await?;
            shared.insert(id.clone());
        }
        all.insert(id);
    }
    ensure!(listed(&ana, 7).await? == all);
    ensure!(listed(&bo, 200).await? == shared);
    // What is taken away is listed no more, in the very next answer.
    let gone = shared.pop_first().context("none is shared")?;
    let path = format!("/v1/docs/{gone}/permissions/bo");
    ana.call(Method::DELETE, &path, None).await?;
    ensure!(listed(&bo, 5).await? == shared);
    // From the manifests' lists, with what the log has since.
    cluster.kill()?;
    let cluster = start()?;
    let ana = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    ensure!(listed(&ana, 50).await? == all);
    ensure!(listed(&bo, 1).await? == shared);
    let own = bo.create("Bo's own", "").await?;
    let (_, page) = bo.call(Method::GET, "/v1/docs?limit=200", None).await?;
    let documents = page["documents"].as_array().context("no documents")?;
    for document in documents {
        let is_own = document["id"] == own.as_str();
        let (owner, role) = if is_own {
            ("bo", "owner")
        } else {
            ("developer", "viewer")
        };
        ensure!(
            document["owner"] == owner && document["role"] == role,
            "{document}"
        );
    }
    ensure!(documents.len() == shared.len() + 1, "{page}");
    let nobody = Rest::new(&cluster.ready.http, &cluster.token("cy")?);
    let (status, page) = nobody.call(Method::GET, "/v1/docs", None).await?;
    let none = serde_json::json!({"documents": [], "next": null});
    ensure!((status, &page) == (StatusCode::OK, &none), "{page}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_page_of_a_list_is_refused_with_its_code() -> Result<()> {
    let cluster = Processes::start("lists-refused", &["--port", "0"], &[])?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "after=x",
        "after=",
        "filter=",
        "filter=gone",
        "query=",
    ] {
        let (status, problem) = rest
            .call(Method::GET, &format!("/v1/docs?{query}"), None)
            .await?;
        let told = (status, problem["code"].as_str());
        ensure!(
            told == (StatusCode::BAD_REQUEST, Some("malformed")),
            "{query}: {problem}"
        );
    }
    let stranger = Rest::new(&cluster.ready.http, "nobody");
    let (status, problem) = stranger.call(Method::GET, "/v1/docs", None).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "{problem}");
    Ok(())
}

#[tokio::test]
async fn a_list_has_what_was_asked_for_and_goes_on_behind_what_was_looked_at() -> Result<()> {
    let cluster = Processes::start("lists-asked", &["--port", "0"], &TIGHT)?;
    let ana = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let (mut own, mut of_ana, mut named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for n in 0..12 {
        let id = ana.create(&format!("Übersicht {n}"), "").await?;
        ana.grant(&id, "bo", "editor").await?;
        of_ana.insert(id);
        own.insert(bo.create(&format!("Bo's {n}"), "").await?);
    }
    for id in own.iter().step_by(3).chain(of_ana.iter().take(1)) {
        let title = serde_json::json!({"title": "Minutes of MAY"});
        let path = format!("/v1/docs/{id}");
        let (status, told) = bo.call(Method::PATCH, &path, Some(&title)).await?;
        ensure!(status == StatusCode::OK, "{status} {told}");
        named.insert(id.clone());
    }
    let all: BTreeSet<String> = own.union(&of_ana).cloned().collect();
    for (asked, right) in [
        ("", &all),
        ("&filter=mine", &own),
        ("&filter=shared", &of_ana),
        ("&query=minutes%20of%20may", &named),
        ("&query=nowhere", &BTreeSet::new()),
        ("&filter=mine&query=may", &(&named & &own)),
        ("&filter=shared&query=%C3%BCBER", &(&of_ana - &named)),
    ] {
        for limit in [1, 5, 200] {
            let found = gathered(&bo, limit, asked).await?;
            ensure!(&found == right, "{asked} by {limit}: {found:?}");
        }
    }
    Ok(())
}

/// All pages of what was asked for; each goes on behind the one before.
async fn gathered(rest: &Rest, limit: usize, asked: &str) -> Result<BTreeSet<String>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/docs?limit={limit}{asked}{after}");
        let (status, page) = rest.call(Method::GET, &path, None).await?;
        ensure!(status == StatusCode::OK, "{status} {page}");
        let documents = page["documents"].as_array().context("no documents")?;
        ensure!(documents.len() <= limit, "{page}");
        let ids = documents.iter().filter_map(|there| there["id"].as_str());
        all.extend(ids.map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let in_order = all.is_sorted_by(|one, next| one < next);
    ensure!(in_order, "in order, each once: {all:?}");
    Ok(all.into_iter().collect())
}
