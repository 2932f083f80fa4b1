//! Receipts: that a revision of a document is what it is, signed here, where its log is. The router
//! only passes them on.

use bytes::Bytes;
use codraft_proto::{
    ids::Revision,
    receipt::{Entry, Receipt},
    reject::Code,
    v1::{self, reply},
};

use crate::{
    history::{Answer, Request},
    hosted::Hosted,
    wire,
};

impl Request {
    /// Signs what was made again from the events, never what somebody says of it.
    pub(crate) async fn receipt(&self, hosted: &Hosted, asked: v1::ReceiptOf) -> Answer {
        let _turn = self.service.history.turn().await;
        let group = &hosted.group;
        let rev = self.view(group).await?.check(Revision(asked.rev))?;
        let without = "this cluster signs no receipts: its nodes have no `[receipt]` in keys.toml";
        let key = self.service.receipt_key.as_ref();
        let key = key.ok_or_else(|| wire::problem(Code::Unsupported, without))?;
        // Before the events: those that are archived in between have no entry, which is no harm.
        let entry = group.entry_of(self.doc, rev).await;
        let entry = entry.map_err(|error| self.failed(&error.into()))?;
        let state = self.state(group, rev).await?;
        let signed = key.sign(Receipt {
            cluster: self.service.groups.topology.cluster().to_owned(),
            doc: self.doc,
            group: group.id(),
            hash: state.hash.0,
            rev,
            entry: entry.map(|id| Entry {
                term: id.leader_id.term,
                index: id.index,
            }),
        });
        let Receipt {
            cluster,
            group,
            hash,
            entry,
            ..
        } = signed.receipt;
        Ok(reply::Body::Receipt(v1::Receipt {
            cluster,
            group: group.0,
            hash: Bytes::copy_from_slice(&hash),
            entry: entry.map(|Entry { term, index }| v1::ReceiptEntry { term, index }),
            key: Bytes::copy_from_slice(&signed.key),
            signature: Bytes::copy_from_slice(&signed.signature),
        }))
    }
}
