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
    let (held, ran) = attempt(seed, name, extra);
    held.unwrap_or_else(|errors| panic!("seed {seed}: {}\n{errors}", ran.line));
    ran
}

/// Runs the simulation. What did not hold, if so.
fn attempt(seed: u64, name: &str, extra: &[&str]) -> (Result<(), String>, Ran) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}.trace"));
    let output = Command::new(env!("CARGO_BIN_EXE_codraft-simulation"))
        .args([
            "run",
            "--seed",
            &seed.to_string(),
            "--seconds",
            "6",
            "--trace",
        ])
        .arg(&path)
        .args(extra)
        .output()
        .expect("the simulation starts");
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let held = match output.status.success() {
        true => Ok(()),
        false => Err(errors.into_owned()),
    };
    let trace = std::fs::read_to_string(path).expect("the trace is there");
    (held, Ran { line, trace })
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
    for seed in [1, 2, 4] {
        // At once: what else the machine does is no part of it.
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| run(seed, "first", &[]));
            let second = run(seed, "second", &[]);
            (first.join().expect("the first run"), second)
        });
        assert_same(seed, &first.trace, &second.trace);
        assert_eq!(first.line, second.line);
        assert!(first.line.ends_with(" held"), "{}", first.line);
        println!("{}", first.line);
        traces.push(first.trace);
    }
    // Both ways for a leader to die are among these, and that all die at once.
    for event in [
        "the leader is killed: Process",
        "the leader is killed: Power",
        "the power goes everywhere",
    ] {
        assert!(traces.iter().any(|trace| trace.contains(event)), "{event}");
    }
    // Nor is it a recording: another seed is another story.
    for (i, trace) in traces.iter().enumerate() {
        assert!(traces[..i].iter().all(|other| other != trace));
    }
}

#[test]
fn randomness_from_elsewhere_is_seen() {
    let (_, first) = attempt(1, "unstable-first", &["--unstable"]);
    let (_, second) = attempt(1, "unstable-second", &["--unstable"]);
    assert_ne!(first.trace, second.trace);
    assert_ne!(first.line, second.line);
}

#[test]
fn a_disk_that_lies_about_syncs_is_found() {
    let (held, ran) = attempt(1, "lying", &["--lying-disks"]);
    assert!(held.is_err(), "{}", ran.line);
    assert!(ran.line.ends_with(" BROKEN"), "{}", ran.line);
}
