//! The REST interface, as a caller with a token sees it.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::patience::{PATIENCE, within};

/// For one socket at one router.
#[derive(Debug, serde::Deserialize)]
pub struct Ticket {
    pub ticket: String,
    pub url: String,
    pub others: Vec<String>,
}

#[derive(Clone)]
pub struct Rest {
    /// `host:port`.
    pub address: String,
    pub token: String,
}

impl Rest {
    /// `http` as `codraft dev --json` prints it.
    pub fn new(http: &str, token: &str) -> Rest {
        Rest {
            address: http.trim_start_matches("http://").to_owned(),
            token: token.to_owned(),
        }
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        self.call_keyed(method, path, None, body).await
    }

    /// With an `Idempotency-Key`.
    pub async fn call_keyed(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        let what = format!("the answer of {method} {path}");
        let answer = within(PATIENCE, what, self.exchange(method, path, key, body));
        let (status, body) = answer.await??;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// What is no JSON.
    pub async fn text(&self, path: &str) -> Result<String> {
        let what = format!("the answer of {path}");
        let answer = within(PATIENCE, what, self.exchange(Method::GET, path, None, None));
        let (_, body) = answer.await??;
        Ok(String::from_utf8(body.into())?)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let stream = tokio::net::TcpStream::connect(&self.address)
            .await
            .context("the router is not there")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::task::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        let response = sender.send_request(request.body(Full::new(bytes))?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok((status, body))
    }

    /// A ticket for a socket, at none of the routers of `not`.
    pub async fn ticket(&self, doc: &str, not: &[&str]) -> Result<Ticket> {
        let path = format!("/v1/collab/{doc}/ticket?not={}", not.join(","));
        let (status, answer) = self.call(Method::POST, &path, None).await?;
        anyhow::ensure!(status == StatusCode::CREATED, "a ticket: {status} {answer}");
        Ok(serde_json::from_value(answer)?)
    }

    /// A ticket for a socket at this router, one of two, whichever is the document's own.
    pub async fn ticket_here(&self, doc: &str) -> Result<Ticket> {
        let ticket = self.ticket(doc, &[]).await?;
        match ticket.url.ends_with(&format!("//{}", self.address)) {
            true => Ok(ticket),
            false => self.ticket(doc, &[&ticket.url]).await,
        }
    }

    /// Makes a plain-text document and returns its id.
    pub async fn create(&self, title: &str, initial: &str) -> Result<String> {
        let body = serde_json::json!({"title": title, "kind": "text", "initial": initial});
        let (status, answer) = self.call(Method::POST, "/v1/docs", Some(&body)).await?;
        anyhow::ensure!(
            status == StatusCode::CREATED,
            "creating a document: {status} {answer}"
        );
        Ok(answer["id"].as_str().context("no id")?.to_owned())
    }

    pub async fn grant(&self, doc: &str, user: &str, role: &str) -> Result<()> {
        let path = format!("/v1/docs/{doc}/permissions/{user}");
        let body = serde_json::json!({"role": role});
        let (status, answer) = self.call(Method::PUT, &path, Some(&body)).await?;
        anyhow::ensure!(status.is_success(), "granting: {status} {answer}");
        Ok(())
    }
}
