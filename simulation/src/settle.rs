//! After the faults: what must heal, and what all ended with.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::Cluster,
    convert,
    faults::Faults,
    operator,
    plan::Host,
    record::{Id, NodeSeen, Place, Seen},
    shared::{Shared, Standing, user_name},
};
use codraft_proto::ids::Revision;
use futures_util::FutureExt;

/// What has not healed yet.
pub fn missing(shared: &Shared, cluster: &Cluster, faults: &Faults) -> Vec<String> {
    let mut missing = Vec::new();
    if !faults.is_quiet() {
        missing.push("not all processes run".to_owned());
    }
    for (old, new) in operator::replaced(&cluster.topology()) {
        missing.push(format!("node-{new} has not the place of node-{old}"));
    }
    for group in cluster.groups() {
        let replicas: Vec<usize> = cluster
            .replicas(group)
            .into_iter()
            .filter(|i| !faults.is_lost(*i))
            .collect();
        let leads = replicas.iter().map(|i| {
            let led = |node: &codraft_node::Node| {
                node.leaderships().into_iter().find(|l| l.group == group)
            };
            cluster
                .with_node(*i, led)
                .flatten()
                .map(|lead| (lead.term, lead.node))
        });
        let mut leads: Vec<_> = leads.collect();
        leads.dedup();
        let led = match leads[..] {
            [Some((_, Some(leader)))] => replicas.contains(&(leader.0 as usize - 1)),
            _ => false,
        };
        if !led {
            missing.push(format!("group {group} has not one leader: {leads:?}"));
        } else if !shared.proved.borrow().contains(&group) {
            missing.push(format!("group {group} has not taken a new document"));
        }
    }
    for client in &shared.plan.clients {
        missing.extend(client_misses(shared, cluster, faults, client));
    }
    if !missing.is_empty() {
        return missing;
    }
    // Costs more, so last.
    for group in cluster.groups() {
        let replicas = cluster.replicas(group).into_iter();
        let state = |i: usize| cluster.with_node(i, |node| node.digest(group)).flatten();
        let states = replicas
            .filter(|i| !faults.is_lost(*i))
            .map(|i| (i, state(i)));
        let states: Vec<_> = states.collect();
        if states.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            let told = states.iter().map(|(i, state)| match state {
                Some((index, digest)) => {
                    let hash = blake3::Hash::from(*digest).to_hex();
                    format!("node-{} at {index} {}", i + 1, &hash[..8])
                }
                None => format!("node-{} not at all", i + 1),
            });
            let told: Vec<_> = told.collect();
            let told = told.join(", ");
            missing.push(format!(
                "the replicas of group {group} are not equal: {told}"
            ));
        }
    }
    missing
}

fn client_misses(
    shared: &Shared,
    cluster: &Cluster,
    faults: &Faults,
    client: &crate::plan::Client,
) -> Option<String> {
    let host = Host::Client(client.number);
    let doc = shared.doc(client.document)?;
    let user = user_name(client.user);
    let replicas = cluster.replicas(cluster.group_of(&doc));
    let seen = replicas
        .into_iter()
        .filter(|i| !faults.is_lost(*i))
        .filter_map(|i| {
            let summary = cluster.with_node(i, |node| node.summary(&doc)).flatten()?;
            Some((summary.rev, summary.role(&user)))
        });
    let Some((head, role)) = seen.max_by_key(|(rev, _)| *rev) else {
        return Some(format!("no node has the document of {host}"));
    };
    let board = shared.board.borrow();
    let standing = board.get(&client.number)?;
    if role.is_none() {
        return (!standing.barred).then(|| format!("{host} may not be here and was not told"));
    }
    if standing.role != role {
        let (takes, is) = (standing.role, role);
        return Some(format!("{host} takes itself for {takes:?} and is {is:?}"));
    }
    if !standing.live {
        return Some(format!("{host} has no open document"));
    }
    if !standing.saved || !standing.served {
        return Some(format!("{host} waits for an acknowledgement"));
    }
    if standing.told_saving {
        return Some(format!(
            "{host} was told that nothing is saved, and nothing since"
        ));
    }
    if Revision(standing.rev) != head {
        return Some(format!("{host} is at revision {} of {head}", standing.rev));
    }
    people_missed(shared, &board, client)
}

/// Everybody else who has the document open is shown where they said that they are, and nobody else.
fn people_missed(
    shared: &Shared,
    board: &BTreeMap<u32, Standing>,
    client: &crate::plan::Client,
) -> Option<String> {
    let host = Host::Client(client.number);
    let own = board.get(&client.number)?;
    let of_document = shared.plan.clients.iter();
    let of_document = of_document.filter(|other| other.document == client.document);
    let others = of_document.filter_map(|other| board.get(&other.number));
    let others = others.filter(|other| other.live && other.author != own.author);
    let mut places: BTreeMap<_, BTreeSet<Option<Place>>> = BTreeMap::new();
    for other in others {
        places.entry(other.author).or_default().insert(other.place);
    }
    let is_shown = |of, places: &BTreeSet<_>| places.contains(&own.people.get(of).copied());
    if !places.iter().all(|(of, places)| is_shown(of, places)) {
        return Some(format!("{host} is not shown where somebody is"));
    }
    let is_there = |of: &Id| places.contains_key(of);
    let ghost = own.people.keys().any(|of| !is_there(of));
    ghost.then(|| format!("{host} is shown somebody who is not there"))
}

/// Notes what each node ended with.
pub fn read(shared: &Shared, cluster: &Cluster) {
    let note = |seen| shared.recorder.note(Seen::Node(seen));
    for i in cluster.nodes() {
        let node = i as u64 + 1;
        for group in cluster.groups() {
            let digest = cluster.with_node(i, |node| node.digest(group)).flatten();
            if let Some((index, digest)) = digest {
                note(NodeSeen::State {
                    node,
                    group: group.0,
                    index,
                    digest,
                });
            }
        }
        for number in 0..shared.plan.documents.len() {
            let Some(id) = shared.doc(number as u32) else {
                continue;
            };
            let group = cluster.group_of(&id).0;
            // Nothing that is read here waits for anything.
            cluster.with_node(i, |node| node.bring(id).now_or_never());
            let seen = cluster.with_document(i, &id, |document| {
                let (text, digest) = convert::view(document.content());
                let (rev, chain, doc) = (document.rev(), document.hash().0, id.0);
                NodeSeen::Document {
                    node,
                    group,
                    doc,
                    rev: rev.0,
                    chain,
                    text,
                    digest,
                }
            });
            seen.into_iter().for_each(note);
        }
    }
}
