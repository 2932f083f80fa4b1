//! A campaign: many seeds, a process each, with a base of the bugs that it finds.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    marks::MARKS,
    tools::{
        bugs::{Bug, Bugs},
        campaigns::Campaign,
        pool,
        processes::{Processes, Runner, Target, With, write_plan},
        progress::Progress,
        report,
        seeds::{Commit, Seeds},
        shrink::{Scratch, shrink},
        tally::{Tally, first_violation, most, thousands},
    },
    verdict::Verdict,
};

/// Plays many seeds and keeps what fails.
#[derive(Debug, clap::Args)]
pub struct Soak {
    #[command(flatten)]
    seeds: Seeds,
    /// How many seeds.
    #[arg(long = "seeds", required_unless_present = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Or for how long.
    #[arg(long, conflicts_with = "count", value_parser = minutes)]
    minutes: Option<Duration>,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The planted bug that is on, to see how its failures look.
    #[arg(long)]
    mutant: Option<String>,
    /// A folder for each way to fail.
    #[arg(long, default_value = "target/simulation/bugs")]
    bugs: PathBuf,
    /// Runs at most to make each failure's plan small; 0 leaves it as it is.
    #[arg(long, default_value_t = 100)]
    tries: u32,
    /// Ways to fail at most that are made small and reported; the others keep their seeds.
    #[arg(long, default_value_t = 8, value_name = "N")]
    reports: usize,
    /// Adds a line to this ledger.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Fails if one of the marks of rare states was not reached.
    #[arg(long)]
    all_marks: bool,
    #[command(flatten)]
    processes: Processes,
}

impl Soak {
    /// Whether all held.
    pub fn run(&self) -> Result<bool> {
        ensure!(
            self.mutant.is_none() || self.ledger.is_none(),
            "a planted bug has no place in the ledger"
        );
        let runner = self.processes.runner()?;
        // Before, not after: what is played is what was there when it began.
        let commit = self.ledger.as_ref().map(|_| Commit::here()).transpose()?;
        let first = self.seeds.first()?;
        let start = Instant::now();
        let mut campaign = Running {
            start,
            of: self.count,
            tally: Tally::default(),
            bugs: Bugs::new(self.bugs.clone()),
            unfiled: None,
            progress: Progress::new(),
        };
        let end = self.minutes;
        let within = |_: &u64| end.is_none_or(|end| start.elapsed() < end);
        let last = self.seeds.last(first, self.count)?;
        let with = With {
            mutant: self.mutant.clone(),
            ..With::default()
        };
        let mut problem = None;
        pool::spread(
            self.jobs,
            (first..last).take_while(within),
            |seed| runner.run(&Target::Seed(seed), &with),
            |result| {
                if let Some(error) = result.and_then(|result| campaign.note(result).err()) {
                    problem.get_or_insert(error);
                }
            },
        );
        campaign.progress.clear();
        if let Some(error) = problem {
            return Err(error);
        }
        let Running {
            tally,
            bugs,
            unfiled,
            mut progress,
            ..
        } = campaign;
        for (signature, bug) in bugs.found().iter().take(self.reports) {
            if let Err(error) = self.work_up(&runner, signature, bug, &mut progress) {
                progress.say(&format!("{}: {error:#}", bug.folder.display()));
            }
        }
        let to = first + tally.seeds.max(1) - 1;
        print_summary(first, to, &tally, start.elapsed());
        for (signature, bug) in bugs.found() {
            let new = if bug.new { "new" } else { "known" };
            println!("{:>6} × {signature} ({new})", bug.seeds);
            println!("         {}", bug.folder.display());
        }
        if let (Some(path), Some(commit)) = (&self.ledger, &commit) {
            Campaign::new(commit, first, to, &tally).append(path)?;
        }
        let idle = tally.seldom_struck();
        if !idle.is_empty() {
            println!("planned, and struck too seldom: {}", idle.join(", "));
        }
        if let Some(error) = unfiled {
            return Err(error.context("not all failures are in the bug base"));
        }
        let missing = missing_marks(&tally).len();
        let enough = tally.seeds > 0 && idle.is_empty() && !(self.all_marks && missing > 0);
        Ok(tally.failed() == 0 && enough)
    }

