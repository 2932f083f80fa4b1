//! The body of a request: read only for a caller with a token, within its time, and told in
//! words when it is not what it should be.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use codraft_proto::reject::Code;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, timeout};

use crate::{Shared, accounts::Asker, problem::Failure};

/// More of an error than this is of no use to anybody, and it may repeat what was sent.
const DETAIL_BYTES_MAX: usize = 200;

/// A JSON object. The handler takes a `Principal` before it: else nobody's body is read.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let asker = request.extensions().get::<Asker>().cloned();
        let Some(account) = asker.as_ref().and_then(Asker::account) else {
            return Err(Code::TokenInvalid.into());
        };
        if !is_json(request.headers()) {
            let detail = "the content-type of a body is application/json";
            return Err(Failure::new(Code::Malformed, detail));
        }
        let reads = Bytes::from_request(request, shared);
        let within = Duration::from_millis(shared.limits.body_ms);
        let bytes = match timeout(within, reads).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(refused)) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let most = shared.limits.body_bytes;
                let detail = format!("a body has at most {most} bytes");
                return Err(Failure::new(Code::FrameTooLarge, detail));
            }
            Ok(Err(_)) => return Err(Failure::new(Code::Malformed, "the body ended too early")),
            Err(_) => {
                let detail = format!("the body was not here within {} ms", within.as_millis());
                return Err(Failure::new(Code::Unfinished, detail));
            }
        };
        let taken = account.bytes(bytes.len(), shared.now_ms());
        taken.map_err(|wait_ms| Failure::rate(wait_ms, "more bytes than a user may send"))?;
        Ok(Self(parse(&bytes)?))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let malformed = |detail: &str| Failure::new(Code::Malformed, detail);
    // A struct would be read from an array as well.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed("the body is a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let words = error.to_string();
        let whole = words.len() <= DETAIL_BYTES_MAX;
        malformed(match whole {
            true => &words,
            false => &words[..words.floor_char_boundary(DETAIL_BYTES_MAX)],
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::docs::NewDocument;

    #[test]
    fn what_is_no_object_of_this_kind_is_said_in_words() {
        let said = |body: &str| match parse::<NewDocument>(body.as_bytes()) {
            Ok(_) => String::new(),
            Err(failure) => failure.detail,
        };
        assert_eq!(said(r#" {"title": "a"}"#), "");
        for no_object in ["", " ", "[]", r#"["a", null, null]"#, "7", "null", "\"a\""] {
            assert_eq!(said(no_object), "the body is a JSON object", "{no_object}");
        }
        for (body, words) in [
            ("{", "EOF while parsing"),
            ("{}", "missing field `title`"),
            (
                r#"{"title": 7}"#,
                "invalid type: integer `7`, expected a string",
            ),
            (r#"{"title": "a", "color": 1}"#, "unknown field `color`"),
            (r#"{"title": "a", "title": "b"}"#, "duplicate field `title`"),
        ] {
            let said = said(body);
            assert!(said.starts_with(words), "{said}");
            assert!(!said.contains("struct"), "{said}");
        }
        let long = format!(r#"{{"{}": 1}}"#, "é".repeat(1000));
        assert!(said(&long).len() <= DETAIL_BYTES_MAX);
    }
}
