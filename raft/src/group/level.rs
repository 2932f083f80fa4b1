//! The log's level rises once every voter reads the next one: whoever cannot read an entry stops.

use std::{sync::Arc, time::Duration};

use codraft_proto::ids::NodeId;

use super::{Inner, Origin};
use crate::command::{Command, LEVEL, Level};

const PAUSE: Duration = Duration::from_secs(1);

/// Looks after the group's level until it is as high as this process reads.
pub(super) async fn raise(group: Arc<Inner>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let (level, voters) = {
            let core = group.core.lock();
            (core.shard.level(), core.voters())
        };
        if level >= LEVEL {
            return;
        }
        if group.leadership.lock().node != Some(group.node) {
            continue;
        }
        let reads = |node: NodeId| match node == group.node {
            true => Some(LEVEL),
            false => group.peers.level(node),
        };
        if let Some(level) = next(level, voters.into_iter().map(reads)) {
            tracing::info!(group = %group.id, level, "all voters read the log's next level");
            // Where there is no room for it the next look finds it again.
            let _ = group
                .queue
                .push(Command::Level(Level { level }), Origin::NOBODY);
        }
    }
}

/// What all voters read, if that is higher. Of one that is away nobody knows what it will be when it
/// comes back.
fn next(level: u32, voters: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    let all: Option<Vec<u32>> = voters.collect();
    all?.into_iter().min().filter(|lowest| *lowest > level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_rises_to_what_all_read() {
        let of = |level, reads: &[Option<u32>]| next(level, reads.iter().copied());
        assert_eq!(of(1, &[Some(2), Some(3), Some(2)]), Some(2));
        assert_eq!(of(1, &[Some(2), Some(1), Some(2)]), None, "one is older");
        assert_eq!(of(1, &[Some(2), None, Some(2)]), None, "one is away");
        assert_eq!(of(2, &[Some(2), Some(2), Some(2)]), None);
        assert_eq!(of(1, &[]), None);
    }
}
