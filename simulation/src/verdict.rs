//! What a run came to, as one JSON line: what `run` prints with `--json`, and what `soak`,
//! `shrink`, `mutants` and `meta` read from the processes that they start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub seed: u64,
    pub commit: String,
    pub scenario: Option<String>,
    pub mutant: Option<String>,
    /// The subset of fault kinds that the seed turned on (names of `FaultKind`, snake case).
    pub faults: Vec<String>,
    /// How often each kind really struck.
    pub struck: BTreeMap<String, u64>,
    pub simulated_ms: u64,
    pub wall_ms: u64,
    /// Operations acknowledged to clients.
    pub acknowledged: u64,
    /// Rare states seen, with how often.
    pub sometimes: BTreeMap<String, u64>,
    /// How often the planted bug's line was reached while it was on.
    pub mutant_reached: u64,
    /// BLAKE3 of the trace, 32 hex digits.
    pub trace: String,
    /// Empty: all held.
    pub violations: Vec<Violation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// The oracle's name: `exactly_once`, `durable`…
    pub oracle: String,
    /// O4…
    pub property: String,
    /// The same for failures of one cause as far as can be told: without ids, times, numbers.
    pub signature: String,
    /// What was promised.
    pub promised: String,
    /// What was broken, with the operation's identity.
    pub broken: String,
    /// Simulated ms.
    pub at_ms: u64,
}

impl Verdict {
    /// Of a run that begins.
    pub fn of(plan: &Plan) -> Self {
        let mut faults: Vec<String> = plan
            .faults
            .iter()
            .map(|fault| fault.kind.name().to_owned())
            .collect();
        faults.sort_unstable();
        faults.dedup();
        Self {
            seed: plan.seed,
            scenario: plan.scenario.clone(),
            mutant: plan.mutant.clone(),
            faults,
            ..Self::default()
        }
    }

    pub fn held(&self) -> bool {
        self.violations.is_empty()
    }
}

/// The same for lines of one kind: words with digits are left out, and it is cut.
pub fn without_numbers(text: &str) -> String {
    const WORDS: usize = 12;
    let mut words: Vec<&str> = text
        .split_whitespace()
        .map(|word| match word.contains(|c: char| c.is_ascii_digit()) {
            true => "#",
            false => word,
        })
        .collect();
    words.dedup_by(|a, b| *a == "#" && *b == "#");
    words.truncate(WORDS);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_no_numbers() {
        let one = without_numbers("node-1: revision 17 of 3f9a came twice");
        assert_eq!(one, "# revision # of # came twice");
    }
}
