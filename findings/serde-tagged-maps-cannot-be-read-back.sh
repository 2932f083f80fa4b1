#!/usr/bin/env bash
# serde 1.0.229, serde_json 1.0.154.
#
# Expected: what serde_json writes from a type that derives both halves, it reads back into that
# type.
# What happens: a map with numbers for keys (members of a group by id, say) goes both ways while it
# is a plain field. Inside an enum with `#[serde(tag = "...")]`, or a struct that is
# `#[serde(flatten)]`ed into another, it is written all the same, but reading it is an error: the
# keys arrive through a buffer in which they are strings and stay strings. Wrapping a membership in
# a tagged entry compiles, every write succeeds, and the restart finds a log nobody can read.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
serde = { version = "=1.0.229", features = ["derive"] }
serde_json = "=1.0.154"
END
cat >src/main.rs <<'END'
use serde::{de::DeserializeOwned, Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize, Clone)]
struct Membership {
    nodes: BTreeMap<u64, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum Entry {
    Membership(Membership),
}

#[derive(Serialize, Deserialize)]
struct Record {
    term: u64,
    #[serde(flatten)]
    membership: Membership,
}

/// `None` if the value came back, else the error of reading it.
fn error_of_reading<T: Serialize + DeserializeOwned>(name: &str, value: &T) -> Option<String> {
    let written = serde_json::to_string(value).expect("writing never fails");
    let error = serde_json::from_str::<T>(&written)
        .err()
        .map(|error| error.to_string());
    println!(
        "{name:9} {written}\n          read back: {}",
        error.as_deref().unwrap_or("ok")
    );
    error
}

fn main() {
    let membership = Membership {
        nodes: BTreeMap::from([(1, "10.0.0.1:7000".into())]),
    };
    let plain = error_of_reading("plain", &membership);
    let tagged = error_of_reading("tagged", &Entry::Membership(membership.clone()));
    let flattened = error_of_reading(
        "flattened",
        &Record {
            term: 3,
            membership,
        },
    );
    assert_eq!(plain, None);
    let refused = |error: Option<String>| error.is_some_and(|e| e.contains("expected u64"));
    assert_eq!((refused(tagged), refused(flattened)), (true, true));
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
