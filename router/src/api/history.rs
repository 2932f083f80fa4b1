//! A document's past: what it was, what changed, who wrote it; and how to have it back.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use codraft_proto::{
    event,
    frame::json::{Spelling, hex},
    ids::{ClientId, DocId, Revision},
    reject::Code,
    v1::{self, call, history::At, reply},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    body::Body,
    doc_id, idempotent_id,
    refusals::{OfAll, OfBodies, OfDocuments, OfVersions, OfWrites},
};
use crate::{
    Shared,
    auth::Principal,
    hub::{kind_name, notes},
    problem::{Failure, ProblemBody},
    state,
};

/// Pages of events end at multiples of it.
const PAGE: u64 = 512;
/// What a version says can be kept for so long by who asked for it: it never changes. Another user of the
/// same browser asks for themselves.
const CACHE: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "private, max-age=86400, immutable"),
    (header::VARY, "authorization"),
];

#[derive(Deserialize, IntoParams)]
pub struct Asked {
    /// The revision, from 1 on; without it, and without a time, the document as it is.
    #[param(value_type = Option<u64>)]
    version: Option<String>,
    /// A time instead, in milliseconds since the Unix epoch: the last revision until then.
    #[param(value_type = Option<u64>)]
    at: Option<String>,
}

#[derive(Deserialize, IntoParams)]
pub struct AskedAuthors {
    /// The revision, from 1 on; without it the document as it is.
    #[param(value_type = Option<u64>)]
    version: Option<String>,
}

#[derive(Deserialize, IntoParams)]
pub struct Between {
    /// The revision before the changes.
    #[param(value_type = u64, required = true)]
    from: Option<String>,
    /// The revision after them; it may be the earlier one.
    #[param(value_type = u64, required = true)]
    to: Option<String>,
}

