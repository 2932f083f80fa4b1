//! A cluster of real processes: `codraft dev --json` on a fresh folder, ended with its folder
//! when dropped.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::time::Instant;

use crate::patience::PATIENCE;

#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub url: String,
    pub http: String,
    /// As `http`, of each router.
    pub routers: Vec<String>,
    pub token: String,
    pub state: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct State {
    pub nodes: Vec<Running>,
    pub router: Option<Running>,
    pub routers: Vec<Running>,
}

impl State {
    pub fn all(&self) -> impl Iterator<Item = &Running> {
        self.nodes.iter().chain(&self.routers)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Running {
    pub id: u64,
    pub pid: u32,
    pub alive: bool,
    pub restarts: u32,
}

pub struct Processes {
    supervisor: Child,
    data: PathBuf,
    /// Goes with the processes, where it is theirs alone.
    folder: Option<Folder>,
    pub ready: Ready,
}

/// A folder for a cluster that is stopped and started again; removed when dropped, with the
/// log beside it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn fresh(name: &str) -> Folder {
        let unique = format!(
            "codraft-{name}-{}-{}",
            std::process::id(),
            rand::random::<u32>()
        );
        Folder(std::env::temp_dir().join(unique))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the processes' warnings and errors are, from all starts.
    pub fn log_path(&self) -> PathBuf {
        self.0.with_extension("log")
    }

    /// What the processes warned of so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}---", self.log_path().display(), self.log());
        }
        if std::env::var_os("CODRAFT_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
            let _ = std::fs::remove_file(self.log_path());
        }
    }
}

impl Processes {
    /// Starts `codraft dev` with further arguments and environment, and waits for its line. There
    /// are two routers, where the arguments do not say otherwise.
    pub fn start(name: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Processes> {
        let folder = Folder::fresh(name);
        let mut processes = Processes::run(folder.path(), args, env, Stdio::inherit())?;
        processes.folder = Some(folder);
        Ok(processes)
    }

    /// Starts on a folder that may hold a cluster already, and leaves it there at the end. The
    /// processes' warnings and errors go to the folder's log.
    pub fn start_in(folder: &Folder, args: &[&str], env: &[(&str, &str)]) -> Result<Processes> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.log_path())?;
        Processes::run(folder.path(), args, env, log.into())
    }

    fn run(data: &Path, args: &[&str], env: &[(&str, &str)], log: Stdio) -> Result<Processes> {
        let mut command = Command::new(program()?);
        command
            .args(["dev", "--json", "--data"])
            .arg(data)
            .args(args)
            .args(routers(args))
            .envs(env.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        end_with_thread(&mut command);
        let mut supervisor = command.spawn().context("starting codraft dev")?;
        let out = supervisor.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Processes {
                supervisor,
                data: data.to_owned(),
                folder: None,
                ready,
            }),
            Err(_) => {
                let _ = supervisor.kill();
                let _ = supervisor.wait();
                bail!("codraft dev did not become ready; it said {line:?}")
            }
        }
    }

    /// A token for a user, as `codraft token` signs it.
    pub fn token(&self, user: &str) -> Result<String> {
        token(&self.data, user)
    }

    /// Ends all processes as a service manager does, and waits until they are gone.
    pub fn stop(self) {
        drop(self);
    }

    /// Ends the supervisor without a word, as a crash does; its children end with it.
    pub fn kill(mut self) -> Result<()> {
        self.supervisor.kill()?;
        self.supervisor.wait()?;
        Ok(())
    }

    /// While it is off, what dies stays dead.
    pub fn restarts(&self, on: bool) {
        kill(
            self.supervisor.id(),
            if on { libc::SIGCONT } else { libc::SIGSTOP },
        );
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn state(&self) -> Result<State> {
        Ok(serde_json::from_slice(&std::fs::read(&self.ready.state)?)?)
    }

    /// Sends a signal to a node; its process id is read afresh, as it changes at each restart.
    pub fn signal(&self, node: u64, signal: i32) -> Result<u32> {
        let state = self.state()?;
        let node = state
            .nodes
            .iter()
            .find(|n| n.id == node)
            .context("no such node")?;
        if !node.alive {
            bail!("node {} is not running", node.id);
        }
        kill(node.pid, signal);
        Ok(node.pid)
    }

    /// Waits until every node runs, none of them as one of `not`.
    pub async fn all_alive(&self, not: &[u32]) -> Result<()> {
        for _ in 0..1500 {
            if let Ok(state) = self.state()
                && state.nodes.iter().all(|n| n.alive && !not.contains(&n.pid))
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the nodes did not come back within 30 s")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if let Ok(None) = self.supervisor.try_wait() {
            kill(self.supervisor.id(), libc::SIGTERM);
            self.restarts(true);
        }
        // It kills children that stay, so it is soon gone itself.
        let end = std::time::Instant::now() + PATIENCE;
        while let Ok(None) = self.supervisor.try_wait() {
            if std::time::Instant::now() > end {
                eprintln!(
                    "codraft dev did not end within {} s: killed",
                    PATIENCE.as_secs()
                );
                let _ = self.supervisor.kill();
                let _ = self.supervisor.wait();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn routers(args: &[&str]) -> &'static [&'static str] {
    match args
        .iter()
        .any(|arg| ["--routers", "--joined"].contains(arg))
    {
        true => &[],
        false => &["--routers", "2"],
    }
}

/// A test that is killed leaves nothing running: the supervisor is asked to end when the
/// thread that started it is gone, which for a test is the test's own.
#[allow(unsafe_code)]
fn end_with_thread(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
}

#[allow(unsafe_code)]
pub fn kill(pid: u32, signal: i32) {
    if pid > 1 {
        // SAFETY: plain numbers.
        unsafe { libc::kill(pid as i32, signal) };
    }
}

/// Waits for a condition; what it was is part of the error.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(40);
    while !is_so() {
        if Instant::now() > end {
            bail!("waited 40 s in vain: {what}");
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

/// A token signed with the keys of the cluster in `data`.
pub fn token(data: &Path, user: &str) -> Result<String> {
    let output = codraft(&["token", "--user", user, "--data"], data)?;
    Ok(output.trim().to_owned())
}

/// Runs a command of `codraft` on a folder; what it printed.
pub fn codraft(args: &[&str], data: &Path) -> Result<String> {
    let output = Command::new(program()?).args(args).arg(data).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "codraft {args:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command of `codraft` that must not succeed; what it said on standard error.
pub fn refused(args: &[&str], data: &Path) -> Result<String> {
    let mut command = Command::new(program()?);
    command.args(args).arg(data).stdin(Stdio::null());
    end_with_thread(&mut command);
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(
        output.status.code() == Some(1),
        "codraft {args:?} {}: {:?}, {errors}",
        data.display(),
        output.status
    );
    Ok(errors)
}

/// The `codraft` built beside this test.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CODRAFT_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|p| p.join("codraft").is_file());
    let folder = folder.context("no codraft binary: run `cargo build -p codraft` first")?;
    Ok(folder.join("codraft"))
}
