//! What a replica's share of an operation costs: reading a stored batch and applying it.
//!
//! `cargo run --release -p codraft-raft --example machine_bench [operations]`
//!
//! A hundred documents with two writers each who type one letter at a time, each on a base
//! that is 0 to 2 revisions old, in batches of 1, 8 and 64 commands.

use std::{error::Error, hint::black_box};

use bytes::Bytes;
use codraft_ot::{Delta, Kind};
use codraft_proto::ids::{ClientId, DocId, GroupId, Revision, Role, Seq, UserId};
use codraft_raft::{
    command::{Algebra, Batch, Command, Create, Edit, Grant},
    machine::{MachineLimits, Outcome, Shard},
};

const DOCUMENTS: usize = 100;
const USERS: [&str; 2] = ["ada@example.org", "bob@example.org"];

fn main() -> Result<(), Box<dyn Error>> {
    let operations = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 400_000,
    };
    for batch in [1, 8, 64] {
        run(operations, batch)?;
    }
    Ok(())
}

fn run(operations: usize, per_batch: usize) -> Result<(), Box<dyn Error>> {
    let mut shard = Shard::new(GroupId(0), MachineLimits::default());
    let users: Vec<UserId> = USERS.iter().map(|user| (*user).into()).collect();
    let setup = Batch {
        ts_ms: 1,
        commands: (0..DOCUMENTS).flat_map(|n| born(n, &users)).collect(),
    };
    let mut index = 1;
    shard.apply(index, &setup);

    let mut stored = Vec::with_capacity(operations / per_batch + 1);
    let mut waiting = Vec::with_capacity(per_batch);
    for n in 0..operations {
        waiting.push(typed(n, &users));
        if waiting.len() == per_batch {
            let commands = std::mem::take(&mut waiting);
            stored.push(
                Batch {
                    ts_ms: n as u64,
                    commands,
                }
                .encode(),
            );
        }
    }
    let bytes: usize = stored.iter().map(Bytes::len).sum();

    let start = now();
    let mut applied = 0usize;
    for entry in &stored {
        index += 1;
        for effect in shard.apply(index, &Batch::decode(entry)?) {
            applied += usize::from(matches!(effect.outcome, Outcome::Applied { .. }));
            black_box(effect.event);
        }
    }
    let took = start.elapsed();
    if applied != stored.len() * per_batch {
        return Err(format!("{applied} of {} were applied", stored.len() * per_batch).into());
    }
    println!(
        "batches of {per_batch:>2}: {:>5} ns an operation, {} bytes stored an operation",
        took.as_nanos() / applied as u128,
        bytes / applied,
    );
    Ok(())
}

/// A program of its own, outside of any simulation.
#[allow(clippy::disallowed_methods)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn doc(n: usize) -> DocId {
    DocId((n as u128 * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes())
}

fn born(n: usize, users: &[UserId]) -> [Command; 2] {
    [
        Command::Create(Create {
            doc: doc(n),
            kind: Kind::Text,
            algebra: Algebra::Delta1,
            title: "bench".into(),
            owner: users[0].clone(),
            initial: Some(starting_text()),
        }),
        Command::Grant(Grant {
            doc: doc(n),
            by: users[0].clone(),
            user: users[1].clone(),
            role: Some(Role::Editor),
        }),
    ]
}

fn starting_text() -> Bytes {
    let mut delta = Delta::new();
    delta.insert(&"The quick brown fox. ".repeat(100));
    delta.to_bytes().into()
}

/// The `n`-th operation: documents take turns, and in each its writers.
fn typed(n: usize, users: &[UserId]) -> Command {
    let (round, document) = (n / DOCUMENTS, n % DOCUMENTS);
    let writer = round % users.len();
    let head = 2 + round as u64;
    let lag = (round % 3) as u64;
    let mut delta = Delta::new();
    delta.retain((round * 37 % 2_000 + 1) as u32).insert("x");
    Command::Edit(Edit {
        doc: doc(document),
        client: ClientId([document as u8 * 2 + writer as u8; 16]),
        user: users[writer].clone(),
        seq: Seq((round / users.len()) as u64 + 1),
        base: Revision(head - lag.min(head - 2)),
        ops: delta.to_bytes().into(),
    })
}