#[derive(Deserialize, IntoParams)]
pub struct AskedEvents {
    /// The first revision.
    #[param(value_type = u64, required = true)]
    from: Option<String>,
    /// The last one; without it as many as one page has.
    #[param(value_type = Option<u64>)]
    to: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Events {
    id: String,
    from: u64,
    /// The last revision that is here: a page ends with it, or what was asked for, or the document.
    to: u64,
    events: Vec<Event>,
}

#[derive(Serialize, ToSchema)]
pub struct Event {
    rev: u64,
    user: String,
    /// Whose tab it was; none for what is no edit.
    client: Option<String>,
    /// The client's count, and the revision that it had seen.
    seq: u64,
    base: u64,
    /// Milliseconds since the Unix epoch.
    ts: u64,
    /// edit, create, grant, …
    kind: &'static str,
    /// Of an edit, as it was applied: a Delta. Of a create the inserts that made the document; none: it
    /// began as the empty one of its kind (a rich one as a line break).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    ops: Option<Value>,
    /// Of a create.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// Of an edit that restored a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    restores: Option<u64>,
    /// Of a grant: whose role it is from now on, and which (none: no more).
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<Granted>,
    /// Of a comment: what was done, as frames tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    comment: Option<Value>,
    /// Of a named version: which, and how it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    version: Option<Value>,
}

#[derive(Serialize, ToSchema)]
pub struct Granted {
    user: String,
    role: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub struct Version {
    id: String,
    version: u64,
    /// Of the event that made it, in milliseconds since the Unix epoch.
    at: u64,
    /// The document's last revision now.
    head: u64,
    title: String,
    kind: String,
    algebra: String,
    /// The chain hash at this revision: it stands for every event up to here.
    hash: String,
    /// The document, as an array of inserts.
    #[serde(skip)]
    #[schema(value_type = Vec<Object>)]
    #[allow(dead_code)] // spelled in steps, behind the rest
    content: (),
}

#[derive(Serialize, ToSchema)]
pub struct Authors {
    id: String,
    version: u64,
    /// From the beginning of the document to its end.
    runs: Vec<Run>,
}

#[derive(Serialize, ToSchema)]
pub struct Run {
    /// UTF-16 code units.
    units: u32,
    user: String,
}

#[derive(Serialize, ToSchema)]
pub struct Difference {
    id: String,
    from: u64,
    to: u64,
    /// The operation that makes `to` of `from`: a Delta.
    #[schema(value_type = Vec<Object>)]
    ops: Value,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The revision to have back.
    version: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Restored {
    version: u64,
    /// The revision of the edit that restored it; where nothing had to change, the document's last one.
    rev: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Snapshot {
    version: u64,
    /// Where it can be read.
    url: String,
}

/// The document as it was at a revision, or at a time.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/history",
    tag = "history",
    params(("id" = String, Path, description = "The document"), Asked),
    responses(
        (status = 200, body = Version),
        OfAll,
        OfDocuments,
        OfVersions,
    )
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let id = doc_id(&id)?;
    let at = match (asked.version, asked.at) {
        (Some(_), Some(_)) => {
            let detail = "a version or a time, not both";
            return Err(Failure::new(Code::Malformed, detail));
        }
        (Some(version), None) => Some(At::Version(number("version", &version)?)),
        (None, Some(ms)) => Some(At::Ms(number("at", &ms)?)),
        (None, None) => None,
    };
    let is_fixed = matches!(at, Some(At::Version(_)));
    let asked = v1::History {
        at,
        content: true,
        authors: false,
    };
    let past = past(&shared, id, &asks, asked).await?;
    let content = json_of(past.content).await?;
    let version = Version {
        id: id.to_string(),
        version: past.rev,
        at: past.ts_ms,
        head: past.head,
        title: past.title,
        kind: kind_name(past.kind).to_owned(),
        algebra: past.algebra,
        hash: hex(&past.hash),
        content: (),
    };
    let body = with_content(&version, &content)?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok(match is_fixed {
        true => (kind, CACHE, body).into_response(),
        false => (kind, body).into_response(),
    })
}

/// An operation as JSON, spelled in steps between which others have their turn.
async fn json_of(ops: Bytes) -> Result<Bytes, Failure> {
    let mut spelling = Spelling::new(ops);
    while !spelling.step().map_err(|_| Code::Internal)? {
        tokio::task::yield_now().await;
    }
    Ok(spelling.into_bytes())
}

/// The content is JSON already.
fn with_content(version: &Version, content: &[u8]) -> Result<Bytes, Failure> {
    let text = serde_json::to_vec(version).map_err(|_| Code::Internal)?;
    let mut body = BytesMut::with_capacity(text.len() + content.len() + 12);
    body.put_slice(text.strip_suffix(b"}").unwrap_or(&text));
    body.put_slice(b",\"content\":");
    body.put_slice(content);
    body.put_u8(b'}');
    Ok(body.freeze())
}

/// Who wrote what of the document at a revision.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/history/authors",
    tag = "history",
    params(("id" = String, Path, description = "The document"), AskedAuthors),
    responses(
        (status = 200, body = Authors),
        OfAll,
        OfDocuments,
        OfVersions,
    )
)]
pub async fn authors(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    Query(asked): Query<AskedAuthors>,
) -> Result<Json<Authors>, Failure> {
    let id = doc_id(&id)?;
    let version = asked.version.map(|version| number("version", &version));
    let asked = v1::History {
        at: version.transpose()?.map(At::Version),
        content: false,
        authors: true,
    };
    let past = past(&shared, id, &asks, asked).await?;
    let run = |run: v1::AuthorRun| {
        let user = past.users.get(run.user as usize)?.clone();
        Some(Run {
            units: run.units,
            user,
        })
    };
    Ok(Json(Authors {
        id: id.to_string(),
        version: past.rev,
        runs: past.runs.into_iter().filter_map(run).collect(),
    }))
}

/// What makes one revision of another: as little as was found.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/history/diff",
    tag = "history",
    params(("id" = String, Path, description = "The document"), Between),
    responses(
        (status = 200, body = Difference),
        OfAll,
        OfDocuments,
        OfVersions,
    )
)]
pub async fn diff(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    Query(asked): Query<Between>,
) -> Result<Response, Failure> {
    let id = doc_id(&id)?;
    let (from, to) = (needed("from", asked.from)?, needed("to", asked.to)?);
    let diff = call::Body::Diff(v1::HistoryDiff { from, to });
    let ops = match shared.upstream.call(id, &asks.user, diff).await? {
        reply::Body::Ops(ops) => ops,
        _ => return Err(Code::Internal.into()),
    };
    let ops = serde_json::from_slice(&json_of(ops).await?).map_err(|_| Code::Internal)?;
    let id = id.to_string();
    Ok((CACHE, Json(Difference { id, from, to, ops })).into_response())
}

/// What happened to a document, revision by revision, as it was applied. What is here once is so for good.
///
/// Pages end at multiples of 512, whatever is asked for: who wants more asks on behind `to`.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/ops",
    tag = "history",
    params(("id" = String, Path, description = "The document"), AskedEvents),
    responses(
        (status = 200, body = Events),
        OfAll,
        OfDocuments,
        OfVersions,
    )
)]
pub async fn events(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    Query(asked): Query<AskedEvents>,
) -> Result<Response, Failure> {
    let id = doc_id(&id)?;
    let from = needed("from", asked.from)?;
    let to = asked.to.map(|to| number("to", &to)).transpose()?;
    if to.is_some_and(|to| to < from) {
        let detail = "to is not less than from";
        return Err(Failure::new(Code::Malformed, detail));
    }
    let to = to.unwrap_or(u64::MAX).min(page_end(from));
    let events = between(&shared, id, &asks.user, from, to).await?;
    let last = events.last().map_or(from, |event| event.rev);
    let mut told = Vec::with_capacity(events.len());
    for event in events {
        told.push(spelled(event).await?);
    }
    let events = Json(Events {
        id: id.to_string(),
        from,
        to: last,
        events: told,
    });
    Ok(match last == to {
        true => (CACHE, events).into_response(),
        false => events.into_response(),
    })
}

/// The last revision of the page that a revision is on.
pub(super) fn page_end(rev: u64) -> u64 {
    let page = rev.saturating_sub(1) / PAGE * PAGE;
    page.saturating_add(PAGE)
}

