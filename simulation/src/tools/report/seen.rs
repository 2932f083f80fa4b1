//! One entry of a record in words, on its lane.

use crate::{
    record::{ClientSeen, DriverSeen, Edit, Entry, NodeSeen, Seen},
    tools::report::story::{Lanes, Mark, hex},
};

/// The client that saw it, and its user where that is told.
pub fn client_of(seen: &ClientSeen) -> Option<([u8; 16], Option<u32>)> {
    Some(match seen {
        ClientSeen::Invoke { client, user, .. }
        | ClientSeen::Opened { client, user, .. }
        | ClientSeen::RoleTold { client, user, .. } => (*client, Some(*user)),
        ClientSeen::Resent { client, .. }
        | ClientSeen::Acked { client, .. }
        | ClientSeen::Refused { client, .. }
        | ClientSeen::NotNow { client, .. }
        | ClientSeen::Rebase { client, .. }
        | ClientSeen::HandedBack { client, .. }
        | ClientSeen::Received { client, .. }
        | ClientSeen::View { client, .. }
        | ClientSeen::Marked { client, .. }
        | ClientSeen::Resynced { client, .. }
        | ClientSeen::Closed { client, .. }
        | ClientSeen::Settled { client, .. } => (*client, None),
        ClientSeen::Granted { .. } => return None,
    })
}

/// An entry on one line, with who saw it.
pub fn line(entry: &Entry) -> Option<String> {
    let mut nobody = Lanes::default();
    let mark = mark(0.0, &entry.seen, &mut nobody)?;
    let who = match &entry.seen {
        Seen::Client(seen) => client_of(seen).map(|(id, _)| format!("client {}", hex(&id[..4]))),
        Seen::Node(seen) => Some(format!("node-{}", node_of(seen))),
        Seen::Driver(_) => None,
    };
    let (at, who) = (entry.at.as_secs_f64(), who.unwrap_or_default());
    Some(format!("{at:>11.6} {who} {}: {}", mark.kind, mark.text))
}

/// None where it is a span.
pub fn mark(at_ms: f64, seen: &Seen, lanes: &mut Lanes) -> Option<Mark> {
    let draft = Mark {
        lane: None,
        at_ms,
        kind: "",
        operation: None,
        document: None,
        revision: None,
        group: None,
        text: String::new(),
    };
    match seen {
        Seen::Client(seen) => Some(of_client(draft, seen, lanes)),
        Seen::Node(seen) => of_node(draft, seen, lanes),
        Seen::Driver(seen) => of_driver(draft, seen, lanes),
    }
}

fn operation(client: &[u8; 16], seq: u64) -> String {
    format!("{}:{seq}", hex(client))
}

