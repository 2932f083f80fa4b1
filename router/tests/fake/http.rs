//! One request a connection, by hand.

use codraft_proto::ids::DocId;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
    pub fn code(&self) -> String {
        assert!(
            self.head.contains("application/problem+json"),
            "{}",
            self.head
        );
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

pub async fn send(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let all = String::from_utf8(all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub async fn get(address: &str, path: &str, headers: &str) -> Response {
    send(address, "GET", path, headers, "").await
}

/// With a JSON body, as a user.
pub async fn json(address: &str, method: &str, path: &str, user: &str, body: &Value) -> Response {
    let headers = format!("{}content-type: application/json\r\n", bearer(user));
    send(address, method, path, &headers, &body.to_string()).await
}

pub fn bearer(user: &str) -> String {
    format!("authorization: Bearer {}\r\n", token(user, 600))
}

/// A token that ends so many seconds from now.
pub fn token(user: &str, seconds: i64) -> String {
    use codraft_proto::outside::{Clock, SystemClock};
    let exp = SystemClock.now_ms() as i64 / 1000 + seconds;
    let key = jsonwebtoken::EncodingKey::from_secret(super::TOKEN_SECRET);
    jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &json!({"iss": super::ISSUER, "aud": super::AUDIENCE, "sub": user, "exp": exp}),
        &key,
    )
    .unwrap()
}

pub async fn ticket(address: &str, doc: DocId, user: &str) -> String {
    let path = format!("/v1/collab/{doc}/ticket");
    let response = send(address, "POST", &path, &bearer(user), "").await;
    assert_eq!(response.status, 201, "{}", response.body);
    response.json()["ticket"].as_str().unwrap().to_owned()
}
