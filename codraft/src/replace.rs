//! `codraft node replace`: a node with a new id and an empty disk in the place of one whose disk was lost
//! or damaged. All that was done so far is in the cluster itself, so the same command goes on
//! wherever an earlier one was cut.

use std::{net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    topology::{FileTopology, NodeEntry, Topology},
    v1::{self, CatchingUp, Describe, call, replacing::Stage, reply},
};
use tokio::time::Instant;

use crate::{
    files, init,
    layout::Layout,
    operator::{Operator, PAUSE},
};

#[derive(Debug, clap::Args)]
pub struct ReplaceArgs {
    /// The node that is lost, or to go.
    old: u64,
    /// The id of the one that takes its place: one that was never used.
    new: u64,
    /// Where the new one listens, as host:port; a free port on this machine where all nodes are on it.
    #[arg(long)]
    address: Option<String>,
    /// The cluster's folder.
    #[arg(long, default_value = ".codraft")]
    data: PathBuf,
    /// Give up after so many seconds in which nothing moves; the same command goes on later.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

pub async fn run(args: ReplaceArgs) -> Result<()> {
    let layout = Layout::new(&args.data);
    let (old, new) = (NodeId(args.old), NodeId(args.new));
    let before = FileTopology::parse(&files::read(&layout.cluster())?)?;
    let both = with_both(&before, old, new, args.address)?;
    if both != before {
        files::replace(&layout.cluster(), both.to_text()?.as_bytes())?;
    }
    let config = layout.node_config(new.0);
    if !config.exists() {
        files::replace(&config, init::node_config(new.0).as_bytes())?;
    }
    // `codraft dev` holds the folder and starts what is in its file.
    if files::claim(&args.data)?.is_some() {
        println!(
            "{} now has node {new}: give it to every machine, and start the node with:\n  \
             codraft node --config {}",
            layout.cluster().display(),
            config.display()
        );
    }
    let operator = Operator::new(both.clone());
    let seat = both.seat(new);
    let held = |group: &GroupId| both.seats(*group).contains(&seat);
    for group in (0..both.groups).map(GroupId).filter(held) {
        let patience = Duration::from_secs(args.patience);
        replace(&operator, group, (old, new), patience)
            .await
            .with_context(|| {
                format!("group {group} still has node {old}: run the same command again to go on")
            })?;
    }
    let after = without(both, old);
    files::replace(&layout.cluster(), after.to_text()?.as_bytes())?;
    retire(&operator, old).await;
    println!(
        "node {new} has the place of node {old}, which {} has no more: give the file to every \
         machine, and never start node {old} again",
        layout.cluster().display()
    );
    Ok(())
}

/// The file while both are there.
fn with_both(
    file: &FileTopology,
    old: NodeId,
    new: NodeId,
    address: Option<String>,
) -> Result<FileTopology> {
    let entry = |id: NodeId| file.nodes.iter().find(|node| node.id == id.0);
    let highest = file.nodes.iter().map(|node| node.id).max().unwrap_or(0);
    let never_used = format!(
        "no id is ever used again, or the others would take an empty disk for the one they know: \
         take one that is new, such as {}",
        highest + 1
    );
    match (entry(old), entry(new)) {
        (None, None) => bail!("node {old} is not in cluster.toml"),
        // Begun before, and perhaps all but done.
        (None, Some(new)) if new.seat() != NodeId(new.id) => Ok(file.clone()),
        (Some(old), Some(new)) if new.seat() == old.seat() && new.id > old.id => Ok(file.clone()),
        (_, Some(_)) => bail!("node {new} is in the cluster already; {never_used}"),
        (Some(_), None) if new.0 <= highest => bail!("node {new}: {never_used}"),
        (Some(old), None) => {
            let address = match address {
                Some(address) => address,
                None => free_address(&old.address)?,
            };
            let mut both = file.clone();
            both.nodes.push(NodeEntry {
                id: new.0,
                address,
                seat: Some(old.seat().0),
            });
            // Checks it.
            both.to_text()?;
            Ok(both)
        }
    }
}

/// Beside the old one, where that is on this machine.
fn free_address(beside: &str) -> Result<String> {
    let host = beside.rsplit_once(':').map_or(beside, |(host, _)| host);
    ensure!(
        codraft_proto::topology::is_loopback(beside),
        "say where the new node listens, with --address HOST:PORT"
    );
    let free = TcpListener::bind(format!("{host}:0"));
    let free = free.with_context(|| format!("no free port on {host}"))?;
    Ok(free.local_addr()?.to_string())
}

fn without(mut file: FileTopology, old: NodeId) -> FileTopology {
    file.nodes.retain(|node| node.id != old.0);
    file
}

/// One group, a question at a time, until it is done or nothing moved for too long.
async fn replace(
    operator: &Operator,
    group: GroupId,
    (old, new): (NodeId, NodeId),
    patience: Duration,
) -> Result<()> {
    let mut said = String::new();
    let mut moved = Instant::now();
    loop {
        let body = call::Body::Replace(v1::Replace {
            group: group.0,
            old: old.0,
            new: new.0,
        });
        let (says, last) = match operator.ask_leader(DocId::default(), body).await {
            Ok(reply::Body::Replacing(replacing)) => match replacing.stage {
                Some(Stage::Done(_)) => {
                    println!("group {group}: node {new} votes in the place of node {old}");
                    return Ok(());
                }
                Some(Stage::Changing(_)) => ("the members change".to_owned(), None),
                Some(Stage::CatchingUp(CatchingUp { has, last })) => {
                    (format!("node {new} has entry {has} of {last}"), None)
                }
                None => bail!("an answer that this version does not know"),
            },
            Ok(other) => bail!("not an answer to that: {other:?}"),
            Err(error) => (format!("{error:#}"), Some(error)),
        };
        if says != said {
            println!("group {group}: {says}");
            said = says;
            moved = Instant::now();
        } else if moved.elapsed() >= patience {
            let stands = format!("nothing moved for {} s", patience.as_secs());
            return match last {
                Some(error) => Err(error.context(stands)),
                None => bail!("{stands}: {said}"),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The old one never hears of it from the others.
async fn retire(operator: &Operator, old: NodeId) {
    let Some(address) = operator.topology.address(old) else {
        return;
    };
    let body = call::Body::Retire(Describe {});
    // It may end before its answer is out, or be long gone.
    let _ = operator.ask(old, &address, DocId::default(), body).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cluster(nodes: &[(u64, Option<u64>)]) -> FileTopology {
        let entry = |(id, seat): &(u64, Option<u64>)| NodeEntry {
            id: *id,
            address: format!("127.0.0.1:{}", 7400 + id),
            seat: *seat,
        };
        FileTopology {
            cluster: "tested".into(),
            groups: 2,
            retention_ms: 0,
            nodes: nodes.iter().map(entry).collect(),
        }
    }

    fn begun(file: &FileTopology, old: u64, new: u64) -> Result<FileTopology> {
        with_both(file, NodeId(old), NodeId(new), None)
    }

    #[test]
    fn a_replacement_goes_on_where_it_was_left_and_moves_no_group() {
        let three = cluster(&[(1, None), (2, None), (3, None)]);
        let both = begun(&three, 2, 4).unwrap();
        assert_eq!(both.seat(NodeId(4)), NodeId(2));
        assert_eq!(begun(&both, 2, 4).unwrap(), both, "it was begun");
        let after = without(both.clone(), NodeId(2));
        assert_eq!(begun(&after, 2, 4).unwrap(), after, "it was all but done");
        for group in (0..2).map(GroupId) {
            let held = three.replicas(group);
            assert_eq!(both.seats(group), held);
            assert_eq!(after.seats(group), held);
        }
        // And once more: the seat stays that of the first one.
        let again = begun(&after, 4, 7).unwrap();
        assert_eq!(again.seat(NodeId(7)), NodeId(2));
    }

    #[test]
    fn an_id_that_was_used_is_refused_with_one_that_was_not() {
        let file = cluster(&[(1, None), (3, None), (5, Some(2))]);
        for (old, new) in [(1, 3), (1, 4), (3, 3), (3, 2)] {
            let refused = begun(&file, old, new).unwrap_err().to_string();
            assert!(refused.contains("such as 6"), "{old} by {new}: {refused}");
        }
        let refused = begun(&file, 9, 10).unwrap_err().to_string();
        assert!(refused.contains("node 9 is not in"), "{refused}");
    }
}
