//! The REST interface before nodes that are not.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{ORIGIN, Scene, http};
use serde_json::json;

#[tokio::test]
async fn create_read_and_share() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let new = json!({"title": "Minutes", "initial": "Hello"});
    let created = http::json(&at, "POST", "/v1/docs", "ana", &new).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let made = created.json();
    let id = made["id"].as_str().unwrap();
    assert!(
        created.head.contains(&format!("location: /v1/docs/{id}")),
        "{}",
        created.head
    );
    assert_eq!(
        (&made["rev"], &made["kind"], &made["owner"]),
        (&json!(1), &json!("text"), &json!("ana"))
    );

    let path = format!("/v1/docs/{id}");
    let read = http::get(&at, &path, &http::bearer("ana")).await.json();
    assert_eq!(
        (&read["title"], &read["role"]),
        (&json!("Minutes"), &json!("owner"))
    );

    // Missing, not yours and no id at all are the same answer.
    let foreign = http::get(&at, &path, &http::bearer("bo")).await;
    let missing = http::get(
        &at,
        &format!("/v1/docs/{}", "0".repeat(32)),
        &http::bearer("bo"),
    )
    .await;
    let no_id = http::get(&at, "/v1/docs/x", &http::bearer("bo")).await;
    assert_eq!(
        (foreign.status, foreign.code().as_str()),
        (404, "not_found")
    );
    assert_eq!(foreign.body, missing.body);
    assert_eq!(foreign.body, no_id.body);

    let bo = format!("{path}/permissions/bo");
    let put = http::json(&at, "PUT", &bo, "ana", &json!({"role": "editor"})).await;
    assert_eq!(
        put.json(),
        json!({"user": "bo", "role": "editor", "rev": 2})
    );
    let not_owner = http::json(&at, "PUT", &bo, "bo", &json!({"role": "owner"})).await;
    assert_eq!(
        (not_owner.status, not_owner.code().as_str()),
        (403, "forbidden")
    );
    let wrong = http::json(&at, "PUT", &bo, "ana", &json!({"role": "king"})).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "malformed"));
    let list = http::get(&at, &format!("{path}/permissions"), &http::bearer("bo"))
        .await
        .json();
    assert_eq!(list["permissions"].as_array().unwrap().len(), 2);
    let gone = http::send(&at, "DELETE", &bo, &http::bearer("ana"), "").await;
    assert_eq!(gone.json(), json!({"user": "bo", "role": null, "rev": 3}));
    assert_eq!(http::get(&at, &path, &http::bearer("bo")).await.status, 404);
    scene.end().await;
}

#[tokio::test]
async fn an_idempotency_key_makes_one_document() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let create_with = async |user: &str, key: &str, title: &str, initial: &str| {
        let headers = format!(
            "{}content-type: application/json\r\nidempotency-key: {key}\r\n",
            http::bearer(user)
        );
        http::send(
            &at,
            "POST",
            "/v1/docs",
            &headers,
            &json!({"title": title, "initial": initial}).to_string(),
        )
        .await
    };
    let create = async |user, key, title| create_with(user, key, title, "x").await;
    let first = create("ana", "k1", "A").await;
    let again = create("ana", "k1", "A").await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_ne!(
        first.json()["id"],
        create("ana", "k2", "A").await.json()["id"]
    );
    assert_ne!(
        first.json()["id"],
        create("bo", "k1", "A").await.json()["id"]
    );
    let other = create("ana", "k1", "B").await;
    assert_eq!((other.status, other.code().as_str()), (409, "exists"));
    let other = create_with("ana", "k1", "A", "y").await;
    assert_eq!((other.status, other.code().as_str()), (409, "exists"));
    scene.end().await;
}

/// The first time was seen by everybody, and what another did since must stand.
#[tokio::test]
async fn a_change_of_a_role_is_not_made_twice() {
    for undone in [false, true] {
        let scene = Scene::new().await;
        let at = scene.router.address().to_owned();
        let doc = scene.document(1, &[("ana", 4)]);
        scene.with_world(|w| w.deaf = true);
        let (path, role) = (
            format!("/v1/docs/{doc}/permissions/bo"),
            json!({"role": "editor"}),
        );
        let put = http::json(&at, "PUT", &path, "ana", &role);
        let meanwhile = async {
            while scene.with_world(|w| w.grants) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            if undone {
                scene.grant(doc, "bo", 0);
            }
            scene.with_world(|w| w.deaf = false);
            scene.kill(1).await;
            scene.lead(2);
        };
        let (put, ()) = tokio::join!(put, meanwhile);
        let expected = if undone { 504 } else { 200 };
        assert_eq!(put.status, expected, "{}", put.body);
        assert_eq!(scene.with_world(|w| w.grants), 1);
        scene.end().await;
    }
}

