//! The router: what clients connect to. It checks who they are, follows the documents that
//! they have open (one feed each, however many sockets), finds the leaders and outlives them.
//!
//! An operation's road: `socket` reads it, `session` judges its order and rate, `hub` sends
//! it by the link that `upstream` names; its event comes back on the document's feed, is
//! encoded once, and goes to every socket, its author's included.

mod accounts;
mod api;
mod auth;
mod convert;
mod feed;
mod gateway;
mod hub;
mod hubs;
mod ids;
mod links;
mod metrics;
mod origins;
mod page;
mod problem;
mod queue;
mod routers;
mod session;
mod socket;
mod state;
mod strangers;
mod timers;
mod upstream;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

pub use auth::{KeyError, KeyMaterial, Keys, PublicAlgorithm, SignError, TokenKey, sign_token};
use codraft_proto::{
    ids::DocId,
    limits::{EdgeLimits, LimitError},
    link::LinkOptions,
    outside::Outside,
    receipt::PublicKey,
    reject::Code,
    tasks::Tasks,
    topology::{Topology, is_loopback},
};
use http::HeaderMap;
use tokio::time::{Duration, Instant};

use crate::{
    accounts::Accounts, auth::Auth, hubs::Hubs, metrics::Metrics, origins::origin_fault,
    queue::End, routers::Routers, strangers::Strangers, timers::Timers, upstream::Upstream,
};

/// How often silence and stuck requests are looked for.
const TICK: Duration = Duration::from_millis(250);
/// Documents whose sockets are sent to another router in one tick.
const MOVED_MAX: usize = 32;
/// Sockets that are told to go have so long to read it.
const FAREWELL: Duration = Duration::from_millis(300);

pub struct RouterConfig {
    /// `host:port`.
    pub listen: String,
    /// There is no TLS yet, so anything but this machine's loopback is refused; the simulation
    /// has no loopback between its hosts.
    pub plain_text_anywhere: bool,
    /// Limits that contradict each other are refused too; the simulation has queues that no large
    /// frame fits, so that they fill.
    pub any_limits: bool,
    /// Where `/metrics` is served; `None`: beside the rest.
    pub metrics_listen: Option<String>,
    pub topology: Arc<dyn Topology>,
    pub keys: Keys,
    /// What the nodes' receipts are to be checked with; none: there are none.
    pub receipt_key: Option<PublicKey>,
    /// Exact origins of pages that may open sockets and call the API.
    pub origins: Vec<String>,
    pub limits: EdgeLimits,
    pub link: LinkOptions,
    /// Serve the built-in page.
    pub page: bool,
    /// The origin at which clients reach this router and no other one: tickets send them there.
    /// Empty: they come by a way of their own.
    pub public_url: String,
    /// More routes beside the API, for `codraft dev`.
    pub extra_routes: Option<ExtraRoutes>,
}

/// Makes routes that may ask the router things.
pub type ExtraRoutes = Box<dyn FnOnce(Handle) -> axum::Router + Send>;

