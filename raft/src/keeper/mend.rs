//! What is damaged on this disk, had from another replica.
//!
//! A page is asked for by what is in it: a document as one entry left it. Whoever has the document like
//! that in memory or in a page can send it, and who has an earlier page and the log since can make it
//! again; what comes is compared with the digest that the state here has of it, so it does not matter
//! whom it comes from, nor how it was had. The document is in memory then without a
//! page, as one that was changed, and the next manifest, which is due at once, gets it another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use codraft_proto::{
    ids::{DocId, NodeId},
    v1,
};

use super::{AGAIN, KeepError, Keeper, receive::fetch, stored};
use crate::{
    events::Peers,
    machine::{Held, Lookup, Page},
    pages::PageKey,
    tap,
};

/// Who reads a document tries again by itself.
pub const ASK_ONCE: u32 = 1;
/// What applies entries can do nothing else: it asks nodes that are away again, a second later each time.
pub const ASK_LONG: u32 = 120;

/// Whom a replica asks for what is damaged here.
pub struct Others {
    pub(super) node: NodeId,
    /// Who may be a replica of the group, whatever the state here says.
    pub(super) replicas: BTreeSet<NodeId>,
    pub(super) peers: Arc<dyn Peers>,
    /// All who need a document wait for one who asks.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) mended: AtomicU64,
}

impl Others {
    /// Those of `node`.
    pub fn new(node: NodeId, replicas: BTreeSet<NodeId>, peers: Arc<dyn Peers>) -> Self {
        Self {
            node,
            replicas,
            peers,
            turn: tokio::sync::Mutex::default(),
            mended: AtomicU64::new(0),
        }
    }
}

/// What the other replicas said of a page.
#[derive(Debug, Default)]
pub struct Tried(BTreeMap<NodeId, Answer>);

#[derive(Debug)]
pub(super) enum Answer {
    /// It does not have it, and never will.
    Never,
    NotNow(String),
}

impl Tried {
    pub(super) fn said(&mut self, node: NodeId, answer: Answer) {
        self.0.insert(node, answer);
    }

    /// Nobody has it, or will.
    pub(super) fn is_over(&self) -> bool {
        let mut answers = self.0.values();
        answers.all(|answer| matches!(answer, Answer::Never))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no other replica");
        }
        for (place, (node, answer)) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            match answer {
                Answer::Never => write!(f, "{comma}node {node} does not have it")?,
                Answer::NotNow(why) => write!(f, "{comma}node {node}: {why}")?,
            }
        }
        Ok(())
    }
}

impl Keeper {
    /// How many damaged pages it had again, from other replicas but for a few.
    pub fn mended(&self) -> u64 {
        self.others.mended.load(Relaxed)
    }

