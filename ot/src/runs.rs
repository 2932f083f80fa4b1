//! Which attributes stand where in a rich document: runs, held in chunks that clones share.
//!
//! An operation rebuilds only the chunks that it touches; the others are passed over, a pointer
//! each. Neighbours of one kind may stand in two runs where chunks meet: whoever writes the
//! document out joins them.

use std::sync::Arc;

use crate::{Attrs, Component, Delta, Limits, OpError, Value, attributes, codec};

/// A stretch with the same attributes, or one embed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// UTF-16 code units, at least 1.
    pub(crate) units: u32,
    pub(crate) attributes: Attrs,
    pub(crate) embed: Option<Arc<Value>>,
    /// What it counts for in `Limits::rich_bytes`.
    bytes: u32,
}

/// A run's share of its component's head, and what it takes in memory beside its attributes.
const RUN_BYTES: usize = 4;

impl Run {
    fn new(units: u32, attributes: Attrs, embed: Option<Arc<Value>>) -> Run {
        let rich = codec::size(attributes.as_deref(), embed.as_deref());
        Run {
            units,
            attributes,
            embed,
            bytes: u32::try_from(RUN_BYTES + rich).unwrap_or(u32::MAX),
        }
    }
}

/// The most runs of a chunk; one that grows above is cut into halves.
const CHUNK_MAX: usize = 64;

#[derive(Debug)]
struct Chunk {
    units: u32,
    /// Of its runs.
    bytes: u64,
    runs: Vec<Run>,
}

impl Chunk {
    fn new(runs: Vec<Run>) -> Chunk {
        Chunk {
            units: runs.iter().map(|run| run.units).sum(),
            bytes: runs.iter().map(|run| u64::from(run.bytes)).sum(),
            runs,
        }
    }
}

/// The runs of a document, in order, without a gap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    chunks: Vec<Arc<Chunk>>,
}

impl Runs {
    /// Of what a rich document starts with.
    pub(crate) fn of_line_break() -> Runs {
        let runs = vec![Run::new(1, None, None)];
        Runs {
            chunks: vec![Arc::new(Chunk::new(runs))],
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.chunks.iter().flat_map(|chunk| &chunk.runs)
    }

    fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// The runs after an operation whose lengths fit.
    ///
    /// # Errors
    /// `TooManyAttributes` where text would end with more than an operation may give it;
    /// `DocumentTooRich`.
    pub(crate) fn after(&self, delta: &Delta, limits: &Limits) -> Result<Runs, OpError> {
        let mut old = Walk {
            chunks: &self.chunks,
            run: 0,
            taken: 0,
        };
        let mut new = Builder {
            chunks: Vec::with_capacity(self.chunks.len() + 2),
            open: vec![],
        };
        for component in delta.components() {
            match component {
                // A removal of what is not there is nothing.
                Component::Insert {
                    units, attributes, ..
                } => {
                    let attributes = attributes::compose(&None, attributes, false);
                    new.push(Run::new(*units, attributes, None));
                }
                Component::Embed { value, attributes } => {
                    let attributes = attributes::compose(&None, attributes, false);
                    new.push(Run::new(1, attributes, Some(value.clone())));
                }
                Component::Retain {
                    units,
                    attributes: None,
                } => new.keep(&mut old, *units),
                Component::Retain { units, attributes } => {
                    let mut left = *units;
                    while let Some(run) = old.next(left) {
                        left -= run.units;
                        let set = attributes::compose(&run.attributes, attributes, false);
                        if set.as_ref().is_some_and(|a| a.len() > limits.attributes) {
                            return Err(OpError::TooManyAttributes {
                                most: limits.attributes,
                            });
                        }
                        new.push(Run::new(run.units, set, run.embed));
                    }
                }
                Component::Delete { units } => {
                    let mut left = *units;
                    while left > 0 {
                        left -= match old.whole_chunk(left) {
                            Some(chunk) => chunk.units,
                            None => match old.next(left) {
                                Some(run) => run.units,
                                None => break,
                            },
                        };
                    }
                }
            }
        }
        new.keep(&mut old, u32::MAX);
        new.close();
        let after = Runs { chunks: new.chunks };
        let bytes = after.bytes();
        if bytes > limits.rich_bytes as u64 && bytes > self.bytes() {
            return Err(OpError::DocumentTooRich {
                most_bytes: limits.rich_bytes,
            });
        }
        Ok(after)
    }
}

/// Where an operation is in the old runs.
struct Walk<'a> {
    /// From the current chunk on.
    chunks: &'a [Arc<Chunk>],
    /// The current run of the current chunk, and how much of it is taken.
    run: usize,
    taken: u32,
}

