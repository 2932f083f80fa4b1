//! A document as its readers start from it: in memory once, however many sockets it is on its
//! way to, and put into JSON once, by the first of them that needs it.

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    frame::{Encoding, json::Spelling},
    ids::{DocId, Revision},
};
use tokio::sync::OnceCell;

pub struct SharedState {
    /// ot's binary form.
    binary: Bytes,
    /// `None`: it cannot be read.
    json: OnceCell<Option<Bytes>>,
    /// Of a large one: the revision at which the archive has it whole.
    pub kept: Option<Revision>,
}

/// Where a revision can be read.
pub fn url(id: DocId, version: Revision) -> String {
    format!("/v1/docs/{id}/history?version={version}")
}

impl SharedState {
    pub fn new(binary: Bytes, kept: Option<Revision>) -> Self {
        Self {
            binary,
            json: OnceCell::new(),
            kept,
        }
    }

    /// In binary form, in bytes.
    pub fn len(&self) -> usize {
        self.binary.len()
    }

    /// The document in this encoding; `None` if it cannot be read.
    pub async fn encoded(&self, encoding: Encoding) -> Option<Bytes> {
        match encoding {
            Encoding::Binary => Some(self.binary.clone()),
            Encoding::Json if mutant!("document_spelled_for_each_reader") => self.spell().await,
            Encoding::Json => self.json.get_or_init(|| self.spell()).await.clone(),
        }
    }

    async fn spell(&self) -> Option<Bytes> {
        let mut spelling = Spelling::new(self.binary.clone());
        while !spelling.step().ok()? {
            // Other sockets have their turn in between.
            tokio::task::yield_now().await;
        }
        Some(spelling.into_bytes())
    }
}
