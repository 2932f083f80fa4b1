//! Types a document of many operations and asks for it at random revisions; prints how long answers take.
//! `codraft-history [operations] [questions]`
#![allow(clippy::print_stdout)]

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{processes::Processes, rest::Rest, travel::text_of, typist::Typist};
use hyper::Method;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::LocalSet, time::Instant};

const TYPISTS: u64 = 12;
/// One user does the work of many.
const LIMITS: [(&str, &str); 3] = [
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "100000"),
    ("CODRAFT_LIMITS__OPS_PER_SECOND", "1000000"),
    ("CODRAFT_LIMITS__BYTES_PER_SECOND", "1000000000"),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse::<u64>());
    let operations = numbers.next().unwrap_or(Ok(260_000))?;
    let questions = numbers.next().unwrap_or(Ok(1_000))?;
    let processes = Processes::start("history", &["--routers", "1"], &LIMITS)?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    let doc = rest.create("a long life", "").await?;
    let started = Instant::now();
    LocalSet::new()
        .run_until(type_all(&rest, &doc, operations))
        .await?;
    let took = started.elapsed().as_secs_f64();
    println!("{operations} operations in {took:.0} s");
    for round in ["first", "again", "again"] {
        let mut rng = StdRng::seed_from_u64(operations ^ round.len() as u64);
        let mut all = Vec::new();
        for _ in 0..questions {
            let version = rng.random_range(1..=operations);
            let path = format!("/v1/docs/{doc}/history?version={version}");
            let asked = Instant::now();
            let (status, answer) = rest.call(Method::GET, &path, None).await?;
            all.push(asked.elapsed());
            ensure!(status.is_success(), "{path}: {status} {answer}");
            let letters = text_of(&answer)?.len() as u64;
            ensure!(letters == version - 1, "{path}: {letters} letters");
        }
        all.sort();
        let at = |part: usize| ms(all[(all.len() * part / 1_000).min(all.len() - 1)]);
        let (p50, p90, p99, worst) = (at(500), at(900), at(990), at(999));
        println!(
            "{round}: {questions} revisions, p50 {p50:.1} ms, p90 {p90:.1}, p99 {p99:.1}, worst {worst:.1}"
        );
    }
    Ok(())
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Letters at random places, by as many as keep the cluster busy.
async fn type_all(rest: &Rest, doc: &str, operations: u64) -> Result<()> {
    let left = Rc::new(Cell::new(operations));
    let mut typing = Vec::new();
    for number in 0..TYPISTS {
        let (rest, doc, left) = (rest.clone(), doc.to_owned(), left.clone());
        typing.push(tokio::task::spawn_local(async move {
            let mut rng = StdRng::seed_from_u64(number);
            let mut typist = Typist::open(&rest, &doc).await?;
            while left.get() > 0 {
                left.set(left.get() - 1);
                let at = rng.random_range(0..=typist.units());
                let sent = typist.send(at, "x").await?;
                typist.saved(sent).await?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for typing in typing {
        typing.await?.context("a typist")?;
    }
    Ok(())
}