fn of_client(draft: Mark, seen: &ClientSeen, lanes: &Lanes) -> Mark {
    let lane = client_of(seen).and_then(|(client, _)| lanes.of_client(&client));
    let draft = Mark { lane, ..draft };
    let of = |client: &[u8; 16], doc: &[u8; 16], seq: u64| Mark {
        operation: Some(operation(client, seq)),
        document: Some(hex(doc)),
        ..draft.clone()
    };
    let at = |doc: &[u8; 16], rev: u64| Mark {
        document: Some(hex(doc)),
        revision: Some(rev),
        ..draft.clone()
    };
    let (mark, kind, text) = match seen {
        ClientSeen::Invoke {
            client,
            doc,
            seq,
            base,
            sent,
            ..
        } => {
            let text = format!("seq {seq} on base {base}: {}", edit(sent));
            (of(client, doc, *seq), "invoke", text)
        }
        ClientSeen::Resent {
            client,
            doc,
            seq,
            base,
            ..
        } => {
            let text = format!("seq {seq} again, on base {base}");
            (of(client, doc, *seq), "resent", text)
        }
        ClientSeen::Acked {
            client,
            doc,
            seq,
            rev,
        } => {
            let mark = Mark {
                revision: Some(*rev),
                ..of(client, doc, *seq)
            };
            (mark, "acked", format!("seq {seq} is revision {rev}"))
        }
        ClientSeen::Refused {
            client,
            doc,
            seq,
            code,
        } => (
            of(client, doc, *seq),
            "refused",
            format!("seq {seq}: {code}"),
        ),
        ClientSeen::NotNow {
            client,
            doc,
            seq,
            code,
        } => (
            of(client, doc, *seq),
            "not_now",
            format!("seq {seq}: {code}"),
        ),
        ClientSeen::Rebase {
            client,
            doc,
            seq,
            floor,
            head,
        } => {
            let text = format!("seq {seq}: base too old, floor {floor}, head {head}");
            (of(client, doc, *seq), "rebase", text)
        }
        ClientSeen::HandedBack {
            client,
            doc,
            seq,
            text,
        } => {
            let text = format!("seq {seq} is given back: {}", short(text));
            (of(client, doc, *seq), "handed_back", text)
        }
        ClientSeen::Opened {
            doc,
            resumed,
            rev,
            acked,
            text,
            ..
        } => {
            let how = if *resumed { "resumed" } else { "opened" };
            let acked = acked.map(|(seq, rev)| format!(", answered last: seq {seq} at {rev}"));
            let text = text.as_ref().map(|text| format!(": {}", short(text)));
            let (acked, text) = (acked.unwrap_or_default(), text.unwrap_or_default());
            (
                at(doc, *rev),
                "opened",
                format!("{how} at {rev}{acked}{text}"),
            )
        }
        ClientSeen::Received {
            doc,
            rev,
            edit: what,
            ..
        } => {
            let mark = Mark {
                operation: lanes.author(doc, *rev),
                ..at(doc, *rev)
            };
            let what = what.as_ref().map(|e| format!(": {}", edit(e)));
            let text = format!("revision {rev}{}", what.unwrap_or_default());
            (mark, "received", text)
        }
        ClientSeen::View { doc, rev, text, .. } => {
            (at(doc, *rev), "view", format!("at {rev}: {}", short(text)))
        }
        ClientSeen::Marked {
            doc, rev, chain, ..
        } => (
            at(doc, *rev),
            "marked",
            format!("chain at {rev}: {}", hex(&chain[..6])),
        ),
        ClientSeen::Resynced { reason, .. } => (draft, "resynced", reason.clone()),
        ClientSeen::RoleTold { role, .. } => {
            let role = role.as_deref().unwrap_or("none");
            (draft, "role", format!("role now: {role}"))
        }
        ClientSeen::Granted {
            by,
            user,
            doc,
            role,
            rev,
        } => {
            let role = role.as_deref().unwrap_or("nothing");
            let text = format!("user {by} grants user {user} {role}, revision {rev}");
            (at(doc, *rev), "granted", text)
        }
        ClientSeen::Closed { why, .. } => (draft, "closed", why.clone()),
        ClientSeen::Settled { doc, rev, text, .. } => (
            at(doc, *rev),
            "settled",
            format!("at {rev}: {}", short(text)),
        ),
    };
    Mark { kind, text, ..mark }
}

fn of_node(draft: Mark, seen: &NodeSeen, lanes: &mut Lanes) -> Option<Mark> {
    let at = |node: u64, group: u32, lanes: &Lanes| Mark {
        lane: lanes.of_node(node),
        group: Some(group),
        ..draft.clone()
    };
    let (mark, kind, text) = match seen {
        NodeSeen::Voted {
            node,
            group,
            term,
            candidate,
            committed,
            ..
        } => {
            let kept = if *committed { ", established" } else { "" };
            let text = format!("group {group}: votes for node-{candidate} in term {term}{kept}");
            (at(*node, *group, lanes), "voted", text)
        }
        NodeSeen::Appended {
            node,
            group,
            index,
            term,
            hash,
            ..
        } => {
            let text = format!(
                "group {group}: entry {index}, term {term}, {}",
                hex(&hash[..4])
            );
            (at(*node, *group, lanes), "appended", text)
        }
        NodeSeen::Synced {
            node, group, index, ..
        } => (
            at(*node, *group, lanes),
            "synced",
            format!("group {group}: synced to {index}"),
        ),
        NodeSeen::Truncated {
            node, group, index, ..
        } => (
            at(*node, *group, lanes),
            "truncated",
            format!("group {group}: log cut to below {index}"),
        ),
        NodeSeen::Leads {
            node, group, term, ..
        } => (
            at(*node, *group, lanes),
            "leads",
            format!("group {group}: leads in term {term}"),
        ),
        NodeSeen::Committed {
            node, group, index, ..
        } => (
            at(*node, *group, lanes),
            "committed",
            format!("group {group}: committed to {index}"),
        ),
        NodeSeen::Applied {
            node,
            group,
            index,
            doc,
            rev,
            kind,
            user,
            client,
            seq,
            edit: what,
            ..
        } => {
            let operation = client.map(|client| operation(&client, *seq));
            if let Some(operation) = &operation {
                lanes.applied(*doc, *rev, operation);
            }
            let mark = Mark {
                operation,
                document: Some(hex(doc)),
                revision: Some(*rev),
                ..at(*node, *group, lanes)
            };
            let what = what.as_ref().map(|e| format!(": {}", edit(e)));
            let what = what.unwrap_or_default();
            let text =
                format!("group {group} entry {index}: {kind} of {user}, revision {rev}{what}");
            (mark, "applied", text)
        }
        NodeSeen::Outcome {
            node,
            group,
            index,
            doc,
            client,
            seq,
            outcome,
            ..
        } => {
            let mark = Mark {
                operation: client.map(|client| operation(&client, *seq)),
                document: Some(hex(doc)),
                ..at(*node, *group, lanes)
            };
            (
                mark,
                "outcome",
                format!("group {group} entry {index}: {outcome}"),
            )
        }
        NodeSeen::State {
            node,
            group,
            index,
            digest,
        } => {
            let text = format!("group {group}: state at {index} is {}", hex(&digest[..6]));
            (at(*node, *group, lanes), "state", text)
        }
        NodeSeen::Document {
            node,
            group,
            doc,
            rev,
            text,
            ..
        } => {
            let mark = Mark {
                document: Some(hex(doc)),
                revision: Some(*rev),
                ..at(*node, *group, lanes)
            };
            (
                mark,
                "document",
                format!("at the end, at {rev}: {}", short(text)),
            )
        }
        NodeSeen::Filled { .. } => return None,
    };
    Some(Mark { kind, text, ..mark })
}

