//! What a route refuses stands in its description.
#![allow(clippy::unwrap_used)]

mod fake;

use codraft_proto::limits::EdgeLimits;
use fake::{Scene, http};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A route of the description, with a document and a user put in.
struct Route {
    method: String,
    path: String,
    described: Value,
}

impl Route {
    fn takes_a_body(&self) -> bool {
        self.described["requestBody"].is_object()
    }

    /// Refused with this status, in words that the description has as well.
    async fn refuses(&self, status: u16, at: &str, path: &str, headers: &str, body: &str) {
        let answer = http::send(at, &self.method, path, headers, body).await;
        let shown = format!("{} {path}: {}", self.method, answer.body);
        assert_eq!(answer.status, status, "{shown}");
        answer.code();
        self.describes(status);
    }

    fn describes(&self, status: u16) {
        let (method, path, described) = (&self.method, &self.path, &self.described);
        let content = &described["responses"][status.to_string()]["content"];
        let schema = &content["application/problem+json"]["schema"]["$ref"];
        let is = "#/components/schemas/ProblemBody";
        assert_eq!(schema, is, "{method} {path}: {status} in {described}");
    }
}

fn routes(description: &Value, doc: &str) -> Vec<Route> {
    let paths = description["paths"].as_object().unwrap();
    let api = paths.iter().filter(|(path, _)| path.starts_with("/v1/"));
    let routes = api.flat_map(|(path, methods)| {
        let path = path.replace("{id}", doc).replace("{user}", "bo");
        let path = path.replace("{rev}", "1");
        let note = "1".repeat(32);
        let path = path.replace("{thread}", &note).replace("{comment}", &note);
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, described)| Route {
            method: method.to_ascii_uppercase(),
            path: format!("{path}{}", query(described)),
            described: described.clone(),
        })
    });
    routes.collect()
}

/// What a route has to be asked.
fn query(described: &Value) -> String {
    let all = described["parameters"].as_array().into_iter().flatten();
    let needed = all.filter(|p| p["in"] == "query" && p["required"] == true);
    let names = needed.filter_map(|p| p["name"].as_str());
    let pairs: Vec<_> = names.map(|name| format!("{name}=1")).collect();
    match pairs.is_empty() {
        true => String::new(),
        false => format!("?{}", pairs.join("&")),
    }
}

/// One that is taken; a route without a body does not look at it.
fn body(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("restore") => r#"{"version":1}"#,
        Some("comments") => r#"{"rev":1,"start":0,"end":1,"text":"?"}"#,
        Some("replies") => r#"{"text":"?"}"#,
        Some("versions") => r#"{"name":"draft"}"#,
        Some("edits") => r#"{"base":1,"edits":[{"append":"!"}]}"#,
        // The document itself: its title.
        Some(id) if id.len() == 32 && !path.contains("/collab/") => r#"{"title":"Another"}"#,
        _ => r#"{"role":"viewer"}"#,
    }
}

/// The status that a request has whose body does not come to its end.
async fn unfinished(at: &str, route: &Route) -> u16 {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "{} {} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{}\
         content-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
        route.method,
        route.path,
        http::bearer("ana")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_route_describes_its_refusals() {
    let limits = EdgeLimits {
        body_ms: 200,
        body_bytes: 1_000,
        requests_per_second: 60,
        ..EdgeLimits::default()
    };
    let scene = Scene::with(limits).await;
    let doc = scene.document(1, &[("ana", 4)]).to_string();
    let at = scene.router.address().to_owned();
    let description = http::get(&at, "/openapi.json", "").await.json();
    assert!(description["components"]["schemas"]["ProblemBody"].is_object());
    let greedy = http::bearer("greedy");
    let ana = http::bearer("ana");
    let typed = format!("{ana}content-type: application/json\r\n");
    let routes = routes(&description, &doc);
    assert!(routes.len() >= 6, "{description}");
    for route in &routes {
        let path = &route.path;
        route.refuses(401, &at, path, "", "").await;
        while http::send(&at, &route.method, path, &greedy, "")
            .await
            .status
            != 429
        {}
        route.describes(429);
        if path.contains(&doc) {
            let no_text = path.replace(&doc, "%ff");
            route.refuses(400, &at, &no_text, &ana, "").await;
            let missing = path.replace(&doc, &"0".repeat(32));
            route.refuses(404, &at, &missing, &typed, body(path)).await;
        }
        if route.takes_a_body() {
            route.refuses(400, &at, path, &typed, "{").await;
            let large = " ".repeat(1_001);
            route.refuses(413, &at, path, &typed, &large).await;
            assert_eq!(unfinished(&at, route).await, 408);
            route.describes(408);
        }
        // Of what is behind the router.
        route.describes(503);
        route.describes(504);
    }
    scene.end().await;
}
