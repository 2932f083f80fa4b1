use std::time::Duration;

use super::*;
use crate::{
    record::{ClientSeen, DriverSeen, Edit, Entry, NodeSeen, Seen},
    tools::minimize::tests::large,
    verdict::Violation,
};

const CLIENT: [u8; 16] = [0xca; 16];
const OTHER: [u8; 16] = [0x0b; 16];
const DOC: [u8; 16] = [0xd0; 16];

fn entry(at_ms: u64, seen: Seen) -> Entry {
    Entry {
        at: Duration::from_millis(at_ms),
        seen,
    }
}

fn client(at_ms: u64, seen: ClientSeen) -> Entry {
    entry(at_ms, Seen::Client(seen))
}

fn node(at_ms: u64, seen: NodeSeen) -> Entry {
    entry(at_ms, Seen::Node(seen))
}

fn driver(at_ms: u64, seen: DriverSeen) -> Entry {
    entry(at_ms, Seen::Driver(seen))
}

fn leads(at_ms: u64, node_id: u64, term: u64) -> Entry {
    let seen = NodeSeen::Leads {
        node: node_id,
        life: 1,
        group: 0,
        term,
    };
    node(at_ms, seen)
}

/// The first crash of the plan.
fn fault(at_ms: u64, begins: bool) -> Entry {
    let what = format!("{:?}", large().faults[0].kind);
    driver(at_ms, DriverSeen::Fault { what, begins })
}

/// An operation from its author over three replicas to its acknowledgement and another reader.
fn operation(at_ms: u64, seq: u64, rev: u64) -> Vec<Entry> {
    let edit = vec![Edit::Retain(3, vec![]), Edit::Insert("é".into(), vec![])];
    let mut out = vec![client(
        at_ms,
        ClientSeen::Invoke {
            client: CLIENT,
            user: 4,
            doc: DOC,
            seq,
            base: rev - 1,
            sent: edit.clone(),
            bytes: [1; 32],
        },
    )];
    for id in 1..=3 {
        let seen = NodeSeen::Applied {
            node: id,
            life: 1,
            group: 0,
            index: rev + 10,
            doc: DOC,
            rev,
            kind: "edit".into(),
            user: "user-4".into(),
            client: Some(CLIENT),
            seq,
            ts_ms: 0,
            edit: Some(edit.clone()),
            restores: None,
            grant: None,
            chain: [2; 32],
        };
        out.push(node(at_ms + 3 + id, seen));
    }
    let acked = ClientSeen::Acked {
        client: CLIENT,
        doc: DOC,
        seq,
        rev,
    };
    out.push(client(at_ms + 8, acked));
    let received = ClientSeen::Received {
        client: OTHER,
        doc: DOC,
        rev,
        author: Some(CLIENT),
        edit: Some(edit),
    };
    out.push(client(at_ms + 9, received));
    out
}

fn violation() -> Violation {
    Violation {
        oracle: "durable".into(),
        property: "O6".into(),
        signature: "durable: an acknowledged operation is not in the log".into(),
        promised: "what was acknowledged is in the final log".into(),
        broken: "document d0d0d0d0, revision 1, client cacacaca, sequence 2".into(),
        at_ms: 6_000,
    }
}

fn record() -> Vec<Entry> {
    let mut out = vec![leads(10, 1, 1)];
    out.extend(operation(100, 1, 5));
    out.push(fault(1_000, true));
    out.push(leads(1_300, 3, 2));
    out.push(fault(2_000, false));
    let started = DriverSeen::Started {
        node: 1,
        life: 2,
        refused: None,
    };
    out.push(driver(2_001, started));
    out.extend(operation(3_500, 2, 6));
    out.push(driver(6_900, DriverSeen::Healing));
    out.push(driver(7_000, DriverSeen::Healed { missing: vec![] }));
    out
}

fn spelled() -> String {
    let line = |entry: &Entry| serde_json::to_string(entry).expect("json") + "\n";
    record().iter().map(line).collect()
}

fn told() -> Vec<Told> {
    let lines = spelled();
    let told = lines.lines().map(Told::parse);
    told.collect::<Result<_>>().expect("a record")
}

#[test]
fn a_record_survives_its_json() {
    let text = spelled();
    let scratch = Scratch::new("record").expect("a folder");
    let path = scratch.path("record");
    // Cut in the middle of its last line, as by a kill.
    fs::write(&path, &text[..text.len() - 20]).expect("written");
    let back = read_record(&path).expect("read");
    assert_eq!(back.len(), record().len() - 1);
    let last = back.last().expect("entries");
    assert_eq!((last.kind.as_str(), last.at_ms), ("healing", 6_900.0));
    fs::write(&path, format!("{{\"at\":1}}\n{text}")).expect("written");
    assert!(read_record(&path).is_err(), "another shape is an error");
}

#[test]
fn the_story_has_lanes_leaders_faults_and_the_operation() {
    let story = story::tell("the plan", &large(), &told(), Some(&violation()));
    let names: Vec<_> = story.lanes.iter().map(|lane| lane.name.as_str()).collect();
    assert_eq!(names[..2], ["client cacacaca user 4", "client 0b0b0b0b"]);
    assert_eq!(names[2..5], ["router-1", "router-2", "node-1"]);
    assert_eq!(names.len(), 2 + 2 + 5);

    let spans = |kind| story.spans.iter().filter(move |span| span.kind == kind);
    let leaders: Vec<_> = spans("leads")
        .map(|s| (s.term, s.from_ms, s.to_ms))
        .collect();
    // The first until it is down, which is when its fault begins.
    assert_eq!(
        leaders,
        [(Some(1), 10.0, 1_000.0), (Some(2), 1_300.0, 7_000.0)]
    );
    let faults: Vec<_> = spans("fault").collect();
    assert_eq!(
        (faults.len(), faults[0].from_ms, faults[0].to_ms),
        (1, 1_000.0, 2_000.0)
    );
    assert_eq!(faults[0].lanes, [4, 5, 8]);
    assert!(
        faults[0]
            .text
            .starts_with("node-1 node-2 node-5 power lost")
    );

    let own = format!("{}:2", "ca".repeat(16));
    assert_eq!(story.focus.operations, [own.as_str()]);
    let life: Vec<_> = story
        .marks
        .iter()
        .filter(|m| m.operation.as_ref() == Some(&own))
        .collect();
    let kinds: Vec<_> = life.iter().map(|mark| mark.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "invoke", "applied", "applied", "applied", "acked", "received"
        ]
    );
    assert_eq!(life[5].lane, Some(1), "by whoever read it");
    assert!(life[0].text.contains("+“é”"));
}

#[test]
fn the_trace_is_cut_around_the_violation() {
    let scratch = Scratch::new("excerpt").expect("a folder");
    let path = scratch.path("trace");
    let line = |n: u64| format!("{:>4}.{:06} line {n}\n", n / 100, n % 100 * 10_000);
    let text: String = (0..1_000).map(line).collect();
    fs::write(&path, text).expect("written");
    let found = excerpt(&path, 4_000).expect("lines");
    assert_eq!(found.len(), 140);
    assert!(found[119].ends_with("line 400"), "{}", found[119]);
    assert!(excerpt(&scratch.path("none"), 1).expect("none").is_empty());
}

#[test]
fn an_entry_in_words_has_its_time_and_host() {
    let lines: Vec<_> = told().iter().map(seen::line).collect();
    assert!(
        lines[0].contains("0.010000 node-1 leads: group 0, term 1"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("client cacacaca invoke: seq 1, base 4, →3 +“é”"));
}
