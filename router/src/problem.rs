//! Errors as problem+json (RFC 9457), with codes of the one closed table.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use codraft_proto::reject::Code;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{auth::Refusal, upstream::Problem};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// The code's own, mostly.
    status: StatusCode,
    pub detail: String,
    pub retry_after_ms: Option<u32>,
    /// Of the document's window: its floor and its head.
    range: Option<(u64, u64)>,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
pub struct ProblemBody {
    #[schema(example = "about:blank")]
    r#type: &'static str,
    #[schema(example = "Not Found")]
    title: &'static str,
    #[schema(example = 404)]
    status: u16,
    /// Of the table of codes, which WebSockets share.
    #[schema(example = "not_found")]
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    /// With `base_too_old`: the oldest base that is taken, and the document's last revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
}

impl Failure {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.http_status());
        Self {
            code,
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            detail: detail.into(),
            retry_after_ms: None,
            range: None,
        }
    }

    /// Too much for one user; the same again later.
    pub fn rate(wait_ms: u32, detail: &'static str) -> Self {
        Self {
            retry_after_ms: Some(wait_ms),
            ..Self::new(Code::Rate, detail)
        }
    }

    /// Answered with another status than the code's own.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// With what is missing: the events behind the base, up to the head.
    pub fn with_range(self, floor: u64, head: u64) -> Self {
        let range = Some((floor, head));
        Self { range, ..self }
    }

    /// For an answer that was refused without a code: by a library, mostly.
    pub fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => Code::FrameTooLarge,
            _ if status.is_client_error() => Code::Malformed,
            _ => Code::Internal,
        };
        Self::from(code).with_status(status)
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::new(code, "")
    }
}

impl From<Refusal> for Failure {
    fn from(Refusal { code, detail }: Refusal) -> Self {
        Self::new(code, detail)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let Problem {
            code,
            message,
            retry_after_ms,
        } = problem;
        match code {
            // Missing, deleted and not yours look alike, to the last byte.
            Code::NotFound | Code::Deleted => Code::NotFound.into(),
            _ => Self {
                retry_after_ms,
                ..Self::new(code, message)
            },
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status;
        let overloaded =
            status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS;
        let retry_after_ms = self.retry_after_ms.or(overloaded.then_some(1_000));
        let body = ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or(""),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: self.detail,
            retry_after_ms,
            floor: self.range.map(|(floor, _)| floor),
            head: self.range.map(|(_, head)| head),
        };
        let mut response = (status, Json(body)).into_response();
        // For the one place that counts refusals.
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after_ms) = retry_after_ms {
            headers.insert(header::RETRY_AFTER, retry_after_ms.div_ceil(1000).into());
        }
        response
    }
}
