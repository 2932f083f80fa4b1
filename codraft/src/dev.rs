//! `codraft dev`: a durable cluster of real processes on loopback, kept running.
//!
//! Three nodes and a router, or several, each a child process with its own folder below one data
//! directory.

use std::{
    collections::BTreeMap,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use codraft_node::OsDisk;
use codraft_proto::{ids::NodeId, topology::NodeEntry};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    cluster, config, files,
    init::{self, Plan},
    layout::{Layout, router_name},
    signals::stop_signal,
    supervisor::{Service, Supervisor, Who},
    token,
};

/// What a killed supervisor had started ends with it, but a moment later.
const GOING_WAIT: Duration = Duration::from_secs(3);
const GOING_PAUSE: Duration = Duration::from_millis(100);
/// Nodes of a new cluster.
const NODES: u64 = 3;
/// How often `cluster.toml` is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
const READY_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Where everything is kept; made when it is not there.
    #[arg(long, default_value = ".codraft")]
    pub data: PathBuf,
    /// How many nodes; 3 when not given. It stays that many.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: Option<u64>,
    /// How many Raft groups. It stays that many.
    #[arg(long)]
    pub groups: Option<u32>,
    /// For how long history is kept, by the events' own time; for ever when not given. It stays that long.
    #[arg(long, env = init::RETENTION_MS)]
    pub retention_ms: Option<u64>,
    /// How many routers; as many as the last time when not given, and one at first.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=init::ROUTERS_MAX))]
    pub routers: Option<u16>,
    /// The first router's port; a free one when not given.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Run the first router inside node 1 instead of in a process of its own.
    #[arg(long)]
    pub joined: bool,
    /// Print one JSON line when ready, and nothing else, on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Ready<'a> {
    url: String,
    http: &'a str,
    /// As `http`, of each router.
    routers: &'a [String],
    token: &'a str,
    /// `node-1` …, `router`, `router-2` …, at the moment of the start; later ones are in `state`.
    pids: BTreeMap<String, u32>,
    state: PathBuf,
}

pub async fn run(args: DevArgs) -> Result<()> {
    config::check_environment()?;
    let (data, _claim) = init::claim(&args.data)?;
    let layout = Layout::new(&data);
    let plan = plan(&layout, &data, &args)?;
    let nodes = claim_nodes(&layout, &plan).await?;
    init::write(&layout, &plan)?;
    drop(nodes);
    let token = token::development(&layout)?;

    let mut children = Supervisor::start(services(&layout, &plan), layout.state(), args.json)?;
    if !args.json {
        println!(
            "codraft: starting {} nodes and {} in {}",
            plan.nodes.len(),
            match plan.routers.len() {
                1 => "a router".to_owned(),
                several => format!("{several} routers"),
            },
            data.display()
        );
    }

    let http: Vec<_> = plan
        .routers
        .iter()
        .map(|at| format!("http://{at}"))
        .collect();
    let mut ready = Box::pin(wait_ready(&plan.routers));
    let mut announced = false;
    let mut stop = Box::pin(stop_signal());
    let mut look = tokio::time::interval(LOOK_PAUSE);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            result = children.step() => result?,
            _ = look.tick() => follow_cluster(&layout, &mut children)?,
            result = &mut ready, if !announced => {
                result?;
                announced = true;
                announce(&args, &layout, children.services(), &http, &token)?;
            }
        }
    }
    children.stop().await;
    Ok(())
}

fn services(layout: &Layout, plan: &Plan) -> Vec<Service> {
    let joined = |id| plan.joined && id == 1;
    let nodes = plan.nodes.iter();
    let mut services: Vec<_> = nodes
        .map(|node| node_service(layout, node.id, joined(node.id)))
        .collect();
    for number in 1 + usize::from(plan.joined)..=plan.routers.len() {
        let args = vec!["router".to_owned()];
        let (who, config) = (Who::Router(number), layout.router_config(number));
        services.push(Service::new(router_name(number), who, args, &config));
    }
    services
}

fn node_service(layout: &Layout, id: u64, router: bool) -> Service {
    let mut args = vec!["node".to_owned()];
    if router {
        args.push("--router".to_owned());
    }
    let config = layout.node_config(id);
    Service::new(format!("node-{id}"), Who::Node(id), args, &config)
}

/// Starts the nodes that `codraft node replace` put into the file, and ends those that it took out.
fn follow_cluster(layout: &Layout, children: &mut Supervisor) -> Result<()> {
    // Whoever writes it may be at it.
    let Ok(file) = cluster::load(&layout.cluster()) else {
        return Ok(());
    };
    let nodes: Vec<u64> = file.nodes.iter().map(|node| node.id).collect();
    children.keep_nodes(&nodes, |id| node_service(layout, id, false))
}

/// Holds the folders of all nodes until the configuration is written: none may run by hand, and
/// each must be of this cluster as it is configured.
async fn claim_nodes(layout: &Layout, plan: &Plan) -> Result<Vec<File>> {
    let mut claims = Vec::new();
    let disk = OsDisk::start().context("starting the disk's thread")?;
    for NodeEntry { id, .. } in &plan.nodes {
        let folder = layout.node_data(*id);
        if !folder.is_dir() {
            continue;
        }
        claims.push(claim_node(*id, &folder).await?);
        let topology = plan.topology(plan.cluster.as_deref().unwrap_or_default());
        codraft_node::check_folder(&disk, &folder, NodeId(*id), &topology)
            .await
            .with_context(|| format!("node {id}"))?;
    }
    Ok(claims)
}

