//! What nodes keep at the end of a run, as `codraft verify` judges it from their files alone.
#![allow(clippy::disallowed_methods)] // the harness's own files, after the simulation

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use codraft_verify::{Options, verify};

use crate::{
    cluster::Cluster,
    memory::aside,
    outside::SlowDisk,
    plan::{FaultKind, Plan},
};

/// One run of so many is proven: it costs as much as the run.
const ONE_IN: u64 = 8;
/// More lies than this are not told.
const MOST: usize = 3;

/// Whether a run's files are to be proven. Where bits flip there are lies.
pub fn is_due(plan: &Plan) -> bool {
    let lies = |kind: &FaultKind| {
        matches!(
            kind,
            FaultKind::Corrupt { .. }
                | FaultKind::PageDamage { .. }
                | FaultKind::StateDamage { .. }
        )
    };
    // What is left where history went is to be proven more often.
    let one_in = ONE_IN >> u64::from(plan.world.retention_ms > 0);
    plan.seed.is_multiple_of(one_in) && !plan.faults.iter().any(|fault| lies(&fault.kind))
}

/// What is no lie-free account of what was applied, in words; nothing where all is proven.
///
/// # Errors
/// When the files cannot be written out, or verifying cannot go through them.
pub fn of(plan: &Plan, cluster: &Cluster) -> Result<Vec<String>> {
    aside(|| {
        let folder = std::env::temp_dir().join(format!("codraft-proof-{}", std::process::id()));
        let told = written(&folder, plan, cluster);
        let _ = fs::remove_dir_all(&folder);
        told
    })
}

fn written(folder: &Path, plan: &Plan, cluster: &Cluster) -> Result<Vec<String>> {
    let mut nodes = Vec::new();
    for i in cluster.nodes().filter(|i| !cluster.is_replaced(*i)) {
        let node = folder.join(format!("node-{}", i + 1));
        if write_out(&cluster.disk(i), &node).context("its files")? {
            nodes.push(node);
        }
    }
    let options = Options {
        limits: plan.world.machine_limits(),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let report = runtime.block_on(verify(&nodes, options, &|_| {}))?;
    Ok(report.lies().take(MOST).map(ToString::to_string).collect())
}

/// Whether there was anything.
fn write_out(disk: &SlowDisk, node: &Path) -> io::Result<bool> {
    let paths: Vec<PathBuf> = disk.memory.paths();
    for path in &paths {
        let contents = disk.memory.contents(path).unwrap_or_default();
        let file = node.join(path.strip_prefix("/data").unwrap_or(path));
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, contents)?;
    }
    Ok(!paths.is_empty())
}
