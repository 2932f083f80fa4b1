//! `replay PLAN.json`: a plan that was saved, or made by hand.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};

use super::run::{Options, report};
use crate::plan::Plan;

#[derive(Debug, clap::Args)]
pub struct Args {
    plan: PathBuf,
    #[command(flatten)]
    options: Options,
}

pub fn main(args: &Args) -> Result<ExitCode> {
    let name = args.plan.display();
    #[allow(clippy::disallowed_methods)] // the harness's own file, before the simulation
    let text = std::fs::read(&args.plan).with_context(|| format!("reading {name}"))?;
    let text = String::from_utf8(text).with_context(|| format!("reading {name}"))?;
    let plan = Plan::parse(&text).with_context(|| format!("{name}"))?;
    report(plan, &format!("replay {name}"), &args.options)
}
