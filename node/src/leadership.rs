//! Telling routers who leads: on every change (the fan-out does), on every new link, and
//! again and again while a majority stands behind it.

use std::{sync::Arc, time::Duration};

use codraft_proto::v1::message::Body;

use crate::{
    hosted::HostedGroups,
    routers::{RouterLink, Routers},
    wire,
};

/// A router that hears nothing for some of these no longer takes a group's word for current.
const BEAT: Duration = Duration::from_millis(250);

pub(crate) async fn beat(groups: Arc<HostedGroups>, routers: Arc<Routers>) {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for hosted in groups
            .iter()
            .filter(|hosted| hosted.group.is_leading_with_quorum())
        {
            routers.tell_all(&Body::Leadership(wire::leadership(
                &hosted.group.leadership(),
            )));
        }
    }
}

/// All that is known here, for a link that is new.
pub(crate) fn introduce(groups: &HostedGroups, link: &RouterLink) {
    for hosted in groups.iter() {
        let lead = hosted.group.leadership();
        if lead.node.is_some() {
            link.tell(Body::Leadership(wire::leadership(&lead)));
        }
    }
}
