//! Each seed twice, in two processes: the same seed gives the same bytes.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    tools::{
        difference::{self, Difference},
        pool,
        processes::{Processes, Runner, Target, With},
        progress::Progress,
        seeds::Seeds,
        tally::first_violation,
    },
    verdict::Verdict,
};

/// Plays each seed twice and compares the traces.
#[derive(Debug, clap::Args)]
pub struct Meta {
    #[command(flatten)]
    seeds: Seeds,
    /// How many seeds.
    #[arg(long = "seeds", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where the traces of a difference are kept.
    #[arg(long, default_value = "target/simulation/meta")]
    out: PathBuf,
    #[command(flatten)]
    processes: Processes,
}

enum Pair {
    Same(Box<Verdict>),
    Differs(String),
}

impl Meta {
    /// Whether all traces were the same, and all held.
    pub fn run(&self) -> Result<bool> {
        let runner = self.processes.runner()?;
        let first = self.seeds.first()?;
        let seeds = first..self.seeds.last(first, Some(self.count))?;
        let mut progress = Progress::new();
        let (mut done, mut differ, mut broken) = (0, 0, 0);
        let mut problem = None;
        pool::spread(
            self.jobs,
            seeds,
            |seed| (seed, self.pair(&runner, seed)),
            |result| {
                match result {
                    Some((_, Ok(Pair::Same(verdict)))) => {
                        done += 1;
                        if let Some(violation) = first_violation(&verdict) {
                            broken += 1;
                            let signature = &violation.signature;
                            progress.say(&format!("seed {} is broken: {signature}", verdict.seed));
                        }
                    }
                    Some((seed, Ok(Pair::Differs(how)))) => {
                        (done, differ) = (done + 1, differ + 1);
                        progress.say(&format!("seed {seed} differs: {how}"));
                    }
                    Some((_, Err(error))) => problem = Some(error),
                    None => {}
                }
                let of = self.count;
                progress.show(|| format!("meta: {done} of {of} seeds, {differ} differ"));
            },
        );
        progress.clear();
        if let Some(error) = problem {
            return Err(error);
        }
        println!(
            "meta from={first} seeds={} differ={differ} broken={broken} {}",
            self.count,
            if differ + broken == 0 {
                "held"
            } else {
                "BROKEN"
            }
        );
        Ok(differ + broken == 0)
    }

    fn pair(&self, runner: &Runner, seed: u64) -> Result<Pair> {
        let target = Target::Seed(seed);
        let play = |moved: bool, trace: Option<PathBuf>| {
            let with = With {
                moved,
                trace,
                ..With::default()
            };
            runner.run(&target, &with)
        };
        let (a, b) = (play(false, None)?, play(true, None)?);
        let Some(what) = parts(&a, &b) else {
            return Ok(Pair::Same(Box::new(a)));
        };
        // Once more, now with traces. What differs seldom needs several attempts.
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("making {}", self.out.display()))?;
        let path = |name| self.out.join(format!("{seed}-{name}.trace"));
        let (left, right) = (path("a"), path("b"));
        const ATTEMPTS: u32 = 4;
        for _ in 0..ATTEMPTS {
            play(false, Some(left.clone()))?;
            play(true, Some(right.clone()))?;
            if let Some(found) = difference::of_files(&left, &right)? {
                return Ok(Pair::Differs(told(what, &found, &self.out)));
            }
        }
        Ok(Pair::Differs(format!(
            "{what}; {ATTEMPTS} more pairs, with traces, were the same"
        )))
    }
}

fn told(what: &str, found: &Difference, out: &std::path::Path) -> String {
    format!("{what}; traces in {}; {found}", out.display())
}

/// What differs between two verdicts of one seed; wall time may.
fn parts(a: &Verdict, b: &Verdict) -> Option<&'static str> {
    if a.trace != b.trace {
        return Some("the hash of the trace");
    }
    let timeless = |verdict: &Verdict| Verdict {
        wall_ms: 0,
        ..verdict.clone()
    };
    (timeless(a) != timeless(b)).then_some("the verdict, under the same trace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_alone_is_no_difference() {
        let verdict = |trace: &str, wall_ms, acknowledged| Verdict {
            trace: trace.into(),
            wall_ms,
            acknowledged,
            ..Verdict::default()
        };
        assert_eq!(parts(&verdict("a", 1, 2), &verdict("a", 9, 2)), None);
        assert!(parts(&verdict("a", 1, 2), &verdict("b", 1, 2)).is_some());
        assert!(parts(&verdict("a", 1, 2), &verdict("a", 1, 3)).is_some());
    }
}
