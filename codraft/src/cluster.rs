//! `cluster.toml` as it changes: a process goes on with the nodes that the file has now.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use codraft_proto::topology::{FileTopology, LiveTopology};

use crate::files;

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// # Errors
/// What is wrong with the file.
pub fn load(path: &Path) -> Result<FileTopology> {
    Ok(FileTopology::parse(&files::read(path)?)?)
}

/// Follows the file until it has the node no more, where one is given. A file that cannot be gone on
/// with is named once, and changes nothing.
pub async fn follow(path: &Path, live: Arc<LiveTopology>, node: Option<u64>) {
    let mut said = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let changed = load(path).and_then(|file| {
            let nodes: Vec<u64> = file.nodes.iter().map(|node| node.id).collect();
            let changed = live.replace(file)?;
            Ok(changed.then_some(nodes))
        });
        match changed {
            Ok(None) => said = None,
            Ok(Some(nodes)) => {
                tracing::info!(?nodes, "cluster.toml has changed");
                if node.is_some_and(|node| !nodes.contains(&node)) {
                    return;
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if said.as_ref() != Some(&error) {
                    tracing::error!(error, "going on with cluster.toml as it was");
                    said = Some(error);
                }
            }
        }
    }
}