/// A process that is stopped keeps its connections: nothing but the next leader tells of it.
#[tokio::test]
async fn a_request_to_a_leader_that_stands_still_is_asked_of_the_next_one() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let doc = scene.document(1, &[("ana", 4)]);
    scene.with_world(|w| w.deaf = true);
    let path = format!("/v1/docs/{doc}");
    let headers = http::bearer("ana");
    let asked = http::get(&at, &path, &headers);
    let meanwhile = async {
        while scene.with_world(|w| w.calls) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        scene.with_world(|w| w.deaf = false);
        scene.lead(2);
    };
    let (read, ()) = tokio::join!(asked, meanwhile);
    assert_eq!(read.status, 200, "{}", read.body);
    scene.end().await;
}

#[tokio::test]
async fn a_request_waits_for_the_next_leader() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let doc = scene.document(1, &[("ana", 4)]);
    scene.kill(1).await;
    let path = format!("/v1/docs/{doc}");
    let headers = http::bearer("ana");
    let read = http::get(&at, &path, &headers);
    let later = async {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        scene.lead(2);
    };
    let (read, ()) = tokio::join!(read, later);
    assert_eq!(read.status, 200, "{}", read.body);
    scene.end().await;
}

#[tokio::test]
async fn bad_requests_have_their_code() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let ana = http::bearer("ana");
    let typed = format!("{ana}content-type: application/json\r\n");
    let large = format!("{{\"title\":\"{}\"}}", "x".repeat(2 << 20));
    let table = [
        ("POST", "/v1/docs", "", "{}", 401, "token_invalid"),
        ("POST", "/v1/docs", typed.as_str(), "{", 400, "malformed"),
        ("POST", "/v1/docs", typed.as_str(), "{}", 400, "malformed"),
        (
            "POST",
            "/v1/docs",
            typed.as_str(),
            r#"{"title":"a","color":1}"#,
            400,
            "malformed",
        ),
        (
            "POST",
            "/v1/docs",
            typed.as_str(),
            r#"{"title":"a","kind":"cube"}"#,
            422,
            "unsupported",
        ),
        (
            "POST",
            "/v1/docs",
            typed.as_str(),
            r#"{"title":"a","initial":[{"retain":-1}]}"#,
            400,
            "malformed",
        ),
        (
            "POST",
            "/v1/docs",
            typed.as_str(),
            &large,
            413,
            "frame_too_large",
        ),
        (
            "PUT",
            "/v1/docs/x/permissions/bo",
            "content-type: application/json\r\n",
            "{",
            401,
            "token_invalid",
        ),
        ("GET", "/v1/nothing", ana.as_str(), "", 404, "not_found"),
    ];
    for (method, path, headers, body, status, code) in table {
        let answer = http::send(&at, method, path, headers, body).await;
        let shown = format!("{method} {path} {:.40}: {}", body, answer.body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{shown}"
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn what_is_served_beside() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    assert_eq!(http::get(&at, "/healthz", "").await.body, "ok");
    let openapi = http::get(&at, "/openapi.json", "").await.json();
    for path in [
        "/v1/docs",
        "/v1/docs/{id}/permissions/{user}",
        "/v1/collab/{id}/ticket",
    ] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    let page = http::get(&at, "/", "").await;
    assert!(
        page.status == 200 && page.head.contains("text/html"),
        "{}",
        page.head
    );
    assert_eq!(http::get(&at, "/../Cargo.toml", "").await.status, 404);
    let asked = format!("origin: {ORIGIN}\r\naccess-control-request-method: POST\r\n");
    let preflight = http::send(&at, "OPTIONS", "/v1/docs", &asked, "").await;
    assert!(
        preflight
            .head
            .contains(&format!("access-control-allow-origin: {ORIGIN}"))
    );
    let foreign = "origin: http://evil.test\r\naccess-control-request-method: POST\r\n";
    let refused = http::send(&at, "OPTIONS", "/v1/docs", foreign, "").await;
    assert!(
        !refused.head.contains("access-control-allow-origin"),
        "{}",
        refused.head
    );
    scene.end().await;
}

/// Two users of one browser share its cache: what one was told is not told the other from there.
#[tokio::test]
async fn what_may_be_kept_is_kept_for_who_asked() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let doc = scene.document(1, &[("ana", 4)]);
    let history = format!("/v1/docs/{doc}/history");
    let told = http::get(&at, &format!("{history}?version=1"), &http::bearer("ana")).await;
    let head = told.head.to_lowercase();
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(head.contains("cache-control: private"), "{head}");
    assert!(head.contains("vary: authorization"), "{head}");
    let now = http::get(&at, &history, &http::bearer("ana")).await;
    let head = now.head.to_lowercase();
    assert!(!head.contains("cache-control: private"), "{head}");
    scene.end().await;
}
