//! The bug base: one folder for each way to fail.
//!
//! `<slug>/`: `seed` (the first), `seeds.txt` (all), `signature`, `verdict.json`, `plan.json`;
//! then `shrunk.json`, `report.html` and `report.json` as `shrink` and `report` write them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{tools::tally::first_violation, verdict::Verdict};

pub struct Bugs {
    folder: PathBuf,
    /// By signature, those of this campaign.
    found: BTreeMap<String, Bug>,
}

#[derive(Debug, Clone)]
pub struct Bug {
    pub folder: PathBuf,
    /// The first of this campaign.
    pub seed: u64,
    pub seeds: u64,
    /// No campaign before has seen it.
    pub new: bool,
}

impl Bugs {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            found: BTreeMap::new(),
        }
    }

    /// Files a failure under its signature. Whether this campaign sees it for the first time.
    pub fn file(&mut self, verdict: &Verdict) -> Result<bool> {
        let Some(violation) = first_violation(verdict) else {
            return Ok(false);
        };
        let signature = &violation.signature;
        // What is planted is another way to fail.
        let mutant = verdict.mutant.iter();
        let name: Vec<&str> = mutant.chain([signature]).map(String::as_str).collect();
        let folder = self.folder.join(slug(&name.join(" ")));
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        let new = !folder.join("signature").exists();
        if new {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            write("seed", format!("{}\n", verdict.seed))?;
            write(
                "verdict.json",
                serde_json::to_string_pretty(verdict)? + "\n",
            )?;
            write("signature", format!("{signature}\n"))?;
        }
        let seeds = fs::read_to_string(folder.join("seeds.txt")).unwrap_or_default();
        let seed = verdict.seed.to_string();
        if !seeds.lines().any(|line| line == seed) {
            write("seeds.txt", format!("{seeds}{seed}\n"))?;
        }
        let first = !self.found.contains_key(signature);
        let bug = self.found.entry(signature.clone()).or_insert_with(|| Bug {
            seed: verdict.seed,
            seeds: 0,
            new,
            folder,
        });
        bug.seeds += 1;
        Ok(first)
    }

    pub fn found(&self) -> &BTreeMap<String, Bug> {
        &self.found
    }
}

/// A folder's name: what can be read of the signature, and enough of its hash to be another for
/// another.
fn slug(signature: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::new();
    for c in signature.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(LONGEST);
    let hash = blake3::hash(signature.as_bytes()).to_hex();
    format!("{}-{}", out.trim_matches('-'), &hash[..6])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tools::shrink::Scratch, verdict::Violation};

    fn failed(seed: u64, signature: &str) -> Verdict {
        let violation = Violation {
            oracle: "durable".into(),
            property: "O6".into(),
            signature: signature.into(),
            promised: "kept".into(),
            broken: "lost".into(),
            at_ms: 5,
        };
        Verdict {
            seed,
            violations: vec![violation],
            ..Verdict::default()
        }
    }

    #[test]
    fn failures_of_one_signature_share_a_folder() {
        let scratch = Scratch::new("bugs").expect("a folder");
        let (one, other) = ("durable: acknowledged, lost", "durable: acknowledged; lost");
        let mut bugs = Bugs::new(scratch.folder().to_owned());
        assert!(bugs.file(&failed(3, one)).expect("filed"));
        assert!(!bugs.file(&failed(9, one)).expect("filed"));
        assert!(!bugs.file(&failed(9, one)).expect("filed"));
        assert!(bugs.file(&failed(4, other)).expect("filed"));
        assert!(!bugs.file(&Verdict::default()).expect("nothing to file"));
        let found = bugs.found();
        assert_eq!(found.len(), 2);
        assert_eq!((found[one].seed, found[one].seeds), (3, 3));
        assert_ne!(found[one].folder, found[other].folder);
        let seeds = fs::read_to_string(found[one].folder.join("seeds.txt")).expect("seeds");
        assert_eq!(seeds, "3\n9\n");
        assert_eq!(fs::read_dir(scratch.folder()).expect("folder").count(), 2);

        // The next campaign adds to it and knows that it is not new.
        let mut next = Bugs::new(scratch.folder().to_owned());
        assert!(next.file(&failed(11, one)).expect("filed"));
        let bug = &next.found()[one];
        assert_eq!((bug.seed, bug.new), (11, false));
        let seeds = fs::read_to_string(bug.folder.join("seeds.txt")).expect("seeds");
        assert_eq!(seeds, "3\n9\n11\n");
    }

    #[test]
    fn names_of_folders_are_plain() {
        let name = slug("O6/durable: the ack of “a” ../.. is lost");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(plain), "{name}");
        assert!(name.starts_with("o6-durable-the-ack"));
        assert!(slug(&"x".repeat(500)).len() < 80);
    }
}
