use super::{
    leaf::{Leaf, Piece},
    *,
};
use crate::{Attributes, Value};

/// Sums, heights and sizes; that neighbours differ.
fn check(runs: &Runs) {
    fn go(child: &Child) -> usize {
        match &*child.node {
            Node::Leaf(leaf) => {
                assert_eq!(child.sum, leaf.sum());
                assert!(leaf.pieces().count() > 0);
                1
            }
            Node::Inner(children) => {
                assert!(!children.is_empty() && children.len() <= CHILDREN_MAX);
                assert_eq!(child.sum, Child::inner(children.clone()).sum);
                let heights: Vec<usize> = children.iter().map(go).collect();
                assert!(heights.iter().all(|height| *height == heights[0]));
                heights[0] + 1
            }
        }
    }
    runs.root.as_ref().map(go);
    let all: Vec<Piece<'_>> = runs.iter().collect();
    for pair in all.windows(2) {
        assert!(pair[0].style.is_embed() || pair[0].style != pair[1].style);
    }
    let whole: Sum = Leaf::new(&all).sum();
    assert_eq!(
        (runs.sum().units, runs.sum().rich_bytes),
        (whole.units, whole.rich_bytes)
    );
}

fn leaves(runs: &Runs) -> Vec<*const Node> {
    fn go(child: &Child, out: &mut Vec<*const Node>) {
        match &*child.node {
            Node::Leaf(_) => out.push(Arc::as_ptr(&child.node)),
            Node::Inner(children) => children.iter().for_each(|child| go(child, out)),
        }
    }
    let mut out = Vec::new();
    if let Some(root) = &runs.root {
        go(root, &mut out);
    }
    out
}

fn bold(n: u32) -> Attributes {
    [("bold".into(), Value::Number(f64::from(n)))].into()
}

fn after(runs: &Runs, delta: &Delta) -> Runs {
    runs.after(delta, &Limits::default()).unwrap()
}

struct Random(u32);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % n
    }
}

#[test]
fn a_tree_stays_in_shape() {
    let mut random = Random(1);
    let mut runs = Runs::of_line_break();
    for n in 0..6_000 {
        let units = runs.sum().units;
        // In one place, then anywhere.
        let at = if n < 3_000 { 0 } else { random.below(units) };
        let mut delta = Delta::new();
        delta.retain(at).insert_with("x", bold(n));
        runs = after(&runs, &delta);
        if n % 500 == 0 {
            check(&runs);
        }
    }
    let count = runs.iter().count();
    assert!(count >= 6_000);
    let before = leaves(&runs);
    assert!(before.len() <= count / 8, "{} leaves", before.len());

    // A change at one place leaves the others shared.
    let units = runs.sum().units;
    let mut delta = Delta::new();
    delta.retain(units / 2).delete(1);
    let less = after(&runs, &delta);
    check(&less);
    let shared = leaves(&less).iter().filter(|l| before.contains(l)).count();
    assert!(shared + 3 >= before.len(), "{shared} of {}", before.len());

    let mut delta = Delta::new();
    delta.delete(units - 1);
    let empty = after(&runs, &delta);
    check(&empty);
    assert_eq!(empty.iter().count(), 1);
    assert_eq!(leaves(&empty).len(), 1);
}

/// What runs are follows from the document, however it came about.
#[test]
fn runs_are_joined_wherever_leaves_meet() {
    let mut random = Random(7);
    let mut runs = Runs::of_line_break();
    for n in 0..4_000 {
        let units = runs.sum().units;
        let mut delta = Delta::new();
        let at = random.below(units);
        delta.retain(at);
        match random.below(8) {
            0 => delta.delete(random.below(300).min(units - 1 - at)),
            1 => delta.retain_with(random.below(400).min(units - at), bold(random.below(2))),
            2 => {
                let none = [("bold".into(), Value::Null)].into();
                delta.retain_with(random.below(100).min(units - at), none)
            }
            3 => delta.embed(Value::Object([].into()), Attributes::new()),
            _ => {
                for _ in 0..random.below(60) {
                    delta.insert_with("xy", bold(random.below(3)));
                    delta.insert("z");
                }
                &mut delta
            }
        };
        runs = after(&runs, &delta.chop());
        if n % 20 == 0 {
            check(&runs);
        }
    }
    assert!(leaves(&runs).len() > 40);
}
