//! Asks the nodes of a cluster what they have, one by one and page by page.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use codraft_proto::{
    ids::{DocId, GroupId, NodeId, Revision},
    placement::slot_of,
    topology::{FileTopology, Topology},
    transport::BoxFuture,
    v1::{self, call, reply},
};
use codraft_verify::{Live, Nodes, Told, ToldDocument};

use crate::{files, layout::Layout, operator::Operator};

pub struct Cluster {
    topology: FileTopology,
    operator: Operator,
}

impl Cluster {
    /// The cluster whose files are in a folder; none where there is none.
    ///
    /// # Errors
    /// When its `cluster.toml` is not right.
    pub fn of(data: &Path) -> Result<Option<Cluster>> {
        let file = Layout::new(data).cluster();
        if !file.exists() {
            return Ok(None);
        }
        let topology = FileTopology::parse(&files::read(&file)?)?;
        let operator = Operator::new(topology.clone());
        Ok(Some(Cluster { topology, operator }))
    }

    async fn node(&self, node: NodeId, address: &str) -> Result<Live> {
        let mut pages = Vec::new();
        for group in 0..self.topology.groups() {
            let group = GroupId(group);
            if self.topology.replicas(group).contains(&node) {
                self.group(node, address, group, &mut pages).await?;
            }
        }
        Ok(Live { node, pages })
    }

    async fn group(
        &self,
        node: NodeId,
        address: &str,
        group: GroupId,
        pages: &mut Vec<Told>,
    ) -> Result<()> {
        let mut after = None::<DocId>;
        loop {
            let asked = v1::HeldAfter {
                group: group.0,
                after: after.map(|doc| doc.to_bytes()).unwrap_or_default(),
            };
            let body = call::Body::Held(asked);
            let answer = self
                .operator
                .ask(node, address, DocId::default(), body)
                .await?;
            let held = match answer {
                reply::Body::Held(held) => held,
                reply::Body::Problem(problem) => bail!("it refuses: {}", problem.message),
                other => bail!("not an answer to that: {other:?}"),
            };
            let documents = held.documents.iter().map(told).collect::<Option<Vec<_>>>();
            let documents = documents.context("its answer does not read")?;
            let place = |doc: DocId| (slot_of(&doc), doc);
            let last = documents.last().map(|one| one.doc);
            let goes_on = last.map(place) > after.map(place);
            pages.push(Told {
                group,
                index: held.index,
                documents,
            });
            if !held.more {
                return Ok(());
            }
            ensure!(goes_on, "its answers come to no end");
            after = last;
        }
    }
}

fn told(document: &v1::HeldDocument) -> Option<ToldDocument> {
    Some(ToldDocument {
        doc: DocId::from_slice(&document.doc)?,
        touched: document.touched,
        rev: Revision(document.rev),
        hash: document.hash[..].try_into().ok()?,
        digest: document.digest[..].try_into().ok()?,
    })
}

impl Nodes for Cluster {
    fn told(&self) -> BoxFuture<'_, (Vec<Live>, Vec<String>)> {
        Box::pin(async move {
            let (mut live, mut silent) = (Vec::new(), Vec::new());
            for (node, address) in self.topology.nodes() {
                match self.node(node, &address).await {
                    Ok(told) => live.push(told),
                    Err(_) => silent.push(node.to_string()),
                }
            }
            let silent = (!silent.is_empty()).then(|| {
                let silent = silent.join(", ");
                format!(
                    "what nodes {silent} keep is proven by their files alone: they do not answer"
                )
            });
            (live, silent.into_iter().collect())
        })
    }
}
