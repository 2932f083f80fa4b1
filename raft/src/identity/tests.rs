use std::sync::atomic::{AtomicU8, Ordering};

use codraft_proto::disk::memory::MemoryDisk;

use super::*;

const DIR: &str = "/data";

/// Another id every time, the same ones in every run.
#[derive(Default)]
struct Counted(AtomicU8);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed) + 1);
    }
}

fn expected(cluster: &str, node: u64, groups: &[&[u64]]) -> Expected {
    let nodes = |group: &&[u64]| group.iter().map(|node| NodeId(*node)).collect();
    Expected {
        cluster: cluster.into(),
        node: NodeId(node),
        placement: Placement {
            slots: 4096,
            nodes: [1, 2, 3, 7].map(NodeId).to_vec(),
            voters: groups.iter().map(nodes).collect(),
            retention_ms: 0,
        },
    }
}

async fn load_as(disk: &MemoryDisk, expected: &Expected) -> Result<Identity, IdentityError> {
    let entropy = Counted::default();
    Identity::load_or_create(disk, Path::new(DIR), expected, &entropy).await
}

const GROUPS: [&[u64]; 2] = [&[1, 2, 7], &[2, 3, 7]];

async fn load(disk: &MemoryDisk, cluster: &str, node: u64) -> Result<Identity, IdentityError> {
    load_as(disk, &expected(cluster, node, &GROUPS)).await
}

#[tokio::test]
async fn a_disk_stays_who_it_is_and_is_written_once() {
    let disk = MemoryDisk::new();
    for round in 1..=4 {
        let identity = load(&disk, "one", 7).await.unwrap();
        assert_eq!(identity.node, NodeId(7));
        assert_eq!(identity.disk, DiskId([1; 16]), "the first one is kept");
        disk.lose_power(round);
        // On a full disk too.
        disk.set_capacity(Some(0));
    }
}

#[tokio::test]
async fn a_folder_has_one_user_at_a_time() {
    let disk = MemoryDisk::new();
    let held = claim(&disk, Path::new(DIR)).await.unwrap();
    let error = claim(&disk, Path::new(DIR)).await.err().unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    assert!(claim(&disk, Path::new("/other")).await.is_ok());
    drop(held);
    assert!(claim(&disk, Path::new(DIR)).await.is_ok());
}

