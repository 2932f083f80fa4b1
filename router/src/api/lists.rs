//! A user's documents.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use codraft_proto::{
    ids::{DocId, Role},
    reject::Code,
    v1::{self, ListFilter, call, reply},
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{history::number, refusals::OfAll};
use crate::{Shared, auth::Principal, hub::kind_name, problem::Failure};

const LIMIT: u32 = 50;
const LIMIT_MAX: u64 = 200;
/// As long as a title may be.
const QUERY_BYTES_MAX: usize = 512;

#[derive(Deserialize, IntoParams)]
pub struct AskedList {
    /// The last document of the page before: the list goes on behind it.
    after: Option<String>,
    /// 1 to 200; 50 without it.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// `mine` (the caller is an owner), `shared` (the caller is none) or `deleted` (the caller was an
    /// owner); all that are there without it.
    filter: Option<String>,
    /// Part of the title, whatever the case; 1 to 512 bytes.
    query: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Documents {
    documents: Vec<Entry>,
    /// What to ask for as `after`; none: these were the last. With a filter or a query a page may be
    /// short, or empty, and go on all the same.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Entry {
    id: String,
    title: String,
    kind: String,
    owner: String,
    /// The caller's.
    role: &'static str,
    rev: u64,
    /// Milliseconds since the Unix epoch.
    created_at: u64,
    updated_at: u64,
}

/// The documents in which the caller has a role, whoever owns them, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/docs",
    tag = "documents",
    params(AskedList),
    responses((status = 200, body = Documents), OfAll)
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    Query(asked): Query<AskedList>,
) -> Result<Json<Documents>, Failure> {
    let after = asked.after.map(|after| after.parse::<DocId>());
    let no_id = |_| Failure::new(Code::Malformed, "after is the id of a document");
    let after = after.transpose().map_err(no_id)?;
    let limit = match asked.limit {
        None => LIMIT,
        Some(limit) => match number("limit", &limit)? {
            limit @ 1..=LIMIT_MAX => limit as u32,
            _ => {
                let detail = format!("a limit is 1 to {LIMIT_MAX}");
                return Err(Failure::new(Code::Malformed, detail));
            }
        },
    };
    let (filter, query) = (filter(asked.filter.as_deref())?, query(asked.query)?);
    // Each group has the first ones of its own, and the first of all are among those.
    let of_groups = shared.upstream.groups().map(|group| {
        let after = after.map(|after| after.to_bytes()).unwrap_or_default();
        let list = call::Body::List(v1::UsersDocuments {
            group: group.0,
            after,
            limit,
            filter: filter.into(),
            query: query.clone(),
        });
        let no_document = DocId::default();
        shared
            .upstream
            .call_group(group, no_document, &asks.user, list)
    });
    let (mut all, mut horizon) = (Vec::new(), None::<DocId>);
    for of_group in try_join_all(of_groups).await? {
        let reply::Body::List(list) = of_group else {
            return Err(Code::Internal.into());
        };
        all.extend(list.documents);
        if list.more {
            let upto = DocId::from_slice(&list.upto).ok_or(Code::Internal)?;
            horizon = Some(horizon.map_or(upto, |least| least.min(upto)));
        }
    }
    // Behind where one group has not looked yet, no other's are next.
    let mut documents: Vec<(DocId, Entry)> = all.into_iter().filter_map(entry).collect();
    documents.retain(|(id, _)| horizon.is_none_or(|horizon| *id <= horizon));
    documents.sort_unstable_by_key(|(id, _)| *id);
    let next = match documents.get(limit as usize) {
        Some(_) => documents.get(limit as usize - 1).map(|(id, _)| *id),
        None => horizon,
    };
    let documents = documents.into_iter().take(limit as usize);
    Ok(Json(Documents {
        documents: documents.map(|(_, entry)| entry).collect(),
        next: next.map(|id| id.to_string()),
    }))
}

fn filter(asked: Option<&str>) -> Result<ListFilter, Failure> {
    match asked {
        None => Ok(ListFilter::All),
        Some("mine") => Ok(ListFilter::Mine),
        Some("shared") => Ok(ListFilter::Shared),
        Some("deleted") => Ok(ListFilter::Deleted),
        Some(_) => {
            let detail = "a filter is mine, shared or deleted";
            Err(Failure::new(Code::Malformed, detail))
        }
    }
}

/// Empty: none.
fn query(asked: Option<String>) -> Result<String, Failure> {
    match asked {
        None => Ok(String::new()),
        Some(query) if (1..=QUERY_BYTES_MAX).contains(&query.len()) => Ok(query),
        Some(_) => {
            let detail = format!("a query is 1 to {QUERY_BYTES_MAX} bytes");
            Err(Failure::new(Code::Malformed, detail))
        }
    }
}

fn entry(there: v1::Description) -> Option<(DocId, Entry)> {
    let id = DocId::from_slice(&there.doc)?;
    let entry = Entry {
        id: id.to_string(),
        title: there.title,
        kind: kind_name(there.kind).to_owned(),
        owner: there.owner,
        role: Role::from_number(there.role)?.as_str(),
        rev: there.rev,
        created_at: there.created_ms,
        updated_at: there.updated_ms,
    };
    Some((id, entry))
}
