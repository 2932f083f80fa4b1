//! One node or router as a process: configuration in, a signal out.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use codraft_node::{BudgetOptions, Node, NodeConfig, OsDisk};
use codraft_proto::{
    ids::NodeId,
    topology::{LiveTopology, Topology},
};
use codraft_router::{Router, RouterConfig};

use crate::{
    cluster,
    config::{Config, NodeSection, RouterSection},
    files,
    outside::outside,
    replace, scrape,
    signals::stop_signal,
    strip,
    token::{self, Keys},
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub verb: Option<NodeVerb>,
    /// This process's configuration.
    #[arg(long, env = "CODRAFT_CONFIG", required = true)]
    pub config: Option<PathBuf>,
    /// Run the router in the same process; the configuration then has both.
    #[arg(long)]
    pub router: bool,
}

#[derive(Debug, clap::Subcommand)]
pub enum NodeVerb {
    /// Put a new node in the place of one whose disk was lost or damaged.
    Replace(replace::ReplaceArgs),
}

#[derive(Debug, clap::Args)]
pub struct RouterArgs {
    /// This process's configuration.
    #[arg(long, env = "CODRAFT_CONFIG")]
    pub config: PathBuf,
}

/// Log lines for people, on standard error; `RUST_LOG` says how much, `CODRAFT_LOG=json` how.
pub fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=error,h2=warn,hyper=warn,tonic=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::env::var("CODRAFT_LOG").is_ok_and(|kind| kind == "json") {
        builder.json().init();
    } else {
        builder.with_target(false).with_ansi(false).compact().init();
    }
}

pub async fn node(args: NodeArgs) -> Result<()> {
    let path = args.config.context("--config FILE is missing")?;
    let config = Config::load(&path)?;
    if args.router {
        // Before the node opens its log.
        Keys::load(&config.keys)?;
    }
    let topology = topology(&config)?;
    let section = config
        .node
        .clone()
        .context("the configuration has no [node]")?;
    if args.router && config.router.is_none() {
        bail!("--router wants a [router] in {}", path.display());
    }
    let node = Arc::new(start_node(&config, &section, &topology).await?);
    let scraped = scrape::serve(section.metrics_listen.as_deref(), Arc::downgrade(&node)).await?;
    let router = match config.router.as_ref().filter(|_| args.router) {
        Some(section) => Some(start_router(&config, section, &topology).await?),
        None => None,
    };
    let router_failed = async {
        match &router {
            Some(router) => router.failed().await,
            None => std::future::pending().await,
        }
    };
    let failure = tokio::select! {
        biased;
        reason = node.failed() => Some(reason),
        reason = router_failed => Some(reason),
        () = stop_signal() => None,
        () = scraped => None,
        () = cluster::follow(&config.cluster, topology, Some(section.id)) => {
            tracing::info!("cluster.toml has this node no more: it must not run again");
            None
        }
    };
    if let Some(reason) = failure {
        // What the disk or a task left behind is not known: only a new start can tell.
        bail!("cannot go on: {reason}");
    }
    if let Some(router) = router {
        router.shutdown().await;
    }
    if let Ok(node) = Arc::try_unwrap(node) {
        node.shutdown().await;
    }
    Ok(())
}

pub async fn router(args: RouterArgs) -> Result<()> {
    let config = Config::load(&args.config)?;
    let topology = topology(&config)?;
    let section = config
        .router
        .clone()
        .context("the configuration has no [router]")?;
    let router = start_router(&config, &section, &topology).await?;
    tokio::select! {
        biased;
        reason = router.failed() => bail!("cannot go on: {reason}"),
        () = stop_signal() => {}
        () = cluster::follow(&config.cluster, topology, None) => {}
    }
    router.shutdown().await;
    Ok(())
}

fn topology(config: &Config) -> Result<Arc<LiveTopology>> {
    Ok(Arc::new(LiveTopology::new(cluster::load(&config.cluster)?)))
}

async fn start_node(
    config: &Config,
    section: &NodeSection,
    topology: &Arc<LiveTopology>,
) -> Result<Node> {
    let id = NodeId(section.id);
    let listen = topology
        .address(id)
        .with_context(|| format!("node {id} is not in {}", config.cluster.display()))?;
    let mut node = NodeConfig::new(id, listen, section.data.clone(), topology.clone());
    node.limits.state_bytes = config.limits.group_state_bytes;
    node.keep.memory_bytes = config.limits.group_memory_bytes;
    node.keep.tail_commands = config.limits.snapshot_commands;
    node.keep.bulk_bytes_per_second = config.limits.bulk_bytes_per_second;
    let disk_bytes = files::disk_bytes(&section.data)?;
    node.budget = BudgetOptions::of(config.limits.unarchived_bytes, disk_bytes);
    node.presence_ttl_ms = config.limits.presence_ttl_ms;
    node.receipt_key = token::receipt_key(&config.keys)?;
    let disk = Arc::new(OsDisk::start().context("starting the disk's thread")?);
    let outside = codraft_node::NodeOutside {
        common: outside(),
        disk,
    };
    Node::start(node, outside)
        .await
        .with_context(|| format!("starting node {id}"))
}

async fn start_router(
    config: &Config,
    section: &RouterSection,
    topology: &Arc<LiveTopology>,
) -> Result<Router> {
    let keys = Keys::load(&config.keys)?.of_router();
    let mut router = RouterConfig::new(section.listen.clone(), topology.clone(), keys);
    router.origins.clone_from(&section.origins);
    router.public_url.clone_from(&section.public_url);
    router.metrics_listen.clone_from(&section.metrics_listen);
    router.limits = config.limits.clone();
    router.page = section.page;
    router.receipt_key = token::receipt_public_key(&config.keys)?;
    if let Some(state) = section.dev_state.clone() {
        router.extra_routes = Some(Box::new(move |handle| strip::routes(state, handle)));
    }
    Router::start(router, outside())
        .await
        .context("starting the router")
}
