//! What many routes refuse alike, as `GET /openapi.json` describes it.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

/// Every route that asks for a token, and a node.
pub struct OfAll;

impl IntoResponses for OfAll {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (400, "Something in the request is not what it should be"),
            (401, "No token, or one that does not verify or has expired"),
            (
                429,
                "More than a user may ask for; come again after `Retry-After`",
            ),
            (500, "Something of ours failed"),
            (503, "Nobody can answer now; come again after `Retry-After`"),
            (
                504,
                "It took too long; it may have been done, and may still be: look",
            ),
        ])
    }
}

/// Every route that takes a body.
pub struct OfBodies;

impl IntoResponses for OfBodies {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (408, "The rest of the body did not come within its time"),
            (413, "Too large, the body or what is made of it"),
        ])
    }
}

/// Every route that writes.
pub struct OfWrites;

impl IntoResponses for OfWrites {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (409, "Not possible with what is there already"),
            (507, "No room, in memory or on disk"),
        ])
    }
}

/// Every route that names a document.
pub struct OfDocuments;

impl IntoResponses for OfDocuments {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(404, "No such document, or not for this user")])
    }
}

/// Every route that asks for a revision.
pub struct OfVersions;

impl IntoResponses for OfVersions {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (403, "The revision is older than the asker's permission"),
            (404, "No such document or revision, or not for this user"),
            (410, "The revision is older than history is kept"),
        ])
    }
}

/// Every route that is about receipts.
pub struct OfReceipts;

impl IntoResponses for OfReceipts {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(422, "The cluster has no key to sign receipts with")])
    }
}

fn problems(table: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = Ref::from_schema_name("ProblemBody");
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let rows = table.iter().map(|(status, words)| {
        let row = ResponseBuilder::new().description(*words);
        let row = row.content("application/problem+json", content.clone());
        (status.to_string(), row.build().into())
    });
    rows.collect()
}
