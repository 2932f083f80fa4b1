//! What many runs came to, added up.

use std::collections::BTreeMap;

use crate::verdict::{Verdict, Violation};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    pub seeds: u64,
    pub simulated_ms: u64,
    /// Of all processes, so on one core each.
    pub wall_ms: u64,
    pub acknowledged: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// In how many plans each kind of fault was, and in how many of these it struck.
    pub planned: BTreeMap<String, (u64, u64)>,
    /// Rare states that were seen.
    pub marks: BTreeMap<String, u64>,
    /// Failed seeds, by signature.
    pub failures: BTreeMap<String, u64>,
}

impl Tally {
    pub fn add(&mut self, verdict: &Verdict) {
        self.seeds += 1;
        self.simulated_ms += verdict.simulated_ms;
        self.wall_ms += verdict.wall_ms;
        self.acknowledged += verdict.acknowledged;
        add_counts(&mut self.faults, &verdict.struck);
        for kind in &verdict.faults {
            let (plans, struck) = self.planned.entry(kind.clone()).or_default();
            *plans += 1;
            *struck += u64::from(verdict.struck.get(kind).is_some_and(|count| *count > 0));
        }
        add_counts(&mut self.marks, &verdict.sometimes);
        if let Some(violation) = first_violation(verdict) {
            *self
                .failures
                .entry(violation.signature.clone())
                .or_default() += 1;
        }
    }

    /// Kinds of faults that found nothing to break in most of the plans that they were in: such
    /// a campaign proves little about them.
    pub fn seldom_struck(&self) -> Vec<&str> {
        /// With fewer plans it may be chance.
        const OFTEN: u64 = 10;
        let often = self
            .planned
            .iter()
            .filter(|(_, (plans, _))| *plans >= OFTEN);
        let seldom = often.filter(|(_, (plans, struck))| struck * 2 < *plans);
        seldom.map(|(kind, _)| &**kind).collect()
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub fn hours(&self) -> f64 {
        self.simulated_ms as f64 / 3_600_000.0
    }

    /// Simulated seconds in a second of one core.
    pub fn speed(&self) -> f64 {
        self.simulated_ms as f64 / self.wall_ms.max(1) as f64
    }
}

/// Zeros are left out: a kind that was on and never struck is no fault that was seen.
pub fn add_counts(to: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more.iter().filter(|(_, count)| **count > 0) {
        *to.entry(name.clone()).or_default() += count;
    }
}

/// Of several, the one that came first names the failure; what follows may follow from it.
pub fn first_violation(verdict: &Verdict) -> Option<&Violation> {
    verdict.violations.iter().min_by_key(|v| v.at_ms)
}

/// 1234567 as 1,234,567.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The greatest counts first.
pub fn most(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut list: Vec<_> = counts.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    list.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_seldom_strikes_is_told_of_once_it_is_no_chance() {
        let verdict = Verdict {
            faults: vec!["crash".into(), "loss".into()],
            struck: [("crash".into(), 1), ("loss".into(), 0)].into(),
            ..Verdict::default()
        };
        let mut tally = Tally::default();
        (0..9).for_each(|_| tally.add(&verdict));
        assert!(tally.seldom_struck().is_empty());
        tally.add(&verdict);
        assert_eq!(tally.seldom_struck(), ["loss"]);
    }

    #[test]
    fn sums_are_sums_and_the_first_violation_names_the_failure() {
        let violation = |signature: &str, at_ms| Violation {
            oracle: "durable".into(),
            property: "O6".into(),
            signature: signature.into(),
            promised: String::new(),
            broken: String::new(),
            at_ms,
        };
        let verdict = Verdict {
            simulated_ms: 1_800_000,
            wall_ms: 100_000,
            acknowledged: 3,
            struck: [("crash".into(), 2), ("loss".into(), 0)].into(),
            sometimes: [("rebase".into(), 1)].into(),
            violations: vec![violation("later", 9), violation("cause", 4)],
            ..Verdict::default()
        };
        let mut tally = Tally::default();
        tally.add(&verdict);
        tally.add(&verdict);
        tally.add(&Verdict::default());
        assert_eq!((tally.seeds, tally.failed()), (3, 2));
        assert_eq!(tally.failures, [("cause".into(), 2)].into());
        assert_eq!(tally.faults, [("crash".into(), 4)].into());
        assert_eq!(tally.acknowledged, 6);
        assert!((tally.hours() - 1.0).abs() < 1e-9);
        assert!((tally.speed() - 18.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(100), "100");
    }
}
