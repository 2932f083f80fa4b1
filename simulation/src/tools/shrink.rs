//! Makes a failing plan small while it fails in the same way.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{
    plan::Plan,
    tools::{
        minimize::{Minimized, minimize},
        processes::{Processes, Runner, Target, With, read_plan, write_plan},
        progress::Progress,
        tally::first_violation,
        words,
    },
};

/// Cuts a failing plan down: fewer clients, acts, faults, smaller numbers.
#[derive(Debug, clap::Args)]
pub struct Shrink {
    #[command(flatten)]
    what: What,
    /// Where the small plan goes; printed if not told.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at most.
    #[arg(long, default_value_t = 300)]
    tries: u32,
    #[command(flatten)]
    processes: Processes,
}

/// A plan, or the seed that makes one.
#[derive(Debug, Clone, clap::Args)]
pub struct What {
    /// A saved plan.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    plan: Option<PathBuf>,
    #[arg(long)]
    seed: Option<u64>,
    /// The planted bug that is on.
    #[arg(long)]
    mutant: Option<String>,
}

impl What {
    pub fn plan(&self, runner: &Runner) -> Result<Plan> {
        let mut plan = match (&self.plan, self.seed) {
            (Some(path), _) => read_plan(path)?,
            (None, Some(seed)) => runner.plan(seed, None)?,
            (None, None) => bail!("a plan or a seed"),
        };
        plan.mutant = self.mutant.clone().or(plan.mutant);
        Ok(plan)
    }

    /// The command that plays it again.
    pub fn command(&self, plan: &Plan) -> String {
        // A saved plan says which one is on, unless it was told here.
        let mutant = match self.plan {
            Some(_) => self.mutant.as_ref(),
            None => plan.mutant.as_ref(),
        };
        let mutant = mutant.map_or_else(String::new, |name| format!(" --mutant {name}"));
        match (&self.plan, self.seed) {
            (Some(path), _) => format!("make sim ARGS=\"replay {}{mutant}\"", path.display()),
            _ => format!("make sim ARGS=\"run --seed {}{mutant}\"", plan.seed),
        }
    }
}

impl Shrink {
    pub fn run(&self) -> Result<bool> {
        let runner = self.processes.runner()?;
        let plan = self.what.plan(&runner)?;
        let scratch = Scratch::new("shrink")?;
        let Some(signature) = signature(&runner, &plan, &scratch)? else {
            bail!("it does not fail: there is nothing to shrink");
        };
        eprintln!("fails: {signature}\nfrom {}", words::size(&plan));
        let mut progress = Progress::new();
        let small = shrink(
            &runner,
            &plan,
            &signature,
            self.tries,
            &scratch,
            &mut progress,
        )?;
        let end = if small.complete {
            "nothing more can be left out"
        } else {
            "out of tries"
        };
        let tries = small.tries;
        eprintln!(
            "to   {} after {tries} tries: {end}",
            words::size(&small.plan)
        );
        match &self.out {
            Some(path) => {
                write_plan(path, &small.plan)?;
                println!("make sim ARGS=\"replay {}\"", path.display());
            }
            None => println!("{}", serde_json::to_string_pretty(&small.plan)?),
        }
        Ok(true)
    }
}

/// Cuts `plan` down while its failure has the same signature.
pub fn shrink(
    runner: &Runner,
    plan: &Plan,
    signature: &str,
    tries: u32,
    scratch: &Scratch,
    progress: &mut Progress,
) -> Result<Minimized> {
    let mut problem = None;
    let mut n = 0;
    let mut best = words::size(plan);
    let mut judge = |candidate: &Plan| {
        if problem.is_some() {
            return false;
        }
        n += 1;
        progress.show(|| format!("shrink: try {n} of {tries}; {best}"));
        match self::signature(runner, candidate, scratch) {
            Ok(found) => {
                let same = found.as_deref() == Some(signature);
                if same {
                    best = words::size(candidate);
                }
                same
            }
            Err(error) => {
                problem = Some(error);
                false
            }
        }
    };
    let found = minimize(plan, tries, &mut judge);
    progress.clear();
    match problem {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// How a plan fails, if it does.
pub fn signature(runner: &Runner, plan: &Plan, scratch: &Scratch) -> Result<Option<String>> {
    let path = scratch.path("candidate.json");
    write_plan(&path, plan)?;
    let with = With {
        mutant: plan.mutant.clone(),
        ..With::default()
    };
    let verdict = runner.run(&Target::Plan(path), &with)?;
    Ok(first_violation(&verdict).map(|violation| violation.signature.clone()))
}

/// A folder for files that nobody needs afterwards.
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("codraft-{name}-{}-{n}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    #[cfg(test)]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the temporary folder: what stays is cleaned up by others.
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}
