//! One seed, one trace. Every run is a process of its own: tokio numbers its tasks for a whole
//! process, and the order in which a killed host's connections end follows from the numbers.
#![allow(clippy::disallowed_methods)] // reads the traces that the simulations wrote

use std::{path::PathBuf, process::Command};

struct Ran {
    line: String,
    trace: String,
}

/// Runs the simulation; what it checks by itself must hold.
fn run(seed: u64, name: &str, extra: &[&str]) -> Ran {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}.trace"));
    let output = Command::new(env!("CARGO_BIN_EXE_codraft-simulation"))
        .args(["run", "--seed", &seed.to_string(), "--seconds", "6", "--trace"])
        .arg(&path)
        .args(extra)
        .output()
        .expect("the simulation starts");
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {} {line}\n{errors}", output.status);
    Ran { line, trace: std::fs::read_to_string(path).expect("the trace is there") }
}

/// Compares byte by byte; says where two traces part.
fn assert_same(seed: u64, first: &str, second: &str) {
    if first.as_bytes() == second.as_bytes() {
        return;
    }
    let mut pairs = first.lines().zip(second.lines()).enumerate();
    match pairs.find(|(_, (a, b))| a != b) {
        Some((n, (a, b))) => panic!("seed {seed}, line {}:\n{a}\n{b}", n + 1),
        None => panic!("seed {seed}: one trace goes on where the other ends"),
    }
}

#[test]
fn same_seed_same_trace() {
    let mut traces = Vec::new();
    for seed in [1, 2, 3, 4] {
        let first = run(seed, "first", &[]);
        let second = run(seed, "second", &[]);
        assert_same(seed, &first.trace, &second.trace);
        assert_eq!(first.line, second.line);
        assert!(first.line.contains(" kills=1 ") && first.line.ends_with(" held"), "{}", first.line);
        println!("{}", first.line);
        traces.push(first.trace);
    }
    // Both ways to die are among these, and the cluster outlives them.
    for event in ["is killed: Process", "is killed: Power", "starts for the 2. time"] {
        assert!(traces.iter().any(|trace| trace.contains(event)), "no seed has {event:?}");
    }
    // Nor is it a recording: another seed is another story.
    for (i, trace) in traces.iter().enumerate() {
        assert!(traces[..i].iter().all(|other| other != trace));
    }
}

#[test]
fn randomness_from_elsewhere_is_seen() {
    let first = run(1, "unstable-first", &["--unstable"]);
    let second = run(1, "unstable-second", &["--unstable"]);
    assert_ne!(first.trace, second.trace);
    assert_ne!(first.line, second.line);
}
