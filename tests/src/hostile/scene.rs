//! What a case is played with, and what all hostile clients do alike.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use codraft_proto::{
    frame::{ClientFrame, ServerFrame, Welcome},
    ids::{Revision, Seq},
};
use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::time::sleep;

use super::client::Turn;
use crate::{
    rest::Rest,
    socket::{Socket, fresh_client},
};

/// A client that was let go, which is right, comes back as any would.
const AWAY: Duration = Duration::from_millis(100);

/// What a case is made ready with.
pub struct Setting {
    pub owner: Rest,
    pub mallory: Rest,
    /// The name of the one who holds mallory's token.
    pub user: String,
    /// Of those that honest people write in.
    pub honest_doc: String,
    /// Large things are divided by this.
    pub share: usize,
}

/// What there is for the hostile client.
#[derive(Clone)]
pub struct Scene {
    pub owner: Rest,
    pub mallory: Rest,
    /// Those of the client's own, or one of the honest.
    pub docs: Vec<String>,
    /// The first document's, for the sink.
    pub welcome: Welcome,
}

impl Scene {
    pub async fn new(setting: Setting, docs: Vec<String>) -> Result<Scene> {
        let Setting { owner, mallory, .. } = setting;
        let doc = docs.first().context("no documents")?;
        let (_, welcome) = Socket::open(&mallory, doc, fresh_client(), None, false).await?;
        Ok(Scene {
            owner,
            mallory,
            docs,
            welcome,
        })
    }

    /// As a viewer of one of the honest documents.
    pub async fn among_honest(setting: Setting) -> Result<Scene> {
        let doc = setting.honest_doc.clone();
        setting.owner.grant(&doc, &setting.user, "viewer").await?;
        Scene::new(setting, vec![doc]).await
    }

    /// The same at another address.
    pub fn aimed_at(&self, address: &str) -> Scene {
        let mallory = Rest::new(address, &self.mallory.token);
        Scene {
            mallory,
            ..self.clone()
        }
    }

    pub fn is_sink(&self) -> bool {
        self.mallory.address != self.owner.address
    }
}

/// Runs so many at a time, each again and again until it is over.
pub async fn loops(turn: &Turn, at_once: usize, each: impl AsyncFn(usize) -> Result<()>) {
    let run = async |n: usize| -> () {
        loop {
            if let Err(error) = each(n).await {
                turn.failed(&error);
                sleep(AWAY).await;
            }
        }
    };
    let all = join_all((0..at_once).map(run));
    tokio::select! {
        biased;
        () = turn.over() => {}
        _ = all => {}
    }
}

/// What came of an operation.
pub enum Answer {
    Applied(u64),
    Refused,
}

/// Sends an operation until it is answered for good.
pub async fn push(socket: &mut Socket, seq: u64, base: u64, ops: &Bytes) -> Result<Answer> {
    loop {
        let ops = ops.clone();
        socket
            .send(&ClientFrame::Op {
                seq: Seq(seq),
                base: Revision(base),
                ops,
            })
            .await?;
        loop {
            match socket.next().await? {
                ServerFrame::Op(op) if socket.is_mine(op.slot) => {
                    return Ok(Answer::Applied(op.rev.0));
                }
                ServerFrame::Already { rev, .. } => return Ok(Answer::Applied(rev.0)),
                ServerFrame::Reject { last: true, .. } => return Ok(Answer::Refused),
                ServerFrame::Rebase { .. } => return Ok(Answer::Refused),
                ServerFrame::Reject { retry_after_ms, .. } => {
                    let pause = u64::from(retry_after_ms.max(20));
                    sleep(Duration::from_millis(pause)).await;
                    break;
                }
                ServerFrame::Bye { code, .. } => bail!("sent away: {}", code.as_str()),
                _ => {}
            }
        }
    }
}

pub async fn create(rest: &Rest, kind: &str, initial: &str) -> Result<String> {
    let body = json!({"title": "mallory's", "kind": kind, "initial": initial});
    let (status, answer) = rest.call(Method::POST, "/v1/docs", Some(&body)).await?;
    ensure!(
        status.is_success(),
        "creating a document: {status} {answer}"
    );
    Ok(answer["id"].as_str().context("no id")?.to_owned())
}