impl<'a> Walk<'a> {
    /// Takes the chunk, if the walk is at its start and it is no longer than `units`.
    fn whole_chunk(&mut self, units: u32) -> Option<&'a Arc<Chunk>> {
        let (chunk, rest) = self.chunks.split_first()?;
        if self.run > 0 || self.taken > 0 || chunk.units > units {
            return None;
        }
        self.chunks = rest;
        Some(chunk)
    }

    /// Takes the current run, at most `units` of it.
    fn next(&mut self, units: u32) -> Option<Run> {
        let chunk = self.chunks.first()?;
        let run = chunk.runs.get(self.run)?;
        let take = units.min(run.units - self.taken);
        if take == 0 {
            return None;
        }
        self.taken += take;
        if self.taken == run.units {
            self.taken = 0;
            self.run += 1;
            if self.run == chunk.runs.len() {
                self.run = 0;
                self.chunks = &self.chunks[1..];
            }
        }
        Some(Run {
            units: take,
            ..run.clone()
        })
    }
}

struct Builder {
    chunks: Vec<Arc<Chunk>>,
    /// Runs of chunks that the operation touches, until a whole one follows.
    open: Vec<Run>,
}

impl Builder {
    fn push(&mut self, run: Run) {
        match self.open.last_mut() {
            Some(last)
                if last.embed.is_none()
                    && run.embed.is_none()
                    && last.attributes == run.attributes =>
            {
                last.units += run.units;
            }
            _ => self.open.push(run),
        }
    }

    fn keep(&mut self, old: &mut Walk<'_>, units: u32) {
        let mut left = units;
        while left > 0 {
            // Few open runs join the chunk that follows, or each insert would leave a small one.
            if (self.open.is_empty() || self.open.len() >= CHUNK_MAX / 4)
                && let Some(chunk) = old.whole_chunk(left)
            {
                left -= chunk.units;
                self.close();
                self.chunks.push(chunk.clone());
                continue;
            }
            match old.next(left) {
                Some(run) => {
                    left -= run.units;
                    self.push(run);
                }
                None => break,
            }
        }
    }

    /// Makes chunks of the open runs: halves of a large one, so that the next insert at the
    /// same place finds room; a small one joins the small one before it.
    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if self.open.len() < CHUNK_MAX / 4
            && self
                .chunks
                .last()
                .is_some_and(|last| last.runs.len() < CHUNK_MAX / 4)
            && let Some(last) = self.chunks.pop()
        {
            let tail = std::mem::take(&mut self.open);
            self.open.extend(last.runs.iter().cloned());
            tail.into_iter().for_each(|run| self.push(run));
        }
        let parts = self.open.len().div_ceil(CHUNK_MAX);
        let size = self.open.len().div_ceil(parts);
        let mut runs = std::mem::take(&mut self.open).into_iter();
        for _ in 0..parts {
            let runs: Vec<Run> = runs.by_ref().take(size).collect();
            self.chunks.push(Arc::new(Chunk::new(runs)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runs: &Runs) {
        for chunk in &runs.chunks {
            assert!(!chunk.runs.is_empty() && chunk.runs.len() <= CHUNK_MAX);
            assert_eq!(
                chunk.units,
                chunk.runs.iter().map(|run| run.units).sum::<u32>()
            );
            let bytes = chunk.runs.iter().map(|run| u64::from(run.bytes));
            assert_eq!(chunk.bytes, bytes.sum::<u64>());
        }
    }

    fn bold(n: u32) -> Attrs {
        attributes::pack(
            [("bold".into(), Value::Number(f64::from(n)))]
                .into_iter()
                .collect(),
        )
    }

    #[test]
    fn chunks_stay_between_full_and_empty() {
        let mut runs = Runs::of_line_break();
        let mut random = 1u32;
        let mut units = 1;
        for n in 0..6_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // In one place, then anywhere.
            let at = if n < 3_000 { 0 } else { (random >> 8) % units };
            let mut delta = Delta::new();
            delta.retain(at);
            delta.push(Component::Insert {
                text: "x".into(),
                units: 1,
                attributes: bold(n),
            });
            runs = runs.after(&delta, &Limits::default()).unwrap();
            units += 1;
        }
        check(&runs);
        let count = runs.iter().count();
        assert!(count >= 6_000);
        assert!(
            runs.chunks.len() <= count / (CHUNK_MAX / 8),
            "{} chunks",
            runs.chunks.len()
        );

        // A change at one place leaves the other chunks shared.
        let mut delta = Delta::new();
        delta.retain(units / 2).delete(1);
        let after = runs.after(&delta, &Limits::default()).unwrap();
        check(&after);
        let shared = |chunk: &&Arc<Chunk>| after.chunks.iter().any(|c| Arc::ptr_eq(c, chunk));
        assert!(runs.chunks.iter().filter(shared).count() + 3 >= runs.chunks.len());

        let mut delta = Delta::new();
        delta.delete(units - 1);
        let after = runs.after(&delta, &Limits::default()).unwrap();
        check(&after);
        assert_eq!(after.iter().count(), 1);
    }
}
