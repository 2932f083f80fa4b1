//! Receipts: signed statements of what a revision was. The leader of the document's group signs them, and
//! the router passes them on.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use codraft_proto::{
    frame::json::hex,
    reject::Code,
    v1::{self, call, reply},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    doc_id,
    history::number,
    refusals::{OfAll, OfReceipts, OfVersions},
};
use crate::{Shared, auth::Principal, problem::Failure};

#[derive(Serialize, ToSchema)]
pub struct Receipt {
    cluster: String,
    doc: String,
    group: u32,
    /// The chain hash at this revision: it stands for every event up to here.
    hash: String,
    /// Of the log entry that the revision came of; null where only the archive has it.
    index: Option<u64>,
    rev: u64,
    /// Of the same entry.
    term: Option<u64>,
    /// The public half of the key that it is signed with. It proves nothing unless it is the cluster's.
    key: String,
    /// Ed25519, over what docs/protocol.md says.
    signature: String,
}

#[derive(Serialize, ToSchema)]
pub struct ReceiptKey {
    /// As JWT calls it: EdDSA, over Ed25519.
    algorithm: &'static str,
    /// The public half, 32 bytes in hex.
    key: String,
}

/// A signed statement of what a revision of the document was.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/revisions/{rev}/receipt",
    tag = "history",
    params(
        ("id" = String, Path, description = "The document"),
        ("rev" = u64, Path, description = "The revision, from 1 on"),
    ),
    responses(
        (status = 200, body = Receipt),
        OfAll,
        OfVersions,
        OfReceipts,
    )
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Path((id, rev)): Path<(String, String)>,
) -> Result<Json<Receipt>, Failure> {
    let id = doc_id(&Path(id))?;
    let rev = number("rev", &rev)?;
    let body = call::Body::Receipt(v1::ReceiptOf { rev });
    match shared.upstream.call(id, &asks.user, body).await? {
        reply::Body::Receipt(receipt) => Ok(Json(Receipt {
            cluster: receipt.cluster,
            doc: id.to_string(),
            group: receipt.group,
            hash: hex(&receipt.hash),
            index: receipt.entry.as_ref().map(|entry| entry.index),
            rev,
            term: receipt.entry.as_ref().map(|entry| entry.term),
            key: hex(&receipt.key),
            signature: hex(&receipt.signature),
        })),
        _ => Err(Code::Internal.into()),
    }
}

/// The public half of the key that receipts are signed with.
#[utoipa::path(
    get,
    path = "/v1/receipt-key",
    tag = "history",
    responses(
        (status = 200, body = ReceiptKey),
        OfAll,
        OfReceipts,
    )
)]
pub async fn key(
    State(shared): State<Arc<Shared>>,
    _asks: Principal,
) -> Result<Json<ReceiptKey>, Failure> {
    let without = "this cluster signs no receipts: there is no `[receipt]` in keys.toml";
    let key = shared.receipt_key;
    let key = key.ok_or_else(|| Failure::new(Code::Unsupported, without))?;
    Ok(Json(ReceiptKey {
        algorithm: "EdDSA",
        key: hex(&key),
    }))
}
