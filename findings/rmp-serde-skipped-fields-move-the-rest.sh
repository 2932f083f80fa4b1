#!/usr/bin/env bash
# serde 1.0.229, rmp-serde 1.3.1 (MessagePack).
#
# Expected: `skip_serializing_if = "Option::is_none"` with `default` saves bytes and changes nothing
# else, as it does with JSON.
# What happens: `rmp_serde::to_vec` writes a struct as an array without names, and a field that is
# skipped leaves no hole: those behind it move up. The reader fills its fields from the front, the
# missing one at the end gets its default, and if the types match nobody notices: the title of a
# document comes back as its author. `to_vec_named` keeps names and is right.
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
rmp-serde = "=1.3.1"
END
cat >src/main.rs <<'END'
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Document {
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

fn main() {
    let document = Document {
        revision: 4,
        author: None,
        title: Some("Minutes".into()),
    };
    let shifted = Document {
        author: document.title.clone(),
        title: None,
        ..document.clone()
    };
    println!("written             {document:?}");

    let bytes = rmp_serde::to_vec(&document).unwrap();
    let read: Document = rmp_serde::from_slice(&bytes).unwrap();
    println!("read, to_vec        {read:?}");
    assert_eq!(read, shifted);

    let bytes = rmp_serde::to_vec_named(&document).unwrap();
    let read: Document = rmp_serde::from_slice(&bytes).unwrap();
    println!("read, to_vec_named  {read:?}");
    assert_eq!(read, document);
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