    /// The plan, the small plan and the report of a failure, unless they are there.
    fn work_up(
        &self,
        runner: &Runner,
        signature: &str,
        bug: &Bug,
        progress: &mut Progress,
    ) -> Result<()> {
        if bug.folder.join("report.html").exists() {
            return Ok(());
        }
        let plan = runner.plan(bug.seed, self.mutant.as_deref())?;
        write_plan(&bug.folder.join("plan.json"), &plan)?;
        let small = if self.tries > 0 {
            let scratch = Scratch::new("soak")?;
            let found = shrink(runner, &plan, signature, self.tries, &scratch, progress)?;
            write_plan(&bug.folder.join("shrunk.json"), &found.plan)?;
            Some(found.plan)
        } else {
            None
        };
        let mutant = self.mutant.as_ref();
        let mutant = mutant
            .map(|name| format!(" --mutant {name}"))
            .unwrap_or_default();
        let command = format!("make sim ARGS=\"run --seed {}{mutant}\"", bug.seed);
        report::write(runner, &plan, small.as_ref(), &command, &bug.folder)
    }
}

struct Running {
    start: Instant,
    of: Option<u64>,
    tally: Tally,
    bugs: Bugs,
    /// Why a failure could not be put there.
    unfiled: Option<anyhow::Error>,
    progress: Progress,
}

fn minutes(text: &str) -> Result<Duration> {
    let seconds = text.parse::<f64>()? * 60.0;
    ensure!(seconds > 0.0, "more than none");
    Ok(Duration::try_from_secs_f64(seconds)?)
}

impl Running {
    fn note(&mut self, verdict: Result<Verdict>) -> Result<()> {
        let verdict = verdict?;
        self.tally.add(&verdict);
        let first = match self.bugs.file(&verdict) {
            Ok(first) => first,
            Err(error) => {
                self.unfiled.get_or_insert(error);
                true
            }
        };
        if let Some(violation) = first_violation(&verdict).filter(|_| first) {
            let line = format!("seed {} fails: {}", verdict.seed, violation.signature);
            self.progress.say(&line);
        }
        let (tally, of, elapsed) = (&self.tally, self.of, self.start.elapsed());
        self.progress.show(|| line(tally, of, elapsed));
        Ok(())
    }
}

/// Where a campaign stands.
fn line(tally: &Tally, of: Option<u64>, elapsed: Duration) -> String {
    const COMMON: usize = 3;
    let of = of.map(|of| format!("/{of}")).unwrap_or_default();
    let faults: Vec<_> = most(&tally.faults)
        .into_iter()
        .take(COMMON)
        .map(|(name, n)| format!("{name} {}", thousands(n)))
        .collect();
    format!(
        "{} s: {}{of} seeds, {} failed, {:.2} h simulated, {} operations, {:.0} × real time; {}",
        elapsed.as_secs(),
        thousands(tally.seeds),
        tally.failed(),
        tally.hours(),
        thousands(tally.acknowledged),
        tally.simulated_ms as f64 / elapsed.as_millis().max(1) as f64,
        faults.join(", ")
    )
}

fn missing_marks(tally: &Tally) -> Vec<&'static str> {
    let names = MARKS.iter().map(|(name, _)| *name);
    names
        .filter(|name| !tally.marks.contains_key(*name))
        .collect()
}

fn print_summary(from: u64, to: u64, tally: &Tally, elapsed: Duration) {
    let list = |counts: Vec<(&str, u64)>| {
        let parts = counts
            .iter()
            .map(|(name, n)| format!("{name} {}", thousands(*n)));
        parts.collect::<Vec<_>>().join(", ")
    };
    println!(
        "soak seeds={from}..={to} simulated={:.2}h acknowledged={} failed={} wall={}s speed={:.1}/core {}",
        tally.hours(),
        tally.acknowledged,
        tally.failed(),
        elapsed.as_secs(),
        tally.speed(),
        if tally.failed() == 0 {
            "held"
        } else {
            "BROKEN"
        }
    );
    println!("faults struck: {}", list(most(&tally.faults)));
    println!("rare states reached: {}", list(most(&tally.marks)));
    println!("never reached: {}", missing_marks(tally).join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_no_run_reached_is_named() {
        let mut tally = Tally::default();
        assert_eq!(missing_marks(&tally).len(), MARKS.len());
        tally.add(&Verdict {
            sometimes: [("rebase".into(), 2)].into(),
            ..Verdict::default()
        });
        let missing = missing_marks(&tally);
        assert_eq!(missing.len(), MARKS.len() - 1);
        assert!(!missing.contains(&"rebase"));
    }
}
