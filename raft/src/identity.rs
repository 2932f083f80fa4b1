//! Who this disk is, and who the other disks are.
//!
//! A node's disk has a random uuid from its first start. Its peers remember the first uuid they
//! saw for a node id and refuse another one: a wiped disk under an old id has forgotten what it
//! voted for and what it acknowledged. Beside the uuid stands what is fixed when a cluster is
//! made, so that a changed configuration is refused and hides no document. All of it is written
//! at the first start and only read from then on: a start needs no room on the disk for it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use codraft_proto::{
    disk::{Claim, Disk},
    ids::{DiskId, NodeId},
    outside::Entropy,
    topology::{Placement, Topology},
};
use tokio::sync::Mutex;

#[cfg(test)]
mod tests;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    pub node: NodeId,
    pub placement: Placement,
    pub disk: DiskId,
    /// Whether a log was made beside it. From then on a folder without one is a wiped disk.
    pub has_log: bool,
}

/// Whose a folder should be, as the process was configured.
pub struct Expected {
    pub cluster: String,
    pub node: NodeId,
    pub placement: Placement,
}

impl Expected {
    pub fn new(topology: &dyn Topology, node: NodeId) -> Self {
        Self {
            cluster: topology.cluster().to_owned(),
            node,
            placement: Placement::of(topology),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{}: {error}{}", path.display(), advice(error))]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the folder {} is in use by another process: end that one first, or give this node a \
         folder of its own",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "the folder {} is no node's and not empty, it holds {found:?}: give the node an empty \
         folder, or one that does not exist",
        path.display()
    )]
    NotOurs { path: PathBuf, found: String },
    #[error(
        "the folder {} holds a log but does not say whose: this disk must not be used; put its \
         identity back, or put a new node in its place with `codraft node replace`",
        path.display()
    )]
    Nameless { path: PathBuf },
    #[error("a cluster's name is 1 to {CLUSTER_BYTES_MAX} bytes without control characters")]
    BadCluster,
    #[error(
        "{} is of format {found}, and this version of codraft reads and writes format {FORMAT}: \
         start the version that wrote it, or begin with an empty folder",
        path.display()
    )]
    Format { path: PathBuf, found: String },
    #[error(
        "the folder {} was made for a cluster with {found}, and cluster.toml now has {wanted}: \
         this cannot be changed; put cluster.toml back as it was when the cluster was made",
        path.display()
    )]
    Placed {
        path: PathBuf,
        found: String,
        wanted: String,
    },
    #[error("{} does not read back as it was written; this disk must not be used", path.display())]
    Damaged { path: PathBuf },
    #[error(
        "this folder belongs to node {found} of cluster {found_cluster:?}, not to node {wanted} of \
         cluster {wanted_cluster:?}: give every node a folder of its own"
    )]
    Foreign {
        found: NodeId,
        found_cluster: String,
        wanted: NodeId,
        wanted_cluster: String,
    },
}

/// The longest name of a cluster, in bytes.
pub const CLUSTER_BYTES_MAX: usize = 256;

/// The files of a node's folder that say who it is, and whom it has seen.
pub const FILE: &str = "identity";
pub const PEERS: &str = "peers";
/// The folder of the log, in the node's.
pub const WAL: &str = "wal";
const HEADER: &str = "codraft-identity ";
const FORMAT: &str = "2";
const PEERS_HEADER: &str = "codraft-peers 1";
/// What may lie in a folder before it is a node's: what a first start left that died, and what a
/// file system of its own begins with.
const NOBODYS: [&str; 2] = ["identity.new", "lost+found"];
const LOG: &str = "log";
const NO_LOG: &str = "no log yet";
/// Begins the line with how long history is kept, in milliseconds.
const RETENTION: &str = "retention_ms ";

/// Takes a folder, made if it is not there, for this process alone.
///
/// # Errors
/// When another process has it, or it cannot be had.
pub async fn claim(disk: &dyn Disk, dir: &Path) -> Result<Claim, IdentityError> {
    let claimed = match disk.claim(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = disk.create_dir_all(dir).await;
            match made {
                Ok(()) => disk.claim(dir).await,
                Err(error) => Err(error),
            }
        }
        other => other,
    };
    let path = dir.to_owned();
    claimed.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => IdentityError::InUse { path },
        _ => IdentityError::Io { path, error },
    })
}

/// What to do about the errors that a new disk or a new user brings.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": give the folder and all in it to this process's user",
        io::ErrorKind::ReadOnlyFilesystem => ": mount it for writing",
        io::ErrorKind::StorageFull => ": make room on its disk",
        _ => "",
    }
}

