//! The ledger: a line for each campaign that was played, in `simulation/ledger.jsonl`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::tools::{
    seeds::Commit,
    tally::{Tally, add_counts},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// The day of the commit.
    pub date: String,
    pub commit: String,
    /// The first and the last seed; all between were played.
    pub from: u64,
    pub to: u64,
    pub simulated_hours: f64,
    /// Of one core.
    pub core_hours: f64,
    pub acknowledged: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Rare states that were seen.
    pub marks: BTreeMap<String, u64>,
    /// Failed seeds, by signature.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// `held` or `broken`.
    pub verdict: String,
}

pub fn default_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ledger.jsonl")
}

impl Campaign {
    pub fn new(commit: &Commit, from: u64, to: u64, tally: &Tally) -> Self {
        let hours = |ms: u64| (ms as f64 / 3_600_000.0 * 1e4).round() / 1e4;
        Self {
            date: commit.date.clone(),
            commit: commit.name(),
            from,
            to,
            simulated_hours: hours(tally.simulated_ms),
            core_hours: hours(tally.wall_ms),
            acknowledged: tally.acknowledged,
            faults: tally.faults.clone(),
            marks: tally.marks.clone(),
            failures: tally.failures.clone(),
            verdict: if tally.failed() == 0 {
                "held"
            } else {
                "broken"
            }
            .into(),
        }
    }

    pub fn append(&self, path: &Path) -> Result<()> {
        let file = fs::File::options().append(true).create(true).open(path);
        let mut file = file.with_context(|| format!("opening {}", path.display()))?;
        writeln!(file, "{}", serde_json::to_string(self)?)?;
        Ok(())
    }

    pub fn seeds(&self) -> u64 {
        (self.to + 1).saturating_sub(self.from)
    }
}

/// All campaigns of a ledger; of one that is not there, none.
pub fn read(path: &Path) -> Result<Vec<Campaign>> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Campaign>> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| serde_json::from_str(line).with_context(|| format!("line {}", n + 1)))
        .collect()
}

/// What all campaigns came to.
#[derive(Debug, Default, PartialEq)]
pub struct Sum {
    pub campaigns: u64,
    pub seeds: u64,
    pub simulated_hours: f64,
    pub core_hours: f64,
    pub acknowledged: u64,
    pub failed: u64,
    pub faults: BTreeMap<String, u64>,
    pub marks: BTreeMap<String, u64>,
}

pub fn sum(campaigns: &[Campaign]) -> Sum {
    let mut sum = Sum::default();
    for campaign in campaigns {
        sum.campaigns += 1;
        sum.seeds += campaign.seeds();
        sum.simulated_hours += campaign.simulated_hours;
        sum.core_hours += campaign.core_hours;
        sum.acknowledged += campaign.acknowledged;
        sum.failed += campaign.failures.values().sum::<u64>();
        add_counts(&mut sum.faults, &campaign.faults);
        add_counts(&mut sum.marks, &campaign.marks);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::shrink::Scratch;

    fn campaign(from: u64, to: u64, simulated_ms: u64) -> Campaign {
        let commit = Commit {
            hash: "bdf6141aaaabbbbcccc".into(),
            date: "2026-01-02".into(),
            changed: true,
        };
        let tally = Tally {
            seeds: to + 1 - from,
            simulated_ms,
            wall_ms: simulated_ms / 20,
            acknowledged: 500,
            faults: [("crash".into(), 3)].into(),
            planned: [("crash".into(), (3, 3))].into(),
            marks: [("rebase".into(), from)].into(),
            failures: [("lost".into(), from - 1)].into(),
        };
        Campaign::new(&commit, from, to, &tally)
    }

    #[test]
    fn what_is_appended_is_read_and_summed() {
        let scratch = Scratch::new("ledger").expect("a folder");
        let path = scratch.path("ledger.jsonl");
        assert_eq!(read(&path).expect("none"), vec![]);
        let (a, b) = (campaign(1, 10, 7_200_000), campaign(11, 11, 1_800_000));
        a.append(&path).expect("appended");
        b.append(&path).expect("appended");
        let back = read(&path).expect("read");
        assert_eq!(back, [a, b]);
        assert_eq!(back[0].commit, "bdf6141aaaab-changed");
        assert_eq!(
            (back[0].verdict.as_str(), back[1].verdict.as_str()),
            ("held", "broken")
        );
        let sum = sum(&back);
        assert_eq!((sum.campaigns, sum.seeds, sum.failed), (2, 11, 10));
        assert!((sum.simulated_hours - 2.5).abs() < 1e-9);
        assert!((sum.core_hours - 0.125).abs() < 1e-9);
        assert_eq!(sum.acknowledged, 1_000);
        assert_eq!(sum.faults, [("crash".into(), 6)].into());
        assert_eq!(sum.marks, [("rebase".into(), 12)].into());
    }

    #[test]
    fn a_broken_line_is_named() {
        let good = serde_json::to_string(&campaign(1, 2, 0)).expect("json");
        let error = parse(&format!("{good}\n\n{{\n")).expect_err("broken");
        assert!(error.to_string().contains("line 3"));
    }
}
