#![allow(clippy::disallowed_methods)] // reads the sources, outside the product

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::*;

/// Where bugs may be planted. Nothing of the harness is among them.
const PRODUCT: &[&str] = &[
    "ot", "proto", "tiers", "raft", "archive", "node", "router", "codraft",
];

fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<PathBuf> = PRODUCT.iter().map(|p| root.join(p).join("src")).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "only {} sources were found", files.len());
    files
}

/// Name → the files in which it is planted.
fn planted() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut found: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("mutant!(\"").skip(1) {
            let name = rest.split('"').next().unwrap_or_default().to_owned();
            found.entry(name).or_default().insert(path.clone());
        }
    }
    found
}

#[test]
fn every_bug_is_planted_and_every_planted_bug_is_listed() {
    let planted: BTreeSet<String> = planted().into_keys().collect();
    let listed: BTreeSet<String> = ALL.iter().map(|m| m.name.to_owned()).collect();
    assert_eq!(listed.len(), ALL.len(), "a name is there twice");
    assert_eq!(planted, listed);
    assert!(ALL.len() >= 36, "only {}", ALL.len());
}

#[test]
fn the_list_says_what_and_who() {
    for Mutant { name, what, expect } in ALL {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(plain), "{name}");
        assert!(what.ends_with('.') && what.len() > 20, "{name}: {what}");
        assert!(!expect.is_empty(), "{name}");
    }
}

#[cfg(not(codraft_mutants))]
#[test]
fn without_the_cfg_the_macro_is_a_constant() {
    const OFF: bool = mutant!("anything at all");
    assert!(!std::hint::black_box(OFF));
}

/// One test, since a process activates once.
#[test]
fn one_is_activated_and_counted() {
    assert_eq!(
        activate("no_such_bug"),
        Err(Refused::Unknown("no_such_bug".into()))
    );
    let [first, second, ..] = ALL else {
        panic!("no bugs");
    };
    let asked: &'static str = format!("planted-bug:{}", first.name).leak();
    assert!(!active(asked));
    assert_eq!(activate(first.name), Ok(()));
    assert_eq!(activate(second.name), Err(Refused::Second(first.name)));
    assert!(active(asked));
    assert!(!active(first.name), "only by the macro's spelling");
    assert_eq!(reached(), 1);
}