async fn claim_node(id: u64, folder: &Path) -> Result<File> {
    let until = Instant::now() + GOING_WAIT;
    loop {
        if let Some(claim) = files::claim(folder)? {
            return Ok(claim);
        }
        if Instant::now() > until {
            let folder = folder.display();
            bail!("node {id} runs on {folder} already, in another process: end that one first");
        }
        sleep(GOING_PAUSE).await;
    }
}

/// What a new cluster's folder may hold: what the start of one leaves that died.
const LEFTOVERS: [&str; 4] = ["keys.toml", "keys.new", "cluster.new", "lost+found"];

/// The cluster that the folder holds; none in a new folder.
fn held(layout: &Layout, data: &Path) -> Result<Option<Plan>> {
    if layout.cluster().exists() {
        return Plan::load(layout).map(Some);
    }
    let mut names = files::names(data)?.into_iter();
    if let Some(found) = names.find(|name| !LEFTOVERS.contains(&&**name)) {
        bail!(
            "{} holds {found:?} and no cluster: choose an empty folder, or one that does not \
             exist, with --data",
            data.display()
        );
    }
    Ok(None)
}

/// What must stay as it was when the cluster was made.
fn fixed<T: Copy + Into<u64>>(what: &str, held: Option<T>, asked: Option<T>, new: T) -> Result<T> {
    match (held, asked) {
        (Some(held), Some(asked)) if held.into() != asked.into() => bail!(
            "the cluster in this folder has {} {what}, and --{what} says {}: the number was fixed \
             when it was made; leave --{what} out, or choose another folder with --data",
            held.into(),
            asked.into()
        ),
        (held, asked) => Ok(held.or(asked).unwrap_or(new)),
    }
}

/// Keeps last time's addresses where they are still free, so that links and open pages of
/// an earlier run find their way; else takes free ones.
fn plan(layout: &Layout, data: &Path, args: &DevArgs) -> Result<Plan> {
    let old = held(layout, data)?;
    let mut taken = Vec::new();
    let mut address = |wish: Option<&str>| -> Result<String> {
        let held = match wish.map(TcpListener::bind) {
            Some(Ok(held)) => held,
            _ => TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?,
        };
        let found = held.local_addr()?.to_string();
        taken.push(held); // until all are chosen
        Ok(found)
    };
    let held = old.as_ref().map_or(&[][..], |old| &old.routers);
    let mut routers = vec![match args.port {
        0 => address(held.first().map(String::as_str))?,
        port => {
            let wish = format!("127.0.0.1:{port}");
            let found = address(Some(&wish))?;
            if found != wish {
                bail!(
                    "{wish} is in use or not allowed: choose another --port, or none for a free one"
                );
            }
            found
        }
    }];
    let count = args.routers.map_or(held.len().max(1), usize::from);
    for number in 1..count {
        routers.push(address(held.get(number).map(String::as_str))?);
    }
    let count = old.as_ref().map(Plan::seats);
    let count = fixed("nodes", count, args.nodes, NODES)?;
    let groups = old.as_ref().map(|old| old.groups);
    let groups = fixed("groups", groups, args.groups, init::GROUPS)?;
    let retention_ms = old.as_ref().map(|old| old.retention_ms);
    let retention_ms = fixed("retention-ms", retention_ms, args.retention_ms, 0)?;
    let mut nodes = old
        .as_ref()
        .map(|old| old.nodes.clone())
        .unwrap_or_default();
    for node in &mut nodes {
        node.address = address(Some(&node.address))?;
    }
    if old.is_none() {
        for id in 1..=count {
            nodes.push((id, address(None)?).into());
        }
    }
    Ok(Plan {
        cluster: old.and_then(|old| old.cluster),
        groups,
        retention_ms,
        nodes,
        routers,
        joined: args.joined,
        dev: true,
    })
}

async fn wait_ready(routers: &[String]) -> Result<()> {
    let ready = async {
        for router in routers {
            while !probe(router).await {
                sleep(Duration::from_millis(30)).await;
            }
        }
    };
    timeout(READY_WAIT, ready).await.with_context(|| {
        format!(
            "the cluster was not ready within {} s; its log is above",
            READY_WAIT.as_secs()
        )
    })
}

/// Whether `/readyz` answers 200.
async fn probe(address: &str) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request =
            format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        std::io::Result::Ok(&head == b"HTTP/1.1 200")
    };
    matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

fn announce(
    args: &DevArgs,
    layout: &Layout,
    services: &[Service],
    routers: &[String],
    token: &str,
) -> Result<()> {
    let http = &routers[0];
    let url = format!("{http}/#token={token}");
    if args.json {
        let pids = services.iter().map(|s| (s.name.clone(), s.pid)).collect();
        let ready = Ready {
            url,
            http,
            routers,
            token,
            pids,
            state: layout.state(),
        };
        println!("{}", serde_json::to_string(&ready)?);
        return Ok(());
    }
    println!();
    for service in services {
        let config = service.args.last().map(String::as_str).unwrap_or_default();
        println!("  {:<8} pid {:<8} {config}", service.name, service.pid);
    }
    println!(
        "\n  Open this in two windows and type:\n\n    {url}\n\n  Ctrl-C ends it; the documents stay.\n"
    );
    Ok(())
}
