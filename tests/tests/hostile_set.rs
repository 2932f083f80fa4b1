//! A few seconds of each hostile client: bounds that only catch what is broken. `make hostile`
//! has the figures.
#![allow(clippy::disallowed_methods)] // a test outside the product, never simulated

use std::time::Duration;

use anyhow::{Result, ensure};
use codraft_e2e::hostile::{self, Options};

/// Whatever a machine that does much else makes of it.
const MORE_BYTES: u64 = 128 << 20;

async fn short(name: &str) -> Result<()> {
    let options = Options {
        lasts: Duration::from_secs(2),
        settles: Duration::from_secs(20),
        writers: 10,
    };
    let outcome = hostile::play(hostile::case(name)?, &options).await?;
    ensure!(outcome.attempts > 0, "the client did nothing: {outcome:?}");
    ensure!(
        outcome.honest.operations > 0,
        "nobody could write: {outcome:?}"
    );
    ensure!(outcome.leader_changes == 0, "a leader changed: {outcome:?}");
    let twice = outcome.harm.get("operations applied twice");
    ensure!(twice.is_none_or(|count| *count == 0), "{outcome:?}");
    ensure!(outcome.memory_came_back(2.0, MORE_BYTES), "{outcome:?}");
    Ok(())
}

/// One after the other: each has a cluster, and two at a time would be each other's attack.
#[tokio::test]
async fn hostile_clients_harm_nobody() -> Result<()> {
    for case in hostile::CASES {
        short(case.name).await?;
    }
    Ok(())
}
