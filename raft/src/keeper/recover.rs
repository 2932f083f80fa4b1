//! A state that cannot be gone on from, and another replica's in its place.
//!
//! The log of this node is whole, so what it promised stays promised. What it lacks is what the log began
//! with: a state after any committed entry that the log still reaches back to will do, whoever has it. The
//! group does not run meanwhile: it has no vote, answers nothing, and who asks it for a state is told that
//! it has none.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use codraft_proto::{
    ids::{DocId, NodeId},
    placement::slot_of,
    v1::fetch::Body,
};

use super::{
    AGAIN, KeepError, Keeper,
    load::Left,
    mend::{Answer, Tried},
    receive::{Partial, ReceiveError, fetch},
};
use crate::{core::KeptState, events::BulkLink, manifest::Manifest, tap, types::LogId};

impl Keeper {
    /// Why the group must not run before it has another replica's state, if that is so.
    pub fn lacks(&self) -> Option<String> {
        self.left.lock().as_ref().map(|left| left.wrong.clone())
    }

    /// The group cannot go on with a document: nobody has it as the state here says. Another state has it
    /// otherwise.
    pub(super) fn lack(&self, doc: DocId, wrong: String) {
        let slot = slot_of(&doc);
        let mut documents = self.core.lock().shard.slots();
        documents.leave_out(slot, &doc);
        let state = self.latest().map(|latest| {
            let mut manifest = Manifest::clone(&latest);
            manifest.buckets.remove(&slot);
            KeptState {
                manifest: manifest.into(),
                documents,
            }
        });
        *self.left.lock() = Some(Left { wrong, state });
    }

    /// Takes a state from whoever has one: durable when it returns, and the entry that it is of. Those
    /// that cannot be reached, or are not as far yet, are asked again, a second later each time.
    ///
    /// # Errors
    /// When nobody has any, or the disk fails.
    pub async fn recover(&self) -> Result<LogId, KeepError> {
        let wrong = self.lacks().unwrap_or_default();
        // It is not known what of the files here will be needed.
        let _files = [&self.kept.space, &self.kept.event_space].map(|s| s.writing(self.group, 0));
        let (mut partial, mut said) = (Partial::default(), String::new());
        loop {
            let mut tried = Tried::default();
            for node in self.replicas() {
                let answer = match self.recover_from(node, &mut partial).await {
                    Ok(Some(last)) => {
                        tracing::warn!(group = %self.group, %wrong, index = last.index, "taken from node {node}");
                        self.others.mended.fetch_add(1, Relaxed);
                        // What is left in damaged files is written elsewhere.
                        self.tail.tidy();
                        return Ok(last);
                    }
                    Ok(None) => Answer::Never,
                    Err(ReceiveError::Keep(error @ KeepError::Failed(_))) => return Err(error),
                    Err(why) => Answer::NotNow(why.to_string()),
                };
                tried.said(node, answer);
            }
            if tried.is_over() {
                return Err(KeepError::Nobody { wrong, tried });
            }
            let words = tried.to_string();
            if words != said {
                tracing::warn!(group = %self.group, %wrong, %words, "waits for another replica's state");
                said = words;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// None where that node has no state either.
    async fn recover_from(
        &self,
        node: NodeId,
        partial: &mut Partial,
    ) -> Result<Option<LogId>, ReceiveError> {
        let link = self.others.peers.bulk(node);
        let link = link.ok_or_else(|| ReceiveError::Other("no such node".into()))?;
        let at_least = self.at_least().await;
        let Some(theirs) = self.latest_of(&*link, at_least).await? else {
            return Ok(None);
        };
        let last = theirs.last;
        self.events.pages().await.cut(last.index);
        let progress = AtomicU64::new(0);
        let received = self
            .receive_listed(node, &*link, theirs, partial, &progress)
            .await?;
        self.log.agree(last).await.map_err(KeepError::Failed)?;
        self.install(&received.manifest).await?;
        *self.left.lock() = None;
        tap::recovers(self.group, last.index);
        Ok(Some(last))
    }

    /// Another replica's latest manifest, of that entry or a later one; none where it has no state either.
    pub(super) async fn latest_of(
        &self,
        link: &dyn BulkLink,
        at_least: u64,
    ) -> Result<Option<Manifest>, ReceiveError> {
        let lent = fetch(link, self.group, Body::Latest(at_least)).await;
        let lent = lent.map_err(ReceiveError::Other)?;
        let Some(theirs) = lent.first() else {
            return Ok(None);
        };
        let theirs = Manifest::decode(theirs, Path::new("a manifest that was sent"))?;
        match theirs.group == self.group && theirs.index() >= at_least {
            true => Ok(Some(theirs)),
            false => Err(ReceiveError::Wrong("another manifest")),
        }
    }

    /// The entry that a state must not be from before: the log goes on from there, what was archived is
    /// not known otherwise, and nothing here goes back.
    async fn at_least(&self) -> u64 {
        let applied = self.core.lock().last.map_or(0, |last| last.index);
        let archived = self.events.pages().await.archived().index;
        self.log.begins_after().max(archived).max(applied)
    }

    /// Who may have a state of the group.
    fn replicas(&self) -> BTreeSet<NodeId> {
        let mut nodes = self.others();
        nodes.extend(&self.others.replicas);
        let left = self.left.lock();
        let state = left.as_ref().and_then(|left| left.state.as_ref());
        let membership = state.map(|state| state.manifest.membership.membership());
        nodes.extend(
            membership
                .into_iter()
                .flat_map(|of| of.voter_ids().map(NodeId)),
        );
        nodes.remove(&self.others.node);
        nodes
    }
}
