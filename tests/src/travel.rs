//! Asks for a document as it was at many revisions, and compares each with what its readers were told,
//! put together by other means.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use codraft_ot::{Component, Delta};
use hyper::Method;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{replay::Told, rest::Rest};

/// A text as a plain row of UTF-16 units.
struct Units(Vec<u16>);

impl Units {
    fn apply(&mut self, delta: &Delta) {
        let mut at = 0;
        for component in delta.components() {
            let units = component.units() as usize;
            match component {
                Component::Retain { .. } => at += units,
                Component::Delete { .. } => drop(self.0.drain(at..at + units)),
                Component::Insert { text, .. } => {
                    self.0.splice(at..at, text.encode_utf16());
                    at += units;
                }
                Component::Embed { .. } => {}
            }
        }
    }
}

/// Reads a plain document at `count` revisions of those that a reader was told of, in an order that has
/// nothing to do with theirs. How long each answer took.
///
/// # Errors
/// When one of them is another text than it was.
pub async fn check(
    rest: &Rest,
    doc: &str,
    told: &Told,
    count: usize,
    seed: u64,
) -> Result<Vec<Duration>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let last = told.rev + told.operations.len() as u64;
    let asked: Vec<u64> = (0..count)
        .map(|_| rng.random_range(told.rev..=last))
        .collect();
    let (mut took, mut answers) = (Vec::new(), std::collections::BTreeMap::new());
    for version in &asked {
        let path = format!("/v1/docs/{doc}/history?version={version}");
        let started = Instant::now();
        let (status, answer) = rest.call(Method::GET, &path, None).await?;
        took.push(started.elapsed());
        ensure!(status.is_success(), "{path}: {status} {answer}");
        answers.insert(*version, text_of(&answer)?);
    }
    let mut text = Units(told.text.encode_utf16().collect());
    let versions: BTreeSet<u64> = asked.into_iter().collect();
    let mut rev = told.rev;
    for version in versions {
        let (from, to) = (rev - told.rev, version - told.rev);
        for delta in &told.operations[from as usize..to as usize] {
            text.apply(delta);
        }
        rev = version;
        let expected = String::from_utf16(&text.0)?;
        ensure!(
            answers.get(&version) == Some(&expected),
            "revision {version} of {doc} reads as another text than it was"
        );
    }
    Ok(took)
}

/// The text of a plain document in an answer.
pub fn text_of(answer: &Value) -> Result<String> {
    let content = answer["content"].as_array().context("no content")?;
    let inserts = content.iter().map(|insert| insert["insert"].as_str());
    inserts.collect::<Option<String>>().context("not a text")
}
