//! What an operation costs on recorded typing: `cargo run --release -p codraft-ot --example
//! traces -- FOLDER` with the recordings of josephg/editing-traces. Beside it, in the same run, a
//! bare rope that only inserts and deletes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a bench, outside the product

use std::{hint::black_box, io::Read, path::Path, time::Instant};

use codraft_ot::{Content, Delta, Kind, Limits};
use jumprope::JumpRope;

struct Patch {
    at: usize,
    deleted: usize,
    inserted: String,
}

fn main() {
    let folder = std::env::args()
        .nth(1)
        .expect("the folder of the recordings");
    for name in ["automerge-paper", "rustcode"] {
        let (start, end, patches) = load(Path::new(&folder), name);
        let encoded: Vec<Vec<u8>> = patches.iter().map(delta).map(|d| d.to_bytes()).collect();
        let (mut ours, mut bare, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..7 {
            ours.push(apply(&start, &encoded, &end));
            bare.push(rope(&start, &patches, &end));
            moves.push(transform(&patches));
        }
        let (ours, bare, moves) = (median(ours), median(bare), median(moves));
        println!(
            "{name}: {} operations; decode, check and apply {ours:.0} ns each, jumprope alone \
             {bare:.0} ns, ratio {:.2}; one transform past another {moves:.0} ns",
            patches.len(),
            ours / bare,
        );
    }
}

fn load(folder: &Path, name: &str) -> (String, String, Vec<Patch>) {
    let file = std::fs::File::open(folder.join(format!("{name}.json.gz"))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let transactions = value["txns"].as_array().unwrap();
    let patches = transactions
        .iter()
        .flat_map(|t| t["patches"].as_array().unwrap());
    let patch = |p: &serde_json::Value| Patch {
        at: p[0].as_u64().unwrap() as usize,
        deleted: p[1].as_u64().unwrap() as usize,
        inserted: p[2].as_str().unwrap().to_owned(),
    };
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    (
        text("startContent"),
        text("endContent"),
        patches.map(patch).collect(),
    )
}

/// Code points are taken for units: these two recordings are ASCII but for a few characters of
/// one unit each.
fn delta(patch: &Patch) -> Delta {
    let mut delta = Delta::new();
    delta
        .retain(patch.at as u32)
        .insert(&patch.inserted)
        .delete(patch.deleted as u32);
    delta
}

fn apply(start: &str, encoded: &[Vec<u8>], end: &str) -> f64 {
    let limits = Limits::default();
    let mut content = Content::new(Kind::Text);
    let mut first = Delta::new();
    first.insert(start);
    content.apply(&first, &limits).unwrap();
    let from = Instant::now();
    for bytes in encoded {
        let delta = Delta::decode(bytes, &limits).unwrap();
        content.apply(&delta, &limits).unwrap();
    }
    let each = from.elapsed().as_nanos() as f64 / encoded.len() as f64;
    assert!(content.text() == end);
    each
}

fn rope(start: &str, patches: &[Patch], end: &str) -> f64 {
    let mut rope = JumpRope::from(start);
    let from = Instant::now();
    for patch in patches {
        if patch.deleted > 0 {
            rope.remove(patch.at..patch.at + patch.deleted);
        }
        rope.insert(patch.at, &patch.inserted);
    }
    let each = from.elapsed().as_nanos() as f64 / patches.len() as f64;
    assert!(rope.to_string() == end);
    each
}

/// Each operation past the one before it, as if both were made at once.
fn transform(patches: &[Patch]) -> f64 {
    let deltas: Vec<Delta> = patches.iter().map(delta).collect();
    let from = Instant::now();
    for pair in deltas.windows(2) {
        black_box(pair[0].transform(&pair[1], true));
    }
    from.elapsed().as_nanos() as f64 / deltas.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
