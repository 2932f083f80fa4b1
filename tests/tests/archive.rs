//! What the archive makes of recorded typing.

use anyhow::Result;
use codraft_e2e::{
    archived,
    traces::{self, Patch, Trace, Transaction},
};

/// A text as it is typed, without the recordings.
fn typed() -> Trace {
    let text = "What is typed is typed again. ".repeat(200);
    let typed = |(at, letter): (usize, char)| Transaction {
        parents: Vec::new(),
        agent: 0,
        patches: vec![Patch(at, 0, letter.to_string())],
    };
    Trace {
        start_content: String::new(),
        txns: text.chars().enumerate().map(typed).collect(),
        end_content: text,
        num_agents: 1,
    }
}

#[tokio::test]
async fn recorded_typing_reads_back_and_takes_little_room() -> Result<()> {
    let trace = match traces::load("automerge-paper")? {
        Some(mut trace) => {
            trace.txns.truncate(20_000);
            trace
        }
        None => typed(),
    };
    let sizes = archived::weigh(&archived::events(&trace)).await?;
    let bytes = sizes.per_operation(sizes.all);
    assert!(bytes < 4.0, "{bytes} bytes an operation");
    Ok(())
}
