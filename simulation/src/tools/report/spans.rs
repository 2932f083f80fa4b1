//! What lasts in a record: faults, and leaderships as far as a leader's own disk tells.

use crate::{
    record::{DriverSeen, NodeSeen, Seen},
    tools::report::story::{Lanes, Span},
};

/// Words of faults that end a process at once.
const DOWN: [&str; 4] = ["crash", "killed", "power", "down"];

/// Spans that have begun, and those that have ended.
#[derive(Default)]
pub struct Spans {
    open: Vec<(Key, Span)>,
    done: Vec<Span>,
}

#[derive(Debug, PartialEq)]
enum Key {
    Fault,
    Leads { node: u64 },
}

impl Spans {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn see(&mut self, at_ms: f64, seen: &Seen, lanes: &Lanes) {
        match seen {
            Seen::Driver(DriverSeen::Fault { what, begins: true }) => {
                let span = Span {
                    kind: "fault",
                    lanes: lanes.named(what),
                    from_ms: at_ms,
                    to_ms: at_ms,
                    text: what.clone(),
                    group: None,
                    term: None,
                };
                // A process that is down leads nothing.
                if DOWN.iter().any(|word| what.contains(word)) {
                    self.end(at_ms, |key, led| {
                        *key != Key::Fault && led.lanes.iter().any(|at| span.lanes.contains(at))
                    });
                }
                self.open.push((Key::Fault, span));
            }
            Seen::Driver(DriverSeen::Fault {
                what,
                begins: false,
            }) => self.end(at_ms, |key, span| *key == Key::Fault && span.text == *what),
            Seen::Driver(DriverSeen::Healing) => self.end(at_ms, |key, _| *key == Key::Fault),
            // Whatever it led, it leads no more: it is a new process.
            Seen::Driver(DriverSeen::Started { node, .. }) => {
                self.end(at_ms, |key, _| *key == Key::Leads { node: *node });
            }
            // Its own vote is in a later term.
            Seen::Node(NodeSeen::Voted {
                node, group, term, ..
            }) => self.end(at_ms, |key, span| {
                let own = *key == Key::Leads { node: *node } && span.group == Some(*group);
                own && span.term.is_some_and(|own| own < *term)
            }),
            Seen::Node(NodeSeen::Leads {
                node, group, term, ..
            }) => {
                let key = Key::Leads { node: *node };
                self.end(at_ms, |open, span| {
                    *open == key && span.group == Some(*group)
                });
                let span = Span {
                    kind: "leads",
                    lanes: lanes.of_node(*node).into_iter().collect(),
                    from_ms: at_ms,
                    to_ms: at_ms,
                    text: format!("node-{node} leads group {group} in term {term}"),
                    group: Some(*group),
                    term: Some(*term),
                };
                self.open.push((key, span));
            }
            _ => {}
        }
    }

    fn end(&mut self, at_ms: f64, ends: impl Fn(&Key, &Span) -> bool) {
        let open = std::mem::take(&mut self.open);
        for (key, mut span) in open {
            if ends(&key, &span) {
                span.to_ms = at_ms;
                self.done.push(span);
            } else {
                self.open.push((key, span));
            }
        }
    }

    /// All of them; what is still open ends with the record.
    pub fn ended(mut self, end_ms: f64) -> Vec<Span> {
        self.end(end_ms, |_, _| true);
        self.done.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
        self.done
    }
}