#[tokio::test]
async fn what_is_fixed_for_a_cluster_is_refused_in_another_form() {
    let disk = MemoryDisk::new();
    load(&disk, "one", 7).await.unwrap();
    let before = disk.contents(&Path::new(DIR).join(FILE));
    let mut slots = expected("one", 7, &GROUPS);
    slots.placement.slots = 2048;
    let mut nodes = expected("one", 7, &GROUPS);
    nodes.placement.nodes.push(NodeId(8));
    let retaining = || {
        let mut expected = expected("one", 7, &GROUPS);
        expected.placement.retention_ms = 5_000;
        expected
    };
    for (other, words) in [
        (
            expected("one", 7, &[&[1, 2, 7]]),
            ["groups = 2", "groups = 1"],
        ),
        (
            expected("one", 7, &[&[1, 2, 7], &[1, 3, 7]]),
            ["group 1 on nodes 2, 3, 7", "group 1 on nodes 1, 3, 7"],
        ),
        (nodes, ["nodes 1, 2, 3, 7", "nodes 1, 2, 3, 7, 8"]),
        (slots, ["4096 slots", "2048 slots"]),
        (retaining(), ["retention_ms = 0", "retention_ms = 5000"]),
    ] {
        let error = load_as(&disk, &other).await.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(error.contains("put cluster.toml back"), "{error}");
        assert_eq!(disk.contents(&Path::new(DIR).join(FILE)), before);
    }
    // Where it is not for ever it is on record from the first start.
    let disk = MemoryDisk::new();
    for _ in 0..2 {
        let identity = load_as(&disk, &retaining()).await.unwrap();
        assert_eq!(identity.placement, retaining().placement);
    }
    let error = load(&disk, "one", 7).await.unwrap_err().to_string();
    assert!(error.contains("retention_ms = 5000"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_not_empty_is_left_alone() {
    for (name, words) in [
        ("precious.txt", "not empty"),
        ("peers", "does not say whose"),
        ("wal/0000000000000001.wal", "does not say whose"),
    ] {
        let disk = MemoryDisk::new();
        disk.open(&Path::new(DIR).join(name), true).await.unwrap();
        let error = load(&disk, "one", 7).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(disk.paths(), [Path::new(DIR).join(name)]);
    }
    // What a first start left that died.
    let disk = MemoryDisk::new();
    let unfinished = Path::new(DIR).join("identity.new");
    disk.open(&unfinished, true).await.unwrap();
    load(&disk, "one", 7).await.unwrap();
}

#[tokio::test]
async fn another_format_is_named_and_left_alone() {
    let disk = MemoryDisk::new();
    let path = Path::new(DIR).join(FILE);
    let old = "codraft-identity 1\none\n7\nabababababababababababababababab\n3\nlog\n";
    disk.open(&path, true).await.unwrap();
    disk.change(&path, |bytes| *bytes = seal(old).into_bytes());
    let error = load(&disk, "one", 7).await.unwrap_err().to_string();
    assert!(
        error.contains("of format 1") && error.contains("format 2"),
        "{error}"
    );
    assert_eq!(disk.contents(&path), Some(seal(old).into_bytes()));
}

#[tokio::test]
async fn another_node_or_cluster_is_told_whose_folder_it_is() {
    let disk = MemoryDisk::new();
    load(&disk, "one", 7).await.unwrap();
    let before = disk.contents(&Path::new(DIR).join(FILE));
    for (cluster, node) in [("one", 8), ("two", 7)] {
        let error = load(&disk, cluster, node).await.unwrap_err();
        assert!(matches!(error, IdentityError::Foreign { .. }));
        assert!(
            error
                .to_string()
                .contains("belongs to node 7 of cluster \"one\""),
            "{error}"
        );
    }
    assert_eq!(
        disk.contents(&Path::new(DIR).join(FILE)),
        before,
        "nothing is written for them"
    );
    for bad in ["", "two\nlines", &"x".repeat(CLUSTER_BYTES_MAX + 1)] {
        assert!(matches!(
            load(&disk, bad, 7).await,
            Err(IdentityError::BadCluster)
        ));
    }
}

#[tokio::test]
async fn a_damaged_identity_is_not_replaced() {
    let disk = MemoryDisk::new();
    load(&disk, "one", 7).await.unwrap();
    let path = Path::new(DIR).join(FILE);
    let length = disk.contents(&path).unwrap().len();
    for offset in 0..length {
        let bad = disk.copy();
        bad.flip(&path, offset);
        let found = bad.contents(&path);
        assert!(
            matches!(
                load(&bad, "one", 7).await,
                Err(IdentityError::Damaged { .. })
            ),
            "{offset}"
        );
        assert_eq!(bad.contents(&path), found);
    }
    for length in 0..length {
        let bad = disk.copy();
        bad.change(&path, |bytes| bytes.truncate(length));
        assert!(load(&bad, "one", 7).await.is_err(), "cut to {length}");
    }
}

#[tokio::test]
async fn a_folder_that_had_a_log_says_so() {
    let disk = MemoryDisk::new();
    assert!(!load(&disk, "one", 7).await.unwrap().has_log);
    let mut identity = load(&disk, "one", 7).await.unwrap();
    identity.log_made(&disk, Path::new(DIR)).await.unwrap();
    disk.lose_power(1);
    assert!(load(&disk, "one", 7).await.unwrap().has_log);
}

#[tokio::test]
async fn the_file_is_pinned() {
    let Expected {
        cluster,
        node,
        placement,
    } = expected("one", 7, &GROUPS);
    let identity = Identity {
        cluster,
        node,
        placement,
        disk: DiskId([0xab; 16]),
        has_log: true,
    };
    let lines = "codraft-identity 2\none\n7\nabababababababababababababababab\nlog\n4096\n2\n\
                 1 2 3 7\n1 2 7\n2 3 7\n";
    let sealed = seal(lines);
    assert_eq!(identity.text(), sealed);
    assert_eq!(Identity::parse(&sealed, Path::new(FILE)).unwrap(), identity);
}

#[tokio::test]
async fn the_first_disk_of_a_node_is_the_only_one() {
    let disk = MemoryDisk::new();
    let (mine, other) = (DiskId([1; 16]), DiskId([2; 16]));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    for round in 0..3 {
        let peers = KnownPeers::load(shared.clone(), Path::new(DIR))
            .await
            .unwrap();
        assert_eq!(peers.known(NodeId(1)), (round > 0).then_some(mine));
        assert!(peers.check(NodeId(1), mine).await.unwrap());
        assert!(!peers.check(NodeId(1), other).await.unwrap());
        assert!(peers.check(NodeId(2), other).await.unwrap());
        disk.lose_power(round);
    }
    disk.flip(&Path::new(DIR).join(PEERS), 20);
    let damaged = KnownPeers::load(shared, Path::new(DIR))
        .await
        .err()
        .unwrap();
    assert!(matches!(damaged, IdentityError::Damaged { .. }));
}

#[tokio::test]
async fn a_peer_that_cannot_be_remembered_is_not_known() {
    let disk = MemoryDisk::new();
    let peers = KnownPeers::load(Arc::new(disk.clone()), Path::new(DIR))
        .await
        .unwrap();
    disk.fail_syncs(true);
    assert!(peers.check(NodeId(1), DiskId([1; 16])).await.is_err());
    assert_eq!(peers.known(NodeId(1)), None);
    disk.fail_syncs(false);
    assert!(peers.check(NodeId(1), DiskId([2; 16])).await.unwrap());
}
