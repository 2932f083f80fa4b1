//! What correct means, a file a property. An oracle reads the record and nothing else.
//!
//! An outcome that is not known is not known: it may have happened, or may yet.

mod bounded;
mod causal;
mod checks;
mod comments;
mod convergence;
mod disks;
mod durable;
pub mod errors;
mod exactly_once;
mod fold;
mod heals;
mod history;
mod intention;
mod lists;
mod logs;
mod members;
mod memory;
mod monotonic;
mod never_blank;
mod oplog;
mod past;
mod permissions;
mod presence;
mod quarantine;
mod raft;
mod read_your_writes;
mod replicas;
mod retention;
mod revisions;
mod steady;
mod suspicion;
#[cfg(test)]
mod testing;
mod times;
mod truth;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    plan::{Client, Plan, What},
    record,
    verdict::Violation,
};

pub trait Oracle {
    fn name(&self) -> &'static str;
    /// O4…
    fn property(&self) -> &'static str;
    fn see(&mut self, entry: &record::Entry, found: &mut Vec<Violation>);
    /// `at`: of the end, since the start.
    fn end(&mut self, _at: Duration, _found: &mut Vec<Violation>) {}
}

/// In this order: the first two keep what others look things up in.
pub fn all(plan: &Plan) -> Vec<Box<dyn Oracle>> {
    let (history, logs) = (history::Shared::default(), logs::Shared::default());
    let has_twin = |client: &&Client| client.acts.iter().any(|act| act.what == What::Twin);
    let twins = plan
        .clients
        .iter()
        .filter(has_twin)
        .map(|client| client.user);
    let twins = twins.collect();
    vec![
        Box::new(fold::Fold::new(history.clone())),
        Box::new(raft::Raft::new(logs.clone())),
        Box::new(exactly_once::ExactlyOnce::new(history.clone())),
        Box::new(durable::Durable::new(history.clone(), logs.clone())),
        Box::new(members::Members::new(logs)),
        Box::new(convergence::Convergence::new(history.clone())),
        Box::new(revisions::Revisions::new(history.clone(), twins)),
        Box::new(replicas::Replicas::default()),
        Box::new(monotonic::Monotonic::default()),
        Box::new(read_your_writes::ReadYourWrites::new(
            history.clone(),
            plan.world.window_events.into(),
        )),
        Box::new(truth::Truth::new(history.clone())),
        Box::new(permissions::Permissions::new(history.clone())),
        Box::new(lists::Lists::new(history.clone())),
        Box::new(causal::Causal::new(history.clone())),
        Box::new(intention::Intention::new(
            history.clone(),
            plan.world.window_events.into(),
        )),
        Box::new(quarantine::Quarantine::new(history.clone())),
        Box::new(never_blank::NeverBlank::new(history.clone())),
        Box::new(past::Past::new(history.clone())),
        Box::new(comments::Comments::new(history.clone())),
        Box::new(oplog::OpLog::new(history.clone())),
        Box::new(retention::Retention::new(history, plan.world.retention_ms)),
        Box::new(times::Times::new(plan)),
        Box::new(disks::Disks::new(plan)),
        Box::new(suspicion::Suspicion::default()),
        Box::new(checks::Checks::default()),
        Box::new(presence::Presence::default()),
        Box::new(heals::Heals::default()),
        Box::new(bounded::Bounded::default()),
        Box::new(memory::Memory::new(plan)),
        Box::new(steady::Steady::new(plan.faults.is_empty())),
        Box::new(errors::Errors::default()),
    ]
}

/// How often one oracle tells the same.
const TOLD_MOST: u32 = 3;

/// What an oracle has found so far, so that one cause does not drown the others.
struct Notes {
    oracle: &'static str,
    property: &'static str,
    promised: &'static str,
    told: BTreeMap<String, u32>,
}

impl Notes {
    fn new(oracle: &'static str, property: &'static str, promised: &'static str) -> Self {
        Self {
            oracle,
            property,
            promised,
            told: BTreeMap::new(),
        }
    }

    /// `what`: the same for failures of one cause, without ids and numbers; `broken`: with them.
    fn broken(
        &mut self,
        found: &mut Vec<Violation>,
        at: Duration,
        what: &str,
        broken: impl FnOnce() -> String,
    ) {
        let told = self.told.entry(what.to_owned()).or_default();
        *told += 1;
        if *told > TOLD_MOST {
            return;
        }
        found.push(Violation {
            oracle: self.oracle.to_owned(),
            property: self.property.to_owned(),
            signature: format!("{} {what}", self.property),
            promised: self.promised.to_owned(),
            broken: format!("{what}: {}", broken()),
            at_ms: at.as_millis() as u64,
        });
    }
}

/// The parts of an oracle that are the same for all.
macro_rules! named {
    () => {
        fn name(&self) -> &'static str {
            self.notes.oracle
        }
        fn property(&self) -> &'static str {
            self.notes.property
        }
    };
}
use named;

/// The first eight digits of an id or a hash.
fn short(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|b| format!("{b:02x}")).collect()
}
