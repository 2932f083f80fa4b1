//! One simulation, one process: starts it, waits, reads its verdict.

use std::{
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    plan::Plan,
    verdict::{Verdict, Violation, without_numbers},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Processes {
    /// The executable that plays single runs; this one if not told.
    #[arg(long, hide = true)]
    program: Option<PathBuf>,
    /// Wall seconds after which a run counts as hung and is killed.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    patience: u64,
}

impl Processes {
    pub fn runner(&self) -> Result<Runner> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("this program's own path")?,
        };
        Ok(Runner {
            program,
            patience: Duration::from_secs(self.patience),
        })
    }
}

/// What is to be played.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Seed(u64),
    Plan(PathBuf),
}

/// What else is asked of a run.
#[derive(Debug, Clone, Default)]
pub struct With {
    pub mutant: Option<String>,
    pub trace: Option<PathBuf>,
    pub record: Option<PathBuf>,
    /// Gives the process a larger environment, which moves its stack: what depends on addresses
    /// then differs.
    pub moved: bool,
}

/// The exit code of a command that could not do what was asked, as opposed to what did not hold.
pub const CANNOT: i32 = 2;

#[derive(Debug, Clone)]
pub struct Runner {
    program: PathBuf,
    patience: Duration,
}

struct Ended {
    /// None: killed, out of patience.
    status: Option<ExitStatus>,
    out: String,
    errors: String,
}

