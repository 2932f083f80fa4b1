//! One seed, one trace. Every run is a process of its own: tokio numbers its tasks for a whole
//! process, and the order in which a killed host's connections end follows from the numbers.
#![allow(clippy::disallowed_methods)] // reads the traces that the simulations wrote

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

struct Ran {
    held: bool,
    verdict: Value,
    trace: String,
}

fn simulation(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codraft-simulation"));
    command.args(args).output().expect("the simulation starts")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs the simulation, and reads what it says and wrote.
fn run(name: &str, args: &[&str]) -> Ran {
    let trace = path(&format!("{name}.trace"));
    let trace_name = trace.to_string_lossy();
    let output = simulation(&[args, &["--json", "--trace", &trace_name]].concat());
    let line = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut verdict: Value = serde_json::from_str(line.trim())
        .unwrap_or_else(|error| panic!("{args:?}: {error}\n{line}\n{errors}"));
    // The one thing that is not simulated.
    verdict["wall_ms"] = Value::Null;
    Ran {
        held: output.status.success(),
        verdict,
        trace: std::fs::read_to_string(trace).expect("the trace is there"),
    }
}

/// Compares byte by byte; says where two traces part.
fn assert_same(what: &str, first: &str, second: &str) {
    if first.as_bytes() == second.as_bytes() {
        return;
    }
    let mut pairs = first.lines().zip(second.lines()).enumerate();
    match pairs.find(|(_, (a, b))| a != b) {
        Some((n, (a, b))) => panic!("{what}, line {}:\n{a}\n{b}", n + 1),
        None => panic!("{what}: one trace goes on where the other ends"),
    }
}

#[test]
fn same_seed_same_trace() {
    let mut traces = Vec::new();
    for seed in ["3", "15", "18"] {
        // At once: what else the machine does is no part of it.
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| run(&format!("first-{seed}"), &["run", "--seed", seed]));
            let second = run(&format!("second-{seed}"), &["run", "--seed", seed]);
            (first.join().expect("the first run"), second)
        });
        assert_same(&format!("seed {seed}"), &first.trace, &second.trace);
        assert_eq!(first.verdict, second.verdict);
        assert!(first.held, "seed {seed}: {}", first.verdict);
        assert!(first.verdict["acknowledged"].as_u64() > Some(0));
        traces.push(first.trace);
    }
    // Among these are dying processes, cut links and failing disks.
    for event in ["begins: Crash", "begins: Partition", "begins: SyncError"] {
        assert!(traces.iter().any(|trace| trace.contains(event)), "{event}");
    }
    // Nor is it a recording: another seed is another story.
    for (i, trace) in traces.iter().enumerate() {
        assert!(traces[..i].iter().all(|other| other != trace));
    }
}

#[test]
fn a_saved_plan_is_the_same_run() {
    let run_of_seed = run("of-seed", &["run", "--seed", "3"]);
    let saved = path("plan-3.json");
    std::fs::write(&saved, simulation(&["plan", "--seed", "3"]).stdout).expect("the plan");
    let replayed = run("replayed", &["replay", &saved.to_string_lossy()]);
    assert_same("replayed", &run_of_seed.trace, &replayed.trace);
    assert_eq!(run_of_seed.verdict, replayed.verdict);
}

/// What makes cutting a plan down worth while: the way to the failure stays as it was.
#[test]
fn what_is_left_out_moves_nothing_before_it() {
    let plan = simulation(&["plan", "--seed", "18"]).stdout;
    let plan: Value = serde_json::from_slice(&plan).expect("the plan");
    let whole = run("whole", &["run", "--seed", "18"]);
    let mut without = [("fault", plan.clone()), ("act", plan)];
    let half = |list: &mut Value| {
        let list = list.as_array_mut().expect("a list");
        list.remove(list.len() / 2)["at_ms"].as_u64().expect("ms")
    };
    let [(_, fault), (_, act)] = &mut without;
    let at_ms = [
        half(&mut fault["faults"]),
        half(&mut act["clients"][0]["acts"]),
    ];
    for ((name, plan), at_ms) in without.iter().zip(at_ms) {
        let saved = path(&format!("without-{name}.json"));
        std::fs::write(&saved, plan.to_string()).expect("the plan");
        let left = run(name, &["replay", &saved.to_string_lossy()]);
        let early = before(&whole.trace, at_ms);
        assert!(early.lines().count() > 100, "{name}");
        assert_same(name, &early, &before(&left.trace, at_ms));
        assert_ne!(whole.trace, left.trace, "{name}");
    }
}

/// The lines of a trace from before a moment of the safety phase.
fn before(trace: &str, at_ms: u64) -> String {
    let seconds = |line: &str| line.split_whitespace().next()?.parse::<f64>().ok();
    let began = trace.lines().find(|line| line.ends_with("stage Safety"));
    let began = began.and_then(seconds).expect("a safety phase");
    let end = began + at_ms as f64 / 1e3;
    let early = trace
        .lines()
        .take_while(|line| seconds(line).is_none_or(|at| at < end));
    early.map(|line| format!("{line}\n")).collect()
}

#[test]
fn randomness_from_elsewhere_is_seen() {
    let first = run("unstable-first", &["run", "--seed", "3", "--unstable"]);
    let second = run("unstable-second", &["run", "--seed", "3", "--unstable"]);
    assert_ne!(first.trace, second.trace);
    assert_ne!(first.verdict["trace"], second.verdict["trace"]);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let saved = path("no-plan.json");
    std::fs::write(&saved, "{\"version\": 1}").expect("the plan");
    let output = simulation(&["replay", &saved.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a plan"));
}
