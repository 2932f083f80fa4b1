//! A user's documents in one group.

use std::{sync::Arc, time::Duration};

use codraft_proto::{
    ids::{DocId, GroupId, Role, UserId},
    reject::Code,
    v1::{self, ListFilter, message::Body, reply},
};
use codraft_raft::machine::Summary;

use crate::{history::Answer, routers::RouterLink, service::Service, wire};

/// Documents of one reply.
const LIMIT_MAX: u32 = 256;

/// Answers in a task of its own, or not in time: it may read from the disk.
pub(crate) fn list(
    service: &Arc<Service>,
    link: &Arc<RouterLink>,
    (id, user): (u64, UserId),
    asked: v1::UsersDocuments,
    patience: Duration,
) {
    let (service, link) = (service.clone(), link.clone());
    let tasks = service.tasks.clone();
    tasks.spawn("list", async move {
        let answer = match link.permit() {
            None => Err(wire::problem(Code::Busy, "too many requests wait")),
            Some(_permit) => tokio::time::timeout(patience, of_user(&service, &user, asked))
                .await
                .unwrap_or_else(|_| Err(wire::problem(Code::Timeout, "no answer in time"))),
        };
        let body = Some(answer.unwrap_or_else(reply::Body::Problem));
        link.push(Body::Reply(v1::Reply { id, body }));
    });
}

/// As of now, in order with every change.
async fn of_user(service: &Service, user: &UserId, asked: v1::UsersDocuments) -> Answer {
    let hosted = service.groups.hosted.get(&GroupId(asked.group));
    let group = &hosted.ok_or_else(wire::wrong_group)?.group;
    group.read().await.map_err(wire::reading)?;
    let after = DocId::from_slice(&asked.after);
    let most = asked.limit.clamp(1, LIMIT_MAX) as usize;
    let wanted = wanted(user, asked.filter(), &asked.query);
    let found = group.of_user(user, after, most, &wanted).await;
    let described = found.documents.iter();
    let described = described.map(|(doc, of)| wire::short_description(doc, of, user));
    Ok(reply::Body::List(v1::UsersList {
        documents: described.collect(),
        more: found.upto.is_some(),
        upto: found.upto.map(|doc| doc.to_bytes()).unwrap_or_default(),
    }))
}

fn wanted<'a>(user: &'a str, filter: ListFilter, query: &str) -> impl Fn(&Summary) -> bool + 'a {
    let query = query.to_lowercase();
    move |summary| {
        let role = summary.role(user);
        let is_of = match filter {
            ListFilter::All => role.is_some(),
            ListFilter::Mine => role == Some(Role::Owner),
            ListFilter::Shared => role.is_some_and(|role| role != Role::Owner),
            ListFilter::Deleted => {
                summary.deleted_ms.is_some() && summary.kept_role(user) == Some(Role::Owner)
            }
        };
        is_of && (query.is_empty() || summary.title.to_lowercase().contains(&query))
    }
}