fn node_of(seen: &NodeSeen) -> u64 {
    match seen {
        NodeSeen::Voted { node, .. }
        | NodeSeen::Appended { node, .. }
        | NodeSeen::Synced { node, .. }
        | NodeSeen::Truncated { node, .. }
        | NodeSeen::Leads { node, .. }
        | NodeSeen::Committed { node, .. }
        | NodeSeen::Applied { node, .. }
        | NodeSeen::Outcome { node, .. }
        | NodeSeen::State { node, .. }
        | NodeSeen::Document { node, .. }
        | NodeSeen::Filled { node, .. } => *node,
    }
}

fn of_driver(draft: Mark, seen: &DriverSeen, lanes: &Lanes) -> Option<Mark> {
    let host = |host: &str| lanes.named(host).first().copied();
    let (lane, kind, text) = match seen {
        DriverSeen::Fault { .. } => return None,
        DriverSeen::Healing => (None, "healing", "all faults are off".to_owned()),
        DriverSeen::Healed { missing } => {
            let text = match missing.as_slice() {
                [] => "all is healed".to_owned(),
                missing => format!("not healed: {}", missing.join("; ")),
            };
            (None, "healed", text)
        }
        DriverSeen::Started {
            node,
            life,
            refused,
        } => {
            let (kind, text) = match refused {
                None => ("started", format!("starts, life {life}")),
                Some(why) => ("not_started", format!("refuses to start: {why}")),
            };
            (lanes.of_node(*node), kind, text)
        }
        DriverSeen::Disk { node, wiped } => {
            let what = if *wiped {
                "an empty disk"
            } else {
                "its own disk again"
            };
            (lanes.of_node(*node), "disk", what.into())
        }
        DriverSeen::ErrorLine {
            host: at,
            line,
            expected,
        } => {
            let kind = if *expected { "expected_error" } else { "error" };
            (host(at), kind, format!("{at}: {line}"))
        }
        DriverSeen::Panic { host: at, line } => (host(at), "panic", format!("{at}: {line}")),
    };
    Some(Mark {
        lane,
        kind,
        text,
        ..draft
    })
}

fn edit(edit: &[Edit]) -> String {
    let component = |part: &Edit| match part {
        Edit::Retain(n, attributes) if attributes.is_empty() => format!("→{n}"),
        Edit::Retain(n, attributes) => format!("→{n} {attributes:?}"),
        Edit::Delete(n) => format!("−{n}"),
        Edit::Insert(text, _) => format!("+“{}”", short(text)),
        Edit::Embed(json, _) => format!("+{}", short(json)),
    };
    edit.iter().map(component).collect::<Vec<_>>().join(" ")
}

/// What is long: its beginning and its length.
fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
