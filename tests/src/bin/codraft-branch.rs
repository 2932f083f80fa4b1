//! Moves ten thousand recorded operations past ten thousand others of the same time; prints how long that
//! takes. `codraft-branch [rounds]`
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // measures time, outside the product

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use codraft_e2e::traces::{self, Patch, Points, Trace};
use codraft_ot::{Branch, Delta};

/// Recordings, and how many of their operations make the document that both begin with.
const RECORDINGS: [(&str, usize); 2] = [("automerge-paper", 100_000), ("rustcode", 20_000)];
const EACH: usize = 10_000;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map(|n| n.parse::<usize>());
    let rounds = rounds.unwrap_or(Ok(9))?.max(1);
    for (name, before) in RECORDINGS {
        if let Some(trace) = traces::load(name)? {
            measure(name, trace, before, rounds)?;
        }
    }
    // Each at another place than the one before, which nobody types.
    let (before, seed) = (20_000, 7);
    let generated = traces::generated(before + 2 * EACH, seed);
    measure("generated", generated, before, rounds)
}

fn measure(name: &str, trace: Trace, before: usize, rounds: usize) -> Result<()> {
    let patches: Vec<Patch> = trace.txns.into_iter().flat_map(|t| t.patches).collect();
    ensure!(patches.len() >= before + 2 * EACH, "{name} is too short");
    let (start, rest) = patches.split_at(before);
    let mut text = Points::new(&trace.start_content);
    typed(&mut text, start);
    let own = typed(&mut text.clone(), &rest[..EACH]);
    let others = typed(&mut text, &rest[EACH..2 * EACH]);
    println!("{name}: {EACH} operations past {EACH} others, {rounds} rounds");
    let (branch, screen) = one_by_one(&own, &others)?;
    let [mut composing, mut moving, mut showing] = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let began = Instant::now();
        let mut tree = Branch::default();
        for next in &own {
            tree.compose(next)?;
        }
        composing.push(began.elapsed());
        let began = Instant::now();
        let moved: Vec<Delta> = others.iter().map(|earlier| tree.pass(earlier)).collect();
        moving.push(began.elapsed());
        let began = Instant::now();
        let mut changes = Branch::default();
        for next in &moved {
            changes.compose(next)?;
        }
        let changes = changes.finish();
        showing.push(began.elapsed());
        ensure!(
            tree.finish() == branch && changes == screen,
            "not as one by one"
        );
    }
    let components = branch.components().len();
    print(
        &format!("  composed into a branch ({components} components in the end)"),
        composing,
    );
    print("  moved past the others", moving);
    print("  composed into what changes on the screen", showing);
    Ok(())
}

/// The patches one after the other. What was typed behind another text ends with this one.
fn typed(text: &mut Points, patches: &[Patch]) -> Vec<Delta> {
    let fitted = patches.iter().map(|Patch(at, deleted, inserted)| {
        let at = (*at).min(text.len());
        let deleted = (*deleted).min(text.len() - at);
        text.patch(&Patch(at, deleted, inserted.clone()))
    });
    fitted.collect()
}

/// Without a tree: the branch in the end, and what changes on the screen.
fn one_by_one(own: &[Delta], others: &[Delta]) -> Result<(Delta, Delta)> {
    let began = Instant::now();
    let mut branch = Delta::new();
    for next in own {
        branch = branch.compose(next)?;
    }
    let composed = began.elapsed();
    let mut screen = Delta::new();
    for earlier in others {
        let moved = branch.transform(earlier, false);
        branch = earlier.transform(&branch, true);
        screen = screen.compose(&moved)?;
    }
    let [composed, moved] = [composed, began.elapsed() - composed].map(ms);
    println!("  without a tree, once: composed {composed:.1} ms, moved and composed {moved:.1} ms");
    Ok((branch, screen))
}

fn print(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |quarter: usize| ms(took[(took.len() - 1) * quarter / 4]);
    println!(
        "{what}: {:.1} ms (quartiles {:.1} and {:.1})",
        at(2),
        at(1),
        at(3)
    );
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
