//! Whether what nodes keep is what was applied, proven from their files alone. Nothing that a node says
//! of itself counts: checksums and hashes are computed again, documents are told from their events
//! again, the log is applied again over what was kept, and replicas are compared. Nothing is ever
//! written.
//!
//! Files may be of nodes that run: what is written is never changed, and what is removed meanwhile is
//! looked for once more.

mod compare;
mod disk;
mod documents;
mod exact;
mod files;
mod folder;
mod live;
mod replay;
mod report;
mod users;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use live::{Live, Nodes, Told, ToldDocument};
pub use report::{Attested, Counts, Lie, Place, Report};

use codraft_proto::ids::NodeId;
use codraft_raft::{identity::Identity, machine::MachineLimits};

use crate::folder::NodeFolder;

/// Told what is being looked at, in words.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// While nodes run, what lies is looked at again so often: it may have been on its way.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(1_500);

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(
        "{} holds no node: name the folder of one, or of a cluster whose nodes are below it",
        path.display()
    )]
    NoNode { path: PathBuf },
    #[error("{}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Format(String),
}

/// The folders of nodes in a folder: itself, or those right below it.
///
/// # Errors
/// When there is none.
pub fn node_folders(path: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let names = |path: &Path| {
        disk::names(path).map_err(|error| VerifyError::Unreadable {
            path: path.to_owned(),
            error,
        })
    };
    let is_node = |names: &[String]| names.iter().any(|name| name == "identity" || name == "wal");
    let here = names(path)?;
    if is_node(&here) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for below in here.iter().map(|name| path.join(name)) {
        if below.is_dir() && is_node(&names(&below)?) {
            found.push(below);
        }
    }
    match found.is_empty() {
        true => Err(VerifyError::NoNode {
            path: path.to_owned(),
        }),
        false => Ok(found),
    }
}

/// What files are compared with.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// What nodes that run say.
    pub nodes: Option<&'a dyn Nodes>,
    /// What a receipt says.
    pub attested: Option<Attested>,
    /// Those that the nodes apply by: a simulation's are small.
    pub limits: MachineLimits,
}

/// Goes through all that is in the folders of a cluster's nodes.
///
/// # Errors
/// When something cannot be read at all. What was read and is wrong is in the report.
pub async fn verify(
    folders: &[PathBuf],
    options: Options<'_>,
    progress: Progress<'_>,
) -> Result<Report, VerifyError> {
    for _ in 1..TRIES {
        let found = once(folders, options.clone(), progress).await;
        let mut is_running = false;
        for folder in folders {
            is_running |= NodeFolder::is_in_use(folder).await;
        }
        match found {
            Ok(report) if report.is_clean() || !is_running => return Ok(report),
            Err(error) if !is_running => return Err(error),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    once(folders, options, progress).await
}

async fn once(
    folders: &[PathBuf],
    options: Options<'_>,
    progress: Progress<'_>,
) -> Result<Report, VerifyError> {
    let mut report = Report::of(options.attested);
    // First: what they have now is in their files from now on.
    let mut live = Vec::new();
    if let Some(asked) = options.nodes {
        progress("what the nodes say");
        let (told, silent) = asked.told().await;
        live = told;
        silent.into_iter().for_each(|silent| report.note(silent));
    }
    live::compare_nodes(&live, &mut report);
    let mut nodes = Vec::new();
    let folders = &distinct(folders, &mut report).await;
    for path in folders {
        progress(&format!("{}", path.display()));
        let mut folder = NodeFolder::open(path, &options.limits, &mut report).await?;
        files::pages(&mut folder, &mut report, progress)?;
        let others: Vec<_> = folders
            .iter()
            .filter(|other| *other != path)
            .cloned()
            .collect();
        files::objects(&folder, &others, &mut report, progress).await?;
        let groups: Vec<_> = folder.groups.keys().copied().collect();
        for group in groups {
            documents::prove(&folder, group, &mut report, progress).await;
            users::prove(&folder, group, &mut report).await;
        }
        nodes.push(folder);
    }
    one_cluster(&nodes, &mut report);
    replay::replay(&nodes, &live, &mut report, progress).await;
    for node in nodes.iter().filter(|node| node.went_on()) {
        report.forget_gone(&node.path);
        report.note(format!("{}: it went on meanwhile", node.name()));
    }
    report.conclude();
    report.counts.nodes = nodes.len() as u64;
    Ok(report)
}

/// Of several folders of one node, as copies that were put aside are, the one that has its name.
async fn distinct(folders: &[PathBuf], report: &mut Report) -> Vec<PathBuf> {
    let mut named = Vec::new();
    for path in folders {
        let identity = Identity::read(&disk::ReadOnly, path).await.ok().flatten();
        let node = identity.map(|identity| (identity.cluster, identity.node));
        let is_named = |id: &NodeId| path.ends_with(format!("node-{id}"));
        let is_other = node.as_ref().is_some_and(|(_, id)| !is_named(id));
        named.push((is_other, path, node));
    }
    named.sort();
    let (mut known, mut distinct) = (BTreeSet::new(), Vec::new());
    for (_, path, node) in named {
        match node.is_none_or(|node| known.insert(node)) {
            true => distinct.push(path.clone()),
            false => report.note(format!(
                "{}: left out, a second folder of one node",
                path.display()
            )),
        }
    }
    distinct.sort();
    distinct
}

/// Folders of one cluster say so.
fn one_cluster(nodes: &[NodeFolder], report: &mut Report) {
    let known = |node: &NodeFolder| {
        node.identity
            .as_ref()
            .map(|of| (of.cluster.clone(), of.node))
    };
    for (nth, node) in nodes.iter().enumerate() {
        let Some((cluster, id)) = known(node) else {
            continue;
        };
        for (others, other) in nodes[..nth].iter().filter_map(known) {
            if others != cluster {
                let file = node.path.join("identity");
                let what = format!(
                    "it is node {id} of cluster {cluster:?}, beside node {other} of {others:?}"
                );
                report.lie(Lie::new(file, what));
            }
        }
    }
}
