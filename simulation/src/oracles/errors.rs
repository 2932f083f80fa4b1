//! No line at ERROR that no fault explains, and no panic.

use super::{Notes, Oracle, named};
use crate::{
    record::{DriverSeen, Entry, Seen},
    verdict::{Violation, without_numbers},
};

pub struct Errors {
    notes: Notes,
}

impl Default for Errors {
    fn default() -> Self {
        let promised = "nothing is logged as an error that no fault explains, and nothing panics";
        Self {
            notes: Notes::new("errors", "errors", promised),
        }
    }
}

impl Oracle for Errors {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        let Seen::Driver(seen) = &entry.seen else {
            return;
        };
        let (kind, host, line) = match seen {
            DriverSeen::ErrorLine {
                host,
                line,
                expected: false,
            } => ("error", host, line),
            DriverSeen::Panic { host, line } => ("panic", host, line),
            _ => return,
        };
        let what = format!("{kind}: {}", without_numbers(line));
        self.notes
            .broken(found, entry.at, &what, || format!("{host}: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::DriverSeen;

    #[test]
    fn what_no_fault_explains_is_found() {
        let error = |expected| DriverSeen::ErrorLine {
            host: "node-1".into(),
            line: "group 3 stopped after T1-N2".into(),
            expected,
        };
        let mut story = story();
        story.driver(error(true));
        assert_clean(story.clone());
        story.driver(error(false));
        assert_found(story, "errors error: group # stopped after #");
    }

    #[test]
    fn a_panic_is_found() {
        let mut story = story();
        let (host, line) = ("router-1".into(), "index out of bounds".into());
        story.driver(DriverSeen::Panic { host, line });
        assert_found(story, "errors panic: index out of bounds");
    }

    #[test]
    fn the_same_cause_is_told_a_few_times() {
        let mut story = story();
        for i in 0..100 {
            let (host, line) = ("node-1".into(), format!("entry {i}"));
            story.driver(DriverSeen::Panic { host, line });
        }
        assert_eq!(found_in(story).len(), 3);
    }
}