impl Runner {
    /// Plays a run to its verdict. A process that ends without one (a panic, a kill, a hang) has
    /// failed, and the verdict says so.
    ///
    /// # Errors
    /// What was asked for cannot be played.
    pub fn run(&self, target: &Target, with: &With) -> Result<Verdict> {
        let mut args: Vec<OsString> = match target {
            Target::Seed(seed) => vec!["run".into(), "--seed".into(), seed.to_string().into()],
            Target::Plan(path) => vec!["replay".into(), path.into()],
        };
        args.push("--json".into());
        let mut option = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                args.extend([name.into(), value]);
            }
        };
        option("--mutant", with.mutant.as_ref().map(Into::into));
        option("--trace", with.trace.as_ref().map(Into::into));
        option("--record", with.record.as_ref().map(Into::into));
        let ended = self.process(&args, with.moved)?;
        let verdict = ended.out.lines().rev().find_map(|line| {
            let line = line.trim();
            serde_json::from_str::<Verdict>(line).ok()
        });
        let status = ended.status.and_then(|status| status.code());
        if verdict.is_none() && status == Some(CANNOT) {
            bail!("{}", ended.errors.trim());
        }
        let seed = match target {
            Target::Seed(seed) => *seed,
            Target::Plan(path) => read_plan(path)?.seed,
        };
        Ok(judged(verdict, seed, with.mutant.as_deref(), &ended))
    }

    /// The plan that a seed makes.
    pub fn plan(&self, seed: u64, mutant: Option<&str>) -> Result<Plan> {
        let args = ["plan".into(), "--seed".into(), seed.to_string().into()];
        let ended = self.process(&args, false)?;
        let ok = ended.status.is_some_and(|status| status.success());
        ensure!(ok, "no plan of seed {seed}: {}", ended.errors.trim());
        let mut plan: Plan =
            serde_json::from_str(&ended.out).with_context(|| format!("the plan of seed {seed}"))?;
        if let Some(mutant) = mutant {
            plan.mutant = Some(mutant.to_owned());
        }
        Ok(plan)
    }

    fn process(&self, args: &[OsString], moved: bool) -> Result<Ended> {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if moved {
            command.env("CODRAFT_MOVED", "x".repeat(4321));
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        thread::scope(|scope| {
            let (over, closed) = mpsc::sync_channel(1);
            let out = scope.spawn(move || {
                let text = read_all(stdout);
                // Nobody listens any more when patience has ended.
                let _ = over.send(());
                text
            });
            let errors = scope.spawn(move || read_all(stderr));
            let status = self.wait(&mut child, &closed)?;
            Ok(Ended {
                status,
                out: out.join().unwrap_or_default(),
                errors: errors.join().unwrap_or_default(),
            })
        })
    }

    /// A process closes its output when it ends; one that does not in time is killed.
    fn wait(&self, child: &mut Child, closed: &mpsc::Receiver<()>) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + self.patience;
        if closed.recv_timeout(self.patience).is_ok() {
            while Instant::now() < end {
                if let Some(status) = child.try_wait()? {
                    return Ok(Some(status));
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
        child.kill()?;
        child.wait()?;
        Ok(None)
    }
}

pub fn read_plan(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the plan {}", path.display()))?;
    Plan::parse(&text).with_context(|| format!("the plan {}", path.display()))
}

pub fn write_plan(path: &Path, plan: &Plan) -> Result<()> {
    let text = serde_json::to_string_pretty(plan)? + "\n";
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn read_all(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came until then is still worth reading.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The verdict, unless how the process ended says otherwise.
fn judged(verdict: Option<Verdict>, seed: u64, mutant: Option<&str>, ended: &Ended) -> Verdict {
    let how = match ended.status {
        None => "hangs".to_owned(),
        Some(status) if verdict.is_none() => format!("ends without a verdict, {status}"),
        Some(status) if !status.success() && verdict.as_ref().is_some_and(Verdict::held) => {
            format!("ends with {status}, though all held")
        }
        Some(_) => return verdict.unwrap_or_default(),
    };
    let why = last_words(&ended.errors);
    let mut verdict = verdict.unwrap_or_else(|| Verdict {
        seed,
        mutant: mutant.map(str::to_owned),
        ..Verdict::default()
    });
    verdict.violations.push(Violation {
        oracle: "process".into(),
        property: "the run ends with a verdict".into(),
        signature: format!("process: {how}: {}", without_numbers(&why)),
        promised: "a run ends by itself, with a verdict".into(),
        broken: format!("the process {how}\n{why}"),
        at_ms: verdict.simulated_ms,
    });
    verdict
}

/// A panic with its message, or the last lines.
fn last_words(errors: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<_> = errors.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let start = panic.unwrap_or(lines.len().saturating_sub(LINES));
    lines[start..lines.len().min(start + LINES)].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn ended(code: Option<i32>, errors: &str) -> Ended {
        Ended {
            status: code.map(|code| ExitStatus::from_raw(code << 8)),
            out: String::new(),
            errors: errors.into(),
        }
    }

    #[test]
    fn a_process_that_breaks_is_a_failure_with_a_signature() {
        let panic = |line: u32, id: &str| {
            let errors = format!(
                "noise\nthread 'x' panicked at node/src/a.rs:{line}:9:\nno entry {id}\nmore\nand more"
            );
            judged(None, 7, Some("bug"), &ended(Some(101), &errors))
        };
        let (a, b) = (panic(10, "0123456789abcdef"), panic(11, "fedcba9876543210"));
        assert!(!a.held());
        assert_eq!(a.seed, 7);
        assert_eq!(a.mutant.as_deref(), Some("bug"));
        assert_eq!(a.violations[0].signature, b.violations[0].signature);
        assert!(a.violations[0].broken.contains("a.rs:10"));
        let hang = judged(None, 7, None, &ended(None, ""));
        assert!(hang.violations[0].signature.contains("hangs"));
        let odd = judged(Some(Verdict::default()), 7, None, &ended(Some(1), ""));
        assert!(!odd.held(), "an exit code that disagrees is a failure");
        assert!(judged(Some(Verdict::default()), 7, None, &ended(Some(0), "")).held());
    }

    #[test]
    fn a_hung_process_is_killed() {
        let runner = Runner {
            program: "sleep".into(),
            patience: Duration::from_millis(100),
        };
        let ended = runner.process(&["30".into()], false).expect("it starts");
        assert!(ended.status.is_none());
    }
}
