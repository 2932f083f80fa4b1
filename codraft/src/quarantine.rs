//! `codraft quarantine`: which documents were set apart, and an end to it. A document is set apart on
//! every replica when a command on it panics, or by an operator; it can be read meanwhile, and what
//! is typed waits with its authors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Context, Result, bail, ensure};
use codraft_proto::{
    ids::DocId,
    topology::{FileTopology, Topology},
    v1::{self, Describe, call, reply},
};
use tokio::time::Instant;

use crate::{
    files,
    layout::Layout,
    operator::{Operator, PATIENCE, PAUSE},
};

#[derive(Debug, clap::Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    verb: Verb,
    /// The cluster's folder: which nodes there are is read from its `cluster.toml`.
    #[arg(long, default_value = ".codraft", global = true)]
    data: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// The documents that take no edits, and since when.
    List {
        /// One line of JSON a document.
        #[arg(long)]
        json: bool,
    },
    /// Let a document take edits again.
    Lift { doc: String },
    /// Set a document apart: it can be read, and what is typed waits.
    Set { doc: String },
}

pub async fn run(args: QuarantineArgs) -> Result<()> {
    let file = Layout::new(&args.data).cluster();
    let topology = FileTopology::parse(&files::read(&file)?)?;
    let operator = Operator::new(topology);
    match args.verb {
        Verb::List { json } => list(&operator, json).await,
        Verb::Lift { doc } => set(&operator, &doc, false).await,
        Verb::Set { doc } => set(&operator, &doc, true).await,
    }
}

async fn set(operator: &Operator, doc: &str, on: bool) -> Result<()> {
    let id = doc.parse::<DocId>();
    let id = id.with_context(|| format!("{doc:?} is not the id of a document"))?;
    let body = call::Body::Quarantine(v1::SetQuarantine { on });
    match operator.ask_leader(id, body).await? {
        reply::Body::Rev(rev) if on => println!("{doc} is set apart at revision {rev}"),
        reply::Body::Rev(rev) => println!("{doc} takes edits again, at revision {rev}"),
        other => bail!("not an answer to that: {other:?}"),
    }
    Ok(())
}

async fn list(operator: &Operator, json: bool) -> Result<()> {
    let listed = ask_all(operator).await?;
    match json {
        true => print_lines(&listed.documents),
        false => print_table(&listed.documents, operator.outside.clock.now_ms()),
    }
    if listed.more {
        eprintln!("there are more: lift some of these, then list again");
    }
    for problem in &listed.problems {
        eprintln!("{problem}");
    }
    let silent: Vec<_> = listed.silent.iter().map(u32::to_string).collect();
    ensure!(
        silent.is_empty(),
        "no leader answers for the groups {}: start their nodes, or ask again in a moment",
        silent.join(", ")
    );
    Ok(())
}

/// What the leaders answered.
struct Listed {
    documents: BTreeMap<DocId, v1::SetApart>,
    more: bool,
    /// Groups whose leader did not answer.
    silent: BTreeSet<u32>,
    /// Nodes that did not answer, in words.
    problems: Vec<String>,
}

impl Listed {
    fn take(&mut self, list: v1::Quarantined) {
        self.more |= list.more;
        self.silent.retain(|group| !list.groups.contains(group));
        let documents = list.documents.into_iter();
        let documents = documents.filter_map(|one| Some((DocId::from_slice(&one.doc)?, one)));
        self.documents.extend(documents);
    }
}

fn print_lines(documents: &BTreeMap<DocId, v1::SetApart>) {
    for (doc, one) in documents {
        let doc = doc.to_string();
        let (title, rev, since_ms) = (&one.title, one.rev, one.since_ms);
        let line =
            serde_json::json!({"doc": doc, "title": title, "rev": rev, "since_ms": since_ms});
        println!("{line}");
    }
}

fn print_table(documents: &BTreeMap<DocId, v1::SetApart>, now_ms: u64) {
    if documents.is_empty() {
        return println!("no document is known to be in quarantine");
    }
    println!(
        "{:<32}  {:<15}  {:>8}  TITLE",
        "DOCUMENT", "SINCE", "REVISION"
    );
    for (doc, one) in documents {
        let (doc, since) = (doc.to_string(), ago(now_ms.saturating_sub(one.since_ms)));
        println!("{doc:<32}  {since:<15}  {:>8}  {}", one.rev, one.title);
    }
}

/// How long ago, in the largest unit that is not less than two.
fn ago(ms: u64) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "hours"),
        (60_000, "minutes"),
    ];
    let unit = units.iter().find(|(unit, _)| ms >= 2 * unit);
    match unit {
        Some((unit, name)) => format!("{} {name} ago", ms / unit),
        None => format!("{} seconds ago", ms / 1_000),
    }
}

/// Asks every node until the leader of each group has answered, as long as a failover may take.
async fn ask_all(operator: &Operator) -> Result<Listed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Anew each time: a group that another one leads by now says what holds now.
        let mut listed = Listed {
            documents: BTreeMap::new(),
            more: false,
            silent: (0..operator.topology.groups()).collect(),
            problems: Vec::new(),
        };
        for (node, address) in operator.topology.nodes() {
            let body = call::Body::Quarantined(Describe {});
            match operator.ask(node, &address, DocId::default(), body).await {
                Ok(reply::Body::Quarantined(list)) => listed.take(list),
                Ok(other) => bail!("not an answer to that: {other:?}"),
                Err(error) => {
                    let problem = format!("node {node} does not answer: {error:#}");
                    listed.problems.push(problem);
                }
            }
        }
        if listed.silent.is_empty() || Instant::now() >= deadline {
            return Ok(listed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
