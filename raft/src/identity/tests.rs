use std::sync::atomic::{AtomicU8, Ordering};

use super::*;
use crate::disk::memory::MemoryDisk;

const DIR: &str = "/data";

/// Another id every time, the same ones in every run.
#[derive(Default)]
struct Counted(AtomicU8);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed) + 1);
    }
}

async fn load(disk: &MemoryDisk, cluster: &str, node: u64) -> Result<Identity, IdentityError> {
    let entropy = Counted::default();
    Identity::load_or_create(disk, Path::new(DIR), cluster, NodeId(node), &entropy).await
}

#[tokio::test]
async fn a_start_counts_and_stays_counted() {
    let disk = MemoryDisk::new();
    for incarnation in 1..=4 {
        let identity = load(&disk, "one", 7).await.unwrap();
        assert_eq!(
            (identity.node, identity.incarnation),
            (NodeId(7), incarnation)
        );
        assert_eq!(identity.disk, DiskId([1; 16]), "the first one is kept");
        disk.lose_power(incarnation);
    }
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
        "nothing is counted for them"
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
    let identity = load(&disk, "one", 7).await.unwrap();
    assert!(identity.has_log && identity.incarnation == 3);
}

#[tokio::test]
async fn the_file_is_pinned() {
    let identity = Identity {
        cluster: "one".into(),
        node: NodeId(7),
        disk: DiskId([0xab; 16]),
        incarnation: 3,
        has_log: true,
    };
    let lines = "codraft-identity 1\none\n7\nabababababababababababababababab\n3\nlog\n";
    let sealed = format!("{lines}{:08x}\n", crc32fast::hash(lines.as_bytes()));
    assert_eq!(identity.text(), sealed);
    assert_eq!(Identity::parse(&sealed), Some(identity));
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
