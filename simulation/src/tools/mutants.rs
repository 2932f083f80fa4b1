//! Bugs planted on purpose: proof that the oracles catch what they are there for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    tools::{
        pool,
        processes::{Processes, Runner, Target, With},
        progress::Progress,
        readme, scenarios,
        seeds::Commit,
        tally::first_violation,
    },
    verdict::{Verdict, Violation},
};

/// Plays each planted bug until an oracle catches it.
#[derive(Debug, clap::Args)]
pub struct Mutants {
    /// Only this one.
    #[arg(long, conflicts_with_all = ["rotate", "write"])]
    only: Option<String>,
    /// The I-th of N parts of them, I from 0; `commit/N` takes I from the commit.
    #[arg(long, value_name = "I/N", conflicts_with = "write")]
    rotate: Option<Rotation>,
    /// Seeds at most for each.
    #[arg(long, default_value_t = 120)]
    seeds: u64,
    /// How many bugs at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Ends with a line of JSON: {"total", "caught", "median_seeds"}.
    #[arg(long)]
    json: bool,
    /// Puts the table into simulation/README.md.
    #[arg(long)]
    write: bool,
    #[arg(long, hide = true)]
    readme: Option<PathBuf>,
    /// JSON lines of bugs that stand for those that are built in.
    #[arg(long, hide = true)]
    planted: Option<PathBuf>,
    #[command(flatten)]
    processes: Processes,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Planted {
    name: String,
    what: String,
    /// Oracles that may catch it, the likeliest first.
    expect: Vec<String>,
}

/// None: from the commit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rotation {
    part: Option<u64>,
    of: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Tried {
    planted: Planted,
    end: End,
    /// Where a violation did not count, since the same fails without the bug.
    unclean: Vec<Trial>,
    /// What else broke before it was caught: oracles that it was not expected by.
    elsewhere: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum End {
    Caught {
        on: Trial,
        /// How many seeds were played.
        seeds: u64,
        oracle: String,
        property: String,
    },
    /// `reached`: on how many seeds the bug's line was reached at all.
    Escaped { seeds: u64, reached: u64 },
}

/// What a bug is played on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trial {
    Seed(u64),
    /// One of the pinned ones, for what seeds do not meet.
    Scenario(String),
}

#[derive(Debug, PartialEq, Serialize)]
struct Total {
    total: usize,
    caught: usize,
    median_seeds: f64,
}

/// The name of the part of the README.
const PART: &str = "planted bugs";

impl Mutants {
    /// Whether all were caught.
    pub fn run(&self) -> Result<bool> {
        let runner = self.processes.runner()?;
        let chosen = self.chosen()?;
        let of = chosen.len();
        let clean = Mutex::new(BTreeMap::new());
        let mut progress = Progress::new();
        let (mut tried, mut problem) = (Vec::new(), None);
        pool::spread(
            self.jobs,
            chosen.iter().cloned(),
            |planted| attempt(&runner, planted, self.seeds, &clean),
            |result| {
                match result {
                    Some(Ok(one)) => {
                        progress.say(&told(&one));
                        tried.push(one);
                    }
                    Some(Err(error)) => problem = Some(error),
                    None => {}
                }
                let done = tried.len();
                progress.show(|| format!("mutants: {done} of {of}"));
            },
        );
        progress.clear();
        if let Some(error) = problem {
            return Err(error);
        }
        let place = |one: &Tried| chosen.iter().position(|planted| *planted == one.planted);
        tried.sort_by_key(place);
        let text = table(&tried);
        let total = total(&tried);
        if self.write {
            let path = self.readme.clone().unwrap_or_else(readme::default_path);
            readme::write(&path, PART, &text)?;
        }
        print!("{text}");
        if self.json {
            println!("{}", serde_json::to_string(&total)?);
        }
        Ok(total.caught == total.total && total.total > 0)
    }

