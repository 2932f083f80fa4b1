//! Half a second of each hostile client, with four writers and a small part of what is made ready for
//! it: that each can still do its worst, that honest writers are answered meanwhile, and that no
//! process ends or keeps what it should not. `make hostile` has the figures.
#![allow(clippy::disallowed_methods)] // a test outside the product, never simulated

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    hostile::{self, Back, Options, Outcome},
    processes::Processes,
};

/// Bounds that only catch what is broken, on a machine that does much else.
const OPTIONS: Options = Options {
    lasts: Duration::from_millis(500),
    settles: Duration::from_secs(30),
    writers: 4,
    share: 16,
    back: Back {
        times: 2.0,
        bytes: 128 << 20,
    },
};

fn judge(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.restarts == 0, "a process ended");
    ensure!(outcome.memory_came_back, "memory did not come back");
    let twice = outcome.harm.get("operations applied twice");
    ensure!(twice.is_none_or(|count| *count == 0), "applied twice");
    let refused = outcome.harm.get("honest operations refused");
    ensure!(refused == Some(&0), "honest work was refused");
    Ok(())
}

/// One after the other on one cluster: two at a time would be each other's attack.
#[tokio::test]
async fn hostile_clients_harm_nobody() -> Result<()> {
    let processes = Processes::start("hostile-set", &[], &[])?;
    for case in hostile::CASES {
        let outcome = hostile::play(&processes, case, &OPTIONS).await;
        let outcome = outcome.with_context(|| format!("case {}", case.name))?;
        judge(&outcome).with_context(|| format!("{outcome:?}"))?;
    }
    Ok(())
}
