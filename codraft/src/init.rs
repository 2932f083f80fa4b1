//! `codraft init`: the files of a new cluster. `codraft dev` writes the same ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use codraft_proto::{
    ids::NodeId,
    topology::{FileTopology, NodeEntry},
};

use crate::{
    config::Config,
    files,
    layout::{Layout, router_name},
    token,
};

/// Raft groups of a new cluster. Fewer groups share more operations in a log entry: on two cores two
/// took less CPU an operation than four, though not by more than the noise in every run
/// (bench/README.md), and still have two leaders.
pub const GROUPS: u32 = 2;

/// Routers that are set up at once.
pub const ROUTERS_MAX: i64 = 9;

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
    /// The routers' addresses.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7400")]
    pub router: Vec<String>,
    /// How many routers; as many as have an address when not given. The others are at the last one's
    /// host, each at a port ten higher.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=ROUTERS_MAX))]
    pub routers: Option<u16>,
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
    /// Their addresses, of one at the least.
    pub routers: Vec<String>,
    /// The first router runs inside node 1.
    pub joined: bool,
    /// The page shows the nodes and can kill one.
    pub dev: bool,
}

impl Plan {
    /// As the files in the folder have it; without routers where there are none yet.
    pub fn load(layout: &Layout) -> Result<Plan> {
        let topology = FileTopology::parse(&files::read(&layout.cluster())?)?;
        let router = |number| {
            let config = Config::load(&layout.router_config(number)).ok()?;
            Some(config.router?.listen)
        };
        Ok(Plan {
            cluster: Some(topology.cluster),
            groups: topology.groups,
            retention_ms: topology.retention_ms,
            nodes: topology.nodes,
            routers: (1..).map_while(router).collect(),
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
        let router = plan.and_then(|plan| plan.routers.into_iter().next());
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
        routers: router_addresses(&args.router, args.routers)?,
        joined: false,
        dev: false,
    };
    let nodes = plan.nodes.iter().map(|node| layout.node_config(node.id));
    let routers = (1..=plan.routers.len()).map(|number| layout.router_config(number));
    let mut ours = [layout.cluster()].into_iter().chain(routers).chain(nodes);
    if let Some(there) = ours.find(|path| path.exists()) {
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
    for number in 1..=plan.routers.len() {
        println!(
            "  codraft router --config {}",
            layout.router_config(number).display()
        );
    }
    println!(
        "and make a token with:\n  codraft token --data {} --user you",
        data.display()
    );
    Ok(())
}

/// As many addresses as there are to be routers.
fn router_addresses(given: &[String], count: Option<u16>) -> Result<Vec<String>> {
    let mut addresses = given.to_vec();
    let count = count.map_or(addresses.len(), usize::from);
    if addresses.len() > count {
        bail!(
            "--router has {} addresses, and --routers says {count}",
            addresses.len()
        );
    }
    while addresses.len() < count {
        let last = addresses.last().and_then(|last| last.rsplit_once(':'));
        let next = last.and_then(|(host, port)| {
            let port = port.parse::<u16>().ok()?.checked_add(10)?;
            Some(format!("{host}:{port}"))
        });
        let Some(next) = next else {
            bail!("give each of the {count} routers an address: --router HOST:PORT,HOST:PORT");
        };
        addresses.push(next);
    }
    Ok(addresses)
}

/// Each process has its own address.
fn check_addresses(plan: &Plan) -> Result<()> {
    let mut who = BTreeMap::new();
    let nodes = plan.nodes.iter();
    let nodes = nodes.map(|node| (&node.address, format!("node {}", node.id)));
    let names = (1..).map(router_name);
    for (address, name) in nodes.chain(plan.routers.iter().zip(names)) {
        if let Some(other) = who.insert(address, name.clone()) {
            bail!("{address} is the address of {other} and of {name}: each needs its own");
        }
    }
    Ok(())
}

/// Writes the cluster's file, its keys (once) and one configuration a process.
pub fn write(layout: &Layout, plan: &Plan) -> Result<()> {
    let cluster = match &plan.cluster {
        Some(name) => name.clone(),
        None => token::random_hex(8)?,
    };
    let text = plan.topology(&cluster).to_text()?;
    check_addresses(plan)?;
    token::make_keys(layout)?;
    files::replace(&layout.cluster(), text.as_bytes())?;
    for NodeEntry { id, .. } in &plan.nodes {
        let router = (plan.joined && *id == 1).then_some((1, plan));
        let text = config_file(&format!("node {id}"), Some(*id), router);
        files::replace(&layout.node_config(*id), text.as_bytes())?;
    }
    for number in 1..=plan.routers.len() {
        let text = config_file(&router_name(number), None, Some((number, plan)));
        files::replace(&layout.router_config(number), text.as_bytes())?;
    }
    // There were more.
    for number in plan.routers.len() + 1.. {
        let older = layout.router_config(number);
        if !older.exists() {
            break;
        }
        files::remove(&older)?;
    }
    Ok(())
}

/// The configuration of a node that runs no router.
pub fn node_config(id: u64) -> String {
    config_file(&format!("node {id}"), Some(id), None)
}

/// `router`: which one of the plan's.
fn config_file(who: &str, node: Option<u64>, router: Option<(usize, &Plan)>) -> String {
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
    if let Some((number, plan)) = router {
        let listen = &plan.routers[number - 1];
        let origins: Vec<_> = plan.routers.iter().map(|at| origins(at)).collect();
        // One alone may be behind whatever it likes.
        let mark = if plan.routers.len() > 1 { "" } else { "# " };
        let _ = write!(
            text,
            "\n[router]\nlisten = \"{listen}\"\n\
             # Where clients reach this router and no other one: tickets send them there.\n\
             {mark}public_url = \"http://{listen}\"\n\
             # Pages that may open sockets, to the letter: those of all routers.\n\
             origins = [{}]\n\
             # Serve the built-in page.\npage = true\n",
            origins.join(", ")
        );
        if plan.dev {
            text.push_str("# Development only: lets the page see the processes and kill one.\ndev_state = \"state.json\"\n");
        }
    }
    text
}

/// Of the page of a router, by its address and as people type it.
fn origins(listen: &str) -> String {
    let port = listen.rsplit(':').next().unwrap_or_default();
    format!("\"http://{listen}\", \"http://localhost:{port}\"")
}
