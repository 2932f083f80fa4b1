//! Bodies and answers of the REST interface, where a client does its worst.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use codraft_proto::limits::EdgeLimits;
use fake::{ORIGIN, Scene, http};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const BODY: &str = r#"{"title": "in two parts"}"#;

/// A request whose body is announced, and sent as the test likes.
async fn announce(at: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "POST /v1/docs HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    answer
}

#[tokio::test]
async fn nobody_reads_a_body_before_the_token() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    for headers in ["", "authorization: Bearer x.y.z\r\n"] {
        let said = answer(announce(&at, headers).await).await;
        assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
        assert!(said.contains("token_invalid"), "{said}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_body_has_its_time_and_no_more() {
    let limits = EdgeLimits {
        body_ms: 1_000,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let at = scene.router.address().to_owned();
    let (first, rest) = BODY.split_at(10);
    let mut slow = announce(&at, &http::bearer("ana")).await;
    let mut stuck = announce(&at, &http::bearer("ana")).await;
    for stream in [&mut slow, &mut stuck] {
        stream.write_all(first.as_bytes()).await.unwrap();
    }
    sleep(Duration::from_millis(200)).await;
    slow.write_all(rest.as_bytes()).await.unwrap();
    let said = answer(slow).await;
    assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
    let said = answer(stuck).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("\"unfinished\""), "{said}");
    scene.end().await;
}

#[tokio::test]
async fn a_body_is_as_large_as_its_limit_and_no_larger() {
    let limits = EdgeLimits {
        body_bytes: BODY.len() as u32,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let at = scene.router.address().to_owned();
    let headers = format!("{}content-type: application/json\r\n", http::bearer("ana"));
    let create = async |body: &str| http::send(&at, "POST", "/v1/docs", &headers, body).await;
    assert_eq!(create(BODY).await.status, 201);
    let larger = create(&format!("{BODY} ")).await;
    assert_eq!(
        (larger.status, larger.code().as_str()),
        (413, "frame_too_large")
    );
    scene.end().await;
}

#[tokio::test]
async fn an_error_says_what_was_wrong_and_not_how_we_read_it() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let array = json!(["a", null, null]);
    for (method, path) in [
        ("POST", "/v1/docs".to_owned()),
        ("PUT", format!("/v1/docs/{}/permissions/bo", "0".repeat(32))),
    ] {
        let refused = http::json(&at, method, &path, "ana", &array).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "malformed")
        );
        assert_eq!(refused.json()["detail"], "the body is a JSON object");
    }
    let number = http::json(&at, "POST", "/v1/docs", "ana", &json!({"title": 7})).await;
    assert!(!number.body.contains("NewDocument"), "{}", number.body);
    let plain = format!("{}content-type: text/plain\r\n", http::bearer("ana"));
    let plain = http::send(&at, "POST", "/v1/docs", &plain, BODY).await;
    assert_eq!((plain.status, plain.code().as_str()), (400, "malformed"));
    scene.end().await;
}

/// Also those that a library made.
#[tokio::test]
async fn the_problem_has_the_status_of_its_answer() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let ana = http::bearer("ana");
    for (method, path, status) in [
        ("PATCH", "/v1/docs", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/docs/x", 404),
        ("GET", "/v1/docs/%ff", 400),
        ("PUT", "/v1/docs", 405),
    ] {
        let answer = http::send(&at, method, path, &ana, "").await;
        let shown = format!("{method} {path}: {}\n{}", answer.head, answer.body);
        assert_eq!(answer.status, status, "{shown}");
        answer.code();
        assert_eq!(answer.json()["status"], status, "{shown}");
        assert_eq!(
            answer.head.contains("\r\nallow: "),
            status == 405,
            "{shown}"
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn a_listed_page_may_read_where_and_when() {
    let scene = Scene::new().await;
    let at = scene.router.address().to_owned();
    let from = |origin: &str| format!("{}origin: {origin}\r\n", http::bearer("ana"));
    let listed = http::get(&at, "/v1/docs/x", &from(ORIGIN)).await.head;
    let exposed = listed
        .lines()
        .find_map(|line| line.strip_prefix("access-control-expose-headers: "));
    let exposed = exposed.unwrap_or_else(|| panic!("{listed}"));
    for header in ["retry-after", "location"] {
        assert!(exposed.contains(header), "{listed}");
    }
    let foreign = http::get(&at, "/v1/docs/x", &from("http://evil.test"))
        .await
        .head;
    assert!(
        !foreign.contains("access-control-allow-origin"),
        "{foreign}"
    );
    scene.end().await;
}