    /// Brings a document into memory that is in no page here any more, at most after so many
    /// attempts. Nothing happens where it is not needed by then.
    ///
    /// # Errors
    /// When nobody has it.
    pub(super) async fn mend(
        &self,
        key: &PageKey,
        page: Page,
        wrong: KeepError,
        attempts: u32,
    ) -> Result<(), KeepError> {
        let mut tried = Tried::default();
        for attempt in 1.. {
            let turn = self.others.turn.lock().await;
            let is_needed = |held: &Held| {
                let is_cold = matches!(held.lookup(), Lookup::Cold(_));
                is_cold && held.touched() == key.index && held.page() == Some(page)
            };
            if !self.core.lock().shard.held(&key.doc).is_some_and(is_needed) {
                break;
            }
            if let Some(stored) = self.ask(key, page, &mut tried).await {
                let document = Arc::new(self.decode(key.doc, &stored)?);
                self.core.lock().mend(&key.doc, key.index, document);
                self.tail.tidy();
                break;
            }
            drop(turn);
            if attempt >= attempts || tried.is_over() {
                return Err(lost(key, page, wrong, tried));
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    /// What a page of a document holds, by another replica if need be.
    ///
    /// # Errors
    /// When nobody has it right now.
    pub(super) async fn stored(&self, key: &PageKey, page: Page) -> Result<Bytes, KeepError> {
        let wrong = match self.read_page(key, page).await {
            Ok(stored) => return Ok(stored),
            Err(wrong) => wrong,
        };
        let mut tried = Tried::default();
        let stored = self.ask(key, page, &mut tried).await;
        stored.ok_or_else(|| lost(key, page, wrong, tried))
    }

    /// The other voters of the group.
    pub(super) fn others(&self) -> BTreeSet<NodeId> {
        let mut voters = self.core.lock().voters();
        voters.remove(&self.others.node);
        voters
    }

    /// Asks those in turn of whom it is not known that they do not have it, and makes it again of what
    /// is here if that can be done and nobody has it now.
    async fn ask(&self, key: &PageKey, page: Page, tried: &mut Tried) -> Option<Bytes> {
        for node in self.others() {
            if let Some(Answer::Never) = tried.0.get(&node) {
                continue;
            }
            let answer = match self.ask_node(node, key, page).await {
                Ok(Some(stored)) => {
                    let (group, doc, file) = (self.group, key.doc, page.place.file);
                    tracing::warn!(%group, %doc, "a page was damaged: taken again from node {node}; it was in {file:08x}.pages");
                    self.others.mended.fetch_add(1, Relaxed);
                    tap::mended(group);
                    return Some(stored);
                }
                Ok(None) => Answer::Never,
                Err(why) => Answer::NotNow(why),
            };
            tried.said(node, answer);
        }
        let made = self.made_again(key).await;
        let made = made.filter(|made| *blake3::hash(made).as_bytes() == page.digest)?;
        let (group, doc, file) = (self.group, key.doc, page.place.file);
        tracing::warn!(%group, %doc, "a page was damaged: made again of an earlier one and the log; it was in {file:08x}.pages");
        self.others.mended.fetch_add(1, Relaxed);
        Some(made)
    }

    /// None where that node will never have it.
    async fn ask_node(
        &self,
        node: NodeId,
        key: &PageKey,
        page: Page,
    ) -> Result<Option<Bytes>, String> {
        let link = self.others.peers.bulk(node).ok_or("no such node")?;
        let body = v1::fetch::Body::Document(v1::FetchDocument {
            doc: Bytes::copy_from_slice(&key.doc.0),
            index: key.index,
            digest: Bytes::copy_from_slice(&page.digest),
        });
        let pages = fetch(&*link, self.group, body).await?;
        let Some(stored) = pages.into_iter().next() else {
            return Ok(None);
        };
        match *blake3::hash(&stored).as_bytes() == page.digest {
            true => Ok(Some(stored)),
            false => Err("what came is not what was asked for".into()),
        }
    }

    /// What another replica wants of a document, as one entry left it.
    ///
    /// # Errors
    /// Why it may be had later.
    pub(super) async fn fetch_document(
        &self,
        request: &v1::FetchDocument,
    ) -> Result<Vec<Bytes>, String> {
        let doc = DocId::from_slice(&request.doc).ok_or("a document's id has 16 bytes")?;
        let key = self.key(doc, request.index);
        let applied = self.core.lock().shard.applied();
        if applied < key.index {
            return Err(format!("it is at entry {applied} and not at {}", key.index));
        }
        let stored = self.as_left(&key).await;
        let same = stored.filter(|stored| blake3::hash(stored).as_bytes()[..] == request.digest);
        Ok(same.into_iter().collect())
    }

    /// A document as that entry left it, if it is still like that in memory or in a page, or can be
    /// made like that again. Whoever asks for it has its digest.
    async fn as_left(&self, key: &PageKey) -> Option<Bytes> {
        let held = self.core.lock().shard.held(&key.doc).cloned();
        let held = held.filter(|held| held.touched() == key.index);
        if let Some(Lookup::Present(document)) = held.as_ref().map(Held::lookup) {
            return Some(stored(document).await);
        }
        if let Some(page) = held.and_then(|held| held.page())
            && let Ok(stored) = self.read_page(key, page).await
        {
            return Some(stored);
        }
        // It went on since, or its page was moved.
        self.made_again(key).await
    }

    /// What a page holds that this replica lends and cannot read.
    pub(super) async fn lent(&self, key: &PageKey) -> Option<Bytes> {
        let manifest = self.latest()?;
        let listed = self.listed(&manifest, key).await?;
        let page = listed.page().filter(|_| listed.touched() == key.index)?;
        self.stored(key, page).await.ok()
    }
}

fn lost(key: &PageKey, page: Page, wrong: KeepError, tried: Tried) -> KeepError {
    KeepError::Lost {
        doc: key.doc,
        file: page.place.file,
        wrong: Box::new(wrong),
        tried,
    }
}
