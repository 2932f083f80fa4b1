#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use codraft_ot::{Attributes, Content as Product, Delta, Kind, Limits, Value};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

fn insert(text: &str) -> Edit {
    Edit::Insert(text.into(), Vec::new())
}

fn retain(units: u64) -> Edit {
    Edit::Retain(units, Vec::new())
}

fn bold() -> Attributes {
    BTreeMap::from([("b".into(), Value::Bool(true))])
}

fn attributes(rng: &mut StdRng) -> Attributes {
    let mut out = Attributes::new();
    for key in ["b", "color", "i"] {
        match rng.random_range(0..6) {
            0 => out.insert(key.into(), Value::Null),
            1 => out.insert(key.into(), Value::String("\"x\u{e9}".into())),
            2 => out.insert(
                key.into(),
                Value::Number(f64::from(rng.random_range(-3..3)) / 2.0),
            ),
            _ => None,
        };
    }
    out
}

/// An operation that fits `content`, by the product's own builder.
fn operation(rng: &mut StdRng, content: &Product) -> Delta {
    let rich = content.kind() == Kind::Rich;
    let ends: Vec<u32> = content
        .text()
        .chars()
        .scan(0, |at, c| {
            *at += c.len_utf16() as u32;
            Some(*at)
        })
        .collect();
    let mut delta = Delta::new();
    let (mut at, mut next) = (0, 0);
    for _ in 0..rng.random_range(1..6) {
        let steps = rng.random_range(0..4);
        // The last line break of a rich document stays.
        let most = ends.len() - usize::from(rich);
        let to = (next + steps).min(most);
        let units = if to > next { ends[to - 1] - at } else { 0 };
        match rng.random_range(0..if rich { 6 } else { 4 }) {
            0 => {
                delta.delete(units);
            }
            1 | 2 => {
                let text: String = (0..rng.random_range(1..4))
                    .map(|_| ['a', 'b', '\u{e9}', '\u{1f600}', '\n'][rng.random_range(0..5)])
                    .collect();
                if rich {
                    delta.insert_with(&text, attributes(rng));
                } else {
                    delta.insert(&text);
                }
                continue;
            }
            3 => {
                delta.retain(units);
            }
            4 => {
                delta.retain_with(units, attributes(rng));
            }
            _ => {
                let image = BTreeMap::from([("image".into(), Value::Array(vec![Value::Null]))]);
                delta.embed(Value::Object(image), attributes(rng));
                continue;
            }
        }
        (at, next) = (at + units, to.max(next));
    }
    delta.chop()
}

/// The product's content in our words.
fn ours(content: &Product) -> Content {
    Content::of(&decode(&content.to_delta().to_bytes()).unwrap()).unwrap()
}

#[test]
fn agrees_with_the_product() {
    let mut rng = StdRng::seed_from_u64(4);
    let limits = Limits::default();
    let mut sides_differ = 0;
    for round in 0..2_000 {
        let kind = if round % 2 == 0 {
            Kind::Text
        } else {
            Kind::Rich
        };
        let mut product = Product::new(kind);
        for _ in 0..4 {
            let grow = operation(&mut rng, &product);
            product.apply(&grow, &limits).unwrap();
        }
        let mut naive = ours(&product);
        assert_eq!(naive.text(), product.text());
        let (a, b) = (operation(&mut rng, &product), operation(&mut rng, &product));
        let (first, second) = (
            decode(&a.to_bytes()).unwrap(),
            decode(&b.to_bytes()).unwrap(),
        );
        let moved = a.transform(&b, true);
        let expected = decode(&moved.to_bytes()).unwrap();
        assert_eq!(transform(&first, &second), expected, "{a:?}\n{b:?}");
        let flipped = decode(&a.transform(&b, false).to_bytes()).unwrap();
        sides_differ += u32::from(flipped != expected);
        for (delta, edits) in [(&a, &first), (&moved, &expected)] {
            product.apply(delta, &limits).unwrap();
            naive.apply(edits).unwrap();
            assert_eq!(naive.digest(), ours(&product).digest());
            assert_eq!(naive.text(), product.text());
        }
    }
    assert!(sides_differ > 100, "the side matters: {sides_differ}");
}

#[test]
fn the_earlier_goes_first_and_its_attributes_stand() {
    assert_eq!(
        transform(&[insert("ab")], &[insert("c")]),
        [retain(2), insert("c")]
    );
    let set = |value: &str| vec![Edit::Retain(2, vec![("b".into(), value.into())])];
    assert_eq!(transform(&set("1"), &set("2")), []);
    assert_eq!(
        transform(&[Edit::Delete(3)], &[retain(1), Edit::Delete(4)]),
        [Edit::Delete(2)]
    );
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut content = Content::of(&[insert("a\u{1f600}b")]).unwrap();
    let before = content.digest();
    for (edits, why) in [
        (vec![retain(2), insert("x")], Unfit::SplitsPair),
        (vec![retain(1), Edit::Delete(1)], Unfit::SplitsPair),
        (vec![retain(5)], Unfit::Beyond),
    ] {
        assert_eq!(content.apply(&edits), Err(why));
        assert_eq!(content.digest(), before);
    }
    assert_eq!(Content::of(&[retain(1)]).err(), Some(Unfit::NotInserts));
}

#[test]
fn the_digest_tells_contents_apart_and_not_their_making() {
    let digest = |edits: &[Edit]| Content::of(edits).unwrap().digest();
    let b = vec![("b".to_owned(), "true".to_owned())];
    let plain = digest(&[insert("ab")]);
    assert_eq!(plain, digest(&[insert("a"), insert("b")]));
    assert_ne!(plain, digest(&[Edit::Insert("ab".into(), b.clone())]));
    assert_ne!(plain, digest(&[insert("a"), Edit::Insert("b".into(), b)]));
    assert_ne!(
        digest(&[insert("\u{fffc}")]),
        digest(&[Edit::Embed("{}".into(), vec![])])
    );
    let mut formatted = Product::new(Kind::Rich);
    let delta = {
        let mut delta = Delta::new();
        delta.insert_with("ab", bold());
        delta
    };
    formatted.apply(&delta, &Limits::default()).unwrap();
    let mut content = ours(&Product::new(Kind::Rich));
    content.apply(&[insert("ab")]).unwrap();
    assert_ne!(content.digest(), ours(&formatted).digest());
    content
        .apply(&[Edit::Retain(2, vec![("b".into(), "true".into())])])
        .unwrap();
    assert_eq!(content.digest(), ours(&formatted).digest());
}

#[test]
fn malformed_bytes_are_errors() {
    for bytes in [
        &[0x80][..],
        &[0x0e, 0x61],
        &[0x0f],
        &[0x03, 1],
        &[0x0a, 0xff, 0x61],
    ] {
        assert!(decode(bytes).is_err(), "{bytes:?}");
    }
}
