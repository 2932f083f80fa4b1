//! What the text of a document is, for routers that compare it with what clients have: one
//! document of this node at a time, outside its group's lock and in steps.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use codraft_ot::Content;
use codraft_proto::{
    ids::{DocId, Revision},
    v1::{self, message::Body},
};
use codraft_raft::{group::Group, machine::Lookup};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{hosted::HostedGroups, routers::RouterLink};

/// More than these are answered at once, without a digest.
const WAITING_MAX: usize = 1_024;

struct Asked {
    link: Arc<RouterLink>,
    doc: DocId,
    rev: Revision,
}

impl Asked {
    /// `digest`: none where the revision is not the head, or it cannot be told now.
    fn answer(&self, digest: Option<[u8; 32]>) {
        self.link.push(Body::Checked(v1::Checked {
            doc: self.doc.to_bytes(),
            rev: self.rev.0,
            digest: digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(&digest)),
        }));
    }
}

#[derive(Default)]
pub(crate) struct Checks {
    waiting: Mutex<VecDeque<Asked>>,
    arrived: Notify,
}

impl Checks {
    pub fn ask(&self, link: Arc<RouterLink>, doc: DocId, rev: Revision) {
        let asked = Asked { link, doc, rev };
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return asked.answer(None);
        }
        waiting.push_back(asked);
        self.arrived.notify_one();
    }

    async fn next(&self) -> Asked {
        loop {
            let arrived = self.arrived.notified();
            if let Some(next) = self.waiting.lock().pop_front() {
                return next;
            }
            arrived.await;
        }
    }
}

/// Answers what is asked for as long as the node runs.
pub(crate) async fn serve(checks: Arc<Checks>, groups: Arc<HostedGroups>) {
    loop {
        let asked = checks.next().await;
        if asked.link.is_closed() {
            continue;
        }
        let digest = match groups.of_doc(&asked.doc) {
            Some(hosted) => digest(&hosted.group, &asked.doc, asked.rev).await,
            None => None,
        };
        asked.answer(digest);
    }
}

/// A revision is committed before anybody hears of it, so no barrier is needed: whoever has it has
/// the same text.
async fn digest(group: &Group, doc: &DocId, rev: Revision) -> Option<[u8; 32]> {
    let mut content = at_head(group, doc, rev)?;
    if content.is_none() {
        if let Err(error) = group.bring(*doc).await {
            tracing::error!(%doc, %error, "a cold document cannot be had");
        }
        content = at_head(group, doc, rev)?;
    }
    let content = content?;
    let mut digesting = content.digesting();
    loop {
        if let Some(digest) = digesting.step() {
            return Some(digest);
        }
        tokio::task::yield_now().await;
    }
}

/// Nothing where `rev` is not the head; inside it none where the document is not in memory.
fn at_head(group: &Group, doc: &DocId, rev: Revision) -> Option<Option<Content>> {
    group.with(|shard| match shard.document(doc) {
        Lookup::Present(document) if document.rev() == rev => {
            Some(Some(document.content().clone()))
        }
        Lookup::Cold(packed) if packed.summary().rev == rev => Some(None),
        _ => None,
    })
}