impl RouterConfig {
    pub fn new(listen: impl Into<String>, topology: Arc<dyn Topology>, keys: Keys) -> Self {
        Self {
            listen: listen.into(),
            plain_text_anywhere: false,
            any_limits: false,
            metrics_listen: None,
            topology,
            keys,
            receipt_key: None,
            origins: Vec::new(),
            limits: EdgeLimits::default(),
            link: LinkOptions::default(),
            page: false,
            public_url: String::new(),
            extra_routes: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} is not on loopback: until links and sockets have TLS nothing else is listened on")]
    NotLoopback(String),
    #[error("listening on {address}: {error}")]
    Listen {
        address: String,
        error: std::io::Error,
    },
    #[error("the origin {origin:?} can match no page: {fault}")]
    Origin { origin: String, fault: String },
    #[error("the router's public_url {url:?} is not one that clients can be sent to: {fault}")]
    PublicUrl { url: String, fault: String },
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Limits(#[from] LimitError),
}

/// What all parts of one router share.
pub(crate) struct Shared {
    pub tasks: Tasks,
    pub upstream: Upstream,
    pub routers: Routers,
    pub hubs: Hubs,
    pub auth: Auth,
    pub receipt_key: Option<PublicKey>,
    pub accounts: Accounts,
    pub strangers: Strangers,
    pub metrics: Arc<Metrics>,
    pub limits: EdgeLimits,
    pub timers: Timers,
    pub outside: Outside,
    pub origins: Vec<String>,
    /// Another one at every start.
    pub incarnation: u64,
    /// Makes document ids out of idempotency keys.
    pub id_key: [u8; 32],
    pub sockets: AtomicUsize,
    pub draining: AtomicBool,
    generations: AtomicU64,
    started: Instant,
}

impl Shared {
    /// The router's own time: milliseconds since it started.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
    /// Another number each time: which of the feeds of this process it is.
    pub fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// A running router.
pub struct Router {
    shared: Arc<Shared>,
    address: String,
}

impl Router {
    /// Listens, dials the nodes and serves until `shutdown`.
    ///
    /// # Errors
    /// When an address cannot be listened on or is not on loopback, limits contradict each other,
    /// or a key, an origin or the public address is not usable.
    pub async fn start(config: RouterConfig, outside: Outside) -> Result<Router, StartError> {
        check_origins(&config.origins)?;
        check_public_url(&config.public_url)?;
        if !config.any_limits {
            config.limits.validate()?;
        }
        let auth = Auth::new(&config.keys, &outside)?;
        let anywhere = config.plain_text_anywhere;
        let listener = listen(&outside, &config.listen, anywhere).await?;
        let address = listener
            .local_address()
            .map_err(|error| StartError::Listen {
                address: config.listen.clone(),
                error,
            })?;
        let metrics_listener = match &config.metrics_listen {
            Some(address) => Some(listen(&outside, address, anywhere).await?),
            None => None,
        };
        let mut incarnation = [0; 8];
        outside.entropy.fill(&mut incarnation);
        let shared = Arc::new(Shared {
            tasks: Tasks::new(),
            upstream: Upstream::new(config.topology),
            routers: Routers::new(config.public_url),
            hubs: Hubs::default(),
            auth,
            receipt_key: config.receipt_key,
            accounts: Accounts::new(&config.limits),
            strangers: Strangers::new(config.limits.refusals_per_second),
            metrics: Metrics::new(),
            limits: config.limits,
            timers: Timers::default(),
            outside: outside.clone(),
            origins: config.origins,
            incarnation: u64::from_be_bytes(incarnation),
            id_key: blake3::derive_key(
                "codraft 2026 document ids of idempotency keys",
                &config.keys.ticket_secret,
            ),
            sockets: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            generations: AtomicU64::new(0),
            started: Instant::now(),
        });
        tracing::info!(%address, seed = outside.seed, "router started");
        links::dial_all(&shared, &outside, &config.link);
        let handle = Handle {
            shared: shared.clone(),
        };
        let extra = config.extra_routes.map(|make| make(handle));
        let own_metrics = metrics_listener.is_none();
        let app = api::app(&shared, own_metrics, config.page, extra);
        gateway::serve(&shared, listener, app);
        if let Some(listener) = metrics_listener {
            gateway::serve(&shared, listener, api::metrics_app(&shared));
        }
        shared
            .tasks
            .spawn("router clock", keep_time(shared.clone()));
        Ok(Router { shared, address })
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Resolves with the name of a task that panicked; never while all is well.
    pub fn failed(&self) -> impl Future<Output = &'static str> + Send + 'static {
        self.shared.tasks.failed()
    }

    /// Sends the sockets away (they reconnect elsewhere) and ends.
    pub async fn shutdown(self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let retry_after_ms = Some(500);
        self.shared.hubs.end_all(End {
            retry_after_ms,
            ..End::because(Code::ShuttingDown)
        });
        let farewell = async {
            while self.shared.sockets.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.shared.tasks.shutdown().await;
    }
}

/// Asks a running router things.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Who leads a document's group, as far as this router knows: group, term, node.
    pub fn leader_of(&self, doc: DocId) -> Option<(u32, u64, u64)> {
        let group = self.shared.upstream.group_of(doc);
        let leader = self.shared.upstream.leader(group)?;
        Some((group.0, leader.term.0, leader.node?.0))
    }

    /// Whether an `Authorization` header names somebody.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        self.shared.auth.bearer(headers).is_ok()
    }

    /// The metrics, as Prometheus text.
    pub fn metrics(&self) -> String {
        self.shared.metrics.text()
    }
}

/// # Errors
/// The first that no browser ever sends.
pub fn check_origins(origins: &[String]) -> Result<(), StartError> {
    for origin in origins {
        if let Some(fault) = origin_fault(origin) {
            let origin = origin.clone();
            return Err(StartError::Origin { origin, fault });
        }
    }
    Ok(())
}

/// # Errors
/// One that no browser connects to; none at all is in order.
pub fn check_public_url(url: &str) -> Result<(), StartError> {
    let fault = routers::address_fault(url).filter(|_| !url.is_empty());
    fault.map_or(Ok(()), |fault| {
        let url = url.to_owned();
        Err(StartError::PublicUrl { url, fault })
    })
}

async fn listen(
    outside: &Outside,
    address: &str,
    anywhere: bool,
) -> Result<Box<dyn codraft_proto::transport::Listener>, StartError> {
    if !anywhere && !is_loopback(address) {
        return Err(StartError::NotLoopback(address.to_owned()));
    }
    let listener = outside.transport.listen(address).await;
    listener.map_err(|error| StartError::Listen {
        address: address.to_owned(),
        error,
    })
}

/// The routers have changed: sockets go to where those of their document meet now, some documents
/// at a time.
fn send_on(shared: &Shared) {
    let now_ms = shared.now_ms();
    if shared.routers.move_is_due(now_ms) && shared.hubs.send_on(shared, MOVED_MAX) < MOVED_MAX {
        shared.routers.moved(now_ms);
    }
}

/// One timer for all that is due later.
async fn keep_time(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tick = 0u32;
    loop {
        let first = shared.timers.first_ms();
        let due = async {
            match first {
                Some(at_ms) => {
                    tokio::time::sleep_until(shared.started + Duration::from_millis(at_ms)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {
                let docs = shared.timers.take(shared.now_ms());
                shared.hubs.due(&shared, &docs);
            }
            () = shared.timers.changed() => {}
            _ = ticks.tick() => {
                for group in shared.upstream.fell_silent() {
                    shared.hubs.silent(&shared, group);
                }
                send_on(&shared);
                tick = tick.wrapping_add(1);
                if tick.is_multiple_of(4) {
                    shared.hubs.unstick(&shared);
                }
            }
        }
    }
}
