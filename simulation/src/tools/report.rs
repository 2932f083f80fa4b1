//! One failing run as a page for people, and the same as JSON.

mod nearest;
mod page;
mod seen;
mod spans;
mod story;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    marks::MARKS,
    plan::Plan,
    tools::{
        processes::{Processes, Runner, Target, With, read_plan, write_plan},
        progress::Progress,
        report::{nearest::Nearest, seen::Told, story::Story},
        shrink::{Scratch, What, shrink},
        tally::first_violation,
        words,
    },
    verdict::Verdict,
};

/// Writes a page about one run: what was promised, what was broken, and what led there.
#[derive(Debug, clap::Args)]
pub struct Report {
    #[command(flatten)]
    what: What,
    /// The folder for report.html, report.json and the plans.
    #[arg(long, default_value = "target/simulation/report")]
    out: PathBuf,
    /// The small plan, if there is one; else it is sought.
    #[arg(long)]
    shrunk: Option<PathBuf>,
    /// Runs at most to find the small plan; 0: none is sought.
    #[arg(long, default_value_t = 100)]
    tries: u32,
    #[command(flatten)]
    processes: Processes,
}

impl Report {
    /// A report of a run that failed is no failure.
    pub fn run(&self) -> Result<bool> {
        let runner = self.processes.runner()?;
        let plan = self.what.plan(&runner)?;
        let small = self.small(&runner, &plan)?;
        fs::create_dir_all(&self.out).with_context(|| format!("making {}", self.out.display()))?;
        write_plan(&self.out.join("plan.json"), &plan)?;
        if let Some(small) = &small {
            write_plan(&self.out.join("shrunk.json"), small)?;
        }
        let command = self.what.command(&plan);
        write(&runner, &plan, small.as_ref(), &command, &self.out)?;
        println!("{}", self.out.join("report.html").display());
        Ok(true)
    }

    fn small(&self, runner: &Runner, plan: &Plan) -> Result<Option<Plan>> {
        if let Some(path) = &self.shrunk {
            return Ok(Some(read_plan(path)?));
        }
        if self.tries == 0 {
            return Ok(None);
        }
        let scratch = Scratch::new("report")?;
        let Some(signature) = crate::tools::shrink::signature(runner, plan, &scratch)? else {
            return Ok(None);
        };
        let mut progress = Progress::new();
        let found = shrink(
            runner,
            plan,
            &signature,
            self.tries,
            &scratch,
            &mut progress,
        )?;
        Ok(Some(found.plan))
    }
}

/// All that the page shows.
#[derive(Debug, Serialize)]
struct Model<'a> {
    /// Plays the failure again.
    command: &'a str,
    commit: &'a str,
    verdict: &'a Verdict,
    /// Why this run fails, first of all.
    signature: Option<&'a str>,
    plan: &'a Plan,
    shrunk: Option<&'a Plan>,
    plan_lines: Vec<String>,
    shrunk_lines: Option<Vec<String>>,
    nearest: Option<Nearest>,
    /// Rare states, with what they mean.
    states: &'a [(&'a str, &'a str)],
    /// Of the small plan first, if there is one.
    stories: Vec<Story>,
    /// Lines of the trace of the first story around the violation.
    trace: Vec<String>,
}

/// Plays the plans once more with records and traces, and writes `report.html` and `report.json`.
pub fn write(
    runner: &Runner,
    plan: &Plan,
    small: Option<&Plan>,
    command: &str,
    out: &Path,
) -> Result<()> {
    let scratch = Scratch::new("report")?;
    let full = played(runner, plan, &scratch, "plan")?;
    let little = small
        .map(|small| played(runner, small, &scratch, "shrunk"))
        .transpose()?;
    let base = little.as_ref().unwrap_or(&full);
    let nearest = match base.verdict.held() {
        true => None,
        false => nearest::find(runner, base, &scratch)?,
    };
    let first = first_violation(&base.verdict);
    let mut stories = Vec::new();
    if let Some(little) = &little {
        stories.push(little.story("the small plan")?);
    }
    stories.push(full.story("the plan")?);
    let at_ms = first.map_or(base.verdict.simulated_ms, |violation| violation.at_ms);
    let model = Model {
        command,
        commit: &full.verdict.commit,
        verdict: &base.verdict,
        signature: first.map(|violation| violation.signature.as_str()),
        plan,
        shrunk: small,
        plan_lines: words::lines(plan),
        shrunk_lines: small.map(words::lines),
        nearest,
        states: MARKS,
        stories,
        trace: excerpt(&base.trace, at_ms)?,
    };
    let put = |name: &str, text: String| {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    put("report.json", serde_json::to_string_pretty(&model)? + "\n")?;
    put("report.html", page::html(&serde_json::to_string(&model)?))
}

/// A plan that was played, and what it left.
struct Played {
    plan: Plan,
    verdict: Verdict,
    trace: PathBuf,
    record: PathBuf,
}

fn played(runner: &Runner, plan: &Plan, scratch: &Scratch, name: &str) -> Result<Played> {
    let path = scratch.path(&format!("{name}.json"));
    write_plan(&path, plan)?;
    let trace = scratch.path(&format!("{name}.trace"));
    let record = scratch.path(&format!("{name}.record"));
    let with = With {
        mutant: plan.mutant.clone(),
        trace: Some(trace.clone()),
        record: Some(record.clone()),
        moved: false,
    };
    let verdict = runner.run(&Target::Plan(path), &with)?;
    Ok(Played {
        plan: plan.clone(),
        verdict,
        trace,
        record,
    })
}

impl Played {
    fn story(&self, name: &str) -> Result<Story> {
        let entries = read_record(&self.record)?;
        let violation = first_violation(&self.verdict);
        Ok(story::tell(name, &self.plan, &entries, violation))
    }
}

/// The entries of a record; of a process that broke, those that it wrote whole.
fn read_record(path: &Path) -> Result<Vec<Told>> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let file = fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut lines = BufReader::new(file).lines().enumerate().peekable();
    let mut entries = Vec::new();
    while let Some((n, line)) = lines.next() {
        match Told::parse(&line?) {
            Ok(told) => entries.push(told),
            // The last line of a process that was killed may be cut.
            Err(_) if lines.peek().is_none() => break,
            Err(error) => {
                return Err(error).with_context(|| format!("{} line {}", path.display(), n + 1));
            }
        }
    }
    Ok(entries)
}

/// The trace's lines up to the violation, and a few behind it.
fn excerpt(path: &Path, at_ms: u64) -> Result<Vec<String>> {
    const BEFORE: usize = 120;
    const AFTER: usize = 20;
    if !path.exists() {
        return Ok(vec![]);
    }
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let seconds = at_ms as f64 / 1_000.0;
    let later = |line: &&str| {
        let time = line
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        time.is_some_and(|time| time > seconds)
    };
    let place = lines.iter().position(later).unwrap_or(lines.len());
    let around = &lines[place.saturating_sub(BEFORE)..(place + AFTER).min(lines.len())];
    Ok(around.iter().map(|line| (*line).to_owned()).collect())
}

#[cfg(test)]
mod tests;
