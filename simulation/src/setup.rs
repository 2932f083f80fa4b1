//! What is there before anybody writes: the documents and who may do what with them. And after
//! all faults: that each group takes one more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use codraft_proto::{
    frame::Encoding,
    ids::{DocId, GroupId},
    placement,
};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::first_text,
    outside::HostNetwork,
    plan::{Document, Host},
    record::{ClientSeen, Seen},
    shared::{Shared, Stage, token, user_name},
    socket::Speaker,
    trace::line,
};

pub const HOST: &str = "setup";
const PAUSE: Duration = Duration::from_millis(200);
/// The user who makes documents that nobody else is in.
const PROVER: u32 = 1_000;

/// Makes all documents of the plan, however long it takes.
pub async fn run(shared: Shared) {
    for (i, document) in shared.plan.documents.clone().iter().enumerate() {
        let id = loop {
            match create(&shared, i, document).await {
                Ok(id) => break id,
                Err(error) => line!(shared.trace, "setup: {error:#}"),
            }
            sleep(PAUSE).await;
        };
        shared.docs.borrow_mut().push(id);
    }
    while shared.stage.get() < Stage::Healing {
        sleep(PAUSE).await;
    }
    // Where a document lies follows from its id, which is drawn.
    while (shared.proved.borrow().len() as u32) < shared.plan.world.groups {
        match prove(&shared).await {
            Ok(group) => drop(shared.proved.borrow_mut().insert(group)),
            Err(error) => {
                line!(shared.trace, "setup: {error:#}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Makes a document more; returns its group.
async fn prove(shared: &Shared) -> Result<GroupId> {
    let body = json!({"title": "one more"});
    let made = call(shared, PROVER, Method::POST, "/v1/docs", &body).await?;
    let doc: DocId = made["id"]
        .as_str()
        .context("no id")?
        .parse()
        .context("its id")?;
    let slot = placement::slot_of(&doc);
    Ok(placement::group_of(slot, shared.plan.world.groups))
}

async fn create(shared: &Shared, number: usize, document: &Document) -> Result<String> {
    let text = first_text(number as u32, document.initial);
    let (kind, initial) = if document.rich {
        ("rich", Value::String(format!("{text}\n")))
    } else {
        ("text", Value::String(text))
    };
    let body = json!({"title": format!("document {number}"), "kind": kind, "initial": initial});
    let made = call(shared, document.owner, Method::POST, "/v1/docs", &body).await?;
    let id = made["id"].as_str().context("no id")?.to_owned();
    let doc: DocId = id.parse().context("the id of a document")?;
    for (user, role) in &document.grants {
        let path = format!("/v1/docs/{id}/permissions/{}", user_name(*user));
        let body = json!({ "role": role });
        shared.recorder.note(Seen::Client(ClientSeen::GrantAsked {
            by: document.owner,
            user: *user,
            doc: doc.0,
            role: body["role"].as_str().map(str::to_owned),
        }));
        let answer = call(shared, document.owner, Method::PUT, &path, &body).await?;
        shared.recorder.note(Seen::Client(ClientSeen::Granted {
            by: document.owner,
            user: *user,
            doc: doc.0,
            role: answer["role"].as_str().map(str::to_owned),
            rev: answer["rev"].as_u64().context("no revision")?,
        }));
    }
    Ok(id)
}

async fn call(
    shared: &Shared,
    user: u32,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value> {
    let at = HostNetwork {
        host: HOST.into(),
        network: shared.network.clone(),
        trace: shared.trace.clone(),
    };
    let speaker = Speaker {
        at,
        user: user_name(user),
        token: token(user),
        encoding: Encoding::Json,
    };
    let router = Host::Router(0).to_string();
    let (status, answer) = speaker.call(&router, method, path, body).await?;
    ensure!((200..300).contains(&status), "{path}: {status}");
    Ok(answer)
}
