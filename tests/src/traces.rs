//! Recorded keystrokes. Positions in the files count Unicode code points; here they become
//! deltas in UTF-16 units, against the text their author saw.

use std::{io::Read, path::PathBuf};

use anyhow::{Context, Result};
use codraft_ot::Delta;
use serde::Deserialize;

/// A patch: position and deletions in code points, then what is inserted.
#[derive(Debug, Clone, Deserialize)]
pub struct Patch(pub usize, pub usize, pub String);

#[derive(Debug, Deserialize)]
pub struct Transaction {
    #[serde(default)]
    pub parents: Vec<usize>,
    #[serde(default)]
    pub agent: usize,
    pub patches: Vec<Patch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(default)]
    pub start_content: String,
    pub end_content: String,
    #[serde(default)]
    pub num_agents: usize,
    pub txns: Vec<Transaction>,
}

/// The folder named by `CODRAFT_TRACES`, if it is there.
pub fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("CODRAFT_TRACES").filter(|v| !v.is_empty())?);
    folder.is_dir().then_some(folder)
}

pub fn load(name: &str) -> Result<Option<Trace>> {
    let Some(folder) = folder() else {
        eprintln!(
            "CODRAFT_TRACES is not set: {name} is left out, generated typing is used instead"
        );
        return Ok(None);
    };
    let path = folder.join(format!("{name}.json.gz"));
    let file = std::fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    Ok(Some(serde_json::from_str(&text)?))
}

/// A text in code points, to find UTF-16 positions in. Only the traces' size matters here, so
/// a plain vector does.
#[derive(Default, Clone)]
pub struct Points(Vec<char>);

impl Points {
    pub fn new(text: &str) -> Self {
        Self(text.chars().collect())
    }

    /// Code points.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn units(&self, from: usize, to: usize) -> u32 {
        self.0[from..to].iter().map(|c| c.len_utf16() as u32).sum()
    }

    /// The delta of one patch, and the text after it.
    pub fn patch(&mut self, patch: &Patch) -> Delta {
        let Patch(at, deleted, inserted) = patch;
        let mut delta = Delta::new();
        delta.retain(self.units(0, *at));
        delta.insert(inserted);
        delta.delete(self.units(*at, at + deleted));
        self.0.splice(*at..at + deleted, inserted.chars());
        delta
    }

    /// How many code points from `at` on make `units` UTF-16 units.
    pub(crate) fn points(&self, at: usize, units: u32) -> usize {
        let (mut left, mut count) = (units as usize, 0);
        while left > 0 && at + count < self.0.len() {
            left = left.saturating_sub(self.0[at + count].len_utf16());
            count += 1;
        }
        count
    }

    pub(crate) fn remove(&mut self, at: usize, count: usize) {
        self.0.drain(at..at + count);
    }

    /// Returns how many code points were put in.
    pub(crate) fn put(&mut self, at: usize, text: &str) -> usize {
        let before = self.0.len();
        self.0.splice(at..at, text.chars());
        self.0.len() - before
    }

    pub fn text(&self) -> String {
        self.0.iter().collect()
    }
}

impl Trace {
    /// The first transactions alone; the text they end at is folded here, one author at a time
    /// where the recording is sequential, else by merging in order.
    ///
    /// # Errors
    /// For a concurrent recording whose first part cannot be merged.
    pub fn first(mut self, transactions: usize) -> Result<Trace> {
        self.txns.truncate(transactions);
        self.end_content = self.fold()?;
        Ok(self)
    }

    /// Merges all transactions, each against what its author had seen: a second way to the same
    /// text, without a server. Where two inserts meet at one place (the recordings have none, but
    /// a deletion between two places makes them one), the lower author goes first.
    fn fold(&self) -> Result<String> {
        // Per agent: its view, and what of the others' it has not seen, moved past its own.
        let agents = self.num_agents.max(1);
        let mut views: Vec<Points> = vec![Points::new(&self.start_content); agents];
        let mut unseen: Vec<Vec<(usize, Delta)>> = vec![Vec::new(); agents];
        let mut known: Vec<Vec<usize>> = Vec::with_capacity(self.txns.len());
        for (number, transaction) in self.txns.iter().enumerate() {
            let mut seen = vec![0; agents];
            for parent in &transaction.parents {
                for (have, other) in seen.iter_mut().zip(&known[*parent]) {
                    *have = (*have).max(*other);
                }
                let agent = self.txns[*parent].agent;
                seen[agent] = seen[agent].max(parent + 1);
            }
            let me = transaction.agent;
            while unseen[me]
                .first()
                .is_some_and(|(n, _)| *n < seen[self.txns[*n].agent])
            {
                let (_, delta) = unseen[me].remove(0);
                views[me].apply(&delta);
            }
            let mut delta = Delta::new();
            for patch in &transaction.patches {
                delta = delta.compose(&views[me].patch(patch))?;
            }
            for (theirs, other) in &mut unseen[me] {
                let first = self.txns[*theirs].agent < me;
                let moved = other.transform(&delta, first);
                *other = delta.transform(other, !first);
                delta = moved;
            }
            for (_, waiting) in unseen.iter_mut().enumerate().filter(|(a, _)| *a != me) {
                waiting.push((number, delta.clone()));
            }
            known.push(seen);
        }
        let mut end = views.swap_remove(0);
        for (_, delta) in &unseen[0] {
            end.apply(delta);
        }
        Ok(end.text())
    }
}

/// Typing of two people who see each other late, from a seed; astral characters among it. Each
/// types in a half of its own, so that every correct merge gives one text.
pub fn generated(transactions: usize, seed: u64) -> Trace {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let mut rng = StdRng::seed_from_u64(seed);
    let start = format!("{}|{}", "left ".repeat(20), "right ".repeat(20));
    let middle = |text: &[char]| text.iter().position(|c| *c == '|').unwrap_or(0);
    let mut trace = Trace {
        start_content: start.clone(),
        end_content: String::new(),
        num_agents: 2,
        txns: Vec::new(),
    };
    // Both as each sees them: a person's own half is always up to date.
    let mut halves: [Vec<char>; 2] = {
        let all: Vec<char> = start.chars().collect();
        let at = middle(&all);
        [all[..at].to_vec(), all[at + 1..].to_vec()]
    };
    // What the right one last saw of the left half's length, and up to which transaction each
    // has seen the other.
    let mut last: [Option<usize>; 2] = [None, None];
    let mut seen: [Option<usize>; 2] = [None, None];
    let mut left_seen = halves[0].len();
    for number in 0..transactions {
        let me = rng.random_range(0..2);
        if rng.random_bool(0.1) {
            seen[me] = last[1 - me];
            if me == 1 {
                left_seen = halves[0].len();
            }
        }
        let half = &mut halves[me];
        let at = rng.random_range(0..=half.len());
        let deleted = if rng.random_bool(0.2) {
            rng.random_range(0..=3.min(half.len() - at))
        } else {
            0
        };
        let inserted = match rng.random_range(0..12) {
            0 => "😀",
            1 => "é\n",
            2 => "word ",
            _ => "x",
        };
        half.splice(at..at + deleted, inserted.chars());
        let offset = if me == 0 { 0 } else { left_seen + 1 };
        let parents = [last[me], seen[me]].into_iter().flatten().collect();
        let patches = vec![Patch(offset + at, deleted, inserted.to_owned())];
        trace.txns.push(Transaction {
            parents,
            agent: me,
            patches,
        });
        last[me] = Some(number);
    }
    let text = |half: &[char]| half.iter().collect::<String>();
    trace.end_content = format!("{}|{}", text(&halves[0]), text(&halves[1]));
    trace
}
