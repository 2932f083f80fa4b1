//! `plan --seed N`: what the seed would do, as JSON.

use std::process::ExitCode;

use anyhow::Result;

use crate::plan::Plan;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    seed: u64,
}

pub fn main(args: &Args) -> Result<ExitCode> {
    println!(
        "{}",
        serde_json::to_string_pretty(&Plan::from_seed(args.seed))?
    );
    Ok(ExitCode::SUCCESS)
}
