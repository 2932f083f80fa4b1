//! What lasts in a record: faults, and leaderships as far as a leader's own disk tells.

use crate::{
    plan::{FaultKind, Plan},
    tools::{
        report::{
            seen::{By, Told},
            story::{Lanes, Span},
        },
        words,
    },
};

/// Spans that have begun, and those that have ended.
pub struct Spans<'a> {
    plan: &'a Plan,
    open: Vec<(Key, Span)>,
    done: Vec<Span>,
}

#[derive(Debug, PartialEq)]
enum Key {
    /// With what the driver called it.
    Fault(String),
    Leads {
        node: u64,
    },
}

impl<'a> Spans<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            open: vec![],
            done: vec![],
        }
    }

    pub fn see(&mut self, told: &Told, lanes: &Lanes) {
        let at_ms = told.at_ms;
        let node = told.number("node").unwrap_or_default();
        let group = told.number("group").and_then(|group| group.try_into().ok());
        let term = told.number("term");
        match (told.by, told.kind.as_str()) {
            (By::Driver, "fault") => {
                let what = told.text("what").unwrap_or_default();
                match told.flag("begins") {
                    true => self.strike(at_ms, what, lanes),
                    false => {
                        let key = Key::Fault(what.to_owned());
                        self.end(at_ms, |open, _| *open == key);
                    }
                }
            }
            (By::Driver, "healing") => self.end(at_ms, |key, _| matches!(key, Key::Fault(_))),
            // Whatever it led, it leads no more: it is a new process.
            (By::Driver, "started") => self.end(at_ms, |key, _| *key == Key::Leads { node }),
            // Its own vote is in a later term.
            (By::Node, "voted") => self.end(at_ms, |key, span| {
                *key == Key::Leads { node } && span.group == group && span.term < term
            }),
            (By::Node, "leads") => {
                let key = Key::Leads { node };
                self.end(at_ms, |open, span| *open == key && span.group == group);
                let span = Span {
                    kind: "leads",
                    lanes: lanes.of_node(node).into_iter().collect(),
                    from_ms: at_ms,
                    to_ms: at_ms,
                    text: format!("node-{node} leads: {}", told.words()),
                    group,
                    term,
                };
                self.open.push((key, span));
            }
            _ => {}
        }
    }

    fn strike(&mut self, at_ms: f64, what: &str, lanes: &Lanes) {
        // Told as the plan spells it, or in other words that name hosts.
        let mut planned = self.plan.faults.iter().map(|fault| &fault.kind);
        let planned = planned.find(|kind| format!("{kind:?}") == what);
        let text = planned.map_or_else(|| what.to_owned(), words::strikes);
        let span = Span {
            kind: "fault",
            lanes: lanes.named(&text),
            from_ms: at_ms,
            to_ms: at_ms,
            text,
            group: None,
            term: None,
        };
        // A process that is down leads nothing.
        for node in planned.map(stopped).unwrap_or_default() {
            self.end(at_ms, |key, _| *key == Key::Leads { node: node.into() });
        }
        self.open.push((Key::Fault(what.to_owned()), span));
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

/// The nodes whose process ends with the fault's beginning.
fn stopped(kind: &FaultKind) -> Vec<u32> {
    match kind {
        FaultKind::Crash { nodes, .. } => nodes.clone(),
        FaultKind::Corrupt { node, .. } | FaultKind::Wiped { node } => vec![*node],
        _ => vec![],
    }
}
