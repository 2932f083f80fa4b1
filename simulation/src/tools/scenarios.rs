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
    /// A planted bug that it is there to meet, and seeds do not: `mutants` plays it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bug: Option<String>,
    plan: Plan,
}

impl Scenarios {
    /// Whether all held.
    pub fn run(&self) -> Result<bool> {
        let runner = self.processes.runner()?;
        let wanted = |name: &String| self.only.as_ref().is_none_or(|only| only == name);
        let names: Vec<_> = names()?.into_iter().filter(wanted).collect();
        if names.is_empty() {
            bail!("no scenario of that name in {}", folder().display());
        }
        let count = names.len();
        let mut broken = 0;
        let mut problem = None;
        pool::spread(
            self.jobs,
            names.into_iter(),
            |name| (self.judged(&runner, &name), name),
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
    fn judged(&self, runner: &Runner, name: &str) -> Result<Option<String>> {
        let with = With {
            mutant: self.mutant.clone(),
            ..With::default()
        };
        let verdict = play(runner, name, &with)?;
        Ok(wrong(&verdict, &read(name)?.marks))
    }
}

fn read(name: &str) -> Result<Scenario> {
    let path = folder().join(name).with_extension("json");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("the scenario {name}"))
}

/// Plays the scenario of that name.
pub fn play(runner: &Runner, name: &str, with: &With) -> Result<Verdict> {
    let Scenario { mut plan, .. } = read(name)?;
    let scratch = Scratch::new("scenario")?;
    let file = scratch.path("plan.json");
    plan.scenario = Some(name.to_owned());
    write_plan(&file, &plan)?;
    runner.run(&Target::Plan(file), with)
}

/// The name of the scenario that is there to meet a planted bug, if one is.
pub fn that_meets(bug: &str) -> Result<Option<String>> {
    for name in names()? {
        if read(&name)?.bug.as_deref() == Some(bug) {
            return Ok(Some(name));
        }
    }
    Ok(None)
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

/// In order.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    let folder = folder();
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if let (Some(name), Some("json")) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            path.extension().and_then(|e| e.to_str()),
        ) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::MARKS;

    #[test]
    fn every_file_is_a_plan_that_can_be_played_and_names_known_marks() {
        let known: BTreeSet<&str> = MARKS.iter().map(|(name, _)| *name).collect();
        let names = names().unwrap();
        assert!(!names.is_empty());
        for name in names {
            let scenario = read(&name).unwrap();
            scenario
                .plan
                .check()
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            for mark in &scenario.marks {
                assert!(known.contains(&**mark), "{name} wants {mark}");
            }
            #[cfg(codraft_mutants)]
            if let Some(bug) = &scenario.bug {
                let planted = codraft_mutant::ALL.iter().any(|one| one.name == bug);
                assert!(planted, "{name} is there to meet {bug}");
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
