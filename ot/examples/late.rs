//! What it costs to transform late operations past a full window:
//! `cargo run --release -p codraft-ot --example late`.
#![allow(clippy::disallowed_methods)] // a bench, outside the product

use std::{hint::black_box, time::Instant};

use codraft_ot::{Delta, Late};

const EVENTS: u32 = 4_096;

fn main() {
    let mut paste = Delta::new();
    paste.retain(1).insert(&"x".repeat(250 << 10));
    // As many components as an operation may have, all over the document.
    let (mut many, mut deletes) = (Delta::new(), Delta::new());
    for n in 0..5_000 {
        many.retain(20).insert("y");
        deletes.retain(20).delete(1 + n % 2);
    }
    for (name, late) in [
        ("250 KB pasted", &paste),
        ("10,000 components", &many),
        ("5,000 deletes", &deletes),
    ] {
        for (where_, at) in [("in one place", 0), ("anywhere", 7_919)] {
            let typed: Vec<Delta> = (0..EVENTS)
                .map(|n| {
                    let mut delta = Delta::new();
                    delta.retain(1 + n.wrapping_mul(at) % 100_000).insert("z");
                    delta
                })
                .collect();
            let one_by_one = median(|| {
                let mut late = late.clone();
                for earlier in &typed {
                    late = earlier.transform(&late, true);
                }
                black_box(late);
            });
            let encoded: Vec<Vec<u8>> = typed.iter().map(Delta::to_bytes).collect();
            let moved = median(|| {
                let mut late = Late::new(late.clone());
                for earlier in &encoded {
                    late.pass(earlier);
                }
                black_box(late.finish());
            });
            println!(
                "{name} past {EVENTS} letters {where_}: {one_by_one:.2} ms one by one, \
                 {moved:.2} ms as `Late`"
            );
        }
    }
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let from = Instant::now();
            run();
            from.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}
