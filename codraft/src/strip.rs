//! The development strip: which processes run, who leads a document, and a button that really
//! kills the leader. Mounted by `codraft dev` alone.

use std::path::PathBuf;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use codraft_router::Handle;
use serde::{Deserialize, Serialize};

use crate::{
    files,
    signals::signal,
    supervisor::{Running, State as Who},
};

#[derive(Clone)]
struct Strip {
    /// The file in which the supervisor says who runs.
    state: PathBuf,
    router: Handle,
}

#[derive(Deserialize)]
struct Target {
    doc: Option<String>,
    node: Option<u64>,
    /// In place of a node: the first one, the second…
    router: Option<u64>,
}

#[derive(Serialize)]
struct Cluster {
    nodes: Vec<Running>,
    router: Option<Running>,
    routers: Vec<Running>,
    leader: Option<u64>,
    group: Option<u32>,
    term: Option<u64>,
}

#[derive(Serialize)]
struct Killed {
    killed: Running,
}

type Answer<T> = Result<Json<T>, (StatusCode, &'static str)>;

pub fn routes(state: PathBuf, router: Handle) -> Router {
    Router::new()
        .route("/dev/cluster", get(cluster))
        .route("/dev/kill", post(kill))
        .with_state(Strip { state, router })
}

async fn cluster(State(strip): State<Strip>, Query(target): Query<Target>) -> Answer<Cluster> {
    let who = strip.read()?;
    let lead = strip.lead(&target);
    Ok(Json(Cluster {
        nodes: who.nodes,
        router: who.router,
        routers: who.routers,
        leader: lead.map(|l| l.2),
        group: lead.map(|l| l.0),
        term: lead.map(|l| l.1),
    }))
}

async fn kill(
    State(strip): State<Strip>,
    headers: HeaderMap,
    Query(target): Query<Target>,
) -> Answer<Killed> {
    if !strip.router.admits(&headers) {
        return Err((StatusCode::UNAUTHORIZED, "send the development token"));
    }
    let who = strip.read()?;
    let (of, id) = match (target.router, target.node) {
        (Some(number), _) => (who.routers, number),
        (None, Some(id)) => (who.nodes, id),
        (None, None) => match strip.lead(&target) {
            Some((_, _, leader)) => (who.nodes, leader),
            None => {
                let nobody = "nobody leads this document at the moment";
                return Err((StatusCode::CONFLICT, nobody));
            }
        },
    };
    match of.into_iter().find(|one| one.id == id && one.alive) {
        Some(one) if signal(one.pid, libc::SIGKILL) => Ok(Json(Killed { killed: one })),
        _ => Err((StatusCode::CONFLICT, "that process is not running")),
    }
}

impl Strip {
    /// Group, term and node of the document's leader.
    fn lead(&self, target: &Target) -> Option<(u32, u64, u64)> {
        self.router.leader_of(target.doc.as_deref()?.parse().ok()?)
    }

    fn read(&self) -> Result<Who, (StatusCode, &'static str)> {
        let unknown = (
            StatusCode::SERVICE_UNAVAILABLE,
            "who runs is not known at the moment",
        );
        let text = files::read(&self.state).map_err(|_| unknown)?;
        serde_json::from_str(&text).map_err(|_| unknown)
    }
}
