//! The child processes of `codraft dev`. What dies is started again; what was started here ends
//! with this process.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{files, signals::signal};

/// How long a child that was asked to end may take before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// A child that lived this long starts its restart pauses over.
const STEADY: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Who runs; written to `state.json` in the data directory whenever it changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pub nodes: Vec<Running>,
    /// The first, where it has a process of its own.
    pub router: Option<Running>,
    /// All that have one, by their numbers.
    #[serde(default)]
    pub routers: Vec<Running>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Running {
    pub id: u64,
    pub pid: u32,
    pub alive: bool,
    pub restarts: u32,
}

/// Which node or router a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Node(u64),
    /// The first one, the second…
    Router(usize),
}

impl Who {
    fn number(self) -> u64 {
        match self {
            Who::Node(id) => id,
            Who::Router(number) => number as u64,
        }
    }
}

pub struct Service {
    pub name: String,
    who: Who,
    /// The last one is the configuration's file.
    pub args: Vec<String>,
    restarts: u32,
    /// 0 while it does not run.
    pub pid: u32,
    started: Instant,
    pause: Duration,
    /// It is not to run any more.
    retired: bool,
}

impl Service {
    pub fn new(name: String, who: Who, mut args: Vec<String>, config: &Path) -> Self {
        args.push("--config".into());
        args.push(config.display().to_string());
        Self {
            name,
            who,
            args,
            restarts: 0,
            pid: 0,
            started: Instant::now(),
            pause: PAUSE_MIN,
            retired: false,
        }
    }
}

enum Event {
    Exited(usize, String),
    Due(usize),
}

pub struct Supervisor {
    program: PathBuf,
    /// The file that says who runs.
    state: PathBuf,
    /// Passes on only what is wrong in the children's logs.
    quiet: bool,
    services: Vec<Service>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
}

impl Supervisor {
    pub fn start(services: Vec<Service>, state: PathBuf, quiet: bool) -> Result<Self> {
        let (events, inbox) = mpsc::channel(64);
        let mut this = Self {
            program: std::env::current_exe().context("finding this program's own file")?,
            state,
            quiet,
            services,
            events,
            inbox,
        };
        for index in 0..this.services.len() {
            this.launch(index)?;
        }
        this.save()?;
        Ok(this)
    }

    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Does what the next event of a child asks for. May be dropped and called again.
    pub async fn step(&mut self) -> Result<()> {
        // A sender is kept here, so there is always another event.
        match self.inbox.recv().await {
            Some(Event::Exited(index, how)) => {
                let service = &mut self.services[index];
                if service.started.elapsed() > STEADY {
                    service.pause = PAUSE_MIN;
                }
                let pause = service.pause;
                service.pause = (pause * 2).min(PAUSE_MAX);
                service.pid = 0;
                if service.retired {
                    return self.save();
                }
                eprintln!("codraft: {} ended ({how}), starting it again", service.name);
                let events = self.events.clone();
                spawn(async move {
                    sleep(pause).await;
                    let _ = events.send(Event::Due(index)).await;
                });
            }
            Some(Event::Due(index)) if self.services[index].retired => {}
            Some(Event::Due(index)) => {
                self.services[index].restarts += 1;
                self.launch(index)?;
            }
            None => {}
        }
        self.save()
    }

    /// Starts the nodes of the list that are new, and ends those that it does not have.
    pub fn keep_nodes(&mut self, nodes: &[u64], new: impl Fn(u64) -> Service) -> Result<()> {
        let known = |services: &[Service], id| services.iter().any(|s| s.who == Who::Node(id));
        for id in nodes.iter().copied() {
            if !known(&self.services, id) {
                self.services.push(new(id));
                self.launch(self.services.len() - 1)?;
                self.save()?;
            }
        }
        for service in &mut self.services {
            let gone = matches!(service.who, Who::Node(id) if !nodes.contains(&id));
            if gone && !service.retired {
                service.retired = true;
                if service.pid != 0 {
                    signal(service.pid, libc::SIGTERM);
                }
            }
        }
        Ok(())
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let service = &mut self.services[index];
        let mut command = Command::new(&self.program);
        command
            .args(&service.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        end_with_parent(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", service.name))?;
        service.pid = child.id().unwrap_or(0);
        service.started = Instant::now();
        let (name, events, quiet) = (service.name.clone(), self.events.clone(), self.quiet);
        spawn(async move {
            let how = follow(&mut child, &name, quiet).await;
            let _ = events.send(Event::Exited(index, how)).await;
        });
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let running = |s: &Service| Running {
            id: s.who.number(),
            pid: s.pid,
            alive: s.pid != 0,
            restarts: s.restarts,
        };
        let services = self.services.iter().filter(|s| !s.retired);
        let (nodes, routers): (Vec<_>, Vec<_>) =
            services.partition(|s| matches!(s.who, Who::Node(_)));
        let first = routers.iter().find(|s| s.who == Who::Router(1));
        let state = State {
            nodes: nodes.into_iter().map(running).collect(),
            router: first.map(|s| running(s)),
            routers: routers.into_iter().map(running).collect(),
        };
        files::replace(&self.state, &serde_json::to_vec_pretty(&state)?)
    }

    /// Asks all children to end, and kills those that do not.
    pub async fn stop(self) {
        let pids = || self.services.iter().map(|s| s.pid).filter(|pid| *pid != 0);
        for pid in pids() {
            signal(pid, libc::SIGTERM);
        }
        let gone = async {
            for pid in pids() {
                while signal(pid, 0) {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        if timeout(STOP_WAIT, gone).await.is_err() {
            for pid in pids() {
                signal(pid, libc::SIGKILL);
            }
        }
        files::remove(&self.state).ok();
    }
}

/// Passes a child's log on, a line at a time under its name, until it ends.
async fn follow(child: &mut Child, name: &str, quiet: bool) -> String {
    if let Some(errors) = child.stderr.take() {
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // As a machine's tool, only what is wrong is worth a line.
            if !quiet
                || line.contains("ERROR")
                || line.contains("WARN")
                || line.contains("panicked")
            {
                eprintln!("{name:<8}│ {line}");
            }
        }
    }
    match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A killed supervisor leaves nothing running.
#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

#[allow(clippy::disallowed_methods)] // the supervisor is not simulated and owns its tasks
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
