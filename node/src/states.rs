//! Large documents on their way to readers whom no window reaches: spelled outside the group's
//! lock, in steps, once for all who ask at the same time. What came meanwhile is told with them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use codraft_archive::History;
use codraft_ot::Content;
use codraft_proto::{ids::DocId, v1};
use codraft_raft::{
    group::Group,
    machine::{AtRest, Document, Summary},
};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{metrics::Metrics, wire};

/// The latest is kept for so long: another router may ask for it, too.
const KEPT: Duration = Duration::from_secs(1);

/// The archive says where it has the document whole within this, or is not asked.
const KEPT_WITHIN: Duration = Duration::from_millis(100);

/// From here on a reader may gain by having a document elsewhere, where it can be cached: of less,
/// the second request takes longer than the bytes do.
const LARGE_BYTES: usize = 256 << 10;

/// A document as it was.
pub(crate) struct State {
    pub at: v1::Resume,
    /// In ot's binary form.
    pub bytes: Bytes,
    /// The revision at which the archive has it whole; 0: none, or it cannot be told now.
    pub kept: u64,
    /// Where it was not in memory.
    pub at_rest: Option<AtRest>,
}

/// A document that is spelled, or will be. In memory for as long as somebody waits for it.
pub(crate) struct Spelling {
    doc: DocId,
    /// `None`: the document was not there, or cannot be read.
    state: OnceLock<Option<State>>,
    states: Arc<States>,
}

impl Spelling {
    pub fn is_done(&self) -> bool {
        self.state.get().is_some()
    }

    pub fn state(&self) -> Option<&State> {
        self.state.get()?.as_ref()
    }

    /// Whether it is a cold document's page, as the document still is.
    pub fn is_at_rest(&self, summary: &Summary) -> bool {
        let is_head = |state: &State| state.at_rest.is_some() && wire::is_head(summary, &state.at);
        self.state().is_some_and(is_head)
    }

    fn done(&self, state: Option<State>) {
        let bytes = state.as_ref().map_or(0, |state| state.bytes.len());
        self.states.metrics.spelled_bytes.inc_by(bytes as i64);
        // Only one task spells.
        let _ = self.state.set(state);
    }
}

impl Drop for Spelling {
    fn drop(&mut self) {
        let bytes = self.state().map_or(0, |state| state.bytes.len());
        self.states.metrics.spelled_bytes.dec_by(bytes as i64);
        let mut asked = self.states.asked.lock();
        let own = asked.by_doc.get(&self.doc);
        if own.is_some_and(|own| own.strong_count() == 0) {
            asked.by_doc.remove(&self.doc);
        }
    }
}

/// Those of one group.
pub(crate) struct States {
    asked: Mutex<Asked>,
    changed: Notify,
    metrics: Arc<Metrics>,
    history: Arc<History>,
}

#[derive(Default)]
struct Asked {
    /// The latest of each document.
    by_doc: BTreeMap<DocId, Weak<Spelling>>,
    queue: VecDeque<Weak<Spelling>>,
}

impl States {
    pub fn new(metrics: Arc<Metrics>, history: Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
            changed: Notify::new(),
            metrics,
            history,
        })
    }

    /// The latest of this document that was asked for, if anybody waits for it still.
    pub fn latest(&self, doc: &DocId) -> Option<Arc<Spelling>> {
        self.asked.lock().by_doc.get(doc)?.upgrade()
    }

    /// Asks for the document as it is now or will be soon.
    pub fn ask(self: &Arc<Self>, doc: DocId) -> Arc<Spelling> {
        let spelling = Arc::new(Spelling {
            doc,
            state: OnceLock::new(),
            states: self.clone(),
        });
        let mut asked = self.asked.lock();
        asked.by_doc.insert(doc, Arc::downgrade(&spelling));
        asked.queue.push_back(Arc::downgrade(&spelling));
        drop(asked);
        self.changed.notify_one();
        spelling
    }

    /// The next that somebody still waits for.
    async fn next(&self) -> Arc<Spelling> {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.pop() {
                return next;
            }
            changed.await;
        }
    }

    fn pop(&self) -> Option<Arc<Spelling>> {
        let queue = &mut self.asked.lock().queue;
        std::iter::from_fn(|| queue.pop_front()).find_map(|asked| asked.upgrade())
    }

    /// Spells what is asked for, one after another, and says so each time.
    pub async fn spell(self: Arc<Self>, group: Group, done: impl Fn()) {
        let mut kept: Option<(Arc<Spelling>, Instant)> = None;
        loop {
            let until = kept.as_ref().map(|(_, until)| *until);
            let spelling = tokio::select! {
                biased;
                spelling = self.next() => spelling,
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    kept = None;
                    continue;
                }
            };
            spelling.done(self.state(&group, spelling.doc).await);
            kept = Some((spelling, Instant::now() + KEPT));
            done();
        }
    }
}

impl States {
    async fn state(&self, group: &Group, doc: DocId) -> Option<State> {
        let copied = group.with(|shard| {
            let document = shard.document(&doc).present()?;
            Some((head_of(document), document.content().clone()))
        });
        let Some((at, content)) = copied else {
            return self.state_at_rest(group, doc).await;
        };
        let kept = self.kept(group, doc, content.encoded_bytes());
        let (bytes, kept) = tokio::join!(spelled(&content), kept);
        Some(State {
            at,
            bytes,
            kept,
            at_rest: None,
        })
    }

    /// A page holds the text as readers are told it, so nothing of it is built for them.
    async fn state_at_rest(&self, group: &Group, doc: DocId) -> Option<State> {
        let at_rest = match group.at_rest(doc).await {
            Ok(at_rest) => at_rest?,
            Err(error) => {
                tracing::warn!(%doc, %error, "a cold document is not read for who opens it");
                return None;
            }
        };
        Some(State {
            at: v1::Resume {
                rev: at_rest.rev.0,
                hash: Bytes::copy_from_slice(&at_rest.hash.0),
            },
            bytes: at_rest.content.clone(),
            kept: self.kept(group, doc, at_rest.content.len()).await,
            at_rest: Some(at_rest),
        })
    }

    /// Nobody waits for it long: a reader can do without.
    async fn kept(&self, group: &Group, doc: DocId, content_bytes: usize) -> u64 {
        if content_bytes < LARGE_BYTES {
            return 0;
        }
        let kept = tokio::time::timeout(KEPT_WITHIN, self.history.checkpoint(group, doc)).await;
        let rev = kept.ok().and_then(|kept| kept.ok().flatten());
        rev.map_or(0, |rev| rev.0)
    }
}

pub(crate) fn head_of(document: &Document) -> v1::Resume {
    v1::Resume {
        rev: document.rev().0,
        hash: Bytes::copy_from_slice(&document.hash().0),
    }
}

/// Other tasks have their turn between two steps.
async fn spelled(content: &Content) -> Bytes {
    let mut bytes = Vec::with_capacity(content.encoded_bytes());
    let mut encoding = content.encoding();
    while !encoding.step(&mut bytes) {
        tokio::task::yield_now().await;
    }
    bytes.into_boxed_slice().into()
}
