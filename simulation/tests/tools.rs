//! The tools around the simulation, with a stub in place of the simulation (`stub.sh`): what
//! they make of runs that hold, fail, break and differ.
#![allow(clippy::disallowed_methods)] // reads what the tools wrote

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

struct Ran {
    held: bool,
    out: String,
    errors: String,
}

fn tool(args: &[&str]) -> Ran {
    let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stub.sh");
    let output = Command::new(env!("CARGO_BIN_EXE_codraft-simulation"))
        .args(args)
        .arg("--program")
        .arg(stub)
        .output()
        .expect("the tool starts");
    Ran {
        held: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tools-{name}"));
    // It may be there from the last time.
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn meta_shows_where_two_runs_of_a_seed_part() {
    let out = folder("meta");
    let out = out.to_str().expect("a path");
    let same = tool(&["meta", "--from", "1", "--seeds", "4", "--out", out]);
    assert!(same.held, "{}{}", same.out, same.errors);
    let differs = tool(&["meta", "--from", "11", "--seeds", "4", "--out", out]);
    assert!(!differs.held);
    assert!(differs.out.contains("differ=1"), "{}", differs.out);
    for part in ["seed 13", "line 2", "  - ", "0.000002 same-13-moved"] {
        assert!(differs.errors.contains(part), "{part}: {}", differs.errors);
    }
    let broken = tool(&["meta", "--from", "5", "--seeds", "1", "--out", out]);
    assert!(!broken.held, "the same twice, and it fails");
}

#[test]
fn soak_keeps_what_fails_by_signature_and_adds_to_the_ledger() {
    let folder = folder("soak");
    let (bugs, ledger) = (folder.join("bugs"), folder.join("ledger.jsonl"));
    let soak = |from: &str, count: &str| {
        let (bugs, ledger) = (bugs.to_str().expect("path"), ledger.to_str().expect("path"));
        tool(&[
            "soak", "--from", from, "--seeds", count, "--bugs", bugs, "--ledger", ledger,
        ])
    };
    let held = soak("1", "4");
    assert!(held.held, "{}{}", held.out, held.errors);
    assert!(!bugs.exists(), "nothing failed");
    let broken = soak("1", "30");
    assert!(!broken.held);
    for part in [
        "failed=6",
        "acknowledged=2700",
        "crash 54",
        "rebase 27",
        "never reached: two_l",
    ] {
        assert!(broken.out.contains(part), "{part} in {}", broken.out);
    }
    let found: Vec<_> = fs::read_dir(&bugs)
        .expect("bugs")
        .flatten()
        .map(|e| e.path())
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    let lost = found
        .iter()
        .find(|path| text(path.join("signature")).contains("durable"));
    let lost = lost.expect("the lost operation");
    let mut seeds: Vec<u64> = text(lost.join("seeds.txt"))
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [5, 15, 25]);
    let small: Value = serde_json::from_str(&text(lost.join("shrunk.json"))).expect("a plan");
    assert_eq!(small["faults"].as_array().map(Vec::len), Some(1), "{small}");
    assert_eq!(small["world"]["nodes"], 3);
    assert!(text(lost.join("report.html")).contains("an acknowledged operation is lost"));

    let lines = text(&ledger);
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).expect("json"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["verdict"], &lines[1]["verdict"]),
        (&"held".into(), &"broken".into())
    );
    assert_eq!(
        (&lines[1]["from"], &lines[1]["to"]),
        (&1.into(), &30.into())
    );
    assert_eq!(lines[0]["simulated_hours"], 0.04);
    let figures = tool_without_program(&["figures", "--ledger", ledger.to_str().expect("path")]);
    assert!(figures.contains("| seeds | 34 |"), "{figures}");
}

fn tool_without_program(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_codraft-simulation"))
        .args(args)
        .output();
    let output = output.expect("the tool starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn soak_ends_in_time_and_has_played_all_between_its_first_and_last_seed() {
    let folder = folder("minutes");
    let (bugs, ledger) = (folder.join("bugs"), folder.join("ledger.jsonl"));
    let (bugs, path) = (bugs.to_str().expect("path"), ledger.to_str().expect("path"));
    tool(&[
        "soak",
        "--minutes",
        "0.02",
        "--bugs",
        bugs,
        "--ledger",
        path,
        "--tries",
        "0",
    ]);
    let line: Value = serde_json::from_str(text(&ledger).trim()).expect("one line");
    let (to, acknowledged) = (line["to"].as_u64(), line["acknowledged"].as_u64());
    let to = to.expect("a seed");
    assert_eq!(line["from"], 1);
    // All but those whose process broke acknowledge 100.
    let whole = (1..=to).filter(|seed| seed % 10 != 7).count() as u64;
    assert_eq!(acknowledged, Some(whole * 100));
}

#[test]
fn mutants_count_only_what_holds_without_them() {
    let folder = folder("mutants");
    let (planted, readme) = (folder.join("planted.jsonl"), folder.join("README.md"));
    let bug =
        |name: &str| format!("{{\"name\":\"{name}\",\"what\":\"x\",\"expect\":[\"durable\"]}}\n");
    fs::write(&planted, bug("bold") + &bug("sly")).expect("written");
    let markers = "<!-- planted bugs: written by the command, do not edit -->\n\
                   <!-- end of planted bugs -->\n";
    fs::write(&readme, markers).expect("written");
    let (planted, path) = (
        planted.to_str().expect("path"),
        readme.to_str().expect("path"),
    );
    let run = |more: &[&str]| {
        let args = [&["mutants", "--planted", planted, "--json"], more].concat();
        tool(&args)
    };
    let all = run(&["--seeds", "6", "--write", "--readme", path]);
    assert!(!all.held, "one is not caught");
    assert_eq!(
        all.out.trim().lines().last(),
        Some(r#"{"total":2,"caught":1,"median_seeds":3.0}"#)
    );
    // Seed 5 fails without it too: that is no catch.
    assert!(
        all.errors
            .contains("sly: NOT CAUGHT in 6 seeds; its line was reached on 6 (fails")
    );
    assert!(text(readme).contains("run --seed 3 --mutant bold"));
    assert!(run(&["--only", "bold"]).held);
    assert!(run(&["--rotate", "0/2"]).held);
    assert!(!run(&["--rotate", "1/2", "--seeds", "2"]).held);
    assert!(!run(&["--only", "none"]).held);
}

#[test]
fn shrink_and_report_of_a_plan() {
    let folder = folder("report");
    let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let shrunk = tool(&["shrink", "--seed", "4", "--out", &path("small.json")]);
    assert!(shrunk.held, "{}", shrunk.errors);
    let small: Value = serde_json::from_str(&text(path("small.json"))).expect("a plan");
    assert_eq!(small["clients"].as_array().map(Vec::len), Some(1));
    assert_eq!(small["seed"], 4);
    let made = tool(&[
        "report",
        &path("small.json"),
        "--out",
        &path("out"),
        "--tries",
        "30",
    ]);
    assert!(made.held, "{}", made.errors);
    let model: Value = serde_json::from_str(&text(path("out/report.json"))).expect("json");
    assert_eq!(
        model["signature"],
        "durable: an acknowledged operation is lost"
    );
    let nearest = model["nearest"]["what"].as_str().expect("a run that holds");
    assert!(
        nearest.contains("without: node-1 back with an empty disk"),
        "{nearest}"
    );
    assert!(text(path("out/report.html")).contains("<!doctype html>"));
}
