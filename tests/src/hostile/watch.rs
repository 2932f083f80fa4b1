//! What is looked at from outside: who leads, and what each process holds in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result};
use hyper::Method;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{processes::Processes, rest::Rest};

const LOOK: Duration = Duration::from_millis(100);

/// Bytes of resident memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// At the start of the control, which is as long as the attack.
    pub control: u64,
    /// At the start of the attack.
    pub before: u64,
    pub most: u64,
    /// When the honest had stopped as well, at the end of what it may take to come back.
    pub after: u64,
}

impl Memory {
    /// What the honest add by themselves in so long a time: what they wrote is kept.
    pub fn of_honest(&self) -> u64 {
        self.before.saturating_sub(self.control)
    }
}

/// What counts as back.
#[derive(Debug, Clone, Copy)]
pub struct Back {
    /// As a multiple of before.
    pub times: f64,
    /// And so much more.
    pub bytes: u64,
}

impl Back {
    fn holds(self, memory: &Memory) -> bool {
        let before = memory.before as f64 * self.times;
        memory.after as f64 <= before + (memory.of_honest() + self.bytes) as f64
    }
}

pub struct Watch {
    rest: Rest,
    /// A document of each group.
    docs: BTreeMap<u64, String>,
    leads: BTreeSet<(u64, u64)>,
    /// By name, with its process id.
    processes: BTreeMap<String, (u32, Memory)>,
    back: Back,
}

impl Watch {
    pub async fn start(
        processes: &Processes,
        rest: &Rest,
        docs: &[String],
        back: Back,
    ) -> Result<Watch> {
        let mut by_group = BTreeMap::new();
        for doc in docs {
            if let Some((group, _)) = lead(rest, doc).await? {
                by_group.entry(group).or_insert_with(|| doc.clone());
            }
        }
        let state = processes.state()?;
        let nodes = state.nodes.iter();
        let nodes = nodes.map(|n| (format!("node-{}", n.id), n.pid));
        let routers = state.routers.iter();
        let routers = routers.map(|r| (format!("router-{}", r.id), r.pid));
        let mut held = BTreeMap::new();
        for (name, pid) in nodes.chain(routers) {
            let now = resident(pid)?;
            let memory = Memory {
                control: now,
                before: now,
                most: now,
                after: now,
            };
            held.insert(name, (pid, memory));
        }
        Ok(Watch {
            rest: rest.clone(),
            docs: by_group,
            leads: BTreeSet::new(),
            processes: held,
            back,
        })
    }

    pub fn control_begins(&mut self) {
        self.weigh();
        for (_, memory) in self.processes.values_mut() {
            memory.control = memory.after;
        }
    }

    pub async fn attack_begins(&mut self) -> Result<()> {
        self.look().await?;
        for (_, memory) in self.processes.values_mut() {
            memory.before = memory.after;
            memory.most = memory.after;
        }
        Ok(())
    }

    /// Now, and the time of processors that all processes have used since their start.
    pub fn used(&self) -> (Instant, Duration) {
        let pids = self.processes.values().map(|(pid, _)| *pid);
        let used = pids.filter_map(|pid| processor_time(pid).ok()).sum();
        (Instant::now(), used)
    }

    /// How many cores all processes kept busy since then.
    pub fn cores_since(&self, (began, used_before): (Instant, Duration)) -> f64 {
        let (now, used) = self.used();
        used.saturating_sub(used_before).as_secs_f64() / (now - began).as_secs_f64()
    }

    /// Looks while something else is done.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep(LOOK) => {}
            }
            self.look().await?;
        }
    }

    async fn look(&mut self) -> Result<()> {
        for doc in self.docs.values() {
            self.leads.extend(lead(&self.rest, doc).await?);
        }
        self.weigh();
        Ok(())
    }

    fn weigh(&mut self) {
        for (pid, memory) in self.processes.values_mut() {
            // One that has ended holds nothing, and is counted as a restart.
            memory.after = resident(*pid).unwrap_or(0);
            memory.most = memory.most.max(memory.after);
        }
    }

    /// Waits until all memory is back, at most so long.
    pub async fn settle(&mut self, most: Duration) -> Result<()> {
        let end = Instant::now() + most;
        loop {
            self.look().await?;
            if self.came_back() || Instant::now() >= end {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    pub fn came_back(&self) -> bool {
        let mut all = self.processes.values();
        all.all(|(_, memory)| self.back.holds(memory))
    }

    /// Terms beyond the first of each group.
    pub fn leader_changes(&self) -> usize {
        let groups: BTreeSet<u64> = self.leads.iter().map(|(group, _)| *group).collect();
        self.leads.len() - groups.len()
    }

    /// Processes that are not those of the start.
    pub fn restarts(&self, processes: &Processes) -> Result<usize> {
        let state = processes.state()?;
        let now: BTreeSet<u32> = state
            .all()
            .filter(|running| running.alive)
            .map(|running| running.pid)
            .collect();
        let before = self.processes.values();
        Ok(before.filter(|(pid, _)| !now.contains(pid)).count())
    }

    pub fn memory(&self) -> BTreeMap<String, Memory> {
        let all = self.processes.iter();
        all.map(|(name, (_, memory))| (name.clone(), *memory))
            .collect()
    }
}

/// Group and term, as the router knows them.
async fn lead(rest: &Rest, doc: &str) -> Result<Option<(u64, u64)>> {
    let path = format!("/dev/cluster?doc={doc}");
    let (_, answer) = rest.call(Method::GET, &path, None).await?;
    Ok(answer["group"].as_u64().zip(answer["term"].as_u64()))
}

fn resident(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = text.split(' ').nth(1).context("no resident pages")?;
    Ok(pages.parse::<u64>()? * 4_096)
}

fn processor_time(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything: in the kernel's hundredths of a second.
    let (_, fields) = text.rsplit_once(')').context("no name")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
