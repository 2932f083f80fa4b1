#!/usr/bin/env bash
# serde_json 1.0.154 with its default features.
#
# Expected: a finite f64 that serde_json wrote comes back as the same f64; the text has all the
# digits (the standard library's `parse` and JavaScript read the right number from it).
# What happens: the default parser is quick, not exact. Of 100,000 numbers between 0 and 1000 about
# one in ten comes back with another last bit, and is written with another last digit from then on.
# A replica that was restored from JSON, or a relay that parses what it passes on, no longer has the
# bytes of the others, and digests that compare them differ. The feature `float_roundtrip` is exact;
# any crate in the tree may turn it on for all, so a test of its own may not show what a user
# builds.
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
[features]
exact = ["serde_json/float_roundtrip"]
[dependencies]
serde_json = "=1.0.154"
END
cat >src/main.rs <<'END'
fn main() {
    let (mut state, mut changed, mut sample) = (1u64, 0, None);
    for _ in 0..100_000 {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let value = (state >> 11) as f64 / (1u64 << 53) as f64 * 1000.0;
        let written = serde_json::to_string(&value).unwrap();
        assert_eq!(written.parse::<f64>().unwrap(), value, "the text is exact");
        let read: f64 = serde_json::from_str(&written).unwrap();
        if read != value {
            changed += 1;
            sample.get_or_insert((written, serde_json::to_string(&read).unwrap()));
        }
    }
    println!(
        "exact {}: {changed} of 100000 changed, first {sample:?}",
        cfg!(feature = "exact")
    );
    assert_eq!(changed > 5_000, !cfg!(feature = "exact"));
    assert_eq!(changed == 0, cfg!(feature = "exact"));
}
END
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target"
cargo run --quiet
cargo run --quiet --features exact
