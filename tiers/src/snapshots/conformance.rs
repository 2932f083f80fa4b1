//! What every snapshot tier must do.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use codraft_proto::ids::GroupId;

use super::{ContentHash, ObjectId, SnapshotError, Snapshots};

/// Two groups that nobody else uses in this store.
const ONE: GroupId = GroupId(0xfff0_0001);
const OTHER: GroupId = GroupId(0xfff0_0002);

/// # Panics
/// Where it does something else. What it put is removed again.
pub async fn all(store: &dyn Snapshots) {
    what_is_put_is_there(store).await;
    names_are_listed_in_order_and_in_pieces(store).await;
    groups_share_nothing(store).await;
    for group in [ONE, OTHER] {
        for object in store.list(group, None, 1_000).await.unwrap() {
            store.remove(object).await.unwrap();
        }
        assert_eq!(store.list(group, None, 1).await.unwrap(), []);
    }
}

async fn what_is_put_is_there(store: &dyn Snapshots) {
    let content: Bytes = (0..300_000u32)
        .map(|n| (n % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    let object = store.put(ONE, content.clone()).await.unwrap();
    assert_eq!(object, ObjectId::of(ONE, &content).await);
    assert_eq!(store.get(object).await.unwrap(), content);
    for (offset, length, found) in [
        (0, 10, 0..10),
        (65_535, 3, 65_535..65_538),
        (299_999, 10, 299_999..300_000),
        (300_000, 10, 300_000..300_000),
        (400_000, 10, 300_000..300_000),
    ] {
        let part = store.get_range(object, offset, length).await.unwrap();
        assert_eq!(part, content[found], "{offset}, {length}");
    }
    assert_eq!(
        store.put(ONE, content.clone()).await.unwrap(),
        object,
        "twice is once"
    );
    assert_eq!(store.get(object).await.unwrap(), content);
    let nothing = store.put(ONE, Bytes::new()).await.unwrap();
    assert_eq!(store.get(nothing).await.unwrap(), "");
    for object in [object, nothing, object] {
        store.remove(object).await.unwrap();
        assert!(is_missing(store.get(object).await, object));
        assert!(is_missing(store.get_range(object, 0, 1).await, object));
    }
}

fn is_missing(found: Result<Bytes, SnapshotError>, object: ObjectId) -> bool {
    matches!(found, Err(SnapshotError::Missing(of)) if of == object)
}

async fn names_are_listed_in_order_and_in_pieces(store: &dyn Snapshots) {
    let mut put = Vec::new();
    for n in 0..25u32 {
        put.push(store.put(ONE, n.to_string().into()).await.unwrap());
    }
    put.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), None::<ContentHash>);
    loop {
        let piece = store.list(ONE, after, 10).await.unwrap();
        assert!(piece.len() <= 10);
        let Some(last) = piece.last() else { break };
        after = Some(last.hash);
        listed.extend(piece);
    }
    assert_eq!(listed, put);
}

async fn groups_share_nothing(store: &dyn Snapshots) {
    let one = store.put(ONE, "the same".into()).await.unwrap();
    let other = store.put(OTHER, "the same".into()).await.unwrap();
    assert_eq!(store.list(OTHER, None, 9).await.unwrap(), [other]);
    store.remove(one).await.unwrap();
    assert_eq!(store.get(other).await.unwrap(), "the same");
}
