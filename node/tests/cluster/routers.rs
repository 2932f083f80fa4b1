//! Routers hear of each other from the nodes.

use codraft_proto::{ids::NodeId, link::ADDRESS_BYTES_MAX};

use super::rig::{Cluster, Router};

impl Router {
    /// Waits until each of the nodes that run tells of these routers.
    async fn hears_of(&self, nodes: &[u64], addresses: &[&str]) {
        let told = |state: &mut super::rig::State| {
            let tell = |node: &u64| {
                state
                    .routers
                    .get(&NodeId(*node))
                    .is_some_and(|a| a == addresses)
            };
            nodes.iter().all(tell).then_some(())
        };
        self.heard.until("all tell of these routers", told).await;
    }
}

#[tokio::test]
async fn routers_hear_of_those_that_come_and_go_from_every_node() {
    let cluster = Cluster::start("routers", 1).await;
    let topology = || cluster.topology.clone();
    let a = Router::start_at(topology(), "http://a.test");
    a.hears_of(&[1, 2, 3], &["http://a.test"]).await;
    let b = Router::start_at(topology(), "http://b.test");
    let nowhere = Router::start(topology());
    for router in [&a, &b, &nowhere] {
        router
            .hears_of(&[1, 2, 3], &["http://a.test", "http://b.test"])
            .await;
    }
    b.stop().await;
    a.hears_of(&[1, 2, 3], &["http://a.test"]).await;
    nowhere.hears_of(&[1, 2, 3], &["http://a.test"]).await;

    // One whose address is no address is refused, and harms nobody.
    let long = format!("http://{}", "a".repeat(ADDRESS_BYTES_MAX));
    let _refused = Router::start_at(topology(), &long);
    let c = Router::start_at(topology(), "http://c.test");
    a.hears_of(&[1, 2, 3], &["http://a.test", "http://c.test"])
        .await;
    c.hears_of(&[1, 2, 3], &["http://a.test", "http://c.test"])
        .await;
}
