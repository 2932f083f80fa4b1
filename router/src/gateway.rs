//! The listener, and the upgrade of a request to a socket: who it is, from which page, in
//! which encoding, all decided before the 101.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use codraft_proto::{
    frame::Encoding,
    reject::Code,
    transport::{Io, Listener},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::time::Duration;

use crate::{
    Shared,
    accounts::{Asker, One},
    problem::Failure,
    socket::{self, Peer},
};

/// A request's head has to be here within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that one connection buffers of requests.
const HEAD_BYTES: usize = 32 << 10;
/// Connections beside those that became sockets.
const CONNECTIONS_MAX: usize = 16_384;

/// Serves `app` until the router's tasks end.
pub fn serve(shared: &Arc<Shared>, mut listener: Box<dyn Listener>, app: axum::Router) {
    let tasks = shared.tasks.clone();
    let connections = Arc::new(AtomicUsize::new(0));
    shared.tasks.spawn("gateway", async move {
        loop {
            match listener.accept().await {
                Ok((io, remote)) => {
                    let Some(permit) = ConnectionPermit::take(&connections) else {
                        tracing::warn!(address = remote.address, "too many connections");
                        continue;
                    };
                    let app = app.clone();
                    tasks.spawn_contained("http connection", async move {
                        connection(io, app).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: it passes.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
}

async fn connection(io: Box<dyn Io>, app: axum::Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        // It would read the machine's clock, which is not ours to read.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(app))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "http connection");
    }
}

struct ConnectionPermit(Arc<AtomicUsize>);

impl ConnectionPermit {
    fn take(connections: &Arc<AtomicUsize>) -> Option<Self> {
        let before = connections.fetch_add(1, Ordering::Relaxed);
        let permit = Self(connections.clone());
        (before < CONNECTIONS_MAX).then_some(permit)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /v1/collab/{doc}`
pub async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Path(doc): Path<String>,
    mut request: Request,
) -> Response {
    let admitted = match admit(&shared, &doc, &request) {
        Ok(admitted) => admitted,
        Err(failure) => return failure.into_response(),
    };
    let Some(permit) = socket::SocketPermit::take(&shared) else {
        let most = shared.limits.sockets;
        let detail = format!("this router has all the {most} sockets that it may have");
        return Failure::new(Code::TooManySockets, detail).into_response();
    };
    let Admitted { peer, accept } = admitted;
    let encoding = peer.encoding;
    let upgraded = hyper::upgrade::on(&mut request);
    let tasks = shared.tasks.clone();
    tasks.spawn_contained("socket", async move {
        match upgraded.await {
            Ok(upgraded) => Box::pin(socket::run(shared, upgraded, peer)).await,
            Err(error) => tracing::debug!(%error, "upgrade"),
        }
        drop(permit);
    });
    let headers = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        // The encoding alone: a ticket is never echoed.
        (header::SEC_WEBSOCKET_PROTOCOL, encoding.subprotocol()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

struct Admitted {
    peer: Peer,
    /// The key's answer.
    accept: String,
}

fn admit(shared: &Shared, doc: &str, request: &Request) -> Result<Admitted, Failure> {
    if shared.is_draining() {
        return Err(Code::ShuttingDown.into());
    }
    let headers = request.headers();
    let accept = websocket_key(request.version(), headers)?;
    let offered = listed(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let encoding = offered.iter().find_map(|p| Encoding::from_subprotocol(p));
    let encoding = encoding.ok_or_else(|| {
        Failure::new(
            Code::Unsupported,
            "name a subprotocol: codraft.v1 or codraft.v1.bin",
        )
    })?;
    let ticket = offered.iter().find_map(|p| p.strip_prefix("ticket."));
    let by_header = headers.contains_key(header::AUTHORIZATION);
    match headers.get(header::ORIGIN) {
        Some(origin) if !shared.allows_origin(origin) => return Err(Code::Origin.into()),
        // A browser always names one; what names none must have the header, which a page
        // cannot send.
        None if !by_header => {
            let code = if ticket.is_some() {
                Code::Origin
            } else {
                Code::TokenInvalid
            };
            return Err(code.into());
        }
        _ => {}
    }
    let doc = doc.parse().map_err(|_| Failure::from(Code::NotFound))?;
    let principal = match ticket {
        _ if by_header => shared.auth.bearer(headers)?,
        Some(ticket) => shared.auth.redeem(ticket, doc, shared.routers.own())?,
        None => return Err(Code::TokenInvalid.into()),
    };
    let now_ms = shared.now_ms();
    let account = shared.accounts.of(&principal.user, now_ms)?;
    if let Some(asker) = request.extensions().get::<Asker>() {
        asker.is(account.clone());
    }
    let taken = account.one(One::Open, now_ms);
    taken.map_err(|wait_ms| Failure::rate(wait_ms, "more sockets than a user may open"))?;
    let peer = Peer {
        principal,
        account,
        doc,
        encoding,
        placed: !by_header,
    };
    Ok(Admitted { peer, accept })
}

/// Checks that this is a WebSocket handshake; the key's answer.
fn websocket_key(spoken: Version, headers: &HeaderMap) -> Result<String, Failure> {
    let says = |name, value: &str| {
        listed(headers, &name)
            .iter()
            .any(|v| v.eq_ignore_ascii_case(value))
    };
    let version = headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_some_and(|v| v == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    match key {
        // HTTP/1.0 has no upgrade.
        Some(key)
            if version
                && spoken == Version::HTTP_11
                && says(header::CONNECTION, "upgrade")
                && says(header::UPGRADE, "websocket") =>
        {
            Ok(socket::accept_key(key.as_bytes()))
        }
        _ => Err(Failure::new(
            Code::Malformed,
            "this address takes WebSockets only",
        )),
    }
}

/// The items of a header that holds a comma-separated list, over all its lines.
fn listed<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

impl Shared {
    /// Exact, or not at all.
    pub fn allows_origin(&self, origin: &http::HeaderValue) -> bool {
        self.origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }
}
