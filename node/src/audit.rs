//! What a replica has now, leader or not, for who compares it with the files of its node and with the
//! other replicas.

use std::sync::Arc;

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, GroupId},
    placement::slot_of,
    reject::Code,
    v1::{self, message::Body, reply},
};
use codraft_raft::group::Group;

use crate::{routers::RouterLink, service::Service, wire};

/// Documents of one reply.
const DOCUMENTS: usize = 512;

/// Answers in a task of its own: a digest may be made for it.
pub(crate) fn held(service: &Arc<Service>, link: &Arc<RouterLink>, id: u64, asked: v1::HeldAfter) {
    let (service, link) = (service.clone(), link.clone());
    let tasks = service.tasks.clone();
    tasks.spawn("audit", async move {
        let hosted = service.groups.hosted.get(&GroupId(asked.group));
        let body = match (hosted, link.permit()) {
            (None, _) => reply::Body::Problem(wire::wrong_group()),
            (_, None) => reply::Body::Problem(wire::problem(Code::Busy, "too many requests wait")),
            (Some(hosted), _) if hosted.group.lacks().is_some() => {
                let what = "it waits for another replica's state";
                reply::Body::Problem(wire::problem(Code::NoLeader, what))
            }
            (Some(hosted), Some(_permit)) => {
                reply::Body::Held(of(&hosted.group, DocId::from_slice(&asked.after)).await)
            }
        };
        let body = Some(body);
        link.push(Body::Reply(v1::Reply { id, body }));
    });
}

async fn of(group: &Group, after: Option<DocId>) -> v1::Held {
    let (index, slots) = group.with(|shard| (shard.applied(), shard.slots()));
    let after = after.map(|doc| (slot_of(&doc), doc));
    let mut all = slots.after(after);
    let mut documents = Vec::new();
    for (_, doc, held) in all.by_ref().take(DOCUMENTS) {
        let summary = held.summary();
        documents.push(v1::HeldDocument {
            doc: doc.to_bytes(),
            touched: held.touched(),
            rev: summary.rev.0,
            hash: Bytes::copy_from_slice(&summary.hash.0),
            digest: Bytes::copy_from_slice(&held.digest()),
        });
        tokio::task::yield_now().await;
    }
    let more = all.next().is_some();
    v1::Held {
        index,
        documents,
        more,
    }
}
