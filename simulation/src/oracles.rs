//! The properties, a file each.

use crate::{plan::Plan, record, verdict::Violation};

pub trait Oracle {
    fn name(&self) -> &'static str;
    /// O4…
    fn property(&self) -> &'static str;
    fn see(&mut self, entry: &record::Entry, found: &mut Vec<Violation>);
    fn end(&mut self, found: &mut Vec<Violation>);
}

pub fn all(_plan: &Plan) -> Vec<Box<dyn Oracle>> {
    Vec::new()
}
