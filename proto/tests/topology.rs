//! `cluster.toml`: read, checked with words that say what to change, and written.
#![allow(clippy::unwrap_used)]

use codraft_proto::{
    ids::{GroupId, NodeId},
    topology::{FileTopology, LiveTopology, Topology},
};

const GOOD: &str = r#"
cluster = "demo-1"
groups = 4
[[node]]
id = 1
address = "127.0.0.1:7001"
[[node]]
id = 2
address = "[::1]:7002"
[[node]]
id = 3
address = "node-3.example.com:7003"
"#;

fn wrong(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    FileTopology::parse(&GOOD.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_good_file_is_read() {
    let topology = FileTopology::parse(GOOD).unwrap();
    assert_eq!(
        (topology.cluster(), Topology::groups(&topology)),
        ("demo-1", 4)
    );
    assert_eq!(topology.address(NodeId(2)).as_deref(), Some("[::1]:7002"));
    assert_eq!(topology.address(NodeId(9)), None);
    let mut replicas = topology.replicas(GroupId(3));
    replicas.sort_unstable();
    assert_eq!(replicas, [1, 2, 3].map(NodeId));
}

#[test]
fn what_is_wrong_is_said() {
    for groups in ["0", "257"] {
        let said = wrong("groups = 4", &format!("groups = {groups}"));
        assert!(said.contains(&format!("groups = {groups}")), "{said}");
    }
    let said = wrong("groups = 4", "groups = 4\nretention_ms = 999");
    assert!(
        said.contains("retention_ms = 999") && said.contains("1000"),
        "{said}"
    );
    assert!(wrong("id = 2", "id = 1").contains("two nodes have the id 1"));
    assert!(wrong("id = 2", "id = 0").contains("1 or more"));
    assert!(wrong("[::1]:7002", "127.0.0.1:7001").contains("two nodes have the address"));
    assert!(wrong("demo-1", "").contains("name"));
    assert!(wrong("groups = 4", "").contains("groups"));
    assert!(wrong("groups = 4", "groups = 4\ngroup = 5").contains("group"));
    let said = FileTopology::parse("cluster = \"a\"\ngroups = 1\n")
        .unwrap_err()
        .to_string();
    assert!(said.contains("no [[node]]"), "{said}");
}

#[test]
fn addresses_are_host_and_port() {
    for bad in [
        "",
        "host",
        ":7002",
        "host:",
        "host:0",
        "host:+1",
        "host:65536",
        "a b:1",
        "::1:7",
        "[x]:7",
    ] {
        let said = wrong("[::1]:7002", bad);
        assert!(
            said.contains("node 2") && said.contains("host:port"),
            "{bad:?}: {said}"
        );
    }
}

#[test]
fn what_is_written_is_read_back() {
    let topology = FileTopology::parse(GOOD).unwrap();
    assert_eq!(
        FileTopology::parse(&topology.to_text().unwrap()).unwrap(),
        topology
    );
    let mut retaining = topology.clone();
    retaining.retention_ms = 2_592_000_000;
    let again = FileTopology::parse(&retaining.to_text().unwrap()).unwrap();
    assert_eq!(again, retaining);
    // And is fixed: a file that changes it is not gone on with.
    let live = LiveTopology::new(topology.clone());
    let said = live.replace(retaining).unwrap_err().to_string();
    assert!(said.contains("retention_ms = 2592000000"), "{said}");
    let mut twice = topology;
    twice.nodes.push((1, "127.0.0.1:9".to_owned()).into());
    assert!(
        twice.to_text().is_err(),
        "a file that would be refused is not written"
    );
}

/// Node 4 has the place of node 2, which may still be there.
#[test]
fn who_takes_a_place_has_its_groups_and_moves_no_document() {
    let four = "\n[[node]]\nid = 4\naddress = \"127.0.0.1:7004\"\nseat = 2\n";
    let before = FileTopology::parse(GOOD).unwrap();
    let both = FileTopology::parse(&format!("{GOOD}{four}")).unwrap();
    assert_eq!(FileTopology::parse(&both.to_text().unwrap()).unwrap(), both);
    let mut after = both.clone();
    after.nodes.retain(|node| node.id != 2);
    for group in (0..4).map(GroupId) {
        let held = before.replicas(group);
        let by_new = |node: &NodeId| if *node == NodeId(2) { NodeId(4) } else { *node };
        assert_eq!(
            after.replicas(group),
            held.iter().map(by_new).collect::<Vec<_>>()
        );
        let mut two = both.replicas(group);
        two.retain(|node| *node != NodeId(4));
        assert_eq!(two, held);
        assert_eq!(both.seats(group), held);
    }
    let live = LiveTopology::new(before.clone());
    let mut changes = live.changes().unwrap();
    assert!(
        !live.replace(before.clone()).unwrap(),
        "nothing has changed"
    );
    assert!(!changes.has_changed().unwrap());
    assert!(live.replace(both).unwrap());
    assert!(live.replace(after).unwrap());
    assert!(changes.has_changed().unwrap());
    changes.borrow_and_update();
    assert_eq!(live.address(NodeId(2)), None);

    let mut fewer = before;
    fewer.nodes.retain(|node| node.id != 2);
    let refused = live.replace(fewer).unwrap_err().to_string();
    assert!(
        refused.contains("nodes 1, 2, 3") && refused.contains("nodes 1, 3"),
        "{refused}"
    );
    assert_eq!(live.address(NodeId(4)).as_deref(), Some("127.0.0.1:7004"));
    assert!(!changes.has_changed().unwrap());
}

#[test]
fn a_seat_is_of_one_node_or_of_two_while_one_is_replaced() {
    let with = |nodes: &[(u64, u64)]| {
        let node = |(id, seat): &(u64, u64)| {
            format!("[[node]]\nid = {id}\naddress = \"127.0.0.1:80{id}\"\nseat = {seat}\n")
        };
        FileTopology::parse(&(GOOD.to_owned() + &nodes.iter().map(node).collect::<String>()))
    };
    assert!(with(&[(9, 3)]).is_ok());
    let upward = with(&[(4, 5)]).unwrap_err().to_string();
    assert!(upward.contains("has a higher"), "{upward}");
    assert!(with(&[(4, 0)]).is_err());
    let third = with(&[(4, 2), (5, 2)]).unwrap_err().to_string();
    assert!(third.contains("seat 2 has 3 nodes"), "{third}");
}
