//! The README's figures, computed from the ledger.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use crate::marks::MARKS;
use crate::tools::{
    campaigns::{self, Sum},
    readme,
    tally::{most, thousands},
};

/// Prints the figures of all campaigns in the ledger.
#[derive(Debug, clap::Args)]
pub struct Figures {
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Puts them into simulation/README.md.
    #[arg(long)]
    write: bool,
    #[arg(long, hide = true)]
    readme: Option<PathBuf>,
}

/// The name of the part of the README.
pub const PART: &str = "figures";

impl Figures {
    pub fn run(&self) -> Result<bool> {
        if let Some(path) = &self.ledger {
            ensure!(path.exists(), "there is no ledger {}", path.display());
        }
        let ledger = self.ledger.clone().unwrap_or_else(campaigns::default_path);
        let text = text_of(&ledger)?;
        if self.write {
            let path = self.readme.clone().unwrap_or_else(readme::default_path);
            readme::write(&path, PART, &text)?;
        } else {
            print!("{text}");
        }
        Ok(true)
    }
}

pub fn text_of(ledger: &Path) -> Result<String> {
    Ok(text(&campaigns::sum(&campaigns::read(ledger)?)))
}

fn text(sum: &Sum) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    if sum.campaigns == 0 {
        line("No campaign is in the ledger yet.".into());
        return out;
    }
    let speed = sum.simulated_hours / sum.core_hours.max(1e-9);
    line("| | |".into());
    line("|---|--:|".into());
    line(format!("| campaigns | {} |", thousands(sum.campaigns)));
    line(format!("| seeds | {} |", thousands(sum.seeds)));
    line(format!("| of these failed | {} |", thousands(sum.failed)));
    line(format!("| simulated hours | {:.1} |", sum.simulated_hours));
    line(format!(
        "| operations acknowledged | {} |",
        thousands(sum.acknowledged)
    ));
    line(format!(
        "| simulated seconds in a second of one core | {speed:.0} |"
    ));
    line(String::new());
    line("| fault | struck |".into());
    line("|---|--:|".into());
    for (name, count) in most(&sum.faults) {
        line(format!("| `{name}` | {} |", thousands(count)));
    }
    line(String::new());
    line("| rare state | seen | |".into());
    line("|---|--:|---|".into());
    for (name, meaning) in MARKS {
        let seen = match sum.marks.get(*name) {
            Some(count) => thousands(*count),
            None => "never".into(),
        };
        line(format!("| `{name}` | {seen} | {meaning} |"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_sum() {
        let sum = Sum {
            campaigns: 2,
            seeds: 1_300,
            simulated_hours: 10.0,
            core_hours: 0.5,
            acknowledged: 1_000_001,
            failed: 3,
            faults: [("crash".into(), 4_000), ("loss".into(), 5)].into(),
            marks: [("rebase".into(), 12)].into(),
        };
        let text = text(&sum);
        for part in ["1,300", "1,000,001", "one core | 20 |", "`crash` | 4,000 |"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("| `rebase` | 12 |"));
        assert!(text.contains("| `resync` | never |"));
    }

    #[test]
    fn the_readme_has_the_figures_of_the_ledger() {
        let readme = std::fs::read_to_string(readme::default_path()).expect("a README");
        let figures = text_of(&campaigns::default_path()).expect("a ledger");
        assert!(
            readme.contains(figures.trim_end()),
            "run `make sim ARGS=\"figures --write\"`"
        );
    }
}
