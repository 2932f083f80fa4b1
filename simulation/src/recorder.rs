//! Where all that is seen comes together: stamped, kept, and shown to the oracles at once.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use crate::{
    marks::Watch,
    memory,
    oracles::Oracle,
    overrides,
    record::{ClientSeen, DriverSeen, Entry, Seen},
    verdict::{Verdict, Violation, without_numbers},
};

/// Clones are the same recorder.
#[derive(Clone)]
pub struct Recorder {
    inner: Rc<Inner>,
}

struct Inner {
    entries: RefCell<Vec<Entry>>,
    oracles: RefCell<Vec<Box<dyn Oracle>>>,
    violations: RefCell<Vec<Violation>>,
    marks: RefCell<BTreeMap<String, u64>>,
    watch: RefCell<Watch>,
    acknowledged: Cell<u64>,
    /// When the first violation was found.
    broken_at: Cell<Option<Duration>>,
    /// Says whether the faults of the moment explain a host's error line.
    explains: RefCell<Explains>,
}

type Explains = Box<dyn Fn(&str, &str) -> bool>;

/// How many violations are kept: the first says most.
const MOST: usize = 20;

impl Recorder {
    pub fn new(oracles: Vec<Box<dyn Oracle>>) -> Self {
        Self {
            inner: Rc::new(Inner {
                entries: RefCell::default(),
                oracles: RefCell::new(oracles),
                violations: RefCell::default(),
                marks: RefCell::default(),
                watch: RefCell::default(),
                acknowledged: Cell::new(0),
                broken_at: Cell::new(None),
                explains: RefCell::new(Box::new(|_, _| false)),
            }),
        }
    }

    pub fn explain_errors_by(&self, explains: impl Fn(&str, &str) -> bool + 'static) {
        *self.inner.explains.borrow_mut() = Box::new(explains);
    }

    pub fn note(&self, seen: Seen) {
        memory::aside(|| self.note_down(seen));
    }

    fn note_down(&self, seen: Seen) {
        let inner = &self.inner;
        if let Seen::Client(ClientSeen::Acked { .. }) = &seen {
            inner.acknowledged.set(inner.acknowledged.get() + 1);
        }
        let at = overrides::elapsed();
        let entry = Entry { at, seen };
        let mut watch = inner.watch.borrow_mut();
        watch.see(&entry, |mark| self.mark(mark));
        drop(watch);
        let mut found = Vec::new();
        for oracle in inner.oracles.borrow_mut().iter_mut() {
            let before = found.len();
            oracle.see(&entry, &mut found);
            let signs =
                |v: &Violation| v.oracle == oracle.name() && v.property == oracle.property();
            debug_assert!(
                found[before..].iter().all(signs),
                "an oracle signs its own name"
            );
        }
        inner.entries.borrow_mut().push(entry);
        found
            .into_iter()
            .for_each(|violation| self.violated(violation));
    }

    /// A rare state was reached.
    pub fn mark(&self, what: &str) {
        let mut marks = self.inner.marks.borrow_mut();
        match marks.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                marks.insert(what.to_owned(), 1);
            }
        }
    }

    pub fn error_line(&self, host: &str, line: String) {
        let expected = (self.inner.explains.borrow())(host, &line);
        self.note(Seen::Driver(DriverSeen::ErrorLine {
            host: host.to_owned(),
            line,
            expected,
        }));
    }

    pub fn panic(&self, host: &str, line: String) {
        self.note(Seen::Driver(DriverSeen::Panic {
            host: host.to_owned(),
            line,
        }));
    }

    /// Something that the frame itself saw.
    pub fn broken(&self, oracle: &str, promised: &str, broken: &str) {
        self.violated(Violation {
            oracle: oracle.to_owned(),
            property: String::new(),
            signature: format!("{oracle}: {}", without_numbers(broken)),
            promised: promised.to_owned(),
            broken: broken.to_owned(),
            at_ms: overrides::elapsed().as_millis() as u64,
        });
    }

    pub fn violated(&self, violation: Violation) {
        let inner = &self.inner;
        if inner.broken_at.get().is_none() {
            inner.broken_at.set(Some(overrides::elapsed()));
        }
        let mut violations = inner.violations.borrow_mut();
        if violations.len() < MOST {
            violations.push(violation);
        }
    }

    pub fn broken_at(&self) -> Option<Duration> {
        self.inner.broken_at.get()
    }

    /// Nothing more is seen: what the oracles say at the end.
    pub fn end(&self) {
        let mut found = Vec::new();
        for oracle in self.inner.oracles.borrow_mut().iter_mut() {
            oracle.end(overrides::elapsed(), &mut found);
        }
        found
            .into_iter()
            .for_each(|violation| self.violated(violation));
    }

    /// What it has come to so far.
    pub fn verdict(&self, begun: Verdict) -> Verdict {
        Verdict {
            simulated_ms: overrides::elapsed().as_millis() as u64,
            acknowledged: self.inner.acknowledged.get(),
            sometimes: self.inner.marks.borrow().clone(),
            violations: self.violations(),
            ..begun
        }
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.inner.violations.borrow().clone()
    }

    /// Reads all entries.
    pub fn with_entries<R>(&self, read: impl FnOnce(&[Entry]) -> R) -> R {
        read(&self.inner.entries.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_fault_explains_breaks_the_run() {
        let recorder = Recorder::new(vec![Box::new(crate::oracles::errors::Errors::default())]);
        recorder.explain_errors_by(|host, line| host == "node-1" && line.contains("log"));
        recorder.error_line("node-1", "the log failed".into());
        assert!(recorder.violations().is_empty());
        recorder.error_line("node-2", "the log failed".into());
        assert_eq!(recorder.violations()[0].oracle, "errors");
        assert!(recorder.broken_at().is_some());
    }
}
