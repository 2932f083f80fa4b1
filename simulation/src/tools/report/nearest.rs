//! The nearest run that holds, and where the failing one leaves it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    plan::Plan,
    tools::{
        difference::{self, Difference},
        processes::Runner,
        report::{
            Played, played,
            seen::{self, Told},
        },
        shrink::Scratch,
        words,
    },
};

#[derive(Debug, Serialize)]
pub struct Nearest {
    /// How it differs from the failing one.
    pub what: String,
    /// In the traces: everything, also messages.
    pub trace: Option<Difference>,
    /// In what clients and nodes saw, without what the driver says of its faults.
    pub record: Option<Difference>,
}

/// Leaves out one fault after the other, the last first, then tries other seeds.
pub fn find(runner: &Runner, failing: &Played, scratch: &Scratch) -> Result<Option<Nearest>> {
    const FAULTS: usize = 6;
    const SEEDS: u64 = 4;
    let plan = &failing.plan;
    let faults = (0..plan.faults.len()).rev().take(FAULTS);
    let mut candidates: Vec<(String, Plan)> = faults
        .map(|i| {
            let mut without = plan.clone();
            let fault = without.faults.remove(i);
            let told = words::strikes(&fault.kind);
            (format!("the same plan without: {told}"), without)
        })
        .collect();
    candidates.extend((1..=SEEDS).map(|n| {
        let mut other = plan.clone();
        other.seed += n;
        (format!("the same plan under seed {}", other.seed), other)
    }));
    for (what, candidate) in candidates {
        let passing = played(runner, &candidate, scratch, "nearest")?;
        if !passing.verdict.held() {
            continue;
        }
        let trace = match failing.trace.exists() && passing.trace.exists() {
            true => difference::of_files(&passing.trace, &failing.trace)?,
            false => None,
        };
        let record = match failing.record.exists() && passing.record.exists() {
            true => difference::first_difference(told(&passing.record)?, told(&failing.record)?),
            false => None,
        };
        return Ok(Some(Nearest {
            what,
            trace,
            record,
        }));
    }
    Ok(None)
}

/// A record's entries in words, without the driver's own.
fn told(path: &Path) -> Result<impl Iterator<Item = String> + use<>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| {
        let told = Told::parse(&line).ok()?;
        (!matches!(told.kind.as_str(), "fault" | "filled")).then(|| seen::line(&told))
    }))
}
