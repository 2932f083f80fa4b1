//! Acknowledgements over time: the longest silence around each kill.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Clone, Default)]
pub struct Gaps {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// What is typed into.
    doc: Option<String>,
    /// When each acknowledgement came.
    acks: Vec<Instant>,
    sent: u64,
}

impl Gaps {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock())
    }

    pub fn typing_into(&self, doc: &str) {
        self.with(|inner| inner.doc = Some(doc.to_owned()));
    }

    pub fn doc(&self) -> Option<String> {
        self.with(|inner| inner.doc.clone())
    }

    pub fn sent(&self) {
        self.with(|inner| inner.sent += 1);
    }

    pub fn acked(&self) {
        self.with(|inner| inner.acks.push(Instant::now()));
    }

    pub fn count(&self) -> usize {
        self.with(|inner| inner.acks.len())
    }

    /// The longest time between two acknowledgements that follow each other, of those that
    /// overlap `from`..`to`.
    pub fn longest(&self, from: Instant, to: Instant) -> Duration {
        self.with(|inner| {
            let pairs = inner.acks.windows(2);
            let near = pairs.filter(|pair| pair[1] >= from && pair[0] <= to);
            near.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        })
    }
}

/// The value at a share of a sorted list.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
