//! The pinned scenarios: what once went wrong, here or elsewhere, and must not again.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    plan::Plan,
    tools::{
        pool,
        processes::{Processes, Runner, Target, With, write_plan},
        shrink::Scratch,
        tally::first_violation,
    },
    verdict::Verdict,
};

/// Plays all pinned scenarios; each must hold, and reach the states that it is there for.
#[derive(Debug, clap::Args)]
pub struct Scenarios {
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
    /// The planted bug that is on, to see which scenarios find it.
    #[arg(long)]
    mutant: Option<String>,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    #[command(flatten)]
    processes: Processes,
}

/// A file of `simulation/scenarios`; its name is the scenario's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What happens in it, and what would be wrong.
    says: String,
    /// Where it was seen first.
    seen: String,
    /// Rare states that it must reach, or it says nothing.
    marks: BTreeSet<String>,
    plan: Plan,
}

impl Scenarios {
    /// Whether all held.
    pub fn run(&self) -> Result<bool> {
        let runner = self.processes.runner()?;
        let files = files()?;
        let wanted = |(name, _): &(String, PathBuf)| match &self.only {
            Some(only) => only == name,
            None => true,
        };
        let files: Vec<_> = files.into_iter().filter(wanted).collect();
        if files.is_empty() {
            bail!("no scenario of that name in {}", folder().display());
        }
        let count = files.len();
        let mut broken = 0;
        let mut problem = None;
        pool::spread(
            self.jobs,
            files.into_iter(),
            |(name, path)| (self.play(&runner, &name, &path), name),
            |result| match result {
                Some((Ok(None), name)) => println!("{name}: held"),
                Some((Ok(Some(why)), name)) => {
                    broken += 1;
                    println!("{name}: BROKEN, {why}");
                }
                Some((Err(error), _)) => problem = Some(error),
                None => {}
            },
        );
        if let Some(error) = problem {
            return Err(error);
        }
        let verdict = if broken == 0 { "held" } else { "BROKEN" };
        println!("scenarios: {count} played, {broken} broken {verdict}");
        Ok(broken == 0)
    }

    /// What is wrong with it, if anything.
    fn play(&self, runner: &Runner, name: &str, path: &Path) -> Result<Option<String>> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let scenario: Scenario =
            serde_json::from_str(&text).with_context(|| format!("the scenario {name}"))?;
        let scratch = Scratch::new("scenario")?;
        let file = scratch.path("plan.json");
        let mut plan = scenario.plan;
        plan.scenario = Some(name.to_owned());
        write_plan(&file, &plan)?;
        let with = With {
            mutant: self.mutant.clone(),
            ..With::default()
        };
        let verdict = runner.run(&Target::Plan(file), &with)?;
        Ok(wrong(&verdict, &scenario.marks))
    }
}

fn wrong(verdict: &Verdict, marks: &BTreeSet<String>) -> Option<String> {
    if let Some(violation) = first_violation(verdict) {
        return Some(format!("{}: {}", violation.oracle, violation.broken));
    }
    let missing: Vec<_> = marks
        .iter()
        .filter(|mark| !verdict.sometimes.contains_key(*mark))
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| format!("it did not reach {}", missing.join(", ")))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// In the order of their names.
fn files() -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let folder = folder();
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if let (Some(name), Some("json")) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            path.extension().and_then(|e| e.to_str()),
        ) {
            files.push((name.to_owned(), path.clone()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::MARKS;

    #[test]
    fn every_file_is_a_plan_that_can_be_played_and_names_known_marks() {
        let known: BTreeSet<&str> = MARKS.iter().map(|(name, _)| *name).collect();
        let files = files().unwrap();
        assert!(!files.is_empty());
        for (name, path) in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let scenario: Scenario = serde_json::from_str(&text).unwrap();
            scenario
                .plan
                .check()
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            for mark in &scenario.marks {
                assert!(known.contains(&**mark), "{name} wants {mark}");
            }
        }
    }

    #[test]
    fn a_scenario_that_reaches_nothing_is_broken() {
        let marks = BTreeSet::from(["rebase".to_owned()]);
        let mut verdict = Verdict::default();
        assert_eq!(
            wrong(&verdict, &marks).as_deref(),
            Some("it did not reach rebase")
        );
        verdict.sometimes.insert("rebase".into(), 1);
        assert_eq!(wrong(&verdict, &marks), None);
    }
}
