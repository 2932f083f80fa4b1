//! `cluster.toml`: read, checked with words that say what to change, and written.
#![allow(clippy::unwrap_used)]

use codraft_proto::{
    ids::{GroupId, NodeId},
    topology::{FileTopology, NodeEntry, Topology},
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
    let mut twice = topology;
    twice.nodes.push(NodeEntry {
        id: 1,
        address: "127.0.0.1:9".into(),
    });
    assert!(
        twice.to_text().is_err(),
        "a file that would be refused is not written"
    );
}
