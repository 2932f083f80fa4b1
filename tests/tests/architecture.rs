//! The house: who may import whom, and where a package lives. Read from `cargo metadata`, so
//! that an import which breaks it fails a test before it fails a person.
#![allow(clippy::disallowed_methods)] // reads the sources, outside the product

#[path = "architecture/code.rs"]
mod code;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

/// Every package of the workspace and what of ours it may import. No circles.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("codraft-mutant", &[]),
    ("codraft-ot", &["codraft-mutant"]),
    ("codraft-proto", &["codraft-ot", "codraft-mutant"]),
    (
        "codraft-raft",
        &["codraft-proto", "codraft-ot", "codraft-mutant"],
    ),
    ("codraft-tiers", &["codraft-proto"]),
    ("codraft-router", &["codraft-proto", "codraft-mutant"]),
    (
        "codraft-archive",
        &[
            "codraft-raft",
            "codraft-tiers",
            "codraft-proto",
            "codraft-ot",
            "codraft-mutant",
        ],
    ),
    (
        "codraft-node",
        &[
            "codraft-archive",
            "codraft-raft",
            "codraft-tiers",
            "codraft-proto",
            "codraft-ot",
            "codraft-mutant",
        ],
    ),
    (
        "codraft-verify",
        &[
            "codraft-archive",
            "codraft-raft",
            "codraft-tiers",
            "codraft-proto",
            "codraft-ot",
        ],
    ),
    (
        "codraft",
        &[
            "codraft-node",
            "codraft-router",
            "codraft-verify",
            "codraft-proto",
            "codraft-mutant",
        ],
    ),
    (
        "codraft-e2e",
        &[
            "codraft",
            "codraft-archive",
            "codraft-raft",
            "codraft-tiers",
            "codraft-proto",
            "codraft-ot",
        ],
    ),
    (
        "codraft-simulation",
        &[
            "codraft",
            "codraft-verify",
            "codraft-node",
            "codraft-router",
            "codraft-raft",
            "codraft-proto",
            "codraft-ot",
            "codraft-mutant",
        ],
    ),
];

/// Where a package of others may be imported, and nowhere else.
const HOMES: &[(&str, &[&str])] = &[
    // Signs receipts; jsonwebtoken brings it for tokens.
    ("aws-lc-rs", &["codraft-proto"]),
    ("axum", &["codraft-router", "codraft"]), // codraft: the strip of `codraft dev`
    // openraft's, made before it is used: see `memory.rs`.
    ("base2histogram", &["codraft-simulation"]),
    ("consistent_hash", &["codraft-proto"]),
    ("crc32fast", &["codraft-raft"]),
    ("crop", &["codraft-ot"]),
    ("figment", &["codraft"]),
    // Servers and clients of links, of browsers, and in tests of the REST interface.
    (
        "hyper",
        &[
            "codraft-proto",
            "codraft-router",
            "codraft-e2e",
            "codraft-simulation",
        ],
    ),
    ("jsonwebtoken", &["codraft-router"]),
    ("libmimalloc-sys", &["codraft"]),
    ("mimalloc", &["codraft"]),
    ("openraft", &["codraft-raft"]),
    ("prometheus-client", &["codraft-node", "codraft-router"]),
    ("prost", &["codraft-proto"]),
    ("protox", &["codraft-proto"]),
    ("rust-embed", &["codraft-router"]),
    (
        "tokio-tungstenite",
        &["codraft-router", "codraft-e2e", "codraft-simulation"],
    ),
    ("tonic", &["codraft-proto"]),
    ("tonic-prost", &["codraft-proto"]),
    ("tonic-prost-build", &["codraft-proto"]),
    ("tower-http", &["codraft-router"]),
    ("turmoil", &["codraft-simulation"]),
    ("utoipa", &["codraft-router"]),
    ("utoipa-axum", &["codraft-router"]),
    ("zstd", &["codraft-archive"]),
];

/// What the algebra may not even know of: it is pure by the compiler.
const NOT_IN_OT: &[&str] = &["tokio", "serde", "prost", "rand", "libc", "tracing"];

