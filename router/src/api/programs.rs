//! Edits by programs and agents: never a whole document, and nothing that others typed is lost by them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use bytes::Bytes;
use codraft_proto::{
    frame::json,
    ids::{ClientId, DocId},
    limits,
    reject::Code,
    v1::{self, TextPlace, call, reply},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    body::Body,
    doc_id, docs, idempotent_id,
    refusals::{OfAll, OfBodies, OfDocuments, OfWrites},
};
use crate::{
    Shared,
    auth::Principal,
    problem::{Failure, ProblemBody},
};

/// Changes of one request.
const EDITS_MAX: usize = 32;
/// Of a text that is looked for.
const FIND_BYTES_MAX: usize = 4_096;
const NAME_BYTES_MAX: usize = 256;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEdit {
    /// The revision that the program has seen. Needed with `ops` and with an `Idempotency-Key`; else the
    /// document as it is.
    base: Option<u64>,
    /// The operation, a Delta made for `base`. Either this or `edits`.
    #[schema(value_type = Option<Vec<Object>>)]
    ops: Option<Value>,
    /// Changes in words of the text at `base`, 1 to 32: all of them are made, by one operation, or none.
    edits: Option<Vec<TextEdit>>,
    /// What the program is called, 1 to 256 bytes.
    name: Option<String>,
}

/// One of `{replace, with}`, `{before, insert}`, `{after, insert}`, `{after_heading, insert}` and `{append}`.
/// What is looked for has 1 to 4,096 bytes and is in the document once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEdit {
    replace: Option<String>,
    with: Option<String>,
    before: Option<String>,
    after: Option<String>,
    /// The words of a heading: of a rich document a line with `header`, of a plain one a line of Markdown.
    after_heading: Option<String>,
    insert: Option<String>,
    append: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Edited {
    /// The revision that the edit took.
    rev: u64,
    /// Whose edit it is in the events.
    client: String,
}

/// Edits a document, as a program.
///
/// What others typed since `base` stays: an operation is moved past it. A change in words is refused when
/// what it names is not in the document of `base`, is there more than once, or was changed since. With an
/// `Idempotency-Key` a repeat by the same user answers the same revision as long as the document's window
/// has it, and is refused as too old from then on: it is never applied twice.
#[utoipa::path(
    post,
    path = "/v1/docs/{id}/edits",
    tag = "documents",
    request_body = NewEdit,
    params(
        ("id" = String, Path, description = "The document"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters"),
    ),
    responses(
        (status = 200, body = Edited),
        (status = 403, description = "Who may edit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "The base is too old; `floor` and `head` say which events are missing", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Text that is not there, or an operation that does not fit", body = ProblemBody, content_type = "application/problem+json"),
        OfAll,
        OfBodies,
        OfDocuments,
        OfWrites,
    )
)]
pub async fn edit(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewEdit>,
) -> Result<Json<Edited>, Failure> {
    let id = doc_id(&id)?;
    let client = idempotent_id(&shared, &asks, &headers, &format!("edit of {id}"))?;
    let (ops, changes) = match (new.ops, new.edits) {
        (Some(ops), None) => (operation(&ops)?, Vec::new()),
        (None, Some(edits)) => (Bytes::new(), changes(edits)?),
        _ => return Err(malformed("either ops or edits")),
    };
    let name = name(new.name)?;
    let base = match new.base {
        Some(base) => base,
        // Asked again it would be another base, and once the record is gone another edit.
        None if headers.contains_key("idempotency-key") => {
            return Err(malformed("with an idempotency key an edit names its base"));
        }
        None if !changes.is_empty() => docs::describe(&shared, id, &asks).await?.rev,
        None => return Err(malformed("ops are made for a base")),
    };
    let program = v1::ProgramEdit {
        client: Bytes::copy_from_slice(&client),
        base,
        ops,
        changes,
        name,
    };
    let rev = send(&shared, id, &asks, program).await?;
    let client = ClientId(client).to_string();
    Ok(Json(Edited { rev, client }))
}

async fn send(
    shared: &Shared,
    id: DocId,
    asks: &Principal,
    program: v1::ProgramEdit,
) -> Result<u64, Failure> {
    let base = program.base;
    let program = call::Body::Program(program);
    match shared.upstream.call(id, &asks.user, program).await? {
        reply::Body::Rev(rev) => Ok(rev),
        reply::Body::Rebase(v1::Rebase { floor, head }) => {
            let detail = format!("what came after revision {base} is in the events up to {head}");
            Err(Failure::new(Code::BaseTooOld, detail).with_range(floor, head))
        }
        _ => Err(Code::Internal.into()),
    }
}

fn operation(ops: &Value) -> Result<Bytes, Failure> {
    let delta = json::delta_of(ops, &limits::of_operations())
        .map_err(|error| Failure::new(Code::from(&error), error.to_string()))?;
    Ok(delta.to_bytes().into())
}

fn name(name: Option<String>) -> Result<String, Failure> {
    let Some(name) = name else {
        return Ok(String::new());
    };
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if !fits || name.chars().any(char::is_control) {
        let detail = format!("a name has 1 to {NAME_BYTES_MAX} bytes, all of them printable");
        return Err(Failure::new(Code::Malformed, detail));
    }
    Ok(name)
}

fn changes(edits: Vec<TextEdit>) -> Result<Vec<v1::TextChange>, Failure> {
    if !(1..=EDITS_MAX).contains(&edits.len()) {
        return Err(malformed("a request has 1 to 32 edits"));
    }
    edits.into_iter().map(change).collect()
}

fn change(edit: TextEdit) -> Result<v1::TextChange, Failure> {
    let TextEdit {
        replace,
        with,
        before,
        after,
        after_heading,
        insert,
        append,
    } = edit;
    let (place, find, text) = match (replace, with, before, after, after_heading, insert, append) {
        (Some(find), Some(text), None, None, None, None, None) => (TextPlace::Replace, find, text),
        (None, None, Some(find), None, None, Some(text), None) => (TextPlace::Before, find, text),
        (None, None, None, Some(find), None, Some(text), None) => (TextPlace::After, find, text),
        (None, None, None, None, Some(find), Some(text), None) => {
            (TextPlace::AfterHeading, find, text)
        }
        (None, None, None, None, None, None, Some(text)) => {
            (TextPlace::Append, String::new(), text)
        }
        _ => return Err(malformed("an edit has one of the shapes that are listed")),
    };
    let is_end = place == TextPlace::Append;
    if !is_end && !(1..=FIND_BYTES_MAX).contains(&find.len()) {
        return Err(malformed("a text to look for has 1 to 4,096 bytes"));
    }
    if text.is_empty() && place != TextPlace::Replace {
        return Err(malformed("there is nothing to insert"));
    }
    let place = place.into();
    Ok(v1::TextChange { place, find, text })
}

fn malformed(detail: &'static str) -> Failure {
    Failure::new(Code::Malformed, detail)
}
