//! O17: with all faults off everything heals in time.

use super::{Notes, Oracle, named};
use crate::{
    record::{DriverSeen, Entry, Seen},
    verdict::Violation,
};

pub struct Heals {
    notes: Notes,
}

impl Default for Heals {
    fn default() -> Self {
        let promised = "with faults off, within 10 s: a leader a group, all acknowledged, all \
                        views equal, new writes served";
        Self {
            notes: Notes::new("heals", "O17", promised),
        }
    }
}

impl Oracle for Heals {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        if let Seen::Driver(DriverSeen::Healed { missing }) = &entry.seen {
            for what in missing {
                let kind = crate::verdict::without_numbers(what);
                self.notes.broken(found, entry.at, &kind, || what.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::DriverSeen;

    #[test]
    fn what_is_missing_is_found() {
        let mut story = story();
        story.driver(DriverSeen::Healed { missing: vec![] });
        assert_clean(story.clone());
        let missing = vec!["client-3 is not saved".to_owned()];
        story.driver(DriverSeen::Healed { missing });
        assert_found(story, "O17 # is not saved");
    }
}
