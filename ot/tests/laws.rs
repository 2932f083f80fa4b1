//! The laws of the algebra (oracle O1): convergence of two operations, composition, inverse.
//! At random on text and rich text, and for every pair of small operations.
#![allow(clippy::unwrap_used)]

mod common;

use codraft_ot::{
    Authors, Branch, ClientDocument, Component, Content, Delta, Diff, Kind, Late, Limits, Revision,
    Seq,
};
use common::*;
use proptest::prelude::*;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Text), Just(Kind::Rich)]
}

fn case() -> impl Strategy<Value = (Content, Vec<Step>, Vec<Step>)> {
    let document = kind().prop_flat_map(|kind| document(kind).prop_map(move |d| content(kind, &d)));
    (document, steps(), steps())
}

/// S·a·T(b,a) = S·b·T(a,b), with `a` first.
fn converges(s: &Content, a: &Delta, b: &Delta) {
    let one = applied(&applied(s, a), &a.transform(b, true));
    let other = applied(&applied(s, b), &b.transform(a, false));
    assert_eq!(
        one.to_delta(),
        other.to_delta(),
        "on {:?}\na {a:?}\nb {b:?}",
        s.text()
    );
    assert_eq!(one.digest(), other.digest());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn two_operations_converge((s, a, b) in case()) {
        let (a, b) = (fit(&s, &a), fit(&s, &b));
        converges(&s, &a, &b);
    }

    #[test]
    fn one_after_the_other_is_one((s, a, b) in case()) {
        let a = fit(&s, &a);
        let after = applied(&s, &a);
        let b = fit(&after, &b);
        let both = a.compose(&b).unwrap();
        prop_assert!(is_canonical(&both));
        prop_assert_eq!(applied(&s, &both).to_delta(), applied(&after, &b).to_delta());
    }

    #[test]
    fn an_inverse_undoes((s, a, _) in case()) {
        let a = fit(&s, &a);
        let back = a.invert(&s.to_delta()).unwrap();
        prop_assert_eq!(applied(&applied(&s, &a), &back).to_delta(), s.to_delta());
    }

    #[test]
    fn a_difference_makes_one_document_of_another((s, a, b) in case()) {
        let one = applied(&s, &fit(&s, &a));
        for other in [applied(&one, &fit(&one, &b)), s] {
            let (from, to) = (one.to_delta(), other.to_delta());
            let change = Diff::new(&from, &to).finish();
            prop_assert!(is_canonical(&change));
            prop_assert_eq!(applied(&one, &change).to_delta(), to);
        }
    }

    /// Authors stay with what they wrote, as if each unit had a name of its own.
    #[test]
    fn authors_move_with_their_text((s, a, b) in case()) {
        let mut content = s.clone();
        let mut authors = Authors::of([(s.units(), 7)]);
        let mut each = vec![7; s.units() as usize];
        for (number, steps) in [(0, a), (2, b)] {
            let delta = fit(&content, &steps);
            authors = authors.after(&delta, [(3, number), (1, number + 1)]).unwrap();
            let (mut at, mut inserted) = (0, 0);
            for component in delta.components() {
                let units = component.units() as usize;
                match component {
                    Component::Retain { .. } => at += units,
                    Component::Delete { .. } => drop(each.drain(at..at + units)),
                    _ => {
                        let of = (inserted..inserted + units).map(|place| number + u32::from(place >= 3));
                        each.splice(at..at, of);
                        inserted += units;
                        at += units;
                    }
                }
            }
            content = applied(&content, &delta);
            let runs: Vec<_> = authors.iter().collect();
            let spelled = runs.iter().flat_map(|(units, of)| std::iter::repeat_n(*of, *units as usize));
            prop_assert_eq!(spelled.collect::<Vec<_>>(), each.clone());
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 != pair[1].1));
            prop_assert_eq!(Authors::of(runs.clone()).iter().collect::<Vec<_>>(), runs);
            let middle = authors.part(1, 3).into_iter();
            let spelled = middle.flat_map(|(units, of)| std::iter::repeat_n(of, units as usize));
            let end = each.len().min(4);
            prop_assert_eq!(spelled.collect::<Vec<_>>(), each[1.min(end)..end].to_vec());
        }
    }

    #[test]
    fn bytes_come_back((s, a, b) in case()) {
        for delta in [fit(&s, &a), fit(&s, &b), s.to_delta()] {
            let bytes = delta.to_bytes();
            let read = Delta::decode(&bytes, &Limits::default()).unwrap();
            prop_assert_eq!(&read, &delta);
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_are_fatal(bytes in prop::collection::vec(any::<u8>(), 0..60), (s, _, _) in case()) {
        if let Ok(delta) = Delta::decode(&bytes, &Limits::default()) {
            prop_assert!(is_canonical(&delta));
            let mut content = s.clone();
            if content.apply(&delta, &Limits::default()).is_err() {
                prop_assert_eq!(content.to_delta(), s.to_delta());
            }
        }
    }

    /// A cursor between two characters stays between the same two.
    #[test]
    fn a_position_keeps_its_place((s, a, _) in case(), at in 0..20u32) {
        let a = fit(&s, &a);
        let at = at.min(s.units());
        let (first, last) = (a.transform_position(at, true), a.transform_position(at, false));
        prop_assert!(first <= last && last <= applied(&s, &a).units());
    }

    /// Many positions at once are each where it would be alone.
    #[test]
    fn positions_move_together_as_each_would_alone((s, a, _) in case(), stay in any::<bool>()) {
        let a = fit(&s, &a);
        let mut all: Vec<u32> = (0..=s.units()).flat_map(|at| [at, at]).collect();
        let alone: Vec<_> = all.iter().map(|at| a.transform_position(*at, stay)).collect();
        a.transform_positions(&mut all, stay);
        prop_assert_eq!(all, alone);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// One operation past many, in pieces of any size, is each `transform` in turn.
    #[test]
    fn a_late_operation_goes_past_each_earlier_one(
        start in kind().prop_flat_map(|kind| {
            prop::collection::vec(document(kind), 1..4).prop_map(move |parts| (kind, parts))
        }),
        late in prop::collection::vec(steps(), 1..5),
        earlier in prop::collection::vec((0..60u32, steps()), 1..20),
        piece_max in 1..5usize,
    ) {
        let (kind, parts) = start;
        let mut all = Delta::new();
        for component in parts.iter().flat_map(|part| part.components()) {
            all.push(component.clone());
        }
        let s = content(kind, &all);
        let late = fit(&s, &late.concat());
        let mut server = s.clone();
        let (mut one_by_one, mut moved) = (late.clone(), Late::in_pieces_of(piece_max, late));
        for (skip, steps) in earlier {
            let steps: Vec<Step> = std::iter::once(Step::Retain(skip)).chain(steps).collect();
            let delta = fit(&server, &steps);
            server = applied(&server, &delta);
            one_by_one = delta.transform(&one_by_one, true);
            moved.pass(&delta.to_bytes());
        }
        prop_assert_eq!(moved.finish(), one_by_one);
    }

    /// A server that orders, and clients that compose what waits: all end alike.
    #[test]
    fn clients_converge(start in document(Kind::Text), turns in prop::collection::vec((0..3usize, any::<bool>(), steps()), 1..40)) {
        let mut server = content(Kind::Text, &start);
        let mut log: Vec<(usize, Delta)> = Vec::new();
        let mut clients: Vec<ClientDocument> =
            (0..3).map(|_| ClientDocument::new(server.clone(), Revision(0), Seq(0))).collect();
        let mut submit = |log: &mut Vec<(usize, Delta)>, who: usize, client: &mut ClientDocument| {
            if let Some(sent) = client.send() {
                let mut delta = sent.sent.clone();
                for (_, earlier) in &log[sent.base.0 as usize..] {
                    delta = earlier.transform(&delta, true);
                }
                server.apply(&delta, &Limits::default()).unwrap();
                log.push((who, delta));
            }
        };
        let receive = |log: &[(usize, Delta)], who: usize, client: &mut ClientDocument| {
            for (rev, (author, delta)) in (1..).zip(log).skip(client.rev().0 as usize) {
                if *author == who {
                    client.acked(Revision(rev)).unwrap();
                } else {
                    client.remote(Revision(rev), delta).unwrap();
                }
            }
        };
        for (who, hear, steps) in turns {
            let client = &mut clients[who];
            if hear {
                receive(&log, who, client);
            }
            let delta = fit(client.content(), &steps);
            client.local(&delta).unwrap();
            submit(&mut log, who, client);
        }
        for _ in 0..3 {
            for (who, client) in clients.iter_mut().enumerate() {
                receive(&log, who, client);
                submit(&mut log, who, client);
            }
        }
        for (who, client) in clients.iter_mut().enumerate() {
            receive(&log, who, client);
            prop_assert!(client.is_saved());
            prop_assert_eq!(client.content().text(), server.text());
        }
    }
}

#[test]
fn every_pair_of_small_operations_converges() {
    let mut pairs = 0u64;
    for document in small_documents(3) {
        let mut s = Content::new(Kind::Text);
        let mut start = Delta::new();
        start.insert(&document);
        s.apply(&start, &Limits::default()).unwrap();
        let operations = all_operations(&document);
        for a in &operations {
            let after_a = applied(&s, a);
            assert_eq!(
                applied(&after_a, &a.invert(&start).unwrap()).text(),
                document
            );
            for b in &operations {
                let moved = a.transform(b, true);
                let mut late = Late::in_pieces_of(1, b.clone());
                late.pass(&a.to_bytes());
                assert_eq!(late.finish(), moved);
                let mut branch = Branch::new(b.clone());
                assert_eq!(branch.pass(a), b.transform(a, false));
                assert_eq!(branch.finish(), moved);
                let one = applied(&after_a, &moved);
                let other = applied(&applied(&s, b), &b.transform(a, false));
                assert_eq!(
                    one.text(),
                    other.text(),
                    "on {document:?}\na {a:?}\nb {b:?}"
                );
                pairs += 1;
            }
        }
    }
    assert!(pairs > 1_000_000, "only {pairs} pairs");
}

#[test]
fn every_two_small_operations_compose() {
    for document in small_documents(2) {
        let s = content(Kind::Text, &document_delta(&document));
        for a in all_operations(&document) {
            let after = applied(&s, &a);
            for b in all_operations(&after.text()).iter().step_by(3) {
                let both = a.compose(b).unwrap();
                assert_eq!(applied(&s, &both).text(), applied(&after, b).text());
                let mut branch = Branch::new(a.clone());
                branch.compose(b).unwrap();
                assert_eq!(branch.finish(), both);
            }
        }
    }
}

fn document_delta(text: &str) -> Delta {
    let mut delta = Delta::new();
    delta.insert(text);
    delta
}
