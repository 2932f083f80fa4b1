//! Which file of a cluster lies where.

use std::path::{Path, PathBuf};

/// Where the files of a cluster lie below its folder.
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }
    pub fn cluster(&self) -> PathBuf {
        self.root.join("cluster.toml")
    }
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys.toml")
    }
    /// The folder of a node's log and identity.
    pub fn node_data(&self, id: u64) -> PathBuf {
        self.root.join(format!("node-{id}"))
    }
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }
    pub fn node_config(&self, id: u64) -> PathBuf {
        self.root.join(format!("node-{id}.toml"))
    }
    /// Of the first router, or the second…
    pub fn router_config(&self, number: usize) -> PathBuf {
        self.root.join(format!("{}.toml", router_name(number)))
    }
}

/// What the first router is called, the second…
pub fn router_name(number: usize) -> String {
    match number {
        1 => "router".to_owned(),
        _ => format!("router-{number}"),
    }
}