impl Identity {
    /// Who this disk is; none for a folder that is nobody's yet. Changes nothing.
    ///
    /// # Errors
    /// When the folder is another node's or another cluster's, was made for another placement, or
    /// does not read back.
    pub async fn load(
        disk: &dyn Disk,
        dir: &Path,
        expected: &Expected,
    ) -> Result<Option<Identity>, IdentityError> {
        // It is a line of the file.
        let cluster = &expected.cluster;
        if cluster.is_empty()
            || cluster.len() > CLUSTER_BYTES_MAX
            || cluster.contains(char::is_control)
        {
            return Err(IdentityError::BadCluster);
        }
        let path = dir.join(FILE);
        let failed = |error| IdentityError::Io {
            path: path.clone(),
            error,
        };
        let Some(text) = read_text(disk, &path).await.map_err(failed)? else {
            let names = match disk.list(dir).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                other => other.map_err(failed)?,
            };
            refuse_strangers(dir, names)?;
            return Ok(None);
        };
        let held = Identity::parse(&text, &path)?;
        if held.cluster != expected.cluster || held.node != expected.node {
            return Err(IdentityError::Foreign {
                found: held.node,
                found_cluster: held.cluster,
                wanted: expected.node,
                wanted_cluster: expected.cluster.clone(),
            });
        }
        match held.placement.difference(&expected.placement) {
            None => Ok(Some(held)),
            Some((found, wanted)) => Err(IdentityError::Placed {
                path: dir.to_owned(),
                found,
                wanted,
            }),
        }
    }

    /// Who a disk says that it is, whoever should be there; none for a folder that is nobody's.
    /// Changes nothing.
    ///
    /// # Errors
    /// When it does not read back.
    pub async fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, IdentityError> {
        let path = dir.join(FILE);
        let text = read_text(disk, &path).await;
        let text = text.map_err(|error| IdentityError::Io {
            path: path.clone(),
            error,
        })?;
        text.map(|text| Identity::parse(&text, &path)).transpose()
    }

    /// Who this disk is; makes it somebody at its first start.
    ///
    /// # Errors
    /// As `load`; and when it cannot be written.
    pub async fn load_or_create(
        disk: &dyn Disk,
        dir: &Path,
        expected: &Expected,
        entropy: &dyn Entropy,
    ) -> Result<Identity, IdentityError> {
        if let Some(held) = Identity::load(disk, dir, expected).await? {
            return Ok(held);
        }
        let mut id = DiskId::default();
        entropy.fill(&mut id.0);
        let identity = Identity {
            cluster: expected.cluster.clone(),
            node: expected.node,
            placement: expected.placement.clone(),
            disk: id,
            has_log: false,
        };
        let written = replace(disk, dir, FILE, &identity.text()).await;
        written.map_err(|error| IdentityError::Io {
            path: dir.join(FILE),
            error,
        })?;
        Ok(identity)
    }

    /// Remembers, durably, that the log was made: to be called once it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn log_made(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
        if self.has_log {
            return Ok(());
        }
        self.has_log = true;
        let failed = |error| IdentityError::Io {
            path: dir.join(FILE),
            error,
        };
        replace(disk, dir, FILE, &self.text()).await.map_err(failed)
    }

    /// A line each: format, cluster, node, disk, log, slots, groups, all nodes, the voters of each
    /// group, and for how long history is kept where that is not for ever.
    fn text(&self) -> String {
        let Identity {
            cluster,
            node,
            placement:
                Placement {
                    slots,
                    nodes,
                    voters,
                    retention_ms,
                },
            disk,
            has_log,
        } = self;
        let log = if *has_log { LOG } else { NO_LOG };
        let groups = voters.len();
        let mut text =
            format!("{HEADER}{FORMAT}\n{cluster}\n{node}\n{disk}\n{log}\n{slots}\n{groups}\n");
        for nodes in std::iter::once(nodes).chain(voters) {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            text.push_str(&nodes.join(" "));
            text.push('\n');
        }
        if *retention_ms > 0 {
            text.push_str(&format!("{RETENTION}{retention_ms}\n"));
        }
        seal(&text)
    }

    fn parse(text: &str, path: &Path) -> Result<Identity, IdentityError> {
        let damaged = || IdentityError::Damaged {
            path: path.to_owned(),
        };
        let (header, rest) = unseal(text)
            .and_then(|text| text.split_once('\n'))
            .ok_or_else(damaged)?;
        let format = header.strip_prefix(HEADER).ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(IdentityError::Format {
                path: path.to_owned(),
                found: format.to_owned(),
            });
        }
        Identity::fields(rest).ok_or_else(damaged)
    }

    fn fields(text: &str) -> Option<Identity> {
        let mut lines = text.lines();
        let cluster = lines.next()?.to_owned();
        let node = NodeId(lines.next()?.parse().ok()?);
        let disk = lines.next()?.parse().ok()?;
        let has_log = match lines.next()? {
            LOG => true,
            NO_LOG => false,
            _ => return None,
        };
        let slots = lines.next()?.parse().ok()?;
        let groups: usize = lines.next()?.parse().ok()?;
        let ids = |line: &str| -> Option<Vec<NodeId>> {
            line.split(' ')
                .map(|node| Some(NodeId(node.parse().ok()?)))
                .collect()
        };
        let nodes = ids(lines.next()?)?;
        let voters = lines.by_ref().take(groups).map(ids);
        let voters: Vec<Vec<NodeId>> = voters.collect::<Option<_>>()?;
        let retention_ms = match lines.next() {
            None => 0,
            Some(line) => line.strip_prefix(RETENTION)?.parse().ok()?,
        };
        (voters.len() == groups && lines.next().is_none()).then_some(Identity {
            cluster,
            node,
            placement: Placement {
                slots,
                nodes,
                voters,
                retention_ms,
            },
            disk,
            has_log,
        })
    }
}

