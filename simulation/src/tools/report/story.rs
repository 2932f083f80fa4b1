//! A record as lanes: what each host did when, ready to be drawn.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    plan::Plan,
    tools::report::{
        seen::{self, By, Told},
        spans::Spans,
    },
    verdict::Violation,
};

#[derive(Debug, Serialize)]
pub struct Story {
    /// "the shrunk plan", "the plan".
    pub name: String,
    pub end_ms: f64,
    pub lanes: Vec<Lane>,
    pub spans: Vec<Span>,
    pub marks: Vec<Mark>,
    pub focus: Focus,
    /// Marks of small interest far from the violation, that were left out.
    pub left_out: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    pub name: String,
    /// `client`, `router` or `node`.
    pub kind: &'static str,
}

/// What lasts: a fault (on each lane that it names; none: on all), a leadership.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// `fault` or `leads`.
    pub kind: &'static str,
    pub lanes: Vec<usize>,
    pub from_ms: f64,
    pub to_ms: f64,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
}

/// What happened at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// None: on no host's lane, but across all.
    pub lane: Option<usize>,
    pub at_ms: f64,
    pub kind: String,
    /// `client:sequence`: the same for all that befell one operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    pub text: String,
}

/// Where people should look first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Focus {
    pub from_ms: f64,
    pub to_ms: f64,
    /// The operations that the violation names.
    pub operations: Vec<String>,
    pub groups: Vec<u32>,
}

/// Kinds that are many: drawn near the violation only.
const SMALL: [&str; 8] = [
    "appended",
    "synced",
    "committed",
    "received",
    "view",
    "marked",
    "state",
    "outcome",
];
const SMALL_MOST: usize = 12_000;

pub fn tell(name: &str, plan: &Plan, record: &[Told], violation: Option<&Violation>) -> Story {
    let mut lanes = Lanes::new(plan, record);
    let mut spans = Spans::new(plan);
    let mut marks = Vec::new();
    for told in record {
        spans.see(told, &lanes);
        marks.extend(seen::mark(told, &mut lanes));
    }
    let end_ms = record.last().map_or(0.0, |told| told.at_ms);
    let focus = focus(&marks, violation, end_ms);
    let before = marks.len();
    let marks = thinned(marks, &focus);
    Story {
        name: name.into(),
        end_ms,
        left_out: before - marks.len(),
        lanes: lanes.list,
        spans: spans.ended(end_ms),
        marks,
        focus,
    }
}

/// The last seconds before the violation.
fn focus(marks: &[Mark], violation: Option<&Violation>, end_ms: f64) -> Focus {
    const BEFORE: f64 = 3_000.0;
    const AFTER: f64 = 300.0;
    const FEW: usize = 30;
    let at = violation.map_or(end_ms, |v| (v.at_ms as f64).min(end_ms));
    let told = violation.map(|v| v.broken.as_str()).unwrap_or_default();
    let all: BTreeSet<&str> = marks
        .iter()
        .filter_map(|m| m.operation.as_deref())
        .collect();
    let operations: Vec<String> = all
        .into_iter()
        .filter(|operation| names(told, operation))
        .map(str::to_owned)
        .collect();
    let of_these = |mark: &&Mark| {
        let operation = mark.operation.as_ref();
        operation.is_some_and(|operation| operations.contains(operation))
    };
    let groups: BTreeSet<u32> = marks
        .iter()
        .filter(of_these)
        .filter_map(|m| m.group)
        .collect();
    // Where little happened of late (what did not heal is told at the end), from further back.
    let large = marks
        .iter()
        .filter(|mark| mark.at_ms <= at && !SMALL.contains(&mark.kind.as_str()));
    let moments: Vec<f64> = large.map(|mark| mark.at_ms).collect();
    let few = moments.iter().rev().nth(FEW).copied().unwrap_or(0.0);
    Focus {
        from_ms: (at - BEFORE).min(few).max(0.0),
        to_ms: (at + AFTER).min(end_ms),
        operations,
        groups: groups.into_iter().collect(),
    }
}

/// Whether a text names an operation: its client (eight digits suffice), and behind that the
/// word for a sequence with its number.
fn names(text: &str, operation: &str) -> bool {
    let Some((client, seq)) = operation.split_once(':') else {
        return false;
    };
    let client = client.get(..8).unwrap_or(client);
    let words: Vec<_> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let of_client = (0..words.len()).filter(|i| words[*i].starts_with(client));
    of_client.into_iter().any(|i| {
        // Up to where another client is named.
        let rest = words[i + 1..].split(|word| *word == "client").next();
        let behind = rest.unwrap_or_default().windows(2);
        let mut told = behind.filter(|pair| pair[0].starts_with("seq"));
        told.next().is_some_and(|pair| pair[1] == seq)
    })
}

/// Leaves out the small marks that are far from the focus.
fn thinned(marks: Vec<Mark>, focus: &Focus) -> Vec<Mark> {
    const MARGIN: f64 = 1_000.0;
    let near =
        |mark: &Mark| mark.at_ms >= focus.from_ms - MARGIN && mark.at_ms <= focus.to_ms + MARGIN;
    let named = |mark: &Mark| {
        let operation = mark.operation.as_ref();
        operation.is_some_and(|operation| focus.operations.contains(operation))
    };
    let small = |mark: &Mark| SMALL.contains(&mark.kind.as_str()) && !named(mark);
    let many = marks
        .iter()
        .filter(|mark| small(mark) && near(mark))
        .count();
    let mut too_many = many.saturating_sub(SMALL_MOST);
    let stays = |mark: &Mark| {
        if !small(mark) {
            return true;
        }
        if !near(mark) {
            return false;
        }
        // The earliest go first.
        let goes = too_many > 0;
        too_many = too_many.saturating_sub(1);
        !goes
    };
    let mut marks = marks;
    marks.retain(stays);
    marks
}

