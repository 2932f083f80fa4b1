//! `codraft init`: the files of a new cluster. `codraft dev` writes the same ones.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use codraft_proto::{
    ids::NodeId,
    topology::{FileTopology, NodeEntry},
};

use crate::{files, layout::Layout, token};

/// Raft groups of a new cluster. Fewer groups share more operations in a log entry: on two cores two
/// took less CPU an operation than four, though not by more than the noise in every run
/// (bench/README.md), and still have two leaders.
pub const GROUPS: u32 = 2;

/// The variable of the environment that says how long a new cluster keeps history.
pub const RETENTION_MS: &str = "CODRAFT_RETENTION_MS";

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The folder to write into; must not hold a cluster yet.
    #[arg(long, default_value = ".codraft")]
    pub data: PathBuf,
    /// The nodes' addresses, in the order of their ids.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"
    )]
    pub nodes: Vec<String>,
    /// The router's address.
    #[arg(long, default_value = "127.0.0.1:7400")]
    pub router: String,
    /// How many Raft groups; it stays that many.
    #[arg(long, default_value_t = GROUPS)]
    pub groups: u32,
    /// For how long history is kept, by the events' own time; 0 for ever. It stays that long.
    #[arg(long, env = RETENTION_MS, default_value_t = 0)]
    pub retention_ms: u64,
}

/// What a cluster is made of.
pub struct Plan {
    /// `None`: a new one.
    pub cluster: Option<String>,
    pub groups: u32,
    pub retention_ms: u64,
    pub nodes: Vec<NodeEntry>,
    pub router: String,
    /// The router runs inside node 1.
    pub joined: bool,
    /// The page shows the nodes and can kill one.
    pub dev: bool,
}

impl Plan {
    /// As the files in the folder have it; without a router's address where there is none yet.
    pub fn load(layout: &Layout) -> Result<Plan> {
        let topology = FileTopology::parse(&files::read(&layout.cluster())?)?;
        let config = crate::config::Config::load(&layout.router_config());
        let router = config.ok().and_then(|config| config.router);
        Ok(Plan {
            cluster: Some(topology.cluster),
            groups: topology.groups,
            retention_ms: topology.retention_ms,
            nodes: topology.nodes,
            router: router.map(|router| router.listen).unwrap_or_default(),
            joined: false,
            dev: false,
        })
    }
}

/// Takes the folder of a cluster, made if it is not there, for this process alone.
pub fn claim(data: &Path) -> Result<(PathBuf, File)> {
    files::create_dir_all(data)?;
    let data = files::absolute(data)?;
    let Some(claim) = files::claim(&data)? else {
        let plan = Plan::load(&Layout::new(&data)).ok();
        let router = plan
            .map(|plan| plan.router)
            .filter(|router| !router.is_empty());
        let page = router.map_or_else(String::new, |at| format!(", its page is http://{at}"));
        bail!(
            "a cluster runs in {} already{page}: use that one, end it with Ctrl-C where it runs, \
             or choose another folder with --data",
            data.display()
        );
    };
    Ok((data, claim))
}

impl Plan {
    /// How many nodes it was made with.
    pub fn seats(&self) -> u64 {
        let seats: BTreeSet<NodeId> = self.nodes.iter().map(NodeEntry::seat).collect();
        seats.len() as u64
    }

    /// As its nodes are to be told.
    pub fn topology(&self, cluster: &str) -> FileTopology {
        FileTopology {
            cluster: cluster.to_owned(),
            groups: self.groups,
            retention_ms: self.retention_ms,
            nodes: self.nodes.clone(),
        }
    }
}

pub fn run(args: &InitArgs) -> Result<()> {
    let (data, _claim) = claim(&args.data)?;
    let layout = Layout::new(&data);
    let nodes = (1..).zip(args.nodes.iter().cloned()).map(NodeEntry::from);
    let plan = Plan {
        cluster: None,
        groups: args.groups,
        retention_ms: args.retention_ms,
        nodes: nodes.collect(),
        router: args.router.clone(),
        joined: false,
        dev: false,
    };
    let configs = plan.nodes.iter().map(|node| layout.node_config(node.id));
    let ours = [layout.cluster(), layout.router_config()];
    if let Some(there) = ours.into_iter().chain(configs).find(|path| path.exists()) {
        bail!(
            "{} is there already; a cluster is made once: choose another folder with --data",
            there.display()
        );
    }
    write(&layout, &plan)?;
    println!(
        "A cluster of {} nodes is described in {}. Start it with:",
        plan.nodes.len(),
        data.display()
    );
    for node in &plan.nodes {
        println!(
            "  codraft node --config {}",
            layout.node_config(node.id).display()
        );
    }
    println!(
        "  codraft router --config {}",
        layout.router_config().display()
    );
    println!(
        "and make a token with:\n  codraft token --data {} --user you",
        data.display()
    );
    Ok(())
}

/// Writes the cluster's file, its keys (once) and one configuration a process.
pub fn write(layout: &Layout, plan: &Plan) -> Result<()> {
    let cluster = match &plan.cluster {
        Some(name) => name.clone(),
        None => token::random_hex(8)?,
    };
    let text = plan.topology(&cluster).to_text()?;
    if let Some(NodeEntry { id, address, .. }) =
        plan.nodes.iter().find(|node| node.address == plan.router)
    {
        bail!("{address} is the address of node {id} and of the router: each needs its own");
    }
    token::make_keys(layout)?;
    files::replace(&layout.cluster(), text.as_bytes())?;
    for NodeEntry { id, .. } in &plan.nodes {
        let router = (plan.joined && *id == 1).then_some(plan);
        let text = config_file(&format!("node {id}"), Some(*id), router);
        files::replace(&layout.node_config(*id), text.as_bytes())?;
    }
    let text = config_file("router", None, Some(plan));
    files::replace(&layout.router_config(), text.as_bytes())
}

/// The configuration of a node that runs no router.
pub fn node_config(id: u64) -> String {
    config_file(&format!("node {id}"), Some(id), None)
}

fn config_file(who: &str, node: Option<u64>, router: Option<&Plan>) -> String {
    let mut text = format!(
        "# Configuration of the {who}. Every value can be overridden from the environment:\n\
         # CODRAFT_ROUTER__LISTEN, CODRAFT_LIMITS__FRAME_BYTES and so on. Paths are relative\n\
         # to this file.\n\
         cluster = \"cluster.toml\"\n\
         keys = \"keys.toml\"\n"
    );
    if let Some(id) = node {
        let _ = write!(
            text,
            "\n[node]\nid = {id}\n# The log and the identity of this node; never give it to another id.\ndata = \"node-{id}\"\n# Counters for Prometheus, on an address of their own:\n# metrics_listen = \"127.0.0.1:{}\"\n",
            7500 + id
        );
    }
    if let Some(plan) = router {
        let listen = &plan.router;
        let port = listen.rsplit(':').next().unwrap_or_default();
        let _ = write!(
            text,
            "\n[router]\nlisten = \"{listen}\"\n\
             # Pages that may open sockets, to the letter.\n\
             origins = [\"http://{listen}\", \"http://localhost:{port}\"]\n\
             # Serve the built-in page.\npage = true\n"
        );
        if plan.dev {
            text.push_str("# Development only: lets the page see the processes and kill one.\ndev_state = \"state.json\"\n");
        }
    }
    text
}
