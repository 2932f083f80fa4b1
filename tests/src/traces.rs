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
        eprintln!("CODRAFT_TRACES is not set: {name} is left out, generated typing is used instead");
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