/// The hosts, in the order that an operation passes them.
#[derive(Default)]
pub struct Lanes {
    pub list: Vec<Lane>,
    /// By client id, in hex digits.
    clients: BTreeMap<String, usize>,
    nodes: BTreeMap<u64, usize>,
    /// Which operation became a revision of a document.
    authors: BTreeMap<(String, u64), String>,
}

impl Lanes {
    fn new(plan: &Plan, record: &[Told]) -> Self {
        let mut lanes = Self::default();
        for told in record.iter().filter(|told| told.by == By::Client) {
            if let Some(client) = told.id("client") {
                lanes.client(client, told.number("user"));
            }
        }
        let mut add = |name: String, kind| {
            lanes.list.push(Lane { name, kind });
            lanes.list.len() - 1
        };
        for n in 1..=plan.world.routers {
            add(format!("router-{n}"), "router");
        }
        for id in 1..=u64::from(plan.world.nodes) {
            let lane = add(format!("node-{id}"), "node");
            lanes.nodes.insert(id, lane);
        }
        lanes
    }

    fn client(&mut self, client: String, user: Option<u64>) {
        let lanes = &mut self.list;
        let name = format!("client {}", client.get(..8).unwrap_or(&client));
        let lane = *self.clients.entry(client).or_insert_with(|| {
            lanes.push(Lane {
                name,
                kind: "client",
            });
            lanes.len() - 1
        });
        if let Some(user) = user
            && !lanes[lane].name.contains("user")
        {
            lanes[lane].name += &format!(" user {user}");
        }
    }

    pub fn of_client(&self, client: &str) -> Option<usize> {
        self.clients.get(client).copied()
    }

    pub fn of_node(&self, node: u64) -> Option<usize> {
        self.nodes.get(&node).copied()
    }

    /// Those whose names a text tells.
    pub fn named(&self, text: &str) -> Vec<usize> {
        let words: BTreeSet<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .collect();
        let lanes = self.list.iter().enumerate();
        let told = lanes.filter(|(_, lane)| words.contains(lane.name.as_str()));
        told.map(|(i, _)| i).collect()
    }

    pub fn applied(&mut self, document: &str, revision: u64, operation: &str) {
        let key = (document.to_owned(), revision);
        self.authors.insert(key, operation.to_owned());
    }

    /// The operation that became a revision, as far as a replica has told.
    pub fn author(&self, document: &str, revision: u64) -> Option<String> {
        self.authors.get(&(document.to_owned(), revision)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at_ms: f64, kind: &'static str, operation: Option<&str>) -> Mark {
        Mark {
            lane: Some(0),
            at_ms,
            kind: kind.into(),
            operation: operation.map(str::to_owned),
            document: None,
            revision: None,
            group: operation.map(|_| 3),
            text: String::new(),
        }
    }

    #[test]
    fn the_operation_that_is_told_is_found() {
        let violation = Violation {
            oracle: "durable".into(),
            property: "O6".into(),
            signature: String::new(),
            promised: String::new(),
            broken: "document 1badcafe, revision 1, client 0badcafe, sequence 17".into(),
            at_ms: 10_000,
        };
        let own = "0badcafe012345670000000000000000:17";
        let marks: Vec<_> = [
            mark(1.0, "invoke", Some(own)),
            mark(2.0, "invoke", Some("0badcafe012345670000000000000000:1")),
            mark(2.0, "invoke", Some("1badcafe012345670000000000000000:17")),
        ]
        .into_iter()
        .chain((0..40).map(|_| mark(9_000.0, "closed", None)))
        .collect();
        let focus = focus(&marks, Some(&violation), 10_100.0);
        assert_eq!(focus.operations, [own]);
        assert_eq!(focus.groups, [3]);
        assert_eq!((focus.from_ms, focus.to_ms), (7_000.0, 10_100.0));
        let quiet = super::focus(&marks[..20], Some(&violation), 10_100.0);
        assert_eq!(
            quiet.from_ms, 0.0,
            "nothing much happened in the last seconds"
        );
    }

    #[test]
    fn small_marks_stay_near_the_violation_and_on_the_operation() {
        let focus = Focus {
            from_ms: 5_000.0,
            to_ms: 6_000.0,
            operations: vec!["a:1".into()],
            groups: vec![],
        };
        let marks = vec![
            mark(1.0, "synced", None),
            mark(1.0, "committed", Some("a:1")),
            mark(1.0, "leads", None),
            mark(5_500.0, "synced", None),
        ];
        let kept: Vec<_> = thinned(marks, &focus)
            .iter()
            .map(|mark| mark.kind.clone())
            .collect();
        assert_eq!(kept, ["committed", "leads", "synced"]);
        let many = (0..20_000).map(|_| mark(5_500.0, "synced", None)).collect();
        assert_eq!(thinned(many, &focus).len(), SMALL_MOST);
    }
}
