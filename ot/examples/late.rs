//! What it costs to transform late operations past a full window:
//! `cargo run --release -p codraft-ot --example late`.
#![allow(clippy::disallowed_methods)] // a bench, outside the product

use std::{hint::black_box, time::Instant};

use codraft_ot::{Delta, Late};

const EVENTS: u32 = 4_096;

fn main() {
    ordinary();
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
            let one_by_one = once(|| {
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

/// What an operation pays that is one or two letters late, as most are.
fn ordinary() {
    const TIMES: u32 = 200_000;
    let letter = |at| {
        let mut delta = Delta::new();
        delta.retain(at).insert("z");
        delta
    };
    let earlier = [letter(700), letter(20)];
    let encoded: Vec<Vec<u8>> = earlier.iter().map(Delta::to_bytes).collect();
    for lag in 1..=2 {
        let one_by_one = median(|| {
            for n in 0..TIMES {
                let mut late = letter(n % 1_000);
                for earlier in &earlier[..lag] {
                    late = earlier.transform(&late, true);
                }
                black_box(late);
            }
        });
        let moved = median(|| {
            for n in 0..TIMES {
                let mut late = Late::new(letter(n % 1_000));
                for earlier in &encoded[..lag] {
                    late.pass(earlier);
                }
                black_box(late.finish());
            }
        });
        let each = |ms: f64| ms * 1e6 / f64::from(TIMES);
        println!(
            "a letter past {lag}: {:.0} ns by `transform`, {:.0} ns as `Late`",
            each(one_by_one),
            each(moved)
        );
    }
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5).map(|_| once(&mut run)).collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

/// In milliseconds.
fn once(mut run: impl FnMut()) -> f64 {
    let from = Instant::now();
    run();
    from.elapsed().as_secs_f64() * 1e3
}