const LINES_MAX: usize = 700;

/// Package → (imported package → for tests alone).
type Graph = BTreeMap<String, BTreeMap<String, bool>>;

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

fn graph() -> Result<Graph> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .context("running cargo metadata")?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut graph = Graph::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let imports = graph.entry(text(&package["name"])).or_default();
        for import in package["dependencies"]
            .as_array()
            .context("no dependencies")?
        {
            // Its own tests ask for one of its features.
            if import["name"] == package["name"] {
                continue;
            }
            let for_tests = import["kind"] == "dev";
            // Imported twice, once for tests: the stricter one counts.
            *imports.entry(text(&import["name"])).or_insert(for_tests) &= for_tests;
        }
    }
    Ok(graph)
}

#[test]
fn packages_import_only_what_they_may() -> Result<()> {
    let graph = graph()?;
    let rules: BTreeMap<&str, BTreeSet<&str>> = MAY_IMPORT
        .iter()
        .map(|(name, may)| (*name, may.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for (package, imports) in &graph {
        let Some(may) = rules.get(package.as_str()) else {
            wrong.push(format!(
                "{package} has no place in the house yet: give it a row"
            ));
            continue;
        };
        let ours = imports.keys().filter(|name| graph.contains_key(*name));
        let foreign = ours.filter(|name| !may.contains(name.as_str()));
        wrong.extend(foreign.map(|name| format!("{package} may not import {name}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn the_rules_have_no_circle() {
    // Each package may import only such as have no way back: a topological order exists.
    let mut placed = BTreeSet::new();
    while placed.len() < MAY_IMPORT.len() {
        let fits = |(name, may): &&(&str, &[&str])| {
            !placed.contains(name) && may.iter().all(|other| placed.contains(other))
        };
        let Some((next, _)) = MAY_IMPORT.iter().find(fits) else {
            panic!("a circle among those that are not in {placed:?}");
        };
        placed.insert(*next);
    }
}

#[test]
fn a_package_has_one_home() -> Result<()> {
    let graph = graph()?;
    let mut wrong = Vec::new();
    for (name, homes) in HOMES {
        let importers = graph
            .iter()
            .filter(|(_, imports)| imports.contains_key(*name));
        let importers: Vec<_> = importers.map(|(package, _)| package.as_str()).collect();
        let strays = importers.iter().filter(|package| !homes.contains(package));
        wrong.extend(strays.map(|package| format!("{name} is imported by {package}")));
        if importers.is_empty() {
            wrong.push(format!("{name} is imported by nobody: take its row away"));
        }
    }
    let ot = graph.get("codraft-ot").context("no codraft-ot")?;
    let impure = ot
        .iter()
        .filter(|(name, tests)| !**tests && NOT_IN_OT.contains(&name.as_str()));
    wrong.extend(impure.map(|(name, _)| format!("codraft-ot imports {name}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Every Rust source of every package's `src`, with its text.
fn sources() -> Result<Vec<(PathBuf, String)>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("Cargo.toml").is_file() && path.join("src").is_dir())
        .map(|path| path.join("src"))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path)?;
                found.push((path, text));
            }
        }
    }
    anyhow::ensure!(found.len() > 50, "only {} sources were found", found.len());
    Ok(found)
}

#[test]
fn files_stay_small() -> Result<()> {
    let long = sources()?
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX);
    let long: Vec<_> = long
        .map(|(path, text)| (path, text.lines().count()))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:#?}");
    Ok(())
}

#[test]
fn nothing_is_left_to_do() -> Result<()> {
    let left = |text: &str| {
        // Spelled so that this file would not find itself.
        ["todo", "unimplemented", "dbg"]
            .iter()
            .any(|name| text.contains(&format!("{name}!(")))
    };
    let left: Vec<_> = sources()?
        .into_iter()
        .filter(|(_, text)| left(text))
        .collect();
    let left: Vec<_> = left.iter().map(|(path, _)| path).collect();
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}