    fn chosen(&self) -> Result<Vec<Planted>> {
        let all = match &self.planted {
            None => built_in(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                text.lines()
                    .map(serde_json::from_str)
                    .collect::<Result<_, _>>()?
            }
        };
        ensure!(
            !all.is_empty(),
            "this build has no planted bugs: --cfg codraft_mutants"
        );
        let chosen = match (&self.only, self.rotate) {
            (Some(only), _) => all.into_iter().filter(|p| p.name == *only).collect(),
            (None, Some(rotation)) => rotation.take(all)?,
            (None, None) => all,
        };
        ensure!(!chosen.is_empty(), "no such planted bug");
        Ok(chosen)
    }
}

/// Those that this build has.
#[cfg(codraft_mutants)]
fn built_in() -> Vec<Planted> {
    let planted = |mutant: &codraft_mutant::Mutant| Planted {
        name: mutant.name.into(),
        what: mutant.what.into(),
        expect: mutant.expect.iter().map(|name| (*name).into()).collect(),
    };
    codraft_mutant::ALL.iter().map(planted).collect()
}

#[cfg(not(codraft_mutants))]
fn built_in() -> Vec<Planted> {
    vec![]
}

impl FromStr for Rotation {
    type Err = anyhow::Error;
    fn from_str(s: &str) -> Result<Self> {
        let (part, of) = s.split_once('/').context("I/N")?;
        let of = of.parse()?;
        let part = match part {
            "commit" => None,
            part => Some(part.parse()?),
        };
        ensure!(
            of > 0 && part.is_none_or(|part| part < of),
            "I must be below N"
        );
        Ok(Self { part, of })
    }
}

impl Rotation {
    fn take(self, all: Vec<Planted>) -> Result<Vec<Planted>> {
        let part = match self.part {
            Some(part) => part,
            None => Commit::here()?.first_seed()? / 1_000_000 % self.of,
        };
        let numbered = (0..).zip(all);
        let chosen = numbered.filter(|(n, _)| n % self.of == part);
        Ok(chosen.map(|(_, planted)| planted).collect())
    }
}

impl Trial {
    fn play(&self, runner: &Runner, with: &With) -> Result<Verdict> {
        match self {
            Self::Seed(seed) => runner.run(&Target::Seed(*seed), with),
            Self::Scenario(name) => scenarios::play(runner, name, with),
        }
    }

