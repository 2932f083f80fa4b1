//! Followers of a document, beside a feed that is not what it should be.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use codraft_proto::ids::Role;
use fake::{Scene, http};

#[tokio::test]
async fn a_follower_hears_of_what_came_where_the_feed_cannot_be_continued() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &[("ana", 4)]);
    scene.grant(doc, "bo", Role::Viewer as u32);
    let at = scene.router.address().to_owned();
    let path = format!("/v1/docs/{doc}/events?after=1&wait_ms=30000");
    let ana = http::bearer("ana");
    let moved = async {
        while !scene.is_followed(doc) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // No node tells of this one, and none can go on from before it.
        scene.with_world(|w| w.mute = true);
        scene.grant(doc, "cy", Role::Viewer as u32);
        scene.trim(doc);
        scene.with_world(|w| w.mute = false);
        scene.lead(2);
    };
    let (told, ()) = tokio::join!(http::get(&at, &path, &ana), moved);
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.json();
    assert_eq!(
        (&told["next"], told["events"][0]["rev"].as_u64()),
        (&2.into(), Some(2))
    );
    scene.end().await;
}