/// From one revision to another, or less where that would be large.
pub(super) async fn between(
    shared: &Shared,
    id: DocId,
    user: &str,
    from: u64,
    to: u64,
) -> Result<Vec<v1::Event>, Failure> {
    let range = call::Body::Events(v1::EventRange { from, to });
    match shared.upstream.call(id, user, range).await? {
        reply::Body::Events(past) => Ok(past.events),
        _ => Err(Code::Internal.into()),
    }
}

pub(super) async fn spelled(event: v1::Event) -> Result<Event, Failure> {
    let created = event::read_create(&event.body).filter(|_| event.kind == event::CREATE);
    let ops = match (event.kind, &created) {
        (event::EDIT, _) => Some(event.body.clone()),
        (_, Some(created)) => Some(event.body.slice_ref(created.initial)),
        _ => None,
    };
    let ops = match ops {
        Some(ops) => {
            let text = json_of(ops).await?;
            Some(serde_json::from_slice(&text).map_err(|_| Code::Internal)?)
        }
        None => None,
    };
    let granted = event::read_grant(&event.body).filter(|_| event.kind == event::GRANT);
    let granted = granted.map(|(user, role)| Granted {
        user: user.to_owned(),
        role: role.map(|role| role.as_str()),
    });
    let title = match created {
        Some(created) => Some(created.title),
        None => event::read_title(&event.body).filter(|_| event.kind == event::TITLE),
    };
    let title = title.map(str::to_owned);
    let note = notes::told(event.kind, &event.body);
    let told = |kind| note.clone().filter(|_| event.kind == kind);
    Ok(Event {
        rev: event.rev,
        user: event.user,
        client: ClientId::from_slice(&event.client).map(|client| client.to_string()),
        seq: event.seq,
        base: event.base,
        ts: event.ts_ms,
        kind: event::name(event.kind),
        ops,
        title,
        restores: (event.restored > 0).then_some(event.restored),
        grant: granted,
        comment: told(event::COMMENT),
        version: told(event::VERSION),
    })
}

/// Makes of the document what it was at a revision: by an edit, that others see like any other.
///
/// What is in both stays where it is, with its carets, and what comes back keeps its authors. With an
/// `Idempotency-Key` a repeat by the same user answers the same revision, as long as the document's
/// window of history has it.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/restore",
    tag = "history",
    request_body = Wanted,
    params(
        ("id" = String, Path, description = "The document"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters"),
    ),
    responses(
        (status = 200, body = Restored),
        (status = 403, description = "Who may edit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "The version is older than history is kept", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn restore(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    headers: HeaderMap,
    Body(Wanted { version }): Body<Wanted>,
) -> Result<Json<Restored>, Failure> {
    let id = doc_id(&id)?;
    let purpose = format!("restore {version} of {id}");
    let client = idempotent_id(&shared, &asks, &headers, &purpose)?;
    let client = Bytes::copy_from_slice(&client);
    let restore = call::Body::Restore(v1::Restore { version, client });
    let rev = revision(&shared, id, &asks, restore).await?;
    Ok(Json(Restored { version, rev }))
}

/// Keeps the document as it is, whole; answered when it was read back from the archive.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/snapshots",
    tag = "history",
    params(("id" = String, Path, description = "The document")),
    responses(
        (status = 200, body = Snapshot),
        (status = 403, description = "Who may edit", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn snapshot(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
) -> Result<Json<Snapshot>, Failure> {
    let id = doc_id(&id)?;
    let checkpoint = call::Body::Checkpoint(v1::Describe {});
    let version = revision(&shared, id, &asks, checkpoint).await?;
    let url = state::url(id, Revision(version));
    Ok(Json(Snapshot { version, url }))
}

/// The latest revision that is kept whole; none where there is none, and where it cannot be told now.
pub async fn kept(shared: &Shared, id: DocId, asks: &Principal) -> Option<u64> {
    let kept = call::Body::Kept(v1::Describe {});
    let rev = revision(shared, id, asks, kept).await.ok()?;
    (rev > 0).then_some(rev)
}

async fn revision(
    shared: &Shared,
    id: DocId,
    asks: &Principal,
    call: call::Body,
) -> Result<u64, Failure> {
    match shared.upstream.call(id, &asks.user, call).await? {
        reply::Body::Rev(rev) => Ok(rev),
        _ => Err(Code::Internal.into()),
    }
}

async fn past(
    shared: &Shared,
    id: DocId,
    asks: &Principal,
    asked: v1::History,
) -> Result<v1::PastDocument, Failure> {
    let asked = call::Body::History(asked);
    match shared.upstream.call(id, &asks.user, asked).await? {
        reply::Body::Past(past) => Ok(past),
        _ => Err(Code::Internal.into()),
    }
}

fn needed(name: &str, text: Option<String>) -> Result<u64, Failure> {
    number(name, &text.unwrap_or_default())
}

pub(super) fn number(name: &str, text: &str) -> Result<u64, Failure> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| {
        let detail = format!("{name} is a whole number, not less than 0");
        Failure::new(Code::Malformed, detail)
    })
}
