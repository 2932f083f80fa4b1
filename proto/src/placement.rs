//! Where a document is: document → slot → group → nodes, and document → router. Every step is a pinned function, the
//! same in every process and every version (golden table: `tests/vectors/placement.json`).

use std::hash::{Hash, Hasher};

use consistent_hash::{Node, RingHash, StaticHashRing};

use crate::ids::{DocId, GroupId, NodeId, Slot};

/// Slots of a cluster, for ever.
pub const SLOTS: u16 = 4096;

/// How many nodes hold a group, where there are that many.
pub const REPLICATION: usize = 3;

/// Points of one node on the ring.
const VIRTUAL_NODES: usize = 64;

/// The slot of a document: the lowest 12 bits of BLAKE3 over its 16 bytes.
pub fn slot_of(doc: &DocId) -> Slot {
    Slot((low_64(&doc.0) % u64::from(SLOTS)) as u16)
}

/// The group of a slot where `groups` groups share all slots evenly.
pub fn group_of(slot: Slot, groups: u32) -> GroupId {
    GroupId(u32::from(slot.0) % groups.max(1))
}

/// The nodes that hold a group, the one preferred as its first leader first.
pub fn replicas(group: GroupId, nodes: &[NodeId]) -> Vec<NodeId> {
    let points = nodes
        .iter()
        .map(|n| Node::new(Key(n.0)).quantity(VIRTUAL_NODES));
    let ring: StaticHashRing<'_, Key, (), Pinned> = StaticHashRing::new(Pinned, points);
    let mut chosen: Vec<NodeId> = ring
        .calc_candidates(&Key(u64::from(group.0)))
        .take(REPLICATION)
        .map(|node| NodeId(node.key.0))
        .collect();
    // The ring says who; among them the groups take turns, so that leaders are spread.
    let turn = group.0 as usize % chosen.len().max(1);
    chosen.sort_unstable();
    chosen.rotate_left(turn);
    chosen
}

/// The routers in the order in which a document's sockets are to meet there, of their addresses. When
/// one comes or goes only the documents move that are or were its own: each has its own rank for each
/// (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998).
pub fn routers<'a>(doc: &DocId, addresses: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let rank = |address: &str| {
        let mut bytes = Bytes::default();
        bytes.write(&doc.0);
        bytes.write(address.as_bytes());
        bytes.finish()
    };
    let mut ranked: Vec<_> = addresses.into_iter().map(|a| (rank(a), a)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.dedup();
    ranked.into_iter().map(|(_, address)| address).collect()
}

/// A number as eight little-endian bytes: what is hashed is the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.to_le_bytes());
    }
}

struct Pinned;

impl RingHash for Pinned {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        let mut bytes = Bytes::default();
        item.hash(&mut bytes);
        bytes.finish()
    }

    fn hash_vnode<K: Hash>(&self, node: &K, number: usize) -> u64 {
        let mut bytes = Bytes::default();
        node.hash(&mut bytes);
        bytes.write(&(number as u64).to_le_bytes());
        bytes.finish()
    }
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn finish(&self) -> u64 {
        low_64(&self.0)
    }
}

fn low_64(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    let mut low = [0; 8];
    low.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(low)
}
