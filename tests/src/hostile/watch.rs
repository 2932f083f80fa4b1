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
/// Back is what is within a tenth of before.
const BACK: f64 = 1.1;

/// Bytes of resident memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    pub before: u64,
    pub most: u64,
    pub after: u64,
}

pub struct Watch {
    rest: Rest,
    /// A document of each group.
    docs: BTreeMap<u64, String>,
    leads: BTreeSet<(u64, u64)>,
    /// By name, with its process id.
    processes: BTreeMap<String, (u32, Memory)>,
    restarted: usize,
    state: std::path::PathBuf,
}

impl Watch {
    pub async fn start(processes: &Processes, rest: &Rest, docs: &[String]) -> Result<Watch> {
        let mut by_group = BTreeMap::new();
        for doc in docs {
            if let Some((group, _)) = lead(rest, doc).await? {
                by_group.entry(group).or_insert_with(|| doc.clone());
            }
        }
        let mut watch = Watch {
            rest: rest.clone(),
            docs: by_group,
            leads: BTreeSet::new(),
            processes: BTreeMap::new(),
            restarted: 0,
            state: processes.ready.state.clone(),
        };
        let state = processes.state()?;
        let nodes = state
            .nodes
            .iter()
            .map(|n| (format!("node-{}", n.id), n.pid));
        let router = state.router.iter().map(|r| ("router".to_owned(), r.pid));
        for (name, pid) in nodes.chain(router) {
            let held = resident(pid)?;
            let memory = Memory {
                before: held,
                most: held,
                after: held,
            };
            watch.processes.insert(name, (pid, memory));
        }
        watch.look().await?;
        Ok(watch)
    }

    pub async fn run(&mut self, lasts: Duration) -> Result<()> {
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            sleep(LOOK).await;
            self.look().await?;
        }
        Ok(())
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
            self.weigh();
            let back = |(_, m): &(u32, Memory)| m.after as f64 <= m.before as f64 * BACK;
            if self.processes.values().all(back) || Instant::now() >= end {
                break;
            }
            sleep(LOOK).await;
        }
        let text = std::fs::read(&self.state)?;
        let state: crate::processes::State = serde_json::from_slice(&text)?;
        let running = state.nodes.iter().chain(&state.router);
        self.restarted = running.filter(|r| r.restarts > 0).count();
        Ok(())
    }

    /// Terms beyond the first of each group, and processes that ended.
    pub fn leader_changes(&self) -> usize {
        let groups: BTreeSet<u64> = self.leads.iter().map(|(group, _)| *group).collect();
        self.leads.len() - groups.len() + self.restarted
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