/// A folder without an identity becomes a node's only when there is nothing in it.
fn refuse_strangers(dir: &Path, names: Vec<String>) -> Result<(), IdentityError> {
    let path = dir.to_owned();
    let mut strange = names.into_iter().filter(|name| !NOBODYS.contains(&&**name));
    match strange.next() {
        None => Ok(()),
        Some(found) if found == PEERS || found == WAL => Err(IdentityError::Nameless { path }),
        Some(found) => Err(IdentityError::NotOurs { path, found }),
    }
}

/// The first disk seen under each node id.
pub struct KnownPeers {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    seen: Mutex<BTreeMap<NodeId, DiskId>>,
}

impl KnownPeers {
    /// # Errors
    /// When what was remembered does not read back.
    pub async fn load(disk: Arc<dyn Disk>, dir: &Path) -> Result<KnownPeers, IdentityError> {
        let path = dir.join(PEERS);
        let failed = |error| IdentityError::Io {
            path: path.clone(),
            error,
        };
        let seen = match read_text(&*disk, &path).await.map_err(failed)? {
            Some(text) => parse_peers(&text).ok_or(IdentityError::Damaged { path })?,
            None => BTreeMap::new(),
        };
        Ok(KnownPeers {
            disk,
            dir: dir.to_owned(),
            seen: Mutex::new(seen),
        })
    }

    /// The disk on record for a node; none while one is being recorded.
    pub fn known(&self, node: NodeId) -> Option<DiskId> {
        self.seen.try_lock().ok()?.get(&node).copied()
    }

    /// Whether `disk` is the one that `node` always had. A first one is remembered, durably.
    ///
    /// # Errors
    /// When it cannot be remembered.
    pub async fn check(&self, node: NodeId, disk: DiskId) -> io::Result<bool> {
        let mut seen = self.seen.lock().await;
        if let Some(known) = seen.get(&node) {
            return Ok(*known == disk);
        }
        seen.insert(node, disk);
        let lines: String = seen
            .iter()
            .map(|(node, disk)| format!("{node} {disk}\n"))
            .collect();
        let text = seal(&format!("{PEERS_HEADER}\n{lines}"));
        if let Err(error) = replace(&*self.disk, &self.dir, PEERS, &text).await {
            seen.remove(&node);
            return Err(error);
        }
        Ok(true)
    }
}

fn parse_peers(text: &str) -> Option<BTreeMap<NodeId, DiskId>> {
    let mut lines = unseal(text)?.lines();
    if lines.next()? != PEERS_HEADER {
        return None;
    }
    lines
        .map(|line| {
            let (node, disk) = line.split_once(' ')?;
            Some((NodeId(node.parse().ok()?), disk.parse().ok()?))
        })
        .collect()
}

/// The text with its checksum as the last line.
fn seal(text: &str) -> String {
    format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()))
}

fn unseal(text: &str) -> Option<&str> {
    let body = text.strip_suffix('\n')?;
    let (body, crc) = body.split_at(body.rfind('\n')? + 1);
    (u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(body.as_bytes())).then_some(body)
}

async fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let file = match disk.open(path, false).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len().await?;
    let bytes = file.read_at(0, length as usize).await?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Written whole and durably, or not at all.
async fn replace(disk: &dyn Disk, dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let beside = dir.join(format!("{name}.new"));
    match disk.remove(&beside).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&beside, true).await?;
    file.write_and_sync(0, text.as_bytes().to_vec()).await?;
    disk.rename(&beside, &dir.join(name)).await?;
    disk.sync_dir(dir).await
}
