//! What it costs to spell the largest documents for those who open them: under a group's lock a
//! clone, outside of it steps. `cargo run --release -p codraft-ot --example spell`.
#![allow(clippy::disallowed_methods)] // a bench, outside the product

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use codraft_ot::{Attributes, Content, Delta, Kind, Limits, Value};

const ROUNDS: usize = 20;

fn main() {
    let limits = Limits::default();
    let mut plain = Delta::new();
    plain.insert(&"x".repeat(limits.document_units as usize));
    show("plain, 4 Mi units of ASCII", &of(Kind::Text, &plain));
    let mut wide = Delta::new();
    wide.insert(&"€".repeat(limits.document_units as usize));
    show("plain, 4 Mi units of three bytes", &of(Kind::Text, &wide));
    // Eight and four bytes of `Limits::rich_bytes` a pair.
    let mut runs = Delta::new();
    for _ in 0..limits.rich_bytes / 12 - 1 {
        runs.insert_with("x", attribute("b", Value::Bool(true)));
        runs.insert("y");
    }
    runs.insert("\n");
    show("rich, as many runs as there may be", &of(Kind::Rich, &runs));
    // As much of both as there may be: a map of its own for each run.
    let mut both = Delta::new();
    let runs = limits.rich_bytes / 264;
    let text = "x".repeat(limits.document_units as usize / runs - 1);
    for n in 0..runs {
        let value = Value::String(format!("{n:0>240}").into());
        both.insert_with(&text, attribute("link", value));
    }
    both.insert("\n");
    show("rich, as large as there may be", &of(Kind::Rich, &both));
}

fn attribute(name: &str, value: Value) -> Attributes {
    [(name.into(), value)].into()
}

fn of(kind: Kind, delta: &Delta) -> Content {
    match Content::from_delta(kind, delta, &Limits::default().of_document()) {
        Ok(content) => content,
        Err(error) => panic!("{error}"),
    }
}

fn show(name: &str, content: &Content) {
    let (mut clones, mut all, mut steps, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let content = black_box(content.clone());
        clones.push(begun.elapsed());
        let begun = Instant::now();
        let mut out = Vec::with_capacity(content.encoded_bytes());
        let mut encoding = content.encoding();
        loop {
            let step = Instant::now();
            let done = encoding.step(&mut out);
            steps.push(step.elapsed());
            if done {
                break;
            }
        }
        all.push(begun.elapsed());
        bytes = black_box(out).len();
    }
    println!(
        "{name}: {:.1} MiB; a clone {:.4} ms, all {:.1} ms in {} steps, a step {:.3} ms, worst {:.3} ms",
        bytes as f64 / f64::from(1 << 20),
        quantile(&mut clones, 0.5),
        quantile(&mut all, 0.5),
        steps.len() / ROUNDS,
        quantile(&mut steps, 0.5),
        quantile(&mut steps, 1.0),
    );
}

/// In milliseconds.
fn quantile(times: &mut [Duration], at: f64) -> f64 {
    times.sort_unstable();
    let index = ((times.len() - 1) as f64 * at) as usize;
    times[index].as_secs_f64() * 1_000.0
}