    /// The command that plays it again.
    fn command(&self, mutant: &str) -> String {
        match self {
            Self::Seed(seed) => format!("run --seed {seed} --mutant {mutant}"),
            Self::Scenario(name) => format!("scenarios --only {name} --mutant {mutant}"),
        }
    }
}

/// Whether all holds without a bug.
type Clean = Mutex<BTreeMap<Trial, bool>>;

fn attempt(runner: &Runner, planted: Planted, most: u64, clean: &Clean) -> Result<Tried> {
    let with = With {
        mutant: Some(planted.name.clone()),
        ..With::default()
    };
    let trials: Vec<_> = match scenarios::that_meets(&planted.name)? {
        Some(name) => vec![Trial::Scenario(name)],
        None => (1..=most).map(Trial::Seed).collect(),
    };
    let (mut reached, mut unclean, mut elsewhere) = (0, Vec::new(), BTreeSet::new());
    for (on, seeds) in trials.iter().cloned().zip(1..) {
        let verdict = on.play(runner, &with)?;
        reached += u64::from(verdict.mutant_reached > 0);
        let expected = |violation: &&Violation| planted.expect.contains(&violation.oracle);
        let Some(violation) = verdict.violations.iter().find(expected) else {
            elsewhere.extend(first_violation(&verdict).map(|first| first.oracle.clone()));
            continue;
        };
        if !is_clean(runner, &on, clean)? {
            unclean.push(on);
            continue;
        }
        let end = End::Caught {
            on,
            seeds,
            oracle: violation.oracle.clone(),
            property: violation.property.clone(),
        };
        return Ok(Tried {
            planted,
            end,
            unclean,
            elsewhere,
        });
    }
    let end = End::Escaped {
        seeds: trials.len() as u64,
        reached,
    };
    Ok(Tried {
        planted,
        end,
        unclean,
        elsewhere,
    })
}

fn is_clean(runner: &Runner, on: &Trial, clean: &Clean) -> Result<bool> {
    let known = |clean: &Clean| {
        let clean = clean.lock();
        clean.get(on).copied()
    };
    if let Some(held) = known(clean) {
        return Ok(held);
    }
    // Two may play the same: they find the same.
    let held = on.play(runner, &With::default())?.held();
    let mut clean = clean.lock();
    clean.insert(on.clone(), held);
    Ok(held)
}

fn told(one: &Tried) -> String {
    let name = &one.planted.name;
    let unclean = match one.unclean.as_slice() {
        [] => String::new(),
        seeds => format!(" (fails without it too: {seeds:?})"),
    };
    let elsewhere = match one.elsewhere.is_empty() {
        true => String::new(),
        false => format!("; before that {:?} broke", one.elsewhere),
    };
    match &one.end {
        End::Caught {
            seeds,
            oracle,
            property,
            ..
        } => format!(
            "{name}: caught by {oracle} ({property}) after {seeds} seeds{unclean}{elsewhere}"
        ),
        End::Escaped { seeds, reached } => format!(
            "{name}: NOT CAUGHT in {seeds} seeds; its line was reached on {reached}{unclean}{elsewhere}"
        ),
    }
}

fn table(tried: &[Tried]) -> String {
    let mut out = String::from(
        "| planted bug | what it does | caught by | expected | seeds | played again by |\n\
         |---|---|---|---|--:|---|\n",
    );
    for one in tried {
        let Planted { name, what, expect } = &one.planted;
        let expect: Vec<_> = expect.iter().map(|oracle| format!("`{oracle}`")).collect();
        let expect = expect.join(", ");
        let rest = match &one.end {
            End::Caught {
                on,
                seeds,
                oracle,
                property,
            } => format!(
                "`{oracle}` ({property}) | {expect} | {seeds} | `make sim ARGS=\"{}\"`",
                on.command(name)
            ),
            End::Escaped { seeds, reached } => {
                format!("**nothing**, reached on {reached} seeds | {expect} | > {seeds} | ")
            }
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "| `{name}` | {what} | {rest} |");
    }
    let total = total(tried);
    let _ = writeln!(
        out,
        "\n{} of {} caught; half of them within {} seeds.",
        total.caught, total.total, total.median_seeds
    );
    out
}

/// The median is that of the caught.
fn total(tried: &[Tried]) -> Total {
    let mut seeds: Vec<u64> = tried
        .iter()
        .filter_map(|one| match one.end {
            End::Caught { seeds, .. } => Some(seeds),
            End::Escaped { .. } => None,
        })
        .collect();
    seeds.sort_unstable();
    let middle = seeds.len() / 2;
    let median_seeds = match seeds.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => (seeds[middle - 1] + seeds[middle]) as f64 / 2.0,
        _ => seeds[middle] as f64,
    };
    Total {
        total: tried.len(),
        caught: seeds.len(),
        median_seeds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(name: &str) -> Planted {
        Planted {
            name: name.into(),
            what: "forgets".into(),
            expect: vec!["durable".into()],
        }
    }

    fn caught(name: &str, seed: u64) -> Tried {
        let end = End::Caught {
            on: Trial::Seed(seed),
            seeds: seed,
            oracle: "durable".into(),
            property: "O6".into(),
        };
        Tried {
            planted: planted(name),
            end,
            unclean: vec![],
            elsewhere: BTreeSet::new(),
        }
    }

    #[test]
    fn what_escaped_is_counted_and_shown() {
        let escaped = Tried {
            planted: planted("sly"),
            end: End::Escaped {
                seeds: 50,
                reached: 3,
            },
            unclean: vec![],
            elsewhere: BTreeSet::new(),
        };
        let tried = [caught("a", 1), escaped, caught("b", 4), caught("c", 2)];
        let total = total(&tried);
        assert_eq!((total.total, total.caught), (4, 3));
        assert_eq!(total.median_seeds, 2.0);
        let json = serde_json::to_string(&total).expect("json");
        assert_eq!(json, r#"{"total":4,"caught":3,"median_seeds":2.0}"#);
        let table = table(&tried);
        assert!(table.contains("**nothing**, reached on 3 seeds"));
        assert!(table.contains("run --seed 4 --mutant b"));
        assert!(table.contains("3 of 4 caught"));
    }

    #[test]
    fn rotation_takes_each_once() {
        let all: Vec<_> = (0..10).map(|n| planted(&n.to_string())).collect();
        let mut seen = Vec::new();
        for part in 0..3 {
            let rotation: Rotation = format!("{part}/3").parse().expect("I/N");
            seen.extend(rotation.take(all.clone()).expect("a part"));
        }
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(seen, all);
        assert!("3/3".parse::<Rotation>().is_err());
        let commit: Rotation = "commit/4".parse().expect("commit/N");
        assert_eq!(commit.part, None);
    }
}
