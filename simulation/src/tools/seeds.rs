//! Which commit this is, and seeds made of it: every commit explores its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What git says of the tree.
pub struct Commit {
    /// The whole hash.
    pub hash: String,
    /// YYYY-MM-DD, the day that it was committed.
    pub date: String,
    /// Tracked files differ from it, other than the figures themselves.
    pub changed: bool,
}

/// Files that the tools themselves write.
const OWN: [&str; 2] = [
    ":(top,exclude)simulation/ledger.jsonl",
    ":(top,exclude)simulation/README.md",
];

impl Commit {
    pub fn here() -> Result<Self> {
        let head = git(&["log", "-1", "--format=%H %cs"])?;
        let (hash, date) = head.split_once(' ').context("git says no commit")?;
        let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--", ":/"];
        status.extend(OWN);
        Ok(Self {
            hash: hash.into(),
            date: date.into(),
            changed: !git(&status)?.is_empty(),
        })
    }

    /// Short, and marked where the tree differs.
    pub fn name(&self) -> String {
        let short = &self.hash[..self.hash.len().min(12)];
        match self.changed {
            true => format!("{short}-changed"),
            false => short.into(),
        }
    }

    /// The first of a million seeds that belong to this commit. Below 2^53, so that a seed is
    /// the same number in every JSON reader.
    pub fn first_seed(&self) -> Result<u64> {
        let digits = self.hash.get(..8).context("a commit has 8 digits")?;
        Ok(u64::from_str_radix(digits, 16)? * 1_000_000)
    }
}

fn git(args: &[&str]) -> Result<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git").args(["-C", folder]).args(args).output();
    let output = output.context("starting git")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {args:?}: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Which seeds a campaign plays.
#[derive(Debug, Clone, clap::Args)]
pub struct Seeds {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub from: u64,
    /// The first seed comes from the commit's hash instead: every commit explores others.
    #[arg(long, conflicts_with = "from")]
    pub fresh: bool,
}

impl Seeds {
    pub fn first(&self) -> Result<u64> {
        if !self.fresh {
            return Ok(self.from);
        }
        let commit = Commit::here()?;
        let first = commit.first_seed()?;
        println!("commit {}: seeds from {first}", commit.name());
        Ok(first)
    }

    /// Behind the last of so many from `first` on, if it is told how many.
    pub fn last(&self, first: u64, count: Option<u64>) -> Result<u64> {
        let last = count.map_or(Some(u64::MAX), |count| first.checked_add(count));
        last.context("seeds go up to 2^64 - 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_has_its_own_seeds() {
        let first = |hash: &str| {
            let commit = Commit {
                hash: hash.into(),
                date: String::new(),
                changed: false,
            };
            commit.first_seed().expect("a seed")
        };
        assert_eq!(first("00000001ff"), 1_000_000);
        assert_ne!(first("bdf6141aaaa"), first("82dac5faaaa"));
        assert!(first("ffffffffff") + 1_000_000 < 1 << 53);
    }
}
