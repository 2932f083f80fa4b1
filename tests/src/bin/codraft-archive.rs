//! Prints what recorded typing takes in the archive.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result};
use codraft_e2e::{archived, traces};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    println!(
        "| recording | operations | rounds | segments, B/op | with checkpoints, index and head, B/op |"
    );
    println!("|---|---|---|---|---|");
    for name in ["automerge-paper", "rustcode"] {
        let trace = traces::load(name)?.context("CODRAFT_TRACES names the folder of recordings")?;
        let sizes = archived::weigh(&archived::events(&trace)).await?;
        println!(
            "| {name} | {} | {} | {:.2} | {:.2} |",
            sizes.operations,
            sizes.rounds,
            sizes.per_operation(sizes.segments),
            sizes.per_operation(sizes.all),
        );
    }
    Ok(())
}
