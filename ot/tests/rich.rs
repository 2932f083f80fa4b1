//! A large rich document beside the same one as a plain operation, which is composed with each
//! change: runs, chunks and the rope must say the same.
#![allow(clippy::unwrap_used)]

mod common;

use codraft_ot::{Content, Delta, Kind, Limits};
use common::*;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

#[test]
fn a_document_of_many_runs_equals_its_composed_history() {
    let mut runner = TestRunner::deterministic();
    let mut make = || {
        let strategy = (steps(), any::<u32>(), any::<u32>());
        strategy.new_tree(&mut runner).unwrap().current()
    };
    let mut content = Content::new(Kind::Rich);
    let mut plain = content.to_delta();
    for round in 0..2_500 {
        let (steps, far, much) = make();
        let tail = fit(&content, &steps);
        let text: Vec<u16> = content.text().encode_utf16().collect();
        // Somewhere in the document; now and then over much of it.
        let mut at = far as usize % text.len();
        at -= usize::from((0xDC00..0xE000).contains(&text[at]));
        let mut delta = Delta::new();
        delta.retain(at as u32);
        let rest = Content::from_delta(Kind::Rich, &rest_of(&plain, at as u32), &Limits::default());
        fit(&rest.unwrap(), &steps)
            .components()
            .iter()
            .for_each(|c| {
                delta.push(c.clone());
            });
        let delta = if round % 50 == 0 && much % 2 == 0 {
            tail
        } else {
            delta.chop()
        };
        content.apply(&delta, &Limits::default()).unwrap();
        plain = plain.compose(&delta).unwrap();
        if round % 10 == 0 {
            assert_eq!(content.to_delta(), plain, "round {round}");
        }
    }
    assert_eq!(content.to_delta(), plain);
    assert!(
        plain.components().len() > 500,
        "only {} runs",
        plain.components().len()
    );

    let again = Content::from_delta(Kind::Rich, &plain, &Limits::default()).unwrap();
    assert_eq!(again.digest(), content.digest());
    let limits = Limits {
        components: 2,
        ..Limits::default()
    };
    let read = Delta::decode(&plain.to_bytes(), &limits.of_document()).unwrap();
    assert_eq!(read, plain);
}

fn rest_of(document: &Delta, from: u32) -> Delta {
    let mut delete = Delta::new();
    delete.delete(from);
    document.compose(&delete).unwrap()
}
